"""Pictures of frames: what is drawn where, and that it is small and whole."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge.vision.letterbox import Letterbox
from edge.vision.types import Detections, Image, Mask
from engines.spec import InputSpec
from export.data.class_map import ClassMap
from export.data.labelled import LabelledData, LabelledFrame, annotation
from export.score.gallery import FALSE, MISSING, RIGHT, Gallery, Panel, css
from export.score.predictor import Prediction
from export.score.report import FrameScore

SCORE = FrameScore(0, "frame", 0.5, 1, 1)
XYXY = np.array([[100, 100, 200, 200]], np.float32)


def picture(panel: Panel) -> Image:
    data = base64.b64decode(panel.uri.removeprefix("data:image/jpeg;base64,"))
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape[:2] == (panel.height, panel.width)
    return np.asarray(image, np.uint8)


def near(image: Image, at: tuple[int, int], colour: tuple[int, int, int]) -> bool:
    """Whether the colour is within a few pixels of (x, y); JPEG blurs thin lines."""
    x, y = at
    patch = image[max(0, y - 3) : y + 4, max(0, x - 3) : x + 4].astype(int)
    return bool((np.abs(patch - np.array(colour)).sum(axis=2) < 150).any())


def boxes(frame: LabelledFrame, found: Detections) -> Gallery:
    gallery = Gallery()
    data = LabelledData("test", 1, lambda i: frame, box_classes=("car",))
    seen = Prediction(found, found, ())
    gallery.add("boxes", SCORE, frame, seen, data, ClassMap((0,), {}, {}, (), ()))
    return gallery


def detections(xyxy: NDArray[Any]) -> Detections:
    n = len(xyxy)
    ids = np.zeros(n, np.int32)
    return Detections(xyxy.astype(np.float32), np.full(n, 0.9, np.float32), ids, ids - 1)


@pytest.mark.parametrize("wh", [(640, 480), (320, 240), (2560, 1920), (480, 640)])
def test_a_missed_box_is_red_in_the_truth_and_a_false_one_yellow(wh: tuple[int, int]) -> None:
    scale = max(wh) / 640
    image = np.zeros((wh[1], wh[0], 3), np.uint8)
    frame = LabelledFrame("a", image, None, [annotation(XYXY[0] * scale, 0)])
    found = detections((XYXY + 200) * scale)
    (entry,) = boxes(frame, found).entries["boxes"]
    truth, said = (picture(panel) for panel in entry.panels)
    assert max(truth.shape) == 640
    assert near(truth, (100, 150), MISSING)
    assert near(said, (300, 350), FALSE)
    assert not near(said, (100, 150), MISSING)
    assert image.max() == 0  # the frame itself is not drawn on


def test_a_found_box_is_blue_on_both_sides() -> None:
    frame = LabelledFrame("a", np.zeros((480, 640, 3), np.uint8), None, [annotation(XYXY[0], 0)])
    (entry,) = boxes(frame, detections(XYXY)).entries["boxes"]
    for panel in entry.panels:
        assert near(picture(panel), (100, 150), RIGHT)


def test_labels_at_the_edges_and_of_many_boxes_in_one_place_stay_in_the_picture() -> None:
    corners = [[0, 0, 5, 5], [635, 475, 640, 480], [0, 0, 640, 480], *[[630, 0, 640, 480]] * 60]
    frame = LabelledFrame("ä", np.zeros((480, 640, 3), np.uint8), None)
    (entry,) = boxes(frame, detections(np.array(corners))).entries["boxes"]
    assert picture(entry.panels[1]).any()


@pytest.mark.parametrize("wh", [(1, 1), (4000, 3), (3, 4000)])
def test_odd_frames_have_pictures_too(wh: tuple[int, int]) -> None:
    frame = LabelledFrame("a", np.zeros((wh[1], wh[0], 3), np.uint8), None)
    (entry,) = boxes(frame, detections(np.array([[0, 0, *wh]]))).entries["boxes"]
    assert max(picture(entry.panels[0]).shape[:2]) == 640


def test_a_mask_is_shown_in_the_classes_colours_and_wrong_pixels_in_red() -> None:
    image = np.full((480, 640, 3), 128, np.uint8)
    truth, said = np.zeros((480, 640), np.uint8), np.zeros((480, 640), np.uint8)
    said[:, 320:] = 1
    truth[:100] = 255
    frame = LabelledFrame("a", image, truth)
    data = LabelledData("test", 1, lambda i: frame, ("road", "background"), 255)
    box = Letterbox.fit((640, 480), InputSpec("image", 480, 640))
    mask = Mask("m", ("road", "background"), (), said, box)
    table = np.arange(256).astype(np.uint8)
    gallery = Gallery()
    seen = Prediction(Detections.empty(), Detections.empty(), (mask,))
    gallery.add("mask", SCORE, frame, seen, data, ClassMap((), {"m": table}, {}, (), ()))
    (entry,) = gallery.entries["mask"]
    left, middle, right = (picture(panel) for panel in entry.panels)
    assert entry.panels[2].caption == "wrong: 50% of the labelled pixels"
    assert left[50, 50].mean() < left[300, 50].mean()  # unlabelled is dark
    assert np.abs(left[300, 600].astype(int) - middle[300, 50]).max() < 12  # road on both sides
    assert np.ptp(middle[300, 600].astype(int)) < 12  # background is grey
    assert int(right[300, 600, 2]) - int(right[300, 600, 0]) > 80
    assert np.ptp(right[300, 50].astype(int)) < 12
    assert np.ptp(right[50, 600].astype(int)) < 12  # unlabelled is never wrong
    assert list(gallery.legend("mask")) == ["road", "background"]


def test_colours_are_written_as_css() -> None:
    assert css((1, 2, 255)) == "#ff0201"
