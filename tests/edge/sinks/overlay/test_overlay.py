"""Tests of the overlay by its pixels: boxes, labels, legend and readout, at any frame size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.sinks.overlay.overlay import Overlay
from edge.vision.letterbox import Letterbox
from edge.vision.palette import colour_of
from edge.vision.types import Detections, Frame, Image, Mask, Result
from engines.spec import InputSpec

CLASSES = ("car", "pedestrian", "sign")
GREY = 100
Box = tuple[float, float, float, float]


def result(
    wh: tuple[int, int],
    *boxes: Box,
    class_ids: tuple[int, ...] | None = None,
    track_ids: tuple[int, ...] | None = None,
    labels: NDArray[np.uint8] | None = None,
) -> Result:
    image = np.full((wh[1], wh[0], 3), GREY, np.uint8)
    image.flags.writeable = False
    count = len(boxes)
    detections = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, count, dtype=np.float32),
        np.array(class_ids or (0,) * count, np.int32),
        np.array(track_ids or (-1,) * count, np.int32),
    )
    masks: tuple[Mask, ...] = ()
    if labels is not None:
        letterbox = Letterbox.fit(wh, InputSpec("image", wh[1], wh[0], resize="stretch"))
        masks = (Mask("street", ("none", "road", "tree"), ("none",), labels, letterbox),)
    return Result(Frame(image, 0, 0, 0, "read", "test"), detections, CLASSES, masks, {}, 0, 0, 0)


def changed(image: Image) -> NDArray[np.bool_]:
    drawn: NDArray[np.bool_] = (image != GREY).any(axis=2)
    return drawn


def extent(where: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 around all that is true, edges counted as in xyxy."""
    ys, xs = np.nonzero(where)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def of_colour(image: Image, name: str) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (image == colour_of(name)).all(axis=2)
    return same


def test_nothing_found_leaves_the_frame_as_it_was_in_memory_of_its_own() -> None:
    seen = result((96, 64))
    out = Overlay().draw(seen, ())
    np.testing.assert_array_equal(out, seen.frame.image)
    assert not np.shares_memory(out, seen.frame.image)


def test_a_box_is_drawn_on_its_pixels_in_the_colour_of_its_class() -> None:
    # The middle of its lines: columns 100 and 199, rows 120 and 179. At 240 lines they are 2 px
    # thick and their edge 1 px, which OpenCV draws as 5 px in all.
    out = Overlay().draw(result((320, 240), (100, 120, 200, 180)), ())
    car = colour_of("car")
    for x, y in ((100, 150), (199, 150), (150, 179), (190, 120)):
        assert tuple(out[y, x]) == car, (x, y)
    assert not changed(out)[124:176, 104:196].any()
    assert not changed(out)[:, 203:].any()
    assert not changed(out)[183:].any()


@pytest.mark.parametrize("wh", [(160, 120), (320, 240), (1241, 375), (960, 540), (1920, 1080)])
@pytest.mark.parametrize("name", CLASSES)
def test_a_line_is_seen_on_every_background_at_every_size(name: str, wh: tuple[int, int]) -> None:
    w, h = wh
    seen = result(wh, (w * 0.25, h * 0.25, w * 0.75, h * 0.75), class_ids=(CLASSES.index(name),))
    for behind in ((0, 0, 0), (255, 255, 255), colour_of(name)):
        image = np.full((h, w, 3), behind, np.uint8)
        out = Overlay().draw(replace(seen, frame=replace(seen.frame, image=image)), ())
        for strip in (out[h // 2, : w // 2], out[h // 2 :, w // 2]):  # across the left, the lower
            line = np.flatnonzero((strip == colour_of(name)).all(axis=1))
            if behind == colour_of(name):  # what lies between the edges
                black = np.flatnonzero((strip == 0).all(axis=1))
                line = np.arange(black[0] + 1, black[-1])
            assert 2 <= len(line) <= max(3, h // 150)
            assert (strip[[line[0] - 1, line[-1] + 1]] == 0).all()  # its dark edge on both sides


def test_no_box_cuts_the_line_of_another() -> None:
    one, other = (100.0, 100.0, 140.0, 140.0), (104.0, 104.0, 144.0, 144.0)
    both = Overlay().draw(result((960, 540), one, other, class_ids=(0, 2)), ())
    assert of_colour(both, "car")[110:130, 100].all()
    assert of_colour(both, "sign")[110:130, 143].all()


def test_a_panel_that_would_hide_a_small_frame_is_left_out() -> None:
    readout = ("30.0 fps", "age 33 ms", "infer 6.1 ms", "dropped 0")
    assert changed(Overlay().draw(result((320, 240)), readout)).any()
    assert not changed(Overlay().draw(result((160, 120)), readout)).any()


def test_an_untouched_frame_stays_readable_and_read_only() -> None:
    seen = result((320, 240), (100, 120, 200, 180))
    Overlay().draw(seen, ("30.0 fps",))
    assert (seen.frame.image == GREY).all()


def test_the_label_sits_above_its_box_in_its_colour_with_text() -> None:
    out = Overlay().draw(result((320, 240), (100, 120, 200, 180)), ())
    chip = of_colour(out, "car")[:118]  # the line begins at 119
    x0, _, _, y1 = extent(chip)
    assert (x0, y1) == (99, 118)
    x0, y0, x1, y1 = extent(chip)
    inside = out[y0:y1, x0:x1].reshape(-1, 3)
    assert (inside == 255).all(axis=1).any()  # white text on blue


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 30, 20),
        (300, 0, 320, 15),
        (300, 225, 320, 240),
        (0, 230, 10, 240),
        (0, 0, 320, 240),
        (319, 239, 320, 240),
    ],
)
def test_a_label_at_the_frames_edge_is_whole(box: Box) -> None:
    free = Overlay().draw(result((320, 240), (150, 120, 160, 130)), ())
    x0, y0, x1, y1 = extent(changed(free)[:120])
    out = Overlay().draw(result((320, 240), box), ())
    outline = np.zeros((240, 320), bool)
    left, top, right, bottom = (int(v) for v in box)
    outline[top:bottom, left:right] = True
    outline[top + 1 : bottom - 1, left + 1 : right - 1] = False
    assert changed(out)[outline].all()
    # Label and outline share at most the label's width and height.
    chip_w, chip_h = x1 - x0, y1 - y0
    shared = chip_w + chip_h
    assert changed(out).sum() >= outline.sum() + chip_w * chip_h - shared


def test_labels_of_neighbours_do_not_cover_each_other() -> None:
    one = Overlay().draw(result((960, 540), (400, 300, 430, 320)), ())
    chip = of_colour(one, "car")[:299].sum()
    pair = ((400.0, 300.0, 430.0, 320.0), (430.0, 300.0, 460.0, 320.0))
    both = Overlay().draw(result((960, 540), *pair, class_ids=(0, 2)), ())
    # The car is the better: its label stays above, that of the sign goes below.
    assert of_colour(both, "car")[:299].sum() == chip
    assert of_colour(both, "sign")[322:].any()


def test_track_ids_make_the_label_longer() -> None:
    box = (100, 120, 200, 180)
    plain = extent(changed(Overlay().draw(result((320, 240), box), ()))[:116])
    tracked = extent(changed(Overlay().draw(result((320, 240), box, track_ids=(0,)), ()))[:116])
    assert tracked[2] > plain[2]


@pytest.mark.parametrize("wh", [(320, 240), (960, 540), (1920, 1080), (3840, 2160), (540, 960)])
def test_labels_grow_with_the_frame(wh: tuple[int, int]) -> None:
    w, h = wh
    out = Overlay().draw(result(wh, (w * 0.4, h * 0.5, w * 0.7, h * 0.7)), ())
    _, y0, _, y1 = extent(changed(out)[: h // 2 - h // 100])
    side = min(h, w * 9 / 16)
    assert max(12, 0.03 * side) <= y1 - y0 + h // 100 <= max(24, 0.06 * side)


def test_a_frame_smaller_than_its_texts_is_drawn_all_the_same() -> None:
    labels = np.ones((4, 6), np.uint8)
    for wh in ((6, 4), (1, 1), (24, 300), (300, 5)):
        out = Overlay().draw(
            result(wh, (0, 0, wh[0], wh[1]), labels=labels), ("a long line of text",) * 3
        )
        assert out.shape == (wh[1], wh[0], 3)


def test_boxes_without_pixels_do_no_harm() -> None:
    out = Overlay().draw(result((320, 240), (100.1, 100.1, 100.2, 100.2)), ())
    assert tuple(out[100, 100]) == colour_of("car")


def test_the_readout_lies_at_the_top_left_on_a_darker_ground() -> None:
    out = Overlay().draw(result((960, 540)), ("31.2 fps", "age 21 ms"))
    x0, y0, x1, y1 = extent(changed(out))
    assert x0 < 12
    assert y0 < 12
    assert x1 < 240
    assert y1 < 80
    assert (out[y0:y1, x0:x1].max(axis=2) > 200).any()  # text
    assert np.median(out[y0:y1, x0:x1]) == pytest.approx(GREY * 0.35, abs=1)


def test_the_readout_follows_its_lines() -> None:
    overlay = Overlay()
    first = overlay.draw(result((960, 540)), ("31.2 fps",)).copy()
    second = overlay.draw(result((960, 540)), ("17.9 fps",)).copy()
    assert (first != second).any()
    np.testing.assert_array_equal(overlay.draw(result((960, 540)), ("31.2 fps",)), first)
    assert not changed(overlay.draw(result((960, 540)), ())).any()


def test_the_legend_names_the_classes_that_are_there() -> None:
    labels = np.zeros((9, 16), np.uint8)
    labels[:3] = 1  # road at the top, away from the legend
    out = Overlay().draw(result((960, 540), labels=labels), ())
    corner = out[480:, :480]
    assert of_colour(corner, "road").sum() >= 8 * 8  # the swatch, in the full colour
    assert not of_colour(corner, "tree").any()


def test_a_class_leaves_the_legend_only_after_a_while() -> None:
    overlay = Overlay()
    labels = np.zeros((9, 16), np.uint8)
    with_road = labels.copy()
    with_road[:3] = 1
    overlay.draw(result((960, 540), labels=with_road), ())
    for _ in range(15):
        assert of_colour(overlay.draw(result((960, 540), labels=labels), ()), "road").any()
    assert not changed(overlay.draw(result((960, 540), labels=labels), ())).any()


def test_a_legend_that_is_too_wide_goes_into_rows() -> None:
    wide, narrow = (
        Overlay().draw(result(wh, labels=np.arange(3, dtype=np.uint8)[None].repeat(3, 0)), ())
        for wh in ((960, 540), (60, 160))
    )
    for out, height in ((wide, 540), (narrow, 160)):
        road = extent(of_colour(out, "road") & (np.arange(height) > height * 0.6)[:, None])
        tree = extent(of_colour(out, "tree") & (np.arange(height) > height * 0.6)[:, None])
        assert (road[1] == tree[1]) == (out is wide)


def test_parts_can_be_turned_off() -> None:
    labels = np.ones((9, 16), np.uint8)
    seen = result((320, 240), (100, 120, 200, 180), labels=labels)
    lines = ("30 fps",)
    nothing = Overlay(boxes=False, masks=False, legend=False, readout=False)
    assert not changed(nothing.draw(seen, lines)).any()
    boxes = Overlay(masks=False, legend=False, readout=False).draw(seen, lines)
    assert not changed(boxes)[190:].any()
    assert changed(boxes)[120:180].any()


def test_the_buffer_is_reused_and_follows_the_frames_size() -> None:
    overlay = Overlay()
    first = overlay.draw(result((320, 240), (100, 120, 200, 180)), ())
    assert overlay.draw(result((320, 240)), ()) is first
    assert not changed(first).any()
    assert overlay.draw(result((240, 320)), ()).shape == (320, 240, 3)


def test_classes_of_another_model_get_their_own_colours() -> None:
    overlay = Overlay()
    seen = result((320, 240), (100, 120, 200, 180))
    overlay.draw(seen, ())
    out = overlay.draw(replace(seen, classes=("sign", "car", "zebra")), ())
    assert of_colour(out, "sign").any()
    assert not of_colour(out, "car").any()


def test_ignored_regions_are_outlined_faintly_where_boxes_are_drawn() -> None:
    square = ((0.25, 0.5), (0.75, 0.5), (0.75, 1.0), (0.25, 1.0))
    seen = result((960, 540))
    out = Overlay(ignore=[square]).draw(seen, ())
    # Corners go to the pixels 0.25·959 = 240, 0.5·539 = 270 (269.5), 0.75·959 = 719 and 539.
    assert extent(changed(out)) == (240, 270, 720, 540)
    assert set(np.unique(out)) == {GREY, (2 * GREY + 255) // 3}
    assert not changed(out)[271:539, 241:719].any()
    np.testing.assert_array_equal(Overlay(boxes=False, ignore=[square]).draw(seen, ()), GREY)
    small = Overlay(ignore=[square])
    small.draw(seen, ())
    # Another size: the outline follows it. 0.25·95 = 24, 0.75·95 = 71, 0.5·53 = 26.
    assert extent(changed(small.draw(result((96, 54)), ()))) == (24, 26, 72, 54)
