"""Tests of edge.vision.decode.yolox with grids small enough to decode by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.vision.decode import RawBoxes, build_decoder
from engines.errors import ModelError
from engines.spec import DetectionHead, InputSpec

INPUT = InputSpec("image", 32, 64, resize="letterbox_topleft")
CELLS = 4 * 8 + 2 * 4 + 1 * 2  # strides 8, 16, 32 on 64x32


def silent() -> NDArray[np.float32]:
    return np.zeros((1, CELLS, 7), np.float32)


def decode(raw: NDArray[np.float32], conf: float = 0.25) -> RawBoxes:
    head = DetectionHead("yolox", ("output",), ("car", "pedestrian"), (8, 16, 32))
    return build_decoder(head, INPUT)({"output": raw}, conf)


def test_cells_of_each_stride_by_hand() -> None:
    raw = silent()
    raw[0, 8 + 3] = [0.5, 0.25, 0, math.log(2), 0.9, 0.5, 0.1]  # stride 8, row 1, column 3
    raw[0, 32 + 4 + 1] = [-0.5, 0, 0, 0, 0.8, 0.1, 1]  # stride 16, row 1, column 1
    raw[0, 41] = [0, 1, math.log(0.5), 0, 1, 1, 0]  # stride 32, row 0, column 1
    found = decode(raw)
    # (0.5 + 3)·8 = 28, (0.25 + 1)·8 = 10, 8x16; (−0.5 + 1)·16 = 8, (0 + 1)·16 = 16, 16x16;
    # (0 + 1)·32 = 32, (1 + 0)·32 = 32, 16x32.
    np.testing.assert_allclose(
        found.xyxy_in, [[24, 2, 32, 18], [0, 8, 16, 24], [24, 16, 40, 48]], rtol=1e-6
    )
    np.testing.assert_allclose(found.scores, [0.45, 0.8, 1.0])
    assert found.class_ids.tolist() == [0, 1, 0]
    assert found.class_ids.dtype == np.int32


def test_no_cell_that_fires_gives_no_boxes() -> None:
    assert decode(silent()).xyxy_in.shape == (0, 4)


def test_objectness_alone_does_not_make_a_box() -> None:
    raw = silent()
    raw[0, 0] = [0, 0, 0, 0, 0.9, 0.2, 0.2]  # score 0.18
    assert decode(raw).xyxy_in.shape == (0, 4)
    assert len(decode(raw, conf=0.17).scores) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", range(7))
def test_boxes_that_are_not_finite_fall_without_a_warning(column: int, bad: float) -> None:
    raw = silent()
    raw[0, :2] = [0, 0, 0, 0, 0.9, 0.9, 0]
    raw[0, 1, column] = bad
    found = decode(raw)
    assert np.isfinite(found.xyxy_in).all()
    assert np.isfinite(found.scores).all()
    assert found.xyxy_in[0].tolist() == [-4, -4, 4, 4]


def test_strides_default_to_those_of_the_paper() -> None:
    head = DetectionHead("yolox", ("output",), ("car", "pedestrian"))
    assert len(build_decoder(head, INPUT)({"output": silent()}, 0.0).scores) == CELLS


def test_another_number_of_cells_is_refused() -> None:
    with pytest.raises(ModelError, match=r"'output' is \[1, 41, 7\], wanted \[1, 42, 7\]"):
        decode(silent()[:, :-1])
