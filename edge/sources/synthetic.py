"""The synthetic street as a source of frames: it keeps time and counts ids; the scene draws."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Final

from edge.sources.options import Policy
from edge.street import StreetScene
from edge.vision.types import Frame, Image
from engines.errors import SettingsError

SIZE_DEFAULT: Final = (960, 540)
FPS_DEFAULT: Final = 30.0
SIDE_PX: Final = (64, 4096)  # below it nothing can be told apart; above it no camera here is wider
FPS_RANGE: Final = (0.1, 1000.0)
SPEC: Final = re.compile(r"synthetic(?::(\d{1,9})[xX](\d{1,9})(?:@(\d{1,9}(?:\.\d{1,9})?))?)?")


def parse_spec(text: str) -> tuple[int, int, float]:
    """Width, height and frames per second of ``synthetic[:WxH[@FPS]]``.

    Raises:
        SettingsError: it is not of that form, or out of range.
    """
    wanted = (
        f"wanted synthetic[:WxH[@FPS]] with sides of {SIDE_PX[0]} to {SIDE_PX[1]} px and "
        f"{FPS_RANGE[0]:g} to {FPS_RANGE[1]:g} frames a second, for example synthetic:960x540@30"
    )
    match = SPEC.fullmatch(text.strip())
    if match is None:
        raise SettingsError(f"source: cannot read {text!r}; {wanted}")
    w, h, rate = match.groups()
    width, height = (int(w), int(h)) if w else SIZE_DEFAULT
    fps = float(rate) if rate else FPS_DEFAULT
    if not all(SIDE_PX[0] <= side <= SIDE_PX[1] for side in (width, height)):
        raise SettingsError(f"source: {text!r} asks for {width}x{height} px; {wanted}")
    if not FPS_RANGE[0] <= fps <= FPS_RANGE[1]:
        raise SettingsError(f"source: {text!r} asks for {fps:g} frames a second; {wanted}")
    return width, height, fps


class SyntheticSource:
    """The street, paced like a camera or drawn on demand.

    Frame ``id`` always shows the scene at ``id / fps`` seconds. Paced, frame ``id`` is due at
    start + ``id / fps``, that is its ``t_capture_ns``; a reader that comes late gets the newest due
    frame, and the ids between count as ``gaps``: they were never drawn. On demand ('wait'), frames
    follow without a gap and are stamped when they are handed over.

    Args:
        now_ns: CLOCK_MONOTONIC.
        wait: Blocks for the given seconds, returns True at once when the source shall stop.
    """

    def __init__(
        self,
        scene: StreetScene,
        *,
        fps: float,
        paced: bool,
        stop: threading.Event,
        now_ns: Callable[[], int] = time.monotonic_ns,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._scene = scene
        self._fps = fps
        self._paced = paced
        self._stop = stop
        self._now_ns = now_ns
        self._wait = wait or stop.wait
        self._start_ns: int | None = None
        self._next = 0
        self._gaps = 0
        self._closed = False

    @property
    def name(self) -> str:
        """The source as one would write it."""
        return f"synthetic:{self._scene.width}x{self._scene.height}@{self._fps:g}"

    @property
    def live(self) -> bool:
        """It goes on by itself, like a camera."""
        return True

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self._fps

    @property
    def gaps(self) -> int:
        """Frames that were due and never drawn because the reader came late."""
        return self._gaps

    def read(self) -> Frame | None:
        """The next frame; None once the stop event is set or the source is closed."""
        if self._closed or self._stop.is_set():
            return None
        if not self._paced:
            number = self._take(self._next)
            image = self._draw(number)
            now = self._now_ns()
            media_ns = round(number * 1_000_000_000 / self._fps)
            return Frame(image, number, now, now, "read", self.name, media_ns)
        now = self._now_ns()
        if self._start_ns is None:
            self._start_ns = now
        newest = int((now - self._start_ns) * self._fps // 1_000_000_000)
        number = self._take(max(self._next, newest))
        due = self._start_ns + round(number * 1_000_000_000 / self._fps)
        # Drawn before it is due, like an exposure that ends at the due time: age starts at zero.
        image = self._draw(number)
        while (left := due - self._now_ns()) > 0:
            if self._wait(left / 1e9):
                return None
        return Frame(image, number, due, self._now_ns(), "read", self.name)

    def close(self) -> None:
        """End it."""
        self._closed = True

    def _take(self, number: int) -> int:
        self._gaps += number - self._next
        self._next = number + 1
        return number

    def _draw(self, number: int) -> Image:
        image = self._scene.render(number / self._fps)
        image.setflags(write=False)
        return image


def open_synthetic(
    text: str, *, policy: Policy, stop: threading.Event, seed: int = 0
) -> SyntheticSource:
    """Open ``synthetic[:WxH[@FPS]]``; drawn on demand under the policy 'wait', else paced.

    Raises:
        SettingsError: the text is not of that form, or out of range.
    """
    width, height, fps = parse_spec(text)
    scene = StreetScene(width, height, seed=seed)
    return SyntheticSource(scene, fps=fps, paced=policy != "wait", stop=stop)
