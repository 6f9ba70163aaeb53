"""Tests of edge.vision.decode.nanodet with heads small enough to decode by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.vision.decode import RawBoxes, build_decoder
from engines.errors import ModelError
from engines.spec import DetectionHead, InputSpec

INPUT = InputSpec("image", 32, 64, pad_value=0)
BINS = 8
HEAD = DetectionHead(
    "nanodet", ("c8", "c16", "d8", "d16"), ("car", "pedestrian"), (8, 16), nms_iou=0.6
)
Heads = dict[str, NDArray[np.float32]]


def silent() -> Heads:
    return {
        "c8": np.zeros((1, 32, 2), np.float32),
        "c16": np.zeros((1, 8, 2), np.float32),
        "d8": np.zeros((1, 32, 4 * BINS), np.float32),
        "d16": np.zeros((1, 8, 4 * BINS), np.float32),
    }


def sides(*steps: tuple[int, ...]) -> NDArray[np.float32]:
    """Logits (4·B) that are all at the bins given for each side, evenly."""
    logits = np.full((4, BINS), -100, np.float32)
    for side, bins in enumerate(steps):
        logits[side, list(bins)] = 5
    return logits.ravel()


def decode(heads: Heads, conf: float = 0.25) -> RawBoxes:
    return build_decoder(HEAD, INPUT)(heads, conf)


def test_cells_of_each_stride_by_hand() -> None:
    heads = silent()
    heads["c8"][0, 8 + 3] = [0.1, 0.6]  # row 1, column 3: centre (28, 12)
    heads["d8"][0, 8 + 3] = sides((1,), (0, 1), (2,), (0,))
    heads["c16"][0, 4 + 1] = [0.9, 0.2]  # row 1, column 1: centre (24, 24)
    heads["d16"][0, 4 + 1] = sides((0,), (1,), (7,), (2, 3))
    found = decode(heads)
    # 8·1 to the left, 8·½ up, 8·2 to the right, nothing down; 16·(0, 1, 7, 2½).
    np.testing.assert_allclose(found.xyxy_in, [[20, 8, 44, 12], [24, 8, 136, 64]], rtol=1e-6)
    np.testing.assert_allclose(found.scores, [0.6, 0.9])
    assert found.class_ids.tolist() == [1, 0]
    assert found.xyxy_in.dtype == np.float32
    assert found.class_ids.dtype == np.int32


def test_a_distribution_is_weighed_by_its_softmax() -> None:
    heads = silent()
    heads["c8"][0, 0] = [1, 0]
    heads["d8"][0, 0] = sides((1,), (1,), (1,), (1,))
    heads["d8"][0, 0, :2] = [math.log(3), 0]  # left: ¾ of bin 0, ¼ of bin 1
    heads["d8"][0, 0, 2:BINS] = -100
    np.testing.assert_allclose(decode(heads).xyxy_in, [[4 - 2, -4, 12, 12]], rtol=1e-6)


def test_logits_of_any_size_do_not_overflow() -> None:
    heads = silent()
    heads["c8"][0, 0] = [1, 0]
    heads["d8"][0, 0] = sides((1,), (1,), (1,), (1,)) * np.float32(1e6)
    np.testing.assert_allclose(decode(heads).xyxy_in, [[-4, -4, 12, 12]], rtol=1e-6)


def test_no_cell_that_fires_gives_no_boxes() -> None:
    assert decode(silent()).xyxy_in.shape == (0, 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("head", ["c8", "d8"])
def test_boxes_that_are_not_finite_fall_without_a_warning(head: str, bad: float) -> None:
    heads = silent()
    heads["c8"][0, :2] = [0.9, 0]
    heads["d8"][0, :2] = sides((1,), (1,), (1,), (1,))
    heads[head][0, 1, 1] = bad
    found = decode(heads)
    assert np.isfinite(found.xyxy_in).all()
    assert np.isfinite(found.scores).all()
    assert found.xyxy_in[0].tolist() == [-4, -4, 12, 12]


@pytest.mark.parametrize(
    ("head", "shape", "wanted"),
    [
        ("c16", (1, 8, 80), r"'c16' is \[1, 8, 80\], wanted \[1, 8, 2\]"),
        ("d8", (1, 31, 32), r"'d8' is \[1, 31, 32\], wanted \[1, 32, 32\]"),
        ("d8", (1, 32, 33), r"'d8' is \[1, 32, 33\], wanted \[1, 32, 32\]"),
    ],
)
def test_other_shapes_are_refused(head: str, shape: tuple[int, ...], wanted: str) -> None:
    heads = silent()
    for values in heads.values():
        values[..., 0] = 1  # every cell fires
    heads[head] = np.ones(shape, np.float32)
    with pytest.raises(ModelError, match=wanted):
        decode(heads)
