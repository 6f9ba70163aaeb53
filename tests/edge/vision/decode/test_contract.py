"""The contract that every entry of DECODERS keeps, run on the generated model of its family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from edge.vision.decode import DECODERS, RawBoxes, build_decoder
from edge.vision.letterbox import Letterbox
from engines.errors import ModelError
from engines.spec import DetectionHead, InputSpec
from tests.tiny_models import SCORE, TINY_MODELS, grey, paint


@pytest.fixture(params=sorted(DECODERS))
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def run(family: str, folder: Path, image: NDArray[np.uint8], conf: float = 0.25) -> RawBoxes:
    path = folder / "tiny.onnx"
    spec = TINY_MODELS[family](path)
    assert spec.detection is not None
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    buffer = np.zeros(spec.input.tensor.shape, np.uint8)
    Letterbox.fit((image.shape[1], image.shape[0]), spec.input).apply(image, buffer)
    names = [tensor.name for tensor in spec.outputs]
    outputs = dict(zip(names, session.run(names, {spec.input.name: buffer}), strict=True))
    return build_decoder(spec.detection, spec.input)(outputs, conf)


def test_an_empty_street_gives_no_boxes(family: str, tmp_path: Path) -> None:
    found = run(family, tmp_path, grey(75))
    assert found.xyxy_in.shape == (0, 4)
    assert found.scores.shape == found.class_ids.shape == (0,)


def test_one_painted_cell_is_one_box_of_its_class(family: str, tmp_path: Path) -> None:
    found = run(family, tmp_path, paint(grey(75), (88, 56, 96, 64), 2))  # the last cell: edge touch
    np.testing.assert_allclose(found.xyxy_in, [[88, 56, 96, 64]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [SCORE], atol=1e-5)
    assert found.class_ids.tolist() == [2]


def test_types_are_those_of_detections(family: str, tmp_path: Path) -> None:
    for found in (
        run(family, tmp_path, grey(75)),
        run(family, tmp_path, paint(grey(75), (32, 0, 64, 32), 0)),
    ):
        assert found.xyxy_in.dtype == np.float32
        assert found.scores.dtype == np.float32
        assert found.class_ids.dtype == np.int32


def test_an_unknown_family_names_the_known_ones() -> None:
    head = DetectionHead("centernet", ("x",), ("car",))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"'centernet'.*yolo-anchors, yolov5, yolov8, yolox"):
        build_decoder(head, InputSpec("image", 64, 96))
