"""Tests of edge.vision.decode.yolov5 with tensors small enough to decode by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.vision.decode import RawBoxes, build_decoder
from engines.errors import ModelError
from engines.spec import DetectionHead, InputSpec

HEAD = DetectionHead("yolov5", ("output0",), ("car", "pedestrian"))


def decode(rows: list[list[float]], conf: float = 0.25, head: DetectionHead = HEAD) -> RawBoxes:
    """Each row is cx, cy, w, h, objectness and two classes."""
    raw: NDArray[np.float32] = np.array(rows, np.float32).reshape(1, len(rows), -1)
    return build_decoder(head, InputSpec("image", 64, 96))({"output0": raw}, conf)


def test_boxes_scores_and_classes_by_hand() -> None:
    found = decode([[50, 30, 20, 10, 0.5, 0.2, 0.9], [8, 8, 16, 16, 0.8, 1.0, 0.1]])
    np.testing.assert_allclose(found.xyxy_in, [[40, 25, 60, 35], [0, 0, 16, 16]])
    np.testing.assert_allclose(found.scores, [0.45, 0.8])
    assert found.class_ids.tolist() == [1, 0]
    assert found.class_ids.dtype == np.int32


def test_objectness_alone_does_not_make_a_box() -> None:
    row = [50, 30, 20, 10, 0.9, 0.2, 0.1]  # score 0.18
    assert decode([row]).xyxy_in.shape == (0, 4)
    assert len(decode([row], conf=0.17).scores) == 1


def test_a_score_equal_to_the_threshold_stays() -> None:
    assert len(decode([[50, 30, 20, 10, 0.5, 0.5, 0]], conf=0.25).scores) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", range(7))
def test_boxes_that_are_not_finite_fall_without_a_warning(column: int, bad: float) -> None:
    rows = [[50.0, 30, 20, 10, 0.9, 0.9, 0.3], [50.0, 30, 20, 10, 0.9, 0.9, 0.3]]
    rows[1][column] = bad
    found = decode(rows)
    assert np.isfinite(found.xyxy_in).all()
    assert np.isfinite(found.scores).all()
    assert found.xyxy_in[0].tolist() == [40, 25, 60, 35]


def test_numbers_behind_the_classes_are_left_alone() -> None:
    head = DetectionHead("yolov5", ("output0",), ("car", "pedestrian"), extra=3)
    found = decode([[50, 30, 20, 10, 0.9, 0.9, 0.3, 7, -8, np.nan]], head=head)
    assert found.class_ids.tolist() == [0]
    np.testing.assert_allclose(found.scores, [0.81])


def test_as_many_columns_as_the_spec_has_classes_are_demanded() -> None:
    with pytest.raises(ModelError, match=r"'output0' is \[1, 1, 6\], wanted \[1, 1, 7\]"):
        decode([[0.0] * 6])
