"""A camera that films the pattern of ``edge latency`` as well or as badly as a test says."""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.types import Image
from tests.edge.loopback import OK, served

_LIGHT = ((np.arange(256) / 255) ** 2.2).astype(np.float32)
HEAD = b"Content-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"


def filmed(
    screen: Image,
    *,
    wh: tuple[int, int] = (320, 240),
    width: int = 240,
    at: tuple[int, int] = (23, 31),
    noise: float = 0,
    blur: float = 0,
    gain: float = 1,
    turns: int = 0,
    mirrored: bool = False,
) -> Image:
    """A picture of ``wh`` on which the screen is ``width`` px wide, left upper corner ``at``."""
    image = np.full((wh[1], wh[0], 3), 90, np.uint8)
    height = round(width * screen.shape[0] / screen.shape[1])
    small = cv2.resize(screen, (width, height), interpolation=cv2.INTER_AREA)
    image[at[1] : at[1] + height, at[0] : at[0] + width] = small
    seen = np.rot90(image[:, ::-1] if mirrored else image, turns).astype(np.float32)
    if blur:
        seen = np.asarray(cv2.GaussianBlur(np.ascontiguousarray(seen), (0, 0), blur), np.float32)
    grain = _grain(noise, seen.shape) if noise else 0
    picture: Image = np.clip(seen * gain + grain, 0, 255).astype(np.uint8)
    return picture


@functools.lru_cache(maxsize=1)
def _grain(noise: float, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, noise, shape).astype(np.float32)


@dataclass
class DelayLine:
    """A camera that sees, ``delay_s`` late, what a screen showed; served as Motion JPEG.

    What was on the screen during ``exposure_s`` lies on its pictures one over the other.
    ``late_ms`` tells how old the newest pattern on each picture was when that was sent: the delay,
    and what a busy machine added.
    """

    delay_s: float
    fps: float = 30
    exposure_s: float = 0
    film: Callable[[Image], Image] = filmed
    late_ms: list[float] = field(default_factory=list)
    _shown: list[tuple[float, Image]] = field(default_factory=list)

    def show(self, image: Image) -> bool:
        """What the screen shows from now on."""
        if not self._shown or self._shown[-1][1] is not image:
            self._shown.append((time.monotonic(), image))
        return True

    @contextlib.contextmanager
    def served(self) -> Iterator[str]:
        """Where it is, for the length of the block."""
        with served(self._answer) as port:
            yield f"http://127.0.0.1:{port}/video"

    def _answer(self, connection: socket.socket, over: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(OK + HEAD)
        due = time.monotonic()
        while not over.wait(max(0, due - time.monotonic())):
            due += 1 / self.fps
            until_s = time.monotonic() - self.delay_s
            picture = self.film(self._exposed(until_s))
            jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            newest_s = max((since for since, _ in self._shown[-60:] if since <= until_s), default=0)
            if newest_s:
                self.late_ms.append(1e3 * (time.monotonic() - newest_s))
            connection.sendall(head.encode() + jpeg + b"\r\n")

    def _exposed(self, until_s: float) -> Image:
        """What the screen showed until then, weighed by how long of the exposure it was there."""
        shown = [(since, image) for since, image in self._shown[-60:] if since <= until_s]
        if not shown:
            return np.full((400, 600, 3), 128, np.uint8)
        if not self.exposure_s:
            return shown[-1][1]
        begin_s = until_s - self.exposure_s
        ends = [since for since, _ in shown[1:]] + [until_s]
        begins = [max(since, begin_s) for since, _ in shown]
        stays = [max(0, end - begin) for begin, end in zip(begins, ends, strict=True)]
        return mixed([image for _, image in shown], stays)


def mixed(images: Sequence[Image], weights: Sequence[float]) -> Image:
    """Light of several pictures on one: a screen's levels are their light to the power of 1/2.2."""
    light = np.zeros(images[0].shape, np.float32)
    for image, weight in zip(images, weights, strict=True):
        if weight:
            light += _LIGHT[image] * np.float32(weight / sum(weights))
    return np.round(light ** np.float32(1 / 2.2) * 255).astype(np.uint8)
