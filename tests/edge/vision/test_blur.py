"""What is blurred cannot be told apart any more, and all else is as it was."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.vision.blur import CELLS, blurred


def boxes(*xyxy: tuple[float, float, float, float]) -> NDArray[np.float32]:
    return np.array(xyxy, np.float32).reshape(-1, 4)


def noise(wh: tuple[int, int]) -> NDArray[np.uint8]:
    image = np.random.default_rng(0).integers(0, 256, (wh[1], wh[0], 3), np.uint8)
    image.flags.writeable = False
    return image


def test_without_a_box_nothing_is_copied() -> None:
    image = noise((64, 48))
    assert blurred(image, boxes()) is image


def test_a_box_and_a_tenth_around_it_lose_all_detail_and_the_rest_stays() -> None:
    image = noise((200, 100))
    out = blurred(image, boxes((50, 20, 90, 80)))
    # 40 px wide and 60 high: it grows by 4 and 6 px to each side.
    inside = np.zeros((100, 200), bool)
    inside[14:86, 46:94] = True
    np.testing.assert_array_equal(out[~inside], image[~inside])
    assert image[inside].std() > 70
    assert out[inside].std() < 8
    assert np.abs(out[inside].mean(axis=0) - image[inside].mean(axis=0)).max() < 3
    assert not out.flags.writeable


@pytest.mark.parametrize("side", [16, 40, 100, 400])
def test_what_a_box_holds_cannot_be_read_whatever_its_size(side: int) -> None:
    # Two faces would differ by less: black and white stripes, an eighth of the box wide each.
    image = np.zeros((side, side, 3), np.uint8)
    image[:, np.arange(side) * 8 // side % 2 == 1] = 255
    out = blurred(image, boxes((0, 0, side, side)))
    assert CELLS == 4  # two stripes a cell: all cells are the same grey
    assert np.ptp(out) <= 40, np.ptp(out)


@pytest.mark.parametrize(
    "xyxy",
    [(0, 0, 64, 48), (-9, -9, 3, 3), (62, 46, 64, 48), (63.9, 47.9, 64, 48), (10, 10, 11, 11)],
)
def test_boxes_at_the_edges_and_of_a_pixel_are_blurred(
    xyxy: tuple[float, float, float, float],
) -> None:
    image = noise((64, 48))
    out = blurred(image, boxes(xyxy))
    x0, y0, x1, y1 = (max(0, int(side)) for side in xyxy)
    before, after = image[y0 : y1 + 1, x0 : x1 + 1], out[y0 : y1 + 1, x0 : x1 + 1]
    assert before.size
    assert (before != after).any()


def test_a_box_that_lies_outside_is_no_error() -> None:
    image = noise((64, 48))
    np.testing.assert_array_equal(blurred(image, boxes((100, 100, 120, 120))), image)


def test_boxes_that_overlap_are_both_blurred() -> None:
    image = noise((200, 100))
    out = blurred(image, boxes((20, 20, 80, 80), (60, 20, 120, 80)))
    assert out[20:80, 20:120].std() < 12
