"""What a scene is drawn with: one pen makes the picture, one the truth, from the same calls.

Neither decides what is drawn. Coordinates are frame pixels in fixed point (``SHIFT`` fractional
bits), as OpenCV's fills take them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.street.sprites import Sprite
from edge.vision.types import Image

LABELS: Final = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
"""The class names of ``SceneTruth.labels``, by index: CamVid's eleven."""
SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
BOX_CLASSES: Final = ("car", "pedestrian", "bicyclist", "sign")
"""The class names of ``SceneTruth.class_ids``, by index."""
BOX_OF_LABEL: Final = {LABELS.index(name): i for i, name in enumerate(BOX_CLASSES)}

MIN_VISIBLE_PX: Final = 40  # the same floor as the boxes of the real street data
MIN_VISIBLE_SHARE: Final = 0.25  # of what would be seen in the frame were nothing in front

SHIFT: Final = 4
Points = NDArray[np.int32]
Colour = Sequence[float]


@dataclass(frozen=True, slots=True)
class SceneTruth:
    """What is to be seen in one frame, exactly.

    ``boxes`` (N, 4) float32 xyxy, frame px: the extent of each object's visible pixels, the right
    and lower edge exclusive. An object with fewer than ``MIN_VISIBLE_PX`` visible pixels, or with
    less than ``MIN_VISIBLE_SHARE`` of what the frame would show of it visible, has no box; its
    pixels stay in ``labels`` (H, W) uint8, indices into ``LABELS``.
    """

    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    class_names: tuple[str, ...]
    labels: Image


class Pen:
    """Takes the shapes of a scene from far to near; this one draws nothing."""

    def begin(self, label: int) -> None:
        """Start an object of class ``LABELS[label]``."""

    def end(self) -> None:
        """The object is complete."""

    def mesh(
        self,
        points: Points,
        slices: Sequence[slice],
        colours: Sequence[Colour],
        smooth: Sequence[bool],
        order: Sequence[int],
    ) -> None:
        """Convex polygons of the object: those of ``slices`` that ``order`` names."""
        for i in order:
            self.face(points[slices[i]], colours[i], smooth=smooth[i])

    def face(self, points: Points, colour: Colour, *, smooth: bool = True) -> None:
        """A convex polygon of the object; hard edges cost half."""

    def faces(self, polygons: Sequence[Points], colour: Colour) -> None:
        """Polygons that do not overlap, of one colour."""

    def decal(self, polygons: Sequence[Points], colour: Colour, *, smooth: bool = True) -> None:
        """Polygons that change colours but belong to what they lie on: shadows, paint, panes."""

    def sprite(self, sprite: Sprite, left: float, top: float, height: float, haze: float) -> None:
        """A sprite, its upper left corner at (left, top), ``height`` px tall."""


class ColourPen(Pen):
    """Draws the picture, with smooth edges."""

    def __init__(self, image: Image, haze_bgr: tuple[float, float, float]) -> None:
        self._image = image
        self._haze_bgr = haze_bgr

    def mesh(
        self,
        points: Points,
        slices: Sequence[slice],
        colours: Sequence[Colour],
        smooth: Sequence[bool],
        order: Sequence[int],
    ) -> None:
        """Fill convex polygons, without a call of ``face`` for each."""
        image, fill, soft, hard = self._image, cv2.fillConvexPoly, cv2.LINE_AA, cv2.LINE_8
        for i in order:
            fill(image, points[slices[i]], colours[i], soft if smooth[i] else hard, SHIFT)

    def face(self, points: Points, colour: Colour, *, smooth: bool = True) -> None:
        """Fill a convex polygon."""
        line = cv2.LINE_AA if smooth else cv2.LINE_8
        cv2.fillConvexPoly(self._image, points, colour, line, SHIFT)

    def faces(self, polygons: Sequence[Points], colour: Colour) -> None:
        """Fill polygons."""
        cv2.fillPoly(self._image, polygons, colour, cv2.LINE_AA, SHIFT)

    def decal(self, polygons: Sequence[Points], colour: Colour, *, smooth: bool = True) -> None:
        """Fill polygons."""
        line = cv2.LINE_AA if smooth else cv2.LINE_8
        cv2.fillPoly(self._image, polygons, colour, line, SHIFT)

    def sprite(self, sprite: Sprite, left: float, top: float, height: float, haze: float) -> None:
        """Blend a sprite over the picture: premultiplied, so one multiply and one add."""
        placed = sprite.place(left, top, height, self._image.shape, haze, self._haze_bgr)
        if placed is None:
            return
        colour, clear, x, y = placed
        roi = self._image[y : y + colour.shape[0], x : x + colour.shape[1]]
        cv2.multiply(roi, clear, dst=roi, scale=1.0 / 255.0)
        cv2.add(roi, colour, dst=roi)


class TruthPen(Pen):
    """Draws the same shapes with hard edges into a map of objects; decals are no objects."""

    def __init__(self, ground: Image) -> None:
        # A pixel holds an index into _labels: 0..10 are surfaces, from 11 on objects with a box.
        self._codes = ground.astype(np.int32)
        self._labels = list(range(len(LABELS)))
        self._whole: list[int] = [0] * len(LABELS)
        self._code = 0

    def begin(self, label: int) -> None:
        """Start an object; classes with boxes get a code of their own."""
        self._code = label
        if label in BOX_OF_LABEL:
            self._code = len(self._labels)
            self._labels.append(label)
            self._whole.append(0)

    def end(self) -> None:
        """Count the whole object now, while nothing nearer covers it."""
        if self._code >= len(LABELS):
            self._whole[self._code] = int(np.count_nonzero(self._codes == self._code))

    def face(self, points: Points, colour: Colour, *, smooth: bool = True) -> None:
        """Fill with the object's code."""
        cv2.fillConvexPoly(self._codes, points, (self._code,), cv2.LINE_8, SHIFT)

    def faces(self, polygons: Sequence[Points], colour: Colour) -> None:
        """Fill with the object's code."""
        cv2.fillPoly(self._codes, polygons, (self._code,), cv2.LINE_8, SHIFT)

    def sprite(self, sprite: Sprite, left: float, top: float, height: float, haze: float) -> None:
        """Mark the pixels that the sprite covers by half or more."""
        placed = sprite.place(left, top, height, self._codes.shape, 0.0, (0.0, 0.0, 0.0))
        if placed is None:
            return
        _, clear, x, y = placed
        roi = self._codes[y : y + clear.shape[0], x : x + clear.shape[1]]
        roi[clear[:, :, 0] < 128] = self._code

    def truth(self) -> SceneTruth:
        """The labels and boxes of everything drawn so far."""
        first, count = len(LABELS), len(self._labels)
        seen = np.bincount(self._codes.ravel(), minlength=count)
        boxes: list[tuple[int, int, int, int]] = []
        ids: list[int] = []
        for code in range(first, count):
            if seen[code] < max(MIN_VISIBLE_PX, MIN_VISIBLE_SHARE * self._whole[code]):
                continue
            mine = self._codes == code
            xs, ys = np.flatnonzero(mine.any(axis=0)), np.flatnonzero(mine.any(axis=1))
            boxes.append((int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1))
            ids.append(BOX_OF_LABEL[self._labels[code]])
        table = np.asarray(self._labels, np.uint8)
        return SceneTruth(
            boxes=np.asarray(boxes, np.float32).reshape(-1, 4),
            class_ids=np.asarray(ids, np.int32),
            class_names=BOX_CLASSES,
            labels=table[self._codes],
        )
