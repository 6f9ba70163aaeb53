"""Tests of edge.vision.letterbox: where a frame lies in the input, and back to the pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.vision.letterbox import Letterbox
from edge.vision.types import Image
from engines.spec import InputSpec, Resize

RESIZES: tuple[Resize, ...] = ("letterbox_center", "letterbox_topleft", "stretch")
sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


def spec(
    width: int, height: int, resize: Resize = "letterbox_center", pad_value: int = 114
) -> InputSpec:
    return InputSpec("image", height, width, resize=resize, pad_value=pad_value)


def boxes(*rows: tuple[float, float, float, float]) -> NDArray[np.float32]:
    return np.array(rows, np.float32).reshape(-1, 4)


def seen_edges(letterbox: Letterbox, frame: Image) -> NDArray[np.float32]:
    """The edges (1, 4) of a white rectangle on black, in input px, from the brightness alone."""
    input_w, input_h = letterbox.input_wh
    canvas = np.full((input_h, input_w, 3), 77, np.uint8)
    letterbox.apply(frame, canvas)
    grey = canvas[..., 0].astype(np.float64)
    edges = []
    for profile in (grey.max(axis=0), grey.max(axis=1)):
        size = profile.sum() / 255
        centre = (profile * (np.arange(profile.size) + 0.5)).sum() / profile.sum()
        edges.append((centre - size / 2, centre + size / 2))
    (x0, x1), (y0, y1) = edges
    return boxes((x0, y0, x1, y1))


def test_a_wide_frame_is_centred_between_bars() -> None:
    # 960x540 in 640x384: ratio min(2/3, 0.711) = 2/3, so 640x360 and 24 rows of bars, 12 above.
    box = Letterbox.fit((960, 540), spec(640, 384))
    assert box.resized_wh == (640, 360)
    assert (box.pad_x, box.pad_y) == (0, 12)
    assert (box.scale_x, box.scale_y) == pytest.approx((2 / 3, 2 / 3))
    # (90, 30) → (60, 20 + 12); (960, 540) → (640, 360 + 12)
    np.testing.assert_allclose(box.to_input(boxes((90, 30, 960, 540))), [[60, 32, 640, 372]])
    np.testing.assert_allclose(
        box.to_frame(boxes((60, 32, 640, 372))), [[90, 30, 960, 540]], rtol=1e-6
    )


def test_topleft_has_no_padding_before_the_frame() -> None:
    # 1920x1080 in 416x416: ratio 0.21667, 416x234, the rest below.
    box = Letterbox.fit((1920, 1080), spec(416, 416, "letterbox_topleft"))
    assert (box.resized_wh, box.pad_x, box.pad_y) == ((416, 234), 0, 0)


def test_stretch_fills_the_input_with_two_scales() -> None:
    box = Letterbox.fit((640, 160), spec(320, 320, "stretch"))
    assert (box.scale_x, box.scale_y, box.pad_x, box.pad_y) == (0.5, 2.0, 0, 0)


def test_an_odd_row_of_padding_goes_below() -> None:
    # 100x51 in 100x100: 49 rows, 24 above and 25 below.
    box = Letterbox.fit((100, 51), spec(100, 100))
    assert (box.pad_y, box.resized_wh) == (24, (100, 51))


@settings(deadline=None)  # a busy machine is no failure
@given(frame_wh=sizes, input_wh=st.sampled_from([(640, 640), (640, 384), (416, 416), (320, 736)]))
def test_centred_geometry_is_that_of_ultralytics(
    frame_wh: tuple[int, int], input_wh: tuple[int, int]
) -> None:
    (w, h), (input_w, input_h) = frame_wh, input_wh
    # ultralytics/data/augment.py, LetterBox.__call__, with auto=False
    r = min(input_h / h, input_w / w)
    unpadded = round(w * r), round(h * r)
    dw, dh = (input_w - unpadded[0]) / 2, (input_h - unpadded[1]) / 2
    box = Letterbox.fit(frame_wh, spec(input_w, input_h))
    if min(unpadded) >= 1:
        assert box.resized_wh == unpadded
        assert (box.pad_x, box.pad_y) == (round(dw - 0.1), round(dh - 0.1))
        assert input_w - box.pad_x - unpadded[0] == round(dw + 0.1)


@settings(deadline=None)  # a busy machine is no failure
@given(frame_wh=sizes, resize=st.sampled_from(RESIZES))
def test_the_resized_frame_lies_inside_the_input_and_touches_it(
    frame_wh: tuple[int, int], resize: Resize
) -> None:
    box = Letterbox.fit(frame_wh, spec(640, 384, resize))
    width, height = box.resized_wh
    assert 1 <= width <= 640
    assert 1 <= height <= 384
    assert width == 640 or height == 384
    assert box.pad_x + width <= 640
    assert box.pad_y + height <= 384


@settings(deadline=None)  # a busy machine is no failure
@given(
    frame_wh=sizes,
    resize=st.sampled_from(RESIZES),
    corners=st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4), max_size=4),
)
def test_to_frame_undoes_to_input(
    frame_wh: tuple[int, int],
    resize: Resize,
    corners: list[tuple[float, float, float, float]],
) -> None:
    box = Letterbox.fit(frame_wh, spec(640, 384, resize))
    xyxy = boxes(*corners) * np.array(frame_wh * 2, np.float32)
    back = box.to_frame(box.to_input(xyxy))
    assert back.shape == xyxy.shape
    # Float32 holds 640 to 4e-5 input px; a frame px is `scale` of those.
    np.testing.assert_allclose(back, xyxy, atol=2e-4 / min(box.scale_x, box.scale_y))


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("frame_wh", [(960, 540), (1920, 1080), (480, 360), (360, 480), (333, 517)])
@pytest.mark.parametrize("input_wh", [(640, 384), (416, 416)])
def test_a_rectangle_seen_in_the_input_maps_back_to_its_pixels(
    frame_wh: tuple[int, int], input_wh: tuple[int, int], resize: Resize
) -> None:
    w, h = frame_wh
    drawn = (w // 5, h // 7, w // 5 + w // 3, h // 7 + h // 2)
    frame = np.zeros((h, w, 3), np.uint8)
    frame[drawn[1] : drawn[3], drawn[0] : drawn[2]] = 255
    geometry = replace(spec(*input_wh, resize, pad_value=0), interpolation="area")
    box = Letterbox.fit(frame_wh, geometry)
    edges = seen_edges(box, frame)
    error = np.abs(box.to_frame(edges) - boxes(drawn)).max()
    assert error < 0.3
    # The same measure notices one pixel in the frame, and one in the input.
    assert np.abs(box.to_frame(edges) - (boxes(drawn) + 1)).max() > 0.7
    off = replace(box, pad_x=box.pad_x + 1, pad_y=box.pad_y + 1)
    assert np.abs(off.to_frame(edges) - boxes(drawn)).max() > 0.5 / max(box.scale_x, box.scale_y)


def test_linear_resize_keeps_the_half_pixel_convention() -> None:
    # 100x60 in 200x120: twice, so pixel columns 30..59 become 60..119.
    frame = np.zeros((60, 100, 3), np.uint8)
    frame[10:40, 30:60] = 255
    box = Letterbox.fit((100, 60), spec(200, 120, pad_value=0))
    np.testing.assert_allclose(seen_edges(box, frame), [[60, 20, 120, 80]], atol=0.05)


def test_boxes_are_clipped_to_the_frame() -> None:
    box = Letterbox.fit((960, 540), spec(640, 384))
    # The bar above ends at row 12; a box that begins at −5, 0 begins at the frame's corner.
    np.testing.assert_allclose(box.to_frame(boxes((-5, 0, 700, 384))), [[0, 0, 960, 540]])


def test_no_boxes_stay_no_boxes() -> None:
    box = Letterbox.fit((960, 540), spec(640, 384))
    assert box.to_frame(boxes()).shape == (0, 4)
    assert box.to_input(boxes()).shape == (0, 4)


def test_padding_is_written_again_after_a_frame_of_another_size() -> None:
    buffer = np.zeros((1, 64, 96, 3), np.uint8)
    geometry = spec(96, 64)
    Letterbox.fit((96, 64), geometry).apply(np.full((64, 96, 3), 255, np.uint8), buffer)
    assert (buffer == 255).all()
    # 32x64 in 96x64: 32 columns of bars on each side; 96x32: 16 rows above and below.
    Letterbox.fit((32, 64), geometry).apply(np.full((64, 32, 3), 200, np.uint8), buffer)
    assert (buffer[0, :, 32:64] == 200).all()
    assert (buffer[0, :, :32] == 114).all()
    assert (buffer[0, :, 64:] == 114).all()
    Letterbox.fit((96, 32), geometry).apply(np.full((32, 96, 3), 10, np.uint8), buffer)
    assert (buffer[0, 16:48] == 10).all()
    assert (buffer[0, :16] == 114).all()
    assert (buffer[0, 48:] == 114).all()


def test_the_frame_may_be_read_only_and_a_view() -> None:
    image = np.arange(64 * 200 * 3, dtype=np.uint32).astype(np.uint8).reshape(64, 200, 3)[:, :96]
    image.flags.writeable = False
    buffer = np.zeros((1, 64, 96, 3), np.uint8)
    Letterbox.fit((96, 64), spec(96, 64)).apply(image, buffer)
    np.testing.assert_array_equal(buffer[0], image)


@pytest.mark.parametrize("frame_wh", [(1, 1), (5000, 1), (1, 5000), (5000, 2)])
def test_a_single_pixel_and_an_extreme_shape_reach_the_input(frame_wh: tuple[int, int]) -> None:
    box = Letterbox.fit(frame_wh, spec(640, 384))
    buffer = np.zeros((1, 384, 640, 3), np.uint8)
    box.apply(np.full((frame_wh[1], frame_wh[0], 3), 255, np.uint8), buffer)
    width, height = box.resized_wh
    assert np.count_nonzero(buffer == 255) == width * height * 3
    assert np.count_nonzero(buffer == 114) == buffer.size - width * height * 3


def test_wrong_shapes_are_refused() -> None:
    box = Letterbox.fit((96, 64), spec(96, 64))
    with pytest.raises(ValueError, match="image is"):
        box.apply(np.zeros((64, 95, 3), np.uint8), np.zeros((64, 96, 3), np.uint8))
    with pytest.raises(ValueError, match="input buffer is"):
        box.apply(np.zeros((64, 96, 3), np.uint8), np.zeros((96, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="0x5"):
        Letterbox.fit((0, 5), spec(96, 64))


def test_a_mask_loses_its_padding_and_takes_the_frames_size() -> None:
    # 8x4 in 8x8: bars of 2 rows. Labels are 2 px each: rows 1 and 2 of 4 are the frame.
    box = Letterbox.fit((8, 4), spec(8, 8))
    labels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    np.testing.assert_array_equal(box.mask_crop(labels), labels[1:3])
    whole = box.mask_to_frame(labels)
    np.testing.assert_array_equal(whole, np.repeat(np.repeat(labels[1:3], 2, 0), 2, 1))


def test_a_mask_whose_padding_does_not_divide_is_placed_by_pixel_centres() -> None:
    # 8x6 in 8x8: one row of bars. Frame row y has its centre at (y + 0.5 + 1) / 2 label px:
    # 0.75, 1.25, 1.75, 2.25, 2.75, 3.25 → rows 0, 1, 1, 2, 2, 3.
    box = Letterbox.fit((8, 6), spec(8, 8))
    labels = np.repeat(np.arange(4, dtype=np.uint8)[:, None], 4, axis=1)
    assert box.mask_to_frame(labels)[:, 0].tolist() == [0, 1, 1, 2, 2, 3]
    assert box.mask_window(labels) == (0, 0.5, 4, 3.5)
    # The centres of rows 0 and 3 lie on the frame's edges: the first is in, the last is out.
    assert box.mask_crop(labels)[:, 0].tolist() == [0, 1, 2]


@settings(deadline=None)  # a busy machine is no failure
@given(frame_wh=sizes, resize=st.sampled_from(RESIZES))
def test_a_mask_crop_is_never_empty(frame_wh: tuple[int, int], resize: Resize) -> None:
    crop = Letterbox.fit(frame_wh, spec(640, 384, resize)).mask_crop(np.zeros((96, 160), np.uint8))
    assert min(crop.shape) >= 1
    assert crop.shape[0] <= 96
    assert crop.shape[1] <= 160


def test_labels_of_a_letterboxed_frame_come_back_where_they_were() -> None:
    # Labels at full input resolution: the frame's left half is 1, its right half 2.
    box = Letterbox.fit((100, 50), spec(64, 64))
    labels = np.zeros((64, 64), np.uint8)
    labels[16:48, :32], labels[16:48, 32:] = 1, 2
    whole = box.mask_to_frame(labels)
    assert whole.shape == (50, 100)
    assert (whole[:, :50] == 1).all()
    assert (whole[:, 50:] == 2).all()
