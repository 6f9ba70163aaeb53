"""Tests of edge.vision.decode.nms against small cases and against a plain reference."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.vision.decode.nms import nms_per_class

Box = tuple[float, float, float, float]


def nms(
    rows: list[Box],
    scores: list[float],
    class_ids: list[int] | None = None,
    *,
    iou: float = 0.5,
    limit: int = 300,
    candidates: int = 1000,
) -> list[int]:
    kept = nms_per_class(
        np.array(rows, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(class_ids or [0] * len(rows), np.int32),
        iou=iou,
        limit=limit,
        candidates=candidates,
    )
    return [int(i) for i in kept]


def overlap(a: Box, b: Box) -> float:
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return w * h / (area_a + area_b - w * h)


def reference(rows: list[Box], scores: list[float], ids: list[int], iou: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(rows)), key=lambda i: (-scores[i], i)):
        if all(ids[i] != ids[k] or overlap(rows[i], rows[k]) <= iou for k in kept):
            kept.append(i)
    return kept


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[Box], list[float], list[int]]:
    count = draw(st.integers(0, 25))
    rows: list[Box] = []
    for _ in range(count):
        # Integers around zero: boxes reach beyond the edge, and the reference is exact.
        x, y = draw(st.integers(-30, 60)), draw(st.integers(-30, 60))
        rows.append((x, y, x + draw(st.integers(1, 40)), y + draw(st.integers(1, 40))))
    # Few different scores, so that ties happen; multiples of 1/8 are exact in float32.
    scores = [draw(st.integers(1, 8)) / 8 for _ in range(count)]
    return rows, scores, [draw(st.integers(0, 3)) for _ in range(count)]


@settings(deadline=None)  # a busy machine is no failure
@given(scene=scenes(), iou=st.sampled_from([0.3, 0.45, 0.7]))
def test_it_keeps_what_the_plain_reference_keeps(
    scene: tuple[list[Box], list[float], list[int]], iou: float
) -> None:
    rows, scores, ids = scene
    assume(all(abs(overlap(a, b) - iou) > 1e-9 for a in rows for b in rows))
    assert nms(rows, scores, ids, iou=iou) == reference(rows, scores, ids, iou)


def test_no_boxes_give_no_boxes() -> None:
    assert nms([], []) == []


def test_one_box_stays_even_at_score_zero() -> None:
    assert nms([(0, 0, 1, 1)], [0.0]) == [0]
    assert nms([(0, 0, 1, 1), (5, 5, 6, 6)], [0.0, 0.0]) == [0, 1]


def test_the_lower_of_two_overlapping_boxes_of_one_class_falls() -> None:
    # Intersection 8·10 = 80, union 100 + 100 − 80 = 120, IoU 0.667.
    rows: list[Box] = [(0, 0, 10, 10), (2, 0, 12, 10)]
    assert nms(rows, [0.6, 0.9], iou=0.6) == [1]
    assert nms(rows, [0.6, 0.9], iou=0.7) == [1, 0]


def test_boxes_of_different_classes_never_suppress_each_other() -> None:
    assert nms([(0, 0, 10, 10)] * 3, [0.5, 0.9, 0.7], [0, 1, 2]) == [1, 2, 0]


def test_a_box_beyond_the_top_left_does_not_meet_another_class_at_the_bottom_right() -> None:
    # Classes are parted by a shift of x and y; without a common origin −50 of class 1 would land
    # on 601 and meet class 0 there.
    assert nms([(600, 600, 650, 650), (-50, -50, 0, 0)], [0.9, 0.8], [0, 1]) == [0, 1]


def test_boxes_that_only_touch_both_stay() -> None:
    assert nms([(0, 0, 10, 10), (10, 0, 20, 10)], [0.9, 0.8], iou=0.0) == [0, 1]


def test_a_box_that_fell_suppresses_nothing() -> None:
    # The second falls to the first and would have taken the third, whose IoU with the first is
    # 2·10 / 180 = 0.11; neighbours share 6·10 / 140 = 0.43.
    rows: list[Box] = [(0, 0, 10, 10), (4, 0, 14, 10), (8, 0, 18, 10)]
    assert nms(rows, [0.9, 0.8, 0.7], iou=0.4) == [0, 2]


def test_equal_scores_keep_the_order_of_their_indices() -> None:
    rows: list[Box] = [(20 * i, 0, 20 * i + 10, 10) for i in range(6)]
    assert nms(rows, [0.5] * 6) == [0, 1, 2, 3, 4, 5]
    assert nms(rows, [0.5] * 6, limit=2) == [0, 1]
    assert nms(rows, [0.5] * 6, candidates=3) == [0, 1, 2]


def test_the_best_candidates_are_those_looked_at() -> None:
    rows: list[Box] = [(20 * i, 0, 20 * i + 10, 10) for i in range(5)]
    assert nms(rows, [0.1, 0.9, 0.3, 0.8, 0.3], candidates=3) == [1, 3, 2]


def test_boxes_without_area_fall() -> None:
    rows: list[Box] = [(5, 5, 5, 9), (5, 5, 3, 9), (0, 0, 4, 4), (7, 7, 7, 7)]
    assert nms(rows, [0.9, 0.8, 0.7, 0.6]) == [2]


def test_absurd_coordinates_do_not_blur_the_others() -> None:
    # A shift of 1e30 would put all boxes of class 1 onto one place.
    rows: list[Box] = [(-1e30, -1e30, 1e30, 1e30), (0, 0, 10, 10), (50, 50, 60, 60)]
    assert nms(rows, [0.9, 0.8, 0.7], [0, 1, 1]) == [0, 1, 2]


def test_a_frame_where_everything_fires_is_cut_to_the_limit() -> None:
    rng = np.random.default_rng(1)
    corner: NDArray[np.float32] = rng.uniform(0, 600, (20000, 2)).astype(np.float32)
    xyxy = np.concatenate([corner, corner + 8], axis=1)
    scores = rng.random(20000, dtype=np.float32)
    kept = nms_per_class(xyxy, scores, np.zeros(20000, np.int32), iou=0.5, limit=300)
    assert kept.size == 300
    assert kept[0] == scores.argmax()
    assert (np.diff(scores[kept]) <= 0).all()
