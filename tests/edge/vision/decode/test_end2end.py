"""Tests of edge.vision.decode.end2end, and that nothing is suppressed behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.vision.decode import RawBoxes, build_decoder
from edge.vision.perception import Perception
from engines import open_engine
from engines.errors import ModelError
from engines.spec import DetectionHead, InputSpec
from tests.tiny_models import grey, paint, tiny_end2end

HEAD = DetectionHead("end2end", ("output0",), ("car", "pedestrian", "sign"), nms_iou=None)


def decode(rows: list[list[float]], conf: float = 0.25, head: DetectionHead = HEAD) -> RawBoxes:
    """Each row is x0, y0, x1, y1, score, class."""
    raw: NDArray[np.float32] = np.array(rows, np.float32).reshape(1, len(rows), -1)
    return build_decoder(head, InputSpec("image", 64, 96))({"output0": raw}, conf)


def test_rows_are_boxes() -> None:
    found = decode([[40, 25, 60, 35, 0.9, 2], [0, 0, 16, 16, 0.25, 0], [1, 1, 2, 2, 0.24, 0]])
    assert found.xyxy_in.tolist() == [[40, 25, 60, 35], [0, 0, 16, 16]]
    np.testing.assert_allclose(found.scores, [0.9, 0.25])
    assert found.class_ids.tolist() == [2, 0]
    assert found.xyxy_in.dtype == np.float32
    assert found.class_ids.dtype == np.int32


def test_rows_that_the_graph_left_empty_are_none() -> None:
    assert len(decode([[0.0] * 6, [0, 0, 9, 9, 0.9, -1]], conf=0.0).scores) == 0


@pytest.mark.parametrize("label", [3, 80, -1, np.nan, np.inf])
def test_a_class_without_a_name_falls(label: float) -> None:
    assert len(decode([[0, 0, 9, 9, 0.9, label]]).scores) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", range(5))
def test_boxes_that_are_not_finite_fall_without_a_warning(column: int, bad: float) -> None:
    rows = [[40.0, 25, 60, 35, 0.9, 1], [40.0, 25, 60, 35, 0.9, 1]]
    rows[1][column] = bad
    assert decode(rows).xyxy_in.tolist() == [[40, 25, 60, 35]]


def test_numbers_behind_the_class_are_left_alone() -> None:
    head = DetectionHead("end2end", ("output0",), ("car",), nms_iou=None, extra=2)
    assert len(decode([[0, 0, 9, 9, 0.9, 0, 7, np.nan]], head=head).scores) == 1


def test_as_many_columns_as_the_spec_says_are_demanded() -> None:
    with pytest.raises(ModelError, match=r"'output0' is \[1, 1, 7\], wanted \[1, 1, 6\]"):
        decode([[0.0] * 7])


@pytest.mark.parametrize(("nms_iou", "boxes"), [(None, 5), (0.2, 4)])
def test_boxes_that_overlap_stay_unless_the_user_wants_them_suppressed(
    tmp_path: Path, nms_iou: float | None, boxes: int
) -> None:
    """A pure 16x16 block is four boxes at stride 8 and one at stride 16: IoU 0.25 with each."""
    path = tmp_path / "tiny.onnx"
    tiny_end2end(path)
    engine = open_engine(path, engine="onnxruntime")
    try:
        perception = Perception(engine, nms_iou=nms_iou)
        perception.prepare(paint(grey(75), (32, 16, 48, 32), 1), 0)
        perception.submit(0)
        perception.wait(0)
        found, _ = perception.decode(0)
    finally:
        engine.close()
    assert found.class_ids.tolist() == [1] * boxes
