"""The synthetic street as a source of frames: it keeps time and counts ids; the scene draws."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from edge.sources.base import SourceBase, SourceKind
from edge.sources.options import Policy, SourceOptions
from edge.sources.timing.pacing import SECOND_NS
from edge.vision.types import Frame
from engines.errors import SettingsError

if TYPE_CHECKING:
    from edge.street import StreetScene

SIZE_DEFAULT: Final = (960, 540)
FPS_DEFAULT: Final = 30.0
SIDE_PX: Final = (64, 4096)  # smaller shows nothing, no camera here is wider
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


class SyntheticSource(SourceBase):
    """The street, paced like a camera or drawn on demand.

    Frame ``id`` always shows the scene at ``id / fps`` seconds. Paced, it is due at start +
    ``id / fps``, which is its ``t_capture_ns``; a reader that comes late gets the newest due frame,
    and the ids between count as ``gaps``: they were never drawn. On demand ('wait'), no frame is
    left out and each is stamped when it is handed over.

    Args:
        now_ns: CLOCK_MONOTONIC.
        wait: blocks for the given seconds, returns True at once when the source shall stop.
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
        name = f"synthetic:{scene.width}x{scene.height}@{fps:g}"
        super().__init__(name, live=True, stop=stop, fps=fps, clock_ns=now_ns)
        self._scene = scene
        self._rate = fps
        self._paced = paced
        self._wait = wait or stop.wait
        self._start_ns: int | None = None

    def _read(self) -> Frame | None:
        if not self._paced:
            media_ns = self._since_start_ns()
            image = self._scene.render(self._next_id / self._rate)
            now = self._clock_ns()
            return self._frame(image, now, now, "read", media_ns)
        now = self._clock_ns()
        if self._start_ns is None:
            self._start_ns = now
        newest = max(self._next_id, int((now - self._start_ns) * self._rate // SECOND_NS))
        self.gaps += newest - self._next_id
        self._next_id = newest
        due = self._start_ns + self._since_start_ns()
        # Drawn before it is due, like an exposure that ends at the due time: age starts at zero.
        image = self._scene.render(self._next_id / self._rate)
        while (left := due - self._clock_ns()) > 0:
            if self._wait(left / SECOND_NS):
                return None
        return self._frame(image, due, self._clock_ns(), "read")

    def _since_start_ns(self) -> int:
        """When the next frame is due, seen from the first."""
        return round(self._next_id * SECOND_NS / self._rate)


def open_synthetic(
    text: str, *, policy: Policy, stop: threading.Event, options: SourceOptions
) -> SyntheticSource:
    """Open ``synthetic[:WxH[@FPS]]``; drawn on demand under the policy 'wait', else paced.

    Raises:
        SettingsError: the text is not of that form, or out of range.
    """
    from edge.street import StreetScene

    width, height, fps = parse_spec(text)
    scene = StreetScene(width, height, seed=options.seed)
    return SyntheticSource(scene, fps=fps, paced=policy != "wait", stop=stop)


SYNTHETIC = SourceKind(
    lambda text: text.partition(":")[0] == "synthetic",
    open_synthetic,
    example="synthetic:960x540@30",
    prefixes=("synthetic:",),
)
