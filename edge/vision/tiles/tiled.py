"""Perception that also looks at each tile of a frame; it owns no thread, no clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.vision.perception import Perception
from edge.vision.polygon import Polygon
from edge.vision.regions import Regions
from edge.vision.tiles.geometry import Window, merge, whole, windows
from edge.vision.tiles.grid import read_tiles
from edge.vision.types import Detections, Image, Mask
from engines.base import Engine
from engines.errors import SettingsError


def open_perception(
    engines: Engine | Sequence[Engine], *, tiles: str = "1x1", **options: Any
) -> Perception:
    """The perception for these settings; ``options`` are those of ``Perception``.

    Raises:
        SettingsError: ``tiles`` is no grid, or there are no boxes to be found in tiles.
    """
    try:
        grid = read_tiles(tiles)
    except ValueError as exc:
        raise SettingsError(f'tiles: got "{tiles}", wanted {exc}') from exc
    return Perception(engines, **options) if grid == (1, 1) else Tiled(engines, grid, **options)


class Tiled(Perception):
    """Every tile goes through the engines, then the whole frame, which also gives the masks.

    The first tile is prepared and submitted as a frame would be; ``wait`` runs the other passes. So
    an engine's input and raw outputs of a slot end as those of the whole frame.
    """

    def __init__(
        self,
        engines: Engine | Sequence[Engine],
        grid: tuple[int, int],
        *,
        letterbox: Any = "auto",
        **options: Any,
    ) -> None:
        """``grid`` is columns and rows; the rest as for ``Perception``.

        Raises:
            SettingsError: as ``Perception``, or no model gives boxes.
        """
        self._grid = grid
        self._images: dict[int, Image] = {}
        self._gpu: dict[int, dict[str, int]] = {}
        self._within: Regions | None = None
        # A device keeps memory for frames of one size: tile and frame in turn would be allocated
        # anew at each pass.
        super().__init__(engines, letterbox="host" if letterbox == "auto" else letterbox, **options)
        self._all = self._models, self._devices
        boxed = [model for model in self._models if model.decoder is not None]
        on_device = [model.engine for model in boxed]
        self._boxed = boxed, [engine for engine in self._devices if engine in on_device]
        """Those that look at tiles: a model with masks alone has nothing to say of them."""
        if self.first_head is None:
            raise SettingsError(
                f'tiles: got "{grid[0]}x{grid[1]}" for a model without boxes, wanted one with '
                "boxes: a mask is made of the whole frame. Leave tiles out, or name another model."
            )

    def keep(self, *, ignore: Sequence[Polygon] = (), **options: Any) -> None:
        """As ``Perception.keep``; the regions to ignore are those of the whole frame."""
        super().keep(**options)
        self._within = Regions(ignore) if ignore else None

    def choose_letterbox(self, image: Image, slot: int) -> None:
        """As ``Perception.choose_letterbox``, for the whole frame and for tiles."""
        self._fit(image, slot)
        with self._in_tiles():
            self._fit(_view(image, self._windows(image)[0]), slot)

    def prepare(self, image: Image, slot: int) -> None:
        """Letterbox the first tile of ``image`` (H, W, 3); it is kept until ``wait``."""
        self._images[slot] = image
        with self._in_tiles():
            super().prepare(_view(image, self._windows(image)[0]), slot)

    def submit(self, slot: int) -> None:
        """Start the first tile.

        Raises:
            EngineError: an engine refused.
        """
        with self._in_tiles():
            super().submit(slot)

    def wait(self, slot: int) -> None:
        """Block until the submitted tile is done, then run the other tiles and the whole frame.

        Raises:
            EngineError: a run failed.
        """
        image = self._images[slot]
        self._gpu[slot] = {}
        with self._in_tiles():
            for number, window in enumerate(self._windows(image)):
                if number:
                    super().prepare(_view(image, window), slot)
                    super().submit(slot)
                self._end(slot)
                self._hold(slot, number)
        super().prepare(image, slot)
        super().submit(slot)
        self._end(slot)
        del self._images[slot]

    @contextmanager
    def _in_tiles(self) -> Iterator[None]:
        """What is done within is done by the models with boxes alone."""
        self._models, self._devices = self._boxed
        try:
            yield
        finally:
            self._models, self._devices = self._all

    def _end(self, slot: int) -> None:
        """Wait for one pass and add its times on the GPU."""
        super().wait(slot)
        for stage, ns in super().gpu_ns(slot).items():
            self._gpu[slot][stage] = self._gpu[slot].get(stage, 0) + ns

    def _hold(self, slot: int, number: int) -> None:
        """Keep what boxes are decoded from under a slot that no engine has: the next run ends it.

        Decoding can wait, so that it counts as such, and asks for a score only then.
        """
        for model in self._models:
            box, outputs = model.done(slot)
            head = model.engine.spec.detection
            assert head is not None
            names = head.outputs
            model.prepared[self._key(slot, number)] = box
            model.outputs[self._key(slot, number)] = {n: outputs[n].copy() for n in names}

    def _key(self, slot: int, number: int) -> int:
        return slot + self.slots * (1 + number)

    def _windows(self, image: Image) -> list[Window]:
        return windows((image.shape[1], image.shape[0]), self._grid)

    def gpu_ns(self, slot: int) -> dict[str, int]:
        """GPU time by stage of all passes; {} without one."""
        return self._gpu[slot]

    def decode(
        self, slot: int, *, conf: float | None = None
    ) -> tuple[Detections, tuple[Mask, ...]]:
        """Boxes of all passes, each object once, and the masks of the whole frame.

        Raises:
            RuntimeError: the slot was not waited for.
        """
        frame, masks = super().decode(slot, conf=conf)
        wh = self._models[0].done(slot)[0].frame_wh
        found = [(frame, (0, 0, *wh))]
        for key, window in self._passes(slot):
            for model in self._boxed[0]:
                boxes = self._detect(model, key, conf)
                xyxy = boxes.xyxy + np.array(window[:2] * 2, np.float32)
                keep = whole(xyxy, window, wh)
                found.append((_chosen(boxes, xyxy, keep), window))
        sizes = [len(boxes) for boxes, _ in found]
        if not sum(sizes):
            return Detections.empty(), masks
        every = Detections(
            *(
                np.concatenate([getattr(boxes, name) for boxes, _ in found])
                for name in ("xyxy", "scores", "class_ids", "track_ids")
            )
        )
        kept = merge(
            every.xyxy,
            every.scores,
            every.class_ids,
            np.repeat(np.array([window for _, window in found], np.float32), sizes, axis=0),
            np.repeat(np.arange(len(found)), sizes),
        )
        if self._within is not None:
            xyxy = every.xyxy[kept]
            centres = (xyxy[:, :2] + xyxy[:, 2:]) / (2 * np.array(wh, np.float32))
            kept = kept[~self._within.hold(centres)]
        kept = kept[: self._max_detections]
        return _chosen(every, every.xyxy, kept), masks

    def to_blur(self, slot: int) -> NDArray[np.float32] | None:
        """As ``Perception.to_blur``, of all passes: a part of a person is hidden, too.

        Raises:
            RuntimeError: the slot was not waited for.
        """
        found = [super().to_blur(slot)]
        for key, window in self._passes(slot):
            boxes = super().to_blur(key)
            if boxes is not None:
                found.append(boxes + np.array(window[:2] * 2, np.float32))
        several = [boxes for boxes in found if boxes is not None]
        return np.concatenate(several) if several else None

    def candidates(self, slot: int, conf: float) -> Detections:
        """Refused: before NMS, boxes of several passes are no set that could be compared.

        Raises:
            SettingsError: always.
        """
        raise SettingsError("tiles: boxes before NMS are compared without tiles; leave them out")

    def _passes(self, slot: int) -> Iterator[tuple[int, Window]]:
        """Where the outputs of each tile are held, and its window."""
        wh = self._models[0].done(slot)[0].frame_wh
        for number, window in enumerate(windows(wh, self._grid)):
            yield self._key(slot, number), window


def _view(image: Image, window: Window) -> Image:
    x0, y0, x1, y1 = window
    return image[y0:y1, x0:x1]


def _chosen(boxes: Detections, xyxy: NDArray[np.float32], keep: NDArray[Any]) -> Detections:
    """Some of the boxes, at ``xyxy``."""
    return Detections(xyxy[keep], boxes.scores[keep], boxes.class_ids[keep], boxes.track_ids[keep])
