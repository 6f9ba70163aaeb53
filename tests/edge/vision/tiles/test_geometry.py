"""Tests of where tiles lie and which boxes of several passes stay, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge.vision.tiles.geometry import Window, merge, whole, windows
from edge.vision.tiles.grid import read_tiles

FRAME: Window = (0, 0, 180, 100)
LEFT: Window = (0, 0, 100, 100)
RIGHT: Window = (80, 0, 180, 100)

Seen = tuple[tuple[float, float, float, float], float, int, Window]


def merged(*seen: Seen) -> Any:
    """``merge`` of boxes with a score, a class and the window of their pass."""
    passes = [FRAME, LEFT, RIGHT]
    return merge(
        np.array([box for box, *_ in seen], np.float32).reshape(-1, 4),
        np.array([score for _, score, *_ in seen], np.float32),
        np.array([class_id for _, _, class_id, _ in seen], np.int32),
        np.array([window for *_, window in seen], np.float32).reshape(-1, 4),
        np.array([passes.index(window) for *_, window in seen], np.intp),
    ).tolist()


@pytest.mark.parametrize(("text", "grid"), [("2x1", (2, 1)), ("1x1", (1, 1)), ("4x4", (4, 4))])
def test_a_grid_is_columns_and_rows(text: str, grid: tuple[int, int]) -> None:
    assert read_tiles(text) == grid


@pytest.mark.parametrize("text", ["0x1", "9x9", "5x4", "2", "2x", "x", "-1x-1", "2x1x1", "a", ""])
def test_what_is_no_grid_is_refused_with_what_is_wanted(text: str) -> None:
    with pytest.raises(ValueError, match=r'COLUMNSxROWS, such as "2x1", of 1 to 16 tiles in all'):
        read_tiles(text)


def test_two_columns_share_a_fifth_of_a_tile() -> None:
    # 180 / (2 - 0.2) = 100 px each, of which 20 are shared.
    assert windows((180, 100), (2, 1)) == [LEFT, RIGHT]


def test_tiles_go_row_by_row_and_have_one_size() -> None:
    # 260 / (3 - 0.4) = 100 wide, 90 / 1.8 = 50 high.
    found = windows((260, 90), (3, 2))
    assert found[:4] == [(0, 0, 100, 50), (80, 0, 180, 50), (160, 0, 260, 50), (0, 40, 100, 90)]
    assert len(found) == 6


@pytest.mark.parametrize("wh", [(1, 1), (3, 2), (7, 480), (961, 541), (1920, 1080)])
@pytest.mark.parametrize("grid", [(1, 1), (2, 1), (4, 4), (1, 16)])
def test_tiles_cover_every_pixel_and_stay_in_the_frame(
    wh: tuple[int, int], grid: tuple[int, int]
) -> None:
    covered = np.zeros((wh[1], wh[0]), bool)
    tiles = windows(wh, grid)
    for x0, y0, x1, y1 in tiles:
        assert 0 <= x0 < x1 <= wh[0]
        assert 0 <= y0 < y1 <= wh[1]
        covered[y0:y1, x0:x1] = True
    assert covered.all()
    assert len(tiles) == grid[0] * grid[1]
    assert len({(x1 - x0, y1 - y0) for x0, y0, x1, y1 in tiles}) == 1


def test_a_box_is_cut_by_an_inner_edge_and_not_by_the_frames() -> None:
    boxes = np.array(
        [
            [0, 0, 20, 100],  # from edge to edge of the frame
            [90, 20, 98.5, 40],  # 1.5 px off the inner edge at 100, more than 1 %
            [90, 20, 99.5, 40],
        ],
        np.float32,
    )
    assert whole(boxes, LEFT, (180, 100)).tolist() == [True, True, False]
    # The right tile ends with the frame and begins within it.
    boxes = np.array([[80.5, 10, 90, 20], [82, 10, 180, 20]], np.float32)
    assert whole(boxes, RIGHT, (180, 100)).tolist() == [False, True]


def test_an_object_of_18_hundredths_is_whole_in_a_tile_wherever_it_lies() -> None:
    for x in np.arange(0, 162, 0.25):
        box = np.array([[x, 10, x + 17.9, 20]], np.float32)
        inside = [w for w in (LEFT, RIGHT) if w[0] <= x and x + 17.9 <= w[2]]
        assert any(whole(box, window, (180, 100))[0] for window in inside)


def test_no_box_and_one_box() -> None:
    assert merged() == []
    assert merged(((1, 1, 5, 5), 0.5, 0, LEFT)) == [0]


def test_an_object_in_the_overlap_has_one_box_the_better() -> None:
    # 10x20 each, 1 px apart: 9·20 / (11·20) = 0.82.
    assert merged(((82, 10, 92, 30), 0.6, 0, LEFT), ((83, 10, 93, 30), 0.7, 0, RIGHT)) == [1]


def test_boxes_of_two_classes_and_of_one_pass_both_stay() -> None:
    box, near = (82, 10, 92, 30), (83, 10, 93, 30)
    assert merged((box, 0.7, 0, LEFT), (near, 0.6, 1, RIGHT)) == [0, 1]
    assert merged((box, 0.7, 0, LEFT), (near, 0.6, 0, LEFT)) == [0, 1]


def test_half_a_box_loses_to_the_whole_one_even_with_the_better_score() -> None:
    # IoU is 38·40 of 100·40 = 0.38, which NMS would keep; all of it is inside.
    half, full = (60, 20, 98, 60), (60, 20, 160, 60)
    assert merged((half, 0.9, 0, LEFT), (full, 0.5, 0, FRAME)) == [1]


def test_a_small_object_before_a_large_one_stays_where_both_are_whole() -> None:
    # The large box ends in the left tile, so the small one is none of its parts.
    assert merged(((20, 20, 30, 30), 0.5, 0, LEFT), ((10, 10, 90, 90), 0.9, 0, FRAME)) == [1, 0]


def test_a_box_that_lost_takes_no_other_along() -> None:
    a, b, c = (20, 0, 50, 10), (10, 0, 40, 10), (30, 0, 60, 10)
    # a and b share 20 of 40 = 0.5 as do a and c; b and c 10 of 50 = 0.2.
    assert merged((a, 0.6, 0, LEFT), (b, 0.9, 0, FRAME), (c, 0.5, 0, FRAME)) == [1, 2]
