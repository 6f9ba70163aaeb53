"""Where a frame is letterboxed, on the host or an engine's own device: asked, measured, done."""

from __future__ import annotations

import logging
import statistics
from typing import Literal

from edge.vision.letterbox import Letterbox
from edge.vision.types import Image
from engines.base import DeviceEngine, Engine
from engines.errors import DeviceError, EngineError

log = logging.getLogger(__name__)

LetterboxPlace = Literal["auto", "host", "device"]
TRIALS = 5
"""Letterboxes of the first frame behind the choice of a place, the first of each left out."""


def letterboxing(engine: Engine, place: LetterboxPlace) -> DeviceEngine | None:
    """The engine with its letterbox ready, None where the host's is to be used.

    Raises:
        EngineError: ``place`` is 'device', and this engine cannot.
    """
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


def device_is_faster(engine: DeviceEngine, box: Letterbox, image: Image, slot: int) -> bool:
    """Letterbox ``image`` both ways in turn, until it lies on the device; compare the medians."""
    host, device = [], []
    try:
        for _ in range(TRIALS):
            host.append(engine.time_input(slot, lambda: fill_host(engine, box, image, slot)))
            device.append(engine.time_input(slot, lambda: fill_device(engine, box, image, slot)))
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


def fill_host(engine: Engine, box: Letterbox, image: Image, slot: int) -> None:
    """Letterbox ``image`` (H, W, 3) into the engine's input of ``slot``."""
    box.apply(image, engine.inputs(slot)[engine.spec.input.name])


def fill_device(engine: DeviceEngine, box: Letterbox, image: Image, slot: int) -> None:
    """Hand ``image`` (H, W, 3) to the engine, whose device letterboxes it into ``slot``."""
    engine.frame_input(slot, image.shape[0], image.shape[1])[...] = image
    pad_xy = box.pad_x, box.pad_y
    engine.letterbox(slot, size_wh=box.resized_wh, pad_xy=pad_xy, pad_value=box.pad_value)
