"""The truth pen on shapes that can be counted by hand, and sprites at the frame's edges."""

from __future__ import annotations

import numpy as np
import pytest

from edge.street.pens import CAR, PEDESTRIAN, POLE, ROAD, SHIFT, SIGN, SKY, Points, TruthPen
from edge.street.sprites import Kept, Shelf, Sprite
from edge.vision.types import Image


def square(x0: int, y0: int, x1: int, y1: int) -> Points:
    """Covers the pixels x0..x1 and y0..y1, both included."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.int32) << SHIFT


def ground() -> Image:
    return np.full((60, 90), ROAD, np.uint8)


def draw(pen: TruthPen, label: int, points: Points) -> None:
    pen.begin(label)
    pen.face(points, (1.0, 2.0, 3.0))
    pen.end()


def test_nothing_drawn_has_no_boxes_and_the_grounds_labels() -> None:
    truth = TruthPen(ground()).truth()
    assert truth.boxes.shape == (0, 4)
    assert truth.class_ids.shape == (0,)
    assert (truth.labels == ROAD).all()


def test_a_box_is_the_extent_of_the_pixels_with_exclusive_right_and_lower_edges() -> None:
    pen = TruthPen(ground())
    draw(pen, CAR, square(10, 20, 29, 39))
    truth = pen.truth()
    assert truth.boxes.tolist() == [[10.0, 20.0, 30.0, 40.0]]
    assert truth.class_names[truth.class_ids[0]] == "car"
    assert int((truth.labels == CAR).sum()) == 20 * 20


def test_a_box_of_a_covered_object_ends_where_it_is_covered() -> None:
    pen = TruthPen(ground())
    draw(pen, PEDESTRIAN, square(10, 10, 29, 29))
    draw(pen, CAR, square(20, 5, 60, 50))
    # 10 of 20 columns are left: 50 %, more than the quarter that is asked for.
    assert pen.truth().boxes.tolist() == [[10.0, 10.0, 20.0, 30.0], [20.0, 5.0, 61.0, 51.0]]


def test_a_mostly_hidden_object_has_no_box_but_keeps_its_pixels() -> None:
    pen = TruthPen(ground())
    draw(pen, PEDESTRIAN, square(10, 10, 29, 29))
    draw(pen, CAR, square(14, 5, 60, 50))
    truth = pen.truth()
    # 4 of 20 columns are left: 80 of 400 px, 20 %.
    assert truth.class_ids.tolist() == [0]
    assert int((truth.labels == PEDESTRIAN).sum()) == 80


@pytest.mark.parametrize(("columns", "boxes"), [(3, 0), (4, 1)])
def test_an_object_needs_forty_visible_pixels(columns: int, boxes: int) -> None:
    pen = TruthPen(ground())
    draw(pen, SIGN, square(0, 0, columns - 1, 9))  # touches the corner; 30 or 40 px
    assert len(pen.truth().boxes) == boxes


def test_what_is_outside_the_frame_does_not_count_as_hidden() -> None:
    pen = TruthPen(ground())
    draw(pen, CAR, square(-500, 10, 9, 19))
    assert pen.truth().boxes.tolist() == [[0.0, 10.0, 10.0, 20.0]]


def test_surfaces_cover_objects_and_paint_changes_nothing() -> None:
    pen = TruthPen(ground())
    draw(pen, CAR, square(10, 10, 29, 29))
    draw(pen, POLE, square(10, 10, 14, 29))
    pen.decal([square(0, 0, 89, 59)], (9.0, 9.0, 9.0))
    truth = pen.truth()
    assert truth.boxes.tolist() == [[15.0, 10.0, 30.0, 30.0]]
    assert int((truth.labels == POLE).sum()) == 5 * 20
    assert not (truth.labels == SKY).any()


def opaque(width: int, height: int, shelf: Shelf) -> Sprite:
    return Sprite(
        np.full((height, width, 3), 90, np.uint8), np.full((height, width), 255, np.uint8), shelf
    )


@pytest.mark.parametrize("height", [20.0, 200.0])
@pytest.mark.parametrize(
    ("left", "top"), [(-300.0, 0.0), (100.0, 0.0), (0.0, 100.0), (0.0, -300.0)]
)
def test_a_sprite_outside_the_frame_is_not_placed(height: float, left: float, top: float) -> None:
    sprite = opaque(32, 32, Shelf())
    assert sprite.place(left, top, height, (100, 100), 0.0, (0.0, 0.0, 0.0)) is None


@pytest.mark.parametrize("height", [20.0, 90.0])
def test_a_sprite_over_the_edge_is_cut_there(height: float) -> None:
    placed = opaque(32, 32, Shelf()).place(95.0, -5.0, height, (100, 100), 0.0, (0.0, 0.0, 0.0))
    assert placed is not None
    colour, clear, x, y = placed
    assert (x, y) == (95, 0)
    assert colour.shape == clear.shape == (round(height) - 5, 5, 3)
    assert (clear == 0).all()


def test_haze_moves_a_colour_by_its_share() -> None:
    # 90 with half of 200: 145, one unit of rounding either way.
    placed = opaque(32, 32, Shelf()).place(0.0, 0.0, 32.0, (100, 100), 0.5, (200.0, 200.0, 200.0))
    assert placed is not None
    assert np.abs(placed[0].astype(int) - 145).max() <= 1


def test_the_least_recently_used_goes_first_when_the_bound_is_reached() -> None:
    made: list[str] = []

    def make(name: str) -> str:
        made.append(name)
        return name

    kept: Kept[str] = Kept(30, lambda _: 10)
    for name in "abcadb":  # d drives b out, since a was used again; then b drives c out
        kept.get(name, lambda name=name: make(name))  # type: ignore[misc]
    assert made == ["a", "b", "c", "d", "b"]
    assert kept.nbytes == 30
