"""Tests of edge.vision.decode.yolov8 with tensors small enough to decode by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.vision.decode import RawBoxes, build_decoder
from engines.errors import ModelError
from engines.spec import DetectionHead, InputSpec

HEAD = DetectionHead("yolov8", ("output0",), ("car", "pedestrian", "sign"))


def decode(rows: list[list[float]], conf: float = 0.25) -> RawBoxes:
    """Each row is cx, cy, w, h and three scores; the tensor is their transpose (1, 7, N)."""
    raw: NDArray[np.float32] = np.array(rows, np.float32).reshape(-1, 7).T[None]
    return build_decoder(HEAD, InputSpec("image", 64, 96))({"output0": raw}, conf)


def test_boxes_and_best_classes_by_hand() -> None:
    found = decode([[50, 30, 20, 10, 0.1, 0.9, 0.2], [8, 8, 16, 16, 0.3, 0.1, 0.26]])
    np.testing.assert_allclose(found.xyxy_in, [[40, 25, 60, 35], [0, 0, 16, 16]])
    np.testing.assert_allclose(found.scores, [0.9, 0.3])
    assert found.class_ids.tolist() == [1, 0]
    assert found.xyxy_in.dtype == np.float32
    assert found.scores.dtype == np.float32
    assert found.class_ids.dtype == np.int32


def test_no_score_above_the_threshold_gives_no_boxes() -> None:
    found = decode([[50, 30, 20, 10, 0.1, 0.2, 0.24]])
    assert found.xyxy_in.shape == (0, 4)
    assert len(decode([]).scores) == 0


def test_a_score_equal_to_the_threshold_stays() -> None:
    assert len(decode([[50, 30, 20, 10, 0, 0.25, 0]], conf=0.25).scores) == 1


def test_at_threshold_zero_every_row_is_a_box() -> None:
    assert len(decode([[50, 30, 20, 10, 0, 0, 0]] * 5, conf=0.0).scores) == 5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", range(7))
def test_boxes_that_are_not_finite_fall_without_a_warning(column: int, bad: float) -> None:
    rows = [[50.0, 30, 20, 10, 0.9, 0.2, 0.3], [50.0, 30, 20, 10, 0.9, 0.2, 0.3]]
    rows[1][column] = bad
    found = decode(rows)
    assert np.isfinite(found.xyxy_in).all()
    assert np.isfinite(found.scores).all()
    assert found.xyxy_in[0].tolist() == [40, 25, 60, 35]


def test_boxes_without_area_fall() -> None:
    assert len(decode([[50, 30, 0, 10, 0.9, 0, 0], [50, 30, 10, -1, 0.9, 0, 0]]).scores) == 0


def test_as_many_channels_as_the_spec_has_classes_are_demanded() -> None:
    decoder = build_decoder(HEAD, InputSpec("image", 64, 96))
    with pytest.raises(ModelError, match=r"'output0' is \[1, 84, 10\], wanted \[1, 7, 10\]"):
        decoder({"output0": np.zeros((1, 84, 10), np.float32)}, 0.25)


def test_channels_behind_the_classes_are_left_alone() -> None:
    head = DetectionHead("yolov8", ("output0",), ("car",), extra=2)
    raw = np.array([50, 30, 20, 10, 0.9, 7, np.nan], np.float32).reshape(1, 7, 1)
    found = build_decoder(head, InputSpec("image", 64, 96))({"output0": raw}, 0.25)
    assert found.class_ids.tolist() == [0]
    np.testing.assert_allclose(found.scores, [0.9])
