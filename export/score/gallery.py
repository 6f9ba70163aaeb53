"""Pictures of single frames, truth beside prediction, small enough for a page; it picks none."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.palette import Colour, colour_map, colours_of, text_on
from edge.vision.types import Image
from engines.errors import ExportError
from export.data.class_map import ClassMap
from export.data.labelled import LabelledData, LabelledFrame
from export.score.frame_scorer import Pairs, counting, pair
from export.score.matching import MISSED, NOT_COUNTED
from export.score.predictor import Prediction
from export.score.report import FrameScore

SIDE = 640
"""Longest side of a picture in px: sharp on a phone, and 40 of them stay below 4 MB."""
QUALITY = 78
OPACITY = 0.6
FONT, FONT_SCALE, PAD = cv2.FONT_HERSHEY_SIMPLEX, 0.42, 3
LABELS = 16
"""Labels in a picture, those of the largest boxes: more hide what it shows."""
PLAIN: Colour = (105, 105, 105)
"""Background, which has no meaning that a colour could show."""
RIGHT: Colour = (240, 170, 60)
MISSING: Colour = (60, 60, 235)
FALSE: Colour = (40, 215, 250)
MISTAKEN: Colour = (200, 80, 225)
UNCOUNTED: Colour = (170, 170, 170)
"""Blue, red, yellow, violet and grey, as blue, green, red; apart for colour-blind eyes too, and a
label says the rest."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture as a data URI."""

    caption: str
    uri: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One frame with its pictures; ``classes`` are (name, CSS colour) of the masks in them."""

    score: FrameScore
    panels: tuple[Panel, ...]
    classes: tuple[tuple[str, str], ...] = ()


class Gallery:
    """Pictures of frames by what is wrong with them: 'mask' or 'boxes'."""

    def __init__(self) -> None:
        self.entries: dict[str, list[Entry]] = {"mask": [], "boxes": []}

    def legend(self, kind: str) -> dict[str, str]:
        """CSS colour by class name, of all classes in the pictures of one kind."""
        return {name: colour for entry in self.entries[kind] for name, colour in entry.classes}

    def add(
        self,
        kind: str,
        score: FrameScore,
        frame: LabelledFrame,
        predicted: Prediction,
        data: LabelledData,
        classes: ClassMap,
    ) -> None:
        """Draw one frame."""
        if kind == "mask":
            entry = _mask_entry(score, frame, classes.labels(predicted.masks), data)
        else:
            shown, names = counting(predicted.shown, frame, data), data.box_classes
            pairs = pair(frame, shown, classes)
            true_marks = _truth_marks(pairs, names, set(classes.boxes))
            truth = _drawn(frame.image, pairs.truth, true_marks)
            found = _drawn(frame.image, pairs.found, _found_marks(pairs, names))
            entry = Entry(score, (_panel("truth", truth), _panel("prediction", found)))
        self.entries[kind].append(entry)


def _mask_entry(
    score: FrameScore, frame: LabelledFrame, predicted: Image | None, data: LabelledData
) -> Entry:
    truth, names = frame.labels, data.mask_classes
    if truth is None or predicted is None:
        raise ValueError("a frame without a mask was to be drawn as one with a mask")
    present = sorted({*np.unique(truth), *np.unique(predicted)} & set(range(len(names))))
    colours = [
        PLAIN if n == "background" else c for n, c in zip(names, colours_of(names), strict=True)
    ]
    wrong = (truth != data.ignore) & (truth != predicted)
    share = float(wrong.sum()) / max(1, int((truth != data.ignore).sum()))
    return Entry(
        score,
        (
            _panel("truth, unlabelled in black", _painted(frame.image, truth, colours)),
            _panel("prediction", _painted(frame.image, predicted, colours)),
            _panel(f"wrong: {share:.0%} of the labelled pixels", _marked(frame.image, wrong)),
        ),
        tuple((names[i], css(colours[i])) for i in present),
    )


QUIET = (RIGHT, UNCOUNTED)
"""Drawn thin and without a label."""
_Mark = tuple[Colour, str]
"""Colour and label."""


def _truth_marks(pairs: Pairs, names: Sequence[str], known: set[int]) -> list[_Mark]:
    marks: list[_Mark] = []
    for class_id, i in zip(pairs.truth_ids, pairs.matching.of_truth, strict=True):
        uncovered = i == MISSED or (i >= 0 and pairs.matching.excused[i])
        if i == NOT_COUNTED or (uncovered and int(class_id) not in known):
            colour = UNCOUNTED
        elif i == MISSED:
            colour = MISSING
        else:
            colour = RIGHT if pairs.found_ids[i] == class_id else MISTAKEN
        marks.append((colour, names[class_id]))
    return marks


def _found_marks(pairs: Pairs, names: Sequence[str]) -> list[_Mark]:
    marks: list[_Mark] = []
    matching = pairs.matching
    for class_id, score, j, excused in zip(
        pairs.found_ids, pairs.scores, matching.of_found, matching.excused, strict=True
    ):
        if j == NOT_COUNTED or excused:
            colour = UNCOUNTED
        elif j == MISSED:
            colour = FALSE
        else:
            colour = RIGHT if pairs.truth_ids[j] == class_id else MISTAKEN
        marks.append((colour, f"{names[class_id]} {score:.0%}"))
    return marks


def _drawn(image: Image, boxes: NDArray[np.float32], marks: Sequence[_Mark]) -> Image:
    canvas, scale = _canvas(image)
    corners = (boxes * scale).round().astype(int)
    order = sorted(range(len(marks)), key=lambda i: marks[i][0] not in QUIET)  # mistakes on top
    for i in order:
        colour, (x0, y0, x1, y1) = marks[i][0], corners[i].tolist()
        if colour not in QUIET:
            cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), (0, 0, 0), 4)
        cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), colour, 2)
    taken: list[tuple[int, int, int, int]] = []
    size = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    loud = [i for i in order if marks[i][0] not in QUIET]
    for i in sorted(loud, key=lambda i: -size[i])[:LABELS]:
        colour, text = marks[i]
        taken.append(_label(canvas, text, corners[i].tolist(), colour, taken))
    return canvas


def _label(
    canvas: Image,
    text: str,
    box: Sequence[int],
    colour: Colour,
    taken: Sequence[tuple[int, int, int, int]],
) -> tuple[int, int, int, int]:
    """Write near a box, clear of other labels where there is room; returns x0, y0, x1, y1."""
    plain = text.encode("ascii", "replace").decode()  # the font has no other letters
    (width, height), _ = cv2.getTextSize(plain, FONT, FONT_SCALE, 1)
    width, height = width + 2 * PAD, height + 2 * PAD
    bottom, right = canvas.shape[0] - height, canvas.shape[1] - width
    tops = [box[1] - height, box[3], box[1], *range(box[1] - 2 * height, -1, -height)]
    tops += range(box[3] + height, bottom, height)
    left = max(0, min(box[0] - 1, right))
    inside = [top for top in tops if 0 <= top <= bottom] or [max(0, min(box[1], bottom))]
    for top in inside:
        place = (left, top, left + width, top + height)
        if all(
            place[2] <= o[0] or o[2] <= place[0] or place[3] <= o[1] or o[3] <= place[1]
            for o in taken
        ):
            break
    else:
        place = (left, inside[0], left + width, inside[0] + height)
    cv2.rectangle(canvas, place[:2], (place[2] - 1, place[3] - 1), colour, cv2.FILLED)
    at = (place[0] + PAD, place[3] - PAD)
    cv2.putText(canvas, plain, at, FONT, FONT_SCALE, text_on(colour), 1, cv2.LINE_AA)
    return place


def _painted(image: Image, labels: Image, colours: Sequence[Colour]) -> Image:
    """The frame under its labels; what is no class stays black, as in the map itself."""
    canvas, _ = _canvas(image)
    coloured = cv2.applyColorMap(_fitted(labels, canvas), colour_map(colours))
    return np.asarray(cv2.addWeighted(coloured, OPACITY, canvas, 1 - OPACITY, 0), np.uint8)


def _marked(image: Image, wrong: NDArray[np.bool_]) -> Image:
    """The frame in grey with wrong pixels in red."""
    canvas, _ = _canvas(image)
    red = _fitted(wrong.astype(np.uint8), canvas) > 0
    grey = cv2.cvtColor(cv2.cvtColor(canvas, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    out = np.asarray(grey, np.uint8)
    out[red] = (0.35 * out[red] + 0.65 * np.array(MISSING)).astype(np.uint8)
    return out


def _fitted(labels: Image, canvas: Image) -> Image:
    """``labels`` (h, w) at the size of ``canvas``."""
    size = (canvas.shape[1], canvas.shape[0])
    return np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def _canvas(image: Image) -> tuple[Image, float]:
    """A copy of the frame whose longest side is SIDE, and its scale."""
    scale = SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.array(cv2.resize(image, size, interpolation=how), np.uint8), scale


def _panel(caption: str, image: Image) -> Panel:
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise ExportError("a picture of the report could not be encoded as JPEG.")
    uri = "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
    return Panel(caption, uri, image.shape[1], image.shape[0])


def css(colour: Colour) -> str:
    """A BGR colour as CSS writes it."""
    blue, green, red = colour
    return f"#{red:02x}{green:02x}{blue:02x}"
