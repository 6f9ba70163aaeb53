"""From a camera image to boxes and masks through one or more engines; owns no thread, no clock.

The pipeline calls prepare → submit → wait → decode for a slot, on one thread, and times the steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge.vision.class_names import check_names
from edge.vision.decode import Decoder, RawBoxes, build_decoder
from edge.vision.decode.base import NO_BOXES
from edge.vision.decode.nms import CANDIDATES, best, nms_per_class
from edge.vision.decode.semantic import decode_mask
from edge.vision.letterbox import Letterbox
from edge.vision.letterbox_place import (
    LetterboxPlace,
    device_is_faster,
    fill_device,
    fill_host,
    letterboxing,
)
from edge.vision.polygon import Polygon
from edge.vision.regions import Regions
from edge.vision.types import Detections, Image, Mask
from engines.base import Array, DeviceEngine, Engine
from engines.errors import SettingsError

BLUR_IOU = 0.8
"""Boxes that overlap by more are blurred as one; a recommended limit would leave out neighbours."""


@dataclass(slots=True)
class _Model:
    """One engine with its decoder, and what its slots hold."""

    engine: Engine
    offset: int
    """Where its class ids begin in the joint list."""
    device: DeviceEngine | None
    """The engine where it can letterbox, None where the host does."""
    decoder: Decoder | None = None
    conf: float = 0.0
    nms_iou: float | None = None
    """None where the graph has chosen the boxes already."""
    wanted: NDArray[np.bool_] | None = None
    """(C,) whether a class is wanted; None where all are."""
    blur: NDArray[np.bool_] | None = None
    """(C,) whether a class is to be blurred; None where none is."""
    letterboxes: dict[tuple[int, int], tuple[Letterbox, bool]] = field(default_factory=dict)
    """By frame size: the letterbox, and whether the device applies it."""
    prepared: dict[int, Letterbox] = field(default_factory=dict)
    """By slot, the letterbox of its frame."""
    outputs: dict[int, Mapping[str, Array]] = field(default_factory=dict)
    """By slot, from wait to the next submit."""

    def done(self, slot: int) -> tuple[Letterbox, Mapping[str, Array]]:
        """Letterbox and raw outputs of the run that was waited for."""
        if slot not in self.outputs or slot not in self.prepared:
            raise RuntimeError(f"slot {slot} was read before prepare, submit and wait")
        return self.prepared[slot], self.outputs[slot]

    def raw_boxes(self, slot: int, conf: float | None) -> RawBoxes:
        """Boxes of wanted classes before NMS, in input px."""
        raw = NO_BOXES
        if self.decoder is not None:
            raw = self.decoder(self.done(slot)[1], self.conf if conf is None else conf)
        return raw if self.wanted is None else _of_classes(raw, self.wanted)

    def detections(self, xyxy: NDArray[np.float32], raw: RawBoxes) -> Detections:
        """``raw`` with its boxes in frame px, under the ids of the joint list."""
        return Detections(
            xyxy=xyxy,
            scores=raw.scores,
            class_ids=raw.class_ids + np.int32(self.offset),
            track_ids=np.full(len(xyxy), -1, np.int32),
        )


class Perception:
    """Letterbox, run and decode; several engines see the same image and their results are joined.

    Class ids of the second engine begin where those of the first end, and so on.
    """

    def __init__(
        self,
        engines: Engine | Sequence[Engine],
        *,
        conf: float | None = None,
        classes: Sequence[str] | None = None,
        nms_iou: float | None = None,
        max_detections: int = 300,
        ignore: Sequence[Polygon] = (),
        letterbox: LetterboxPlace = "auto",
        blur: Sequence[str] = (),
    ) -> None:
        """Build the decoders; ``conf`` and ``nms_iou`` of None mean what each model recommends.

        ``classes`` keeps only boxes of these names, ``ignore`` none whose centre lies in one of
        these regions; masks are not filtered. ``letterbox`` 'auto'
        takes an engine's device or the host, whichever is faster for frames of a size. ``blur``
        names the classes of ``to_blur``.

        Raises:
            SettingsError: a name in ``classes`` or ``blur`` is no box class of any of the models.
            EngineError: ``letterbox`` 'device', which an engine cannot.
        """
        several = list(engines) if isinstance(engines, Sequence) else [engines]
        if not several:
            raise SettingsError("no model was given, wanted at least one. Name one with --model.")
        heads = [engine.spec.detection for engine in several]
        self.class_names: tuple[str, ...] = tuple(
            name for head in heads if head is not None for name in head.classes
        )
        self.mask_names = tuple(mask.name for engine in several for mask in engine.spec.masks)
        self.first_head = next((head for head in heads if head is not None), None)
        """Where boxes come from, None where no model gives any."""
        self.slots = min(engine.slots for engine in several)
        self.inputs_wh = tuple((e.spec.input.width, e.spec.input.height) for e in several)
        self.engine = _joined(engine.name for engine in several)
        self.precision = _joined(engine.precision for engine in several)
        # Asked once: to look at an engine's attributes takes 16 us, and gpu_ns is called a frame.
        self._devices = [engine for engine in several if isinstance(engine, DeviceEngine)]
        self.on_gpu = bool(self._devices)
        """Whether an engine runs on a device of its own, so that ``gpu_ns`` gives times."""
        self._place = letterbox
        check_names(classes, self.class_names)
        check_names(blur, self.class_names, asked="[output] blur")
        self._models: list[_Model] = []
        offset = 0
        for engine, head in zip(several, heads, strict=True):
            device = None if letterbox == "host" else letterboxing(engine, letterbox)
            model = _Model(engine, offset, device)
            self._models.append(model)
            if head is None:
                continue
            offset += len(head.classes)
            model.decoder = build_decoder(head, engine.spec.input)
            if not set(blur).isdisjoint(head.classes):
                model.blur = np.array([name in blur for name in head.classes])
        self._blurs = bool(blur)
        self.keep(
            conf=conf,
            classes=classes,
            nms_iou=nms_iou,
            max_detections=max_detections,
            ignore=ignore,
        )

    def keep(
        self,
        *,
        conf: float | None,
        classes: Sequence[str] | None,
        nms_iou: float | None,
        max_detections: int,
        ignore: Sequence[Polygon] = (),
    ) -> None:
        """Say which boxes the next ``decode`` keeps; all as at the construction.

        Raises:
            SettingsError: as ``check_names``; what was kept before still is.
        """
        check_names(classes, self.class_names)
        self._max_detections = max_detections
        self._ignored = Regions(ignore) if ignore else None
        for model in self._models:
            head = model.engine.spec.detection
            if head is not None:
                model.conf = head.conf if conf is None else conf
                model.nms_iou = head.nms_iou if nms_iou is None else nms_iou
                names = np.array([name in (classes or ()) for name in head.classes])
                model.wanted = None if classes is None else names

    def choose_letterbox(self, image: Image, slot: int) -> None:
        """Measure where frames of this size are letterboxed fastest, unless that is known.

        ``slot`` must be free. ``prepare`` does it too: call it before, where that is timed.
        """
        self._fit(image, slot)

    def _fit(self, image: Image, slot: int) -> None:
        frame_wh = image.shape[1], image.shape[0]
        for model in self._models:
            if frame_wh in model.letterboxes:
                continue
            box, device = Letterbox.fit(frame_wh, model.engine.spec.input), model.device
            on_device = device is not None and (
                self._place == "device" or device_is_faster(device, box, image, slot)
            )
            model.letterboxes[frame_wh] = box, on_device

    def prepare(self, image: Image, slot: int) -> None:
        """Letterbox ``image`` (H, W, 3) BGR into every engine's input of ``slot``."""
        self._fit(image, slot)
        for model in self._models:
            box, on_device = model.letterboxes[image.shape[1], image.shape[0]]
            model.prepared[slot] = box
            if on_device and model.device is not None:
                fill_device(model.device, box, image, slot)
            else:
                fill_host(model.engine, box, image, slot)

    def submit(self, slot: int) -> None:
        """Start every engine on ``slot``.

        Raises:
            EngineError: an engine refused.
        """
        for model in self._models:
            model.outputs.pop(slot, None)
            model.engine.submit(slot)

    def wait(self, slot: int) -> None:
        """Block until every engine is done with ``slot``.

        Raises:
            EngineError: a run failed.
        """
        for model in self._models:
            model.outputs[slot] = model.engine.wait(slot)

    def outputs(self, slot: int, *, engine: int = 0) -> Mapping[str, Array]:
        """Raw outputs {name: array} of one engine, given by its index, after ``wait(slot)``.

        Read-only views of its memory, valid until the slot is submitted again.

        Raises:
            RuntimeError: the slot was not waited for.
        """
        return self._models[engine].done(slot)[1]

    def gpu_ns(self, slot: int) -> dict[str, int]:
        """GPU time by stage of what ``wait(slot)`` waited for, over all engines; {} without one."""
        times: dict[str, int] = {}
        for engine in self._devices:
            for stage, ns in engine.gpu_ns(slot).items():
                times[stage] = times.get(stage, 0) + ns
        return times

    def decode(
        self, slot: int, *, conf: float | None = None
    ) -> tuple[Detections, tuple[Mask, ...]]:
        """Boxes in frame px by falling score, and masks, of what ``wait(slot)`` waited for.

        Both lie in memory of their own and outlive the slot. The same outputs may be decoded again,
        ``conf`` replaces the threshold for this call.

        Raises:
            RuntimeError: the slot was not waited for.
        """
        boxes = [self._detect(model, slot, conf) for model in self._models]
        masks = [
            decode_mask(head, outputs, letterbox)
            for model in self._models
            for letterbox, outputs in (model.done(slot),)
            for head in model.engine.spec.masks
        ]
        return _join(boxes, limit=self._max_detections), tuple(masks)

    def to_blur(self, slot: int) -> NDArray[np.float32] | None:
        """Boxes (N, 4) in frame px of the classes to blur; None where there are no such classes.

        They do not depend on what ``decode`` keeps, so that no setting uncovers anybody: all that
        score what the model recommends, or less where ``keep`` asks for less, and that overlap a
        better one by no more than BLUR_IOU.

        Raises:
            RuntimeError: the slot was not waited for.
        """
        if not self._blurs:
            return None
        found = [NO_BOXES.xyxy_in]
        for model in self._models:
            head = model.engine.spec.detection
            if model.blur is None or model.decoder is None or head is None:
                continue
            letterbox, outputs = model.done(slot)
            raw = model.decoder(outputs, min(model.conf, head.conf))
            raw = _of_classes(raw, model.blur)
            kept = nms_per_class(*raw, iou=BLUR_IOU, limit=len(raw.scores))
            found.append(letterbox.to_frame(raw.xyxy_in[kept]))
        return np.concatenate(found)

    def candidates(self, slot: int, conf: float) -> Detections:
        """All boxes from ``conf`` on before NMS, in frame px; one engine's in no order.

        Raises:
            RuntimeError: the slot was not waited for.
        """
        found = []
        for model in self._models:
            raw = model.raw_boxes(slot, conf)
            found.append(model.detections(model.done(slot)[0].to_frame(raw.xyxy_in), raw))
        return _join(found)

    def close(self) -> None:
        """Close the engines; safe to call twice."""
        for model in self._models:
            model.engine.close()

    def _detect(self, model: _Model, slot: int, conf: float | None) -> Detections:
        raw, limit = model.raw_boxes(slot, conf), self._max_detections
        if self._ignored is not None:
            limit = CANDIDATES  # those that are ignored do not count
        if not raw.class_ids.size:
            return Detections.empty()
        if model.nms_iou is None:
            kept = best(raw.scores, limit=limit)
        else:
            kept = nms_per_class(*raw, iou=model.nms_iou, limit=limit)
        xyxy = model.done(slot)[0].to_frame(raw.xyxy_in[kept])  # (n, 4)
        # A box that lies wholly in the padding is clipped to nothing.
        inside = (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
        if self._ignored is not None:
            frame_wh = np.array(model.done(slot)[0].frame_wh, np.float32)
            inside &= ~self._ignored.hold((xyxy[:, :2] + xyxy[:, 2:]) / (2 * frame_wh))
        kept, xyxy = kept[inside][: self._max_detections], xyxy[inside][: self._max_detections]
        return model.detections(xyxy, RawBoxes(xyxy, raw.scores[kept], raw.class_ids[kept]))


def _of_classes(raw: RawBoxes, named: NDArray[np.bool_]) -> RawBoxes:
    """The boxes of the classes that ``named`` (C,) marks."""
    keep = named[raw.class_ids]
    return RawBoxes(raw.xyxy_in[keep], raw.scores[keep], raw.class_ids[keep])


def _joined(names: Iterable[str]) -> str:
    """The names without repetition: one for one model or for several of a kind."""
    return ", ".join(dict.fromkeys(names))


def _join(parts: Sequence[Detections], *, limit: int | None = None) -> Detections:
    parts = [part for part in parts if len(part)]
    if len(parts) < 2:
        return parts[0] if parts else Detections.empty()
    scores = np.concatenate([part.scores for part in parts])
    order = np.argsort(-scores, kind="stable")[:limit]
    return Detections(
        np.concatenate([part.xyxy for part in parts])[order],
        scores[order],
        np.concatenate([part.class_ids for part in parts])[order],
        np.concatenate([part.track_ids for part in parts])[order],
    )
