"""How a source is to be opened: plain values with their units; it opens nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Policy = Literal["auto", "drop", "wait"]
RotateDeg = Literal[0, 90, 180, 270]
RtspTransport = Literal["auto", "tcp", "udp"]
Flip = Literal["none", "horizontal", "vertical", "both"]


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Deadlines, what becomes of a live source that breaks, orientation, the scene's seed.

    ``reconnect`` opens a live source again, the first time, too, waiting ``retry_s`` at most
    between attempts. After ``stall_s`` without a frame it has stalled; a call that was given up and
    does not come back for ``hang_s`` ends the run. ``identity`` is that of the camera to be opened,
    None for any. ``max_delay_s`` bounds how long the frames of a live source in bursts are held
    back, to come at their own pace; with 0 none is.

    ``rotate_deg`` turns clockwise, ``flip`` is applied after it. ``images_fps`` is the rate of a
    folder, played under the policy 'drop' or in an mp4: images have no timestamps of their own.
    ``raw_fps`` is that of a video without times (raw H.264), None for what it says itself.
    ``password_file`` holds the password of a URL's user. ``rtsp_transport`` 'auto' is TCP, and UDP
    where a server does not send by that.
    """

    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    max_delay_s: float = 10.0
    stall_s: float = 2.0
    reconnect: bool = False
    retry_s: float = 5.0
    hang_s: float = 20.0
    identity: str | None = None
    rotate_deg: RotateDeg = 0
    flip: Flip = "none"
    seed: int = 0
    images_fps: float = 25.0  # what FFmpeg assumes for numbered images
    raw_fps: float | None = None
    password_file: str | None = None
    rtsp_transport: RtspTransport = "auto"
