"""From a camera image to boxes and masks through one or more engines; owns no thread, no clock.

The pipeline calls prepare → submit → wait → decode for a slot, on one thread, and times the steps.
"""

from __future__ import annotations

import difflib
import logging
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.vision.decode import Decoder, build_decoder
from edge.vision.decode.nms import best, nms_per_class
from edge.vision.decode.semantic import decode_mask
from edge.vision.letterbox import Letterbox
from edge.vision.types import Detections, Image, Mask
from engines.base import Array, DeviceEngine, Engine
from engines.errors import DeviceError, EngineError, SettingsError

log = logging.getLogger(__name__)

LetterboxPlace = Literal["auto", "host", "device"]
TRIALS = 5
"""Letterboxes of the first frame behind the choice of a place, the first of each left out."""


@dataclass(slots=True)
class _Slot:
    """What one engine's slot holds between prepare and decode."""

    letterbox: Letterbox | None = None
    outputs: Mapping[str, Array] | None = None


@dataclass(slots=True)
class _Channel:
    """One engine with its decoder; ``offset`` is where its class ids begin in the joint list."""

    engine: Engine
    decoder: Decoder | None
    conf: float
    nms_iou: float | None
    """None where the graph has chosen the boxes already."""
    offset: int
    wanted: NDArray[np.bool_] | None
    """(C,) whether a class is wanted; None where all are."""
    slots: list[_Slot]
    device: DeviceEngine | None = None
    """The engine where it can letterbox, None where the host does."""
    on_device: dict[tuple[int, int], bool] = field(default_factory=dict)
    """Whether the device letterboxes frames of this size."""


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
        letterbox: LetterboxPlace = "auto",
    ) -> None:
        """Build the decoders; ``conf`` and ``nms_iou`` of None mean what each model recommends.

        ``classes`` keeps only boxes of these names; masks are not filtered. ``letterbox`` 'auto'
        takes an engine's device or the host, whichever is faster for frames of a size.

        Raises:
            SettingsError: a name in ``classes`` is no box class of any of the models.
            EngineError: ``letterbox`` 'device', which an engine cannot.
        """
        several = list(engines) if isinstance(engines, Sequence) else [engines]
        if not several:
            raise SettingsError("no model was given, wanted at least one. Name one with --model.")
        heads = [engine.spec.detection for engine in several]
        self.class_names: tuple[str, ...] = tuple(
            name for head in heads if head is not None for name in head.classes
        )
        self.slots = min(engine.slots for engine in several)
        self._max_detections = max_detections
        self._place = letterbox
        _check_names(classes, self.class_names)
        self._channels: list[_Channel] = []
        offset = 0
        for engine, head in zip(several, heads, strict=True):
            channel = _Channel(
                engine=engine,
                decoder=build_decoder(head, engine.spec.input) if head is not None else None,
                conf=conf if conf is not None else head.conf if head is not None else 0.0,
                nms_iou=nms_iou if nms_iou is not None or head is None else head.nms_iou,
                offset=offset,
                wanted=None
                if classes is None or head is None
                else np.array([name in classes for name in head.classes]),
                slots=[_Slot() for _ in range(self.slots)],
                device=None if letterbox == "host" else _letterboxing(engine, letterbox),
            )
            offset += len(head.classes) if head is not None else 0
            self._channels.append(channel)

    def prepare(self, image: Image, slot: int) -> None:
        """Letterbox ``image`` (H, W, 3) BGR into every engine's input buffer of ``slot``."""
        frame_wh = (image.shape[1], image.shape[0])
        for channel in self._channels:
            spec = channel.engine.spec.input
            held = channel.slots[slot]
            if held.letterbox is None or held.letterbox.frame_wh != frame_wh:
                held.letterbox = Letterbox.fit(frame_wh, spec)
            if channel.device is None:
                held.letterbox.apply(image, channel.engine.inputs(slot)[spec.name])
                continue
            if frame_wh not in channel.on_device:
                channel.on_device[frame_wh] = self._place == "device" or _device_is_faster(
                    channel.device, held.letterbox, image, slot
                )
            fill = _fill_device if channel.on_device[frame_wh] else _fill_host
            fill(channel.device, held.letterbox, image, slot)

    def submit(self, slot: int) -> None:
        """Start every engine on ``slot``.

        Raises:
            EngineError: an engine refused.
        """
        for channel in self._channels:
            channel.slots[slot].outputs = None
            channel.engine.submit(slot)

    def wait(self, slot: int) -> None:
        """Block until every engine is done with ``slot``.

        Raises:
            EngineError: a run failed.
        """
        for channel in self._channels:
            channel.slots[slot].outputs = channel.engine.wait(slot)

    def gpu_ns(self, slot: int) -> dict[str, int]:
        """GPU time by stage of what ``wait(slot)`` waited for, over all engines; {} without one."""
        times: dict[str, int] = {}
        for channel in self._channels:
            if isinstance(channel.engine, DeviceEngine):
                for stage, ns in channel.engine.gpu_ns(slot).items():
                    times[stage] = times.get(stage, 0) + ns
        return times

    @property
    def on_gpu(self) -> bool:
        """Whether an engine runs on a device of its own, and ``gpu_ns`` has something to tell."""
        return any(isinstance(channel.engine, DeviceEngine) for channel in self._channels)

    def decode(self, slot: int) -> tuple[Detections, tuple[Mask, ...]]:
        """Boxes in frame px by falling score, and masks, of what ``wait(slot)`` returned.

        Both lie in memory of their own and outlive the slot.
        """
        boxes = []
        masks: list[Mask] = []
        for channel in self._channels:
            held = channel.slots[slot]
            if held.letterbox is None or held.outputs is None:
                raise RuntimeError(f"decode({slot}) before prepare, submit and wait of that slot")
            found = self._detect(channel, held.outputs, held.letterbox)
            if len(found):
                boxes.append(found)
            masks += [
                decode_mask(head, held.outputs, held.letterbox)
                for head in channel.engine.spec.masks
            ]
        return _join(boxes, limit=self._max_detections), tuple(masks)

    def _detect(
        self, channel: _Channel, outputs: Mapping[str, Array], letterbox: Letterbox
    ) -> Detections:
        if channel.decoder is None:
            return Detections.empty()
        xyxy_in, scores, class_ids = channel.decoder(outputs, channel.conf)
        if channel.wanted is not None and class_ids.size:
            keep = channel.wanted[class_ids]
            xyxy_in, scores, class_ids = xyxy_in[keep], scores[keep], class_ids[keep]
        if not class_ids.size:
            return Detections.empty()
        limit = self._max_detections
        if channel.nms_iou is None:
            kept = best(scores, limit=limit)
        else:
            kept = nms_per_class(xyxy_in, scores, class_ids, iou=channel.nms_iou, limit=limit)
        xyxy = letterbox.to_frame(xyxy_in[kept])  # (n, 4)
        # A box that lies wholly in the padding is clipped to nothing.
        inside = (xyxy[:, 2:] > xyxy[:, :2]).all(axis=1)
        kept, xyxy = kept[inside], xyxy[inside]
        return Detections(
            xyxy=xyxy,
            scores=scores[kept],
            class_ids=class_ids[kept] + np.int32(channel.offset),
            track_ids=np.full(kept.size, -1, np.int32),
        )


def _letterboxing(engine: Engine, place: LetterboxPlace) -> DeviceEngine | None:
    """The engine with its letterbox ready, None where the host's is to be used."""
    reason = ""
    if not isinstance(engine, DeviceEngine):
        reason = f"{engine.name} runs on the host"
    elif engine.spec.input.interpolation != "linear":
        reason = f"the model wants interpolation {engine.spec.input.interpolation!r}, not 'linear'"
    else:
        try:
            engine.load_letterbox()
            return engine
        except DeviceError:
            raise
        except EngineError as exc:
            reason = str(exc)
            log.info("letterboxing on the host: %s", reason)
    if place == "device":
        raise EngineError(f"[model] letterbox = 'device': {reason}; wanted 'auto' or 'host'")
    return None


def _device_is_faster(engine: DeviceEngine, box: Letterbox, image: Image, slot: int) -> bool:
    """Letterbox ``image`` both ways in turn, until it lies on the device; compare the medians."""
    host, device = [], []
    try:
        for _ in range(TRIALS):
            host.append(engine.time_input(slot, lambda: _fill_host(engine, box, image, slot)))
            device.append(engine.time_input(slot, lambda: _fill_device(engine, box, image, slot)))
    except DeviceError:
        raise
    except EngineError as exc:  # a frame larger than its kernel takes
        log.info("letterboxing %dx%d on the host: %s", *box.frame_wh, exc)
        return False
    host_ms, device_ms = (statistics.median(ns[1:]) / 1e6 for ns in (host, device))
    where = "device" if device_ms < host_ms else "host"
    log.info(
        "letterboxing %dx%d takes %.2f ms on the host and %.2f ms on the device: on the %s",
        *box.frame_wh, host_ms, device_ms, where,
    )  # fmt: skip
    return device_ms < host_ms


def _fill_host(engine: DeviceEngine, box: Letterbox, image: Image, slot: int) -> None:
    box.apply(image, engine.inputs(slot)[engine.spec.input.name])


def _fill_device(engine: DeviceEngine, box: Letterbox, image: Image, slot: int) -> None:
    engine.frame_input(slot, image.shape[0], image.shape[1])[...] = image
    engine.letterbox(
        slot,
        size_wh=box.resized_wh,
        pad_xy=(box.pad_x, box.pad_y),
        pad_value=box.pad_value,
    )


def _join(parts: Sequence[Detections], *, limit: int) -> Detections:
    if not parts:
        return Detections.empty()
    if len(parts) == 1:
        return parts[0]
    scores = np.concatenate([part.scores for part in parts])
    order = np.argsort(-scores, kind="stable")[:limit]
    return Detections(
        np.concatenate([part.xyxy for part in parts])[order],
        scores[order],
        np.concatenate([part.class_ids for part in parts])[order],
        np.concatenate([part.track_ids for part in parts])[order],
    )


def _check_names(classes: Sequence[str] | None, known: Sequence[str]) -> None:
    for name in classes or ():
        if name in known:
            continue
        if not known:
            raise SettingsError(
                f"class {name!r} was asked for, but the model gives masks only, no boxes. "
                "Leave --classes out."
            )
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        raise SettingsError(
            f"class {name!r} is not one of the model's box classes; the nearest is {near[0]!r}. "
            f"It knows: {', '.join(dict.fromkeys(known))}."
        )
