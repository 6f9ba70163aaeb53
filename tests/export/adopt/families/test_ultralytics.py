"""Ultralytics detect nets: recognised by metadata or shape, refused where those disagree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from engines.model_file import read_spec
from tests.export.adopting import (
    APP_ENGINES,
    adopt_net,
    letterboxed,
    refusal,
    rgb_blob,
    run_adopted,
    run_foreign,
    spec_of,
    with_metadata,
)
from tests.foreign_models import COLOUR_CLASSES, colour_frame, ultralytics, ultralytics_segment


def test_everything_is_read_from_the_metadata_and_the_graph(tmp_path: Path) -> None:
    done = adopt_net("ultralytics", tmp_path)
    spec, head = spec_of(done)
    assert (spec.input.height, spec.input.width) == (64, 96)
    assert (spec.input.resize, spec.input.pad_value) == ("letterbox_center", 114)
    assert head.family == "yolov8"
    assert head.classes == COLOUR_CLASSES
    assert head.strides == (8, 16, 32)
    assert head.nms_iou == 0.7
    assert spec.masks == ()
    assert spec.precision == "fp32"
    assert spec.notice == "Ultralytics tiny model; AGPL-3.0"


@APP_ENGINES
def test_the_adopted_file_gives_what_the_net_gives_for_its_documented_image(
    tmp_path: Path, engine: str
) -> None:
    # 128x48 into 96x64: by 0.75 to 96x36, 28 rows to share, 14 above and 14 below.
    image = letterboxed(1, top=14)
    wanted = run_foreign(ultralytics(), rgb_blob(image))
    got = run_adopted(adopt_net("ultralytics", tmp_path).file, image, engine)
    assert list(got) == ["output0"]
    np.testing.assert_allclose(got["output0"], wanted["output0"], rtol=1e-4, atol=1e-4)


def test_without_metadata_the_shape_tells_and_the_names_are_asked_for(tmp_path: Path) -> None:
    model = ultralytics()
    del model.metadata_props[:]
    assert "--names FILE" in refusal(adopt_net(model, tmp_path), code=2)
    names = tmp_path / "names.txt"
    names.write_bytes(b"\xef\xbb\xbfrot\r\nblau\r\n\r\n")  # as an editor of Windows saves it
    done = adopt_net(model, tmp_path, "--names", names)
    assert done.code == 0, done.said
    head = read_spec(done.file).detection
    assert head is not None
    assert head.classes == ("rot", "blau")


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"names": "['one']"}, "has 1 class names, but the graph has 2 class channels"),
        ({"names": "{0: 'a', '0': 'b'}"}, "neither a list nor a table with the keys 0, 1, 2"),
        ({"names": "{'²': 'a', '1': 'b'}"}, "neither a list nor a table"),
        ({"names": "{[1]: 'a'}"}, "wanted JSON or a Python literal"),
        ({"names": "[" * 100_000}, "wanted JSON or a Python literal"),
        ({"names": ""}, "wanted JSON or a Python literal"),
        ({"task": "pose"}, "made for the task 'pose', wanted 'detect', 'segment' for its boxes"),
        (
            {"end2end": "True"},
            "or nms, but the output [1, 6, 126] has a box a cell",
        ),
        ({"args": "{'nms': True}"}, "says end-to-end or nms"),
        ({"imgsz": "[640, 640]"}, r"says imgsz [640, 640], but the graph's input is 64x96"),
    ],
)
def test_metadata_that_contradicts_the_graph_is_refused(
    tmp_path: Path, entries: dict[str, str], said: str
) -> None:
    assert said in refusal(adopt_net(with_metadata(ultralytics(), **entries), tmp_path))


@APP_ENGINES
def test_of_a_segmenter_the_boxes_are_taken(tmp_path: Path, engine: str) -> None:
    done = adopt_net("ultralytics-segment", tmp_path)
    assert done.code == 0, done.said
    assert "not proven" not in done.said
    assert "output1 float32[1, 3, 16, 24]: prototypes of object masks; boxes only" in done.said
    spec = read_spec(done.file)
    assert spec.detection is not None
    assert (spec.detection.classes, spec.detection.extra) == (COLOUR_CLASSES, 3)
    assert [t.name for t in spec.outputs] == ["output0"]
    image = colour_frame(3)
    wanted = run_foreign(ultralytics(), rgb_blob(image))["output0"]
    got = run_adopted(done.file, image, engine)["output0"]
    np.testing.assert_allclose(got[:, :6], wanted, rtol=1e-4, atol=1e-4)


def test_the_coefficients_of_a_segmenter_count_as_no_classes(tmp_path: Path) -> None:
    model = with_metadata(ultralytics_segment(), names="['a', 'b', 'c']")
    message = refusal(adopt_net(model, tmp_path))
    assert "has 3 class names, but the graph has 2 class channels" in message


def test_a_layout_with_other_outputs_is_refused(tmp_path: Path) -> None:
    model = ultralytics()
    model.graph.output.append(onnx.helper.make_tensor_value_info("value0", 1, None))
    assert "wanted one float32 [1, 4 + classes, boxes]" in refusal(adopt_net(model, tmp_path))


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ([1, 1, 1, 1, 9, 9], "wanted 0 to 1 (after sigmoid)"),
        ([0.01, 0.01, 0.01, 0.01, 1, 1], "wanted input pixels"),
    ],
)
def test_numbers_that_are_no_boxes_and_scores_are_refused(
    tmp_path: Path, last: list[float], said: str
) -> None:
    """Scores above 1, and boxes in shares of the image, in an output of the right shape."""
    model = ultralytics()
    scale = onnx.numpy_helper.from_array(np.array(last, np.float32).reshape(1, 6, 1), "scale")
    model.graph.initializer.append(scale)
    model.graph.node[-1].output[0] = "unscaled"
    model.graph.node.append(onnx.helper.make_node("Mul", ["unscaled", "scale"], ["output0"]))
    message = refusal(adopt_net(model, tmp_path))
    assert "no ultralytics net as supposed" in message
    assert said in message


def test_a_description_can_not_write_lines_of_its_own(tmp_path: Path) -> None:
    text = "\x1b[2Ja net\nwritten      elsewhere"
    done = adopt_net(with_metadata(ultralytics(), description=text), tmp_path)
    assert done.code == 0
    assert "\x1b" not in done.said
    assert [line for line in done.said.splitlines() if line.startswith("written")] == [
        f"written      {done.file}"
    ]
    assert "\n" not in read_spec(done.file).notice
