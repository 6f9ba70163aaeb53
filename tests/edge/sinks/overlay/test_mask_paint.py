"""Tests of mask_paint: every pixel has the colour of the class under it, or none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.sinks.overlay.mask_paint import MaskPainter
from edge.vision.letterbox import Letterbox
from edge.vision.palette import colour_of
from edge.vision.types import Image, Mask
from engines.spec import InputSpec, Resize

GREY = 100


def frame(width: int, height: int) -> Image:
    image = np.full((height, width, 3), GREY, np.uint8)
    image.flags.writeable = False
    return image


def fit(frame_wh: tuple[int, int], wh: tuple[int, int], resize: Resize) -> Letterbox:
    return Letterbox.fit(frame_wh, InputSpec("image", wh[1], wh[0], resize=resize))


def mask(
    labels: NDArray[np.uint8],
    letterbox: Letterbox,
    classes: tuple[str, ...] = ("none", "road", "car"),
    background: tuple[str, ...] = ("none",),
    name: str = "street",
) -> Mask:
    return Mask(name, classes, background, labels, letterbox)


def paint(image: Image, *masks: Mask, opacity: float = 0.5) -> Image:
    out = np.zeros_like(image)
    MaskPainter(opacity=opacity).paint(image, masks, out)
    return out


def blend(name: str, opacity: float = 0.5) -> NDArray[np.float64]:
    return GREY * (1 - opacity) + np.array(colour_of(name)) * opacity


def test_without_masks_the_frame_is_copied() -> None:
    image = frame(32, 16)
    np.testing.assert_array_equal(paint(image), image)


def test_background_is_left_as_it_was_and_classes_are_blended() -> None:
    # 64x32 frame in 64x32, labels 4 px each: left half nothing, right half road.
    labels = np.zeros((8, 16), np.uint8)
    labels[:, 8:] = 1
    out = paint(frame(64, 32), mask(labels, fit((64, 32), (64, 32), "stretch")))
    assert (out[:, :32] == GREY).all()
    np.testing.assert_allclose(out[:, 32:], np.broadcast_to(blend("road"), (32, 32, 3)), atol=1)


def test_an_area_of_one_class_has_no_dark_rim() -> None:
    labels = np.zeros((8, 16), np.uint8)
    labels[2:6, 4:12] = 1
    out = paint(frame(256, 128), mask(labels, fit((256, 128), (64, 32), "stretch")))
    touched = (out != GREY).any(axis=2)
    np.testing.assert_allclose(
        out[touched], np.broadcast_to(blend("road"), (int(touched.sum()), 3)), atol=1
    )
    # 4x8 labels of 16x16 px; a corner that is cut smoothly loses a few.
    assert touched.sum() == pytest.approx(4 * 8 * 256, rel=0.03)


def test_opacity_is_how_much_of_the_frame_a_mask_hides() -> None:
    labels = np.ones((8, 16), np.uint8)
    letterbox = fit((64, 32), (64, 32), "stretch")
    out = paint(frame(64, 32), mask(labels, letterbox), opacity=1.0)
    assert (out == colour_of("road")).all()
    out = paint(frame(64, 32), mask(labels, letterbox), opacity=0.0)
    assert (out == GREY).all()


def test_labels_in_the_padding_do_not_reach_the_frame() -> None:
    # 64x32 in 64x64: rows 4..11 of 16 are the frame; the bars are full of cars.
    labels = np.full((16, 16), 2, np.uint8)
    labels[4:12] = 1
    out = paint(frame(64, 32), mask(labels, fit((64, 32), (64, 64), "letterbox_center")))
    np.testing.assert_allclose(out, np.broadcast_to(blend("road"), out.shape), atol=1)


@pytest.mark.parametrize("resize", ["letterbox_center", "letterbox_topleft", "stretch"])
@pytest.mark.parametrize(
    ("frame_wh", "input_wh", "cell"),
    [((960, 540), (640, 384), 4), ((480, 300), (640, 384), 4), ((300, 480), (640, 384), 2)],
)
def test_an_edge_lies_where_the_letterbox_puts_it(
    frame_wh: tuple[int, int], input_wh: tuple[int, int], cell: int, resize: Resize
) -> None:
    letterbox = fit(frame_wh, input_wh, resize)
    labels = np.zeros((input_wh[1] // cell, input_wh[0] // cell), np.uint8)
    rows, columns = labels.shape
    labels[rows // 2 :, columns // 2 :] = 1  # edges at the input's middle
    out = paint(frame(*frame_wh), mask(labels, letterbox))
    middle = np.array([[input_wh[0] / 2, input_wh[1] / 2] * 2], np.float32)
    x, y = letterbox.to_frame(middle)[0, :2]
    coloured = (out != GREY).any(axis=2)
    if resize == "letterbox_topleft" and coloured.sum() == 0:
        assert x >= frame_wh[0] or y >= frame_wh[1]  # the middle lies in the padding
        return
    left = np.flatnonzero(coloured.any(axis=0))[0]
    top = np.flatnonzero(coloured.any(axis=1))[0]
    assert left == pytest.approx(x, abs=1)
    assert top == pytest.approx(y, abs=1)


def test_the_picture_agrees_with_the_exact_mask_nearly_everywhere() -> None:
    rng = np.random.default_rng(5)
    # Padding of 13 rows does not divide by the labels' 8 px: the frame begins in row 1.625.
    letterbox = fit((640, 358), (640, 384), "letterbox_center")
    assert letterbox.pad_y == 13
    blocks = rng.integers(0, 2, (12, 20), dtype=np.uint8)
    labels = blocks.repeat(4, 0).repeat(4, 1)  # (48, 80)
    out = paint(frame(640, 358), mask(labels, letterbox))
    exact = letterbox.mask_to_frame(labels) == 1
    # Wrong by 5 px, blocks of 32 px would disagree on half of 5/32, 8 %.
    assert ((out != GREY).any(axis=2) != exact).mean() < 0.02


def test_later_masks_lie_over_earlier_ones_and_backgrounds_hide_nothing() -> None:
    letterbox = fit((64, 32), (64, 32), "stretch")
    road, lane = np.zeros((2, 8, 16), np.uint8)
    road[:, :12], lane[:, 8:] = 1, 1
    out = paint(
        frame(64, 32),
        mask(road, letterbox, ("no", "drivable"), ("no",), "drivable"),
        mask(lane, letterbox, ("no", "lane"), ("no",), "lane"),
    )
    np.testing.assert_allclose(out[16, 8], blend("drivable"), atol=1)
    np.testing.assert_allclose(out[16, 44], blend("lane"), atol=1)
    np.testing.assert_allclose(out[16, 60], blend("lane"), atol=1)


def test_masks_of_two_models_meet_though_their_inputs_differ() -> None:
    coarse, fine = np.zeros((8, 8), np.uint8), np.zeros((32, 64), np.uint8)
    coarse[2:6, :4] = 1  # 64x64 input, frame in rows 2..5: the left half
    fine[:, 32:] = 2
    out = paint(
        frame(64, 32),
        mask(coarse, fit((64, 32), (64, 64), "letterbox_center"), name="a"),
        mask(fine, fit((64, 32), (64, 32), "stretch"), name="b"),
    )
    np.testing.assert_allclose(out[:, :31], np.broadcast_to(blend("road"), (32, 31, 3)), atol=1)
    np.testing.assert_allclose(out[:, 33:], np.broadcast_to(blend("car"), (32, 31, 3)), atol=1)


def test_a_label_without_a_name_is_left_uncoloured() -> None:
    labels = np.full((8, 16), 200, np.uint8)
    image = frame(64, 32)
    out = paint(image, mask(labels, fit((64, 32), (64, 32), "stretch")))
    np.testing.assert_array_equal(out, image)


def test_shares_name_the_classes_that_are_there() -> None:
    labels = np.zeros((8, 16), np.uint8)
    labels[:, 12:] = 2  # 4 of 16 columns
    letterbox = fit((64, 32), (64, 32), "stretch")
    out = np.zeros((32, 64, 3), np.uint8)
    painter = MaskPainter(opacity=0.5)
    assert painter.paint(frame(64, 32), [mask(labels, letterbox)], out) == {
        "car": (colour_of("car"), 0.25)
    }
    assert painter.paint(frame(64, 32), [mask(labels * 0, letterbox)], out) == {}


def test_a_painter_follows_frames_and_masks_that_change() -> None:
    painter = MaskPainter(opacity=0.5)
    for frame_wh in ((64, 32), (32, 64), (1, 1), (64, 32)):
        out = np.zeros((frame_wh[1], frame_wh[0], 3), np.uint8)
        letterbox = fit(frame_wh, (64, 64), "letterbox_center")
        painter.paint(frame(*frame_wh), [mask(np.ones((16, 16), np.uint8), letterbox)], out)
        np.testing.assert_allclose(out, np.broadcast_to(blend("road"), out.shape), atol=1)


def test_more_classes_than_labels_can_count_do_not_crash() -> None:
    letterbox = fit((64, 32), (64, 32), "stretch")
    names = [tuple(f"{part}{i}" for i in range(200)) for part in "ab"]
    labels = np.full((8, 16), 199, np.uint8)
    masks = [mask(labels, letterbox, classes, (), classes[0]) for classes in names]
    out = np.zeros((32, 64, 3), np.uint8)
    present = MaskPainter(opacity=0.5).paint(frame(64, 32), masks, out)
    assert set(present) == {"a199"}  # b199 would be the 400th
