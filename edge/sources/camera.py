"""Cameras through V4L2: which there are, opening one with few buffers, its driver's timestamps.

It reads one frame after another as fast as it is asked; the capture thread keeps the queue empty.
"""

from __future__ import annotations

import logging
import math
import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from edge.sources.base import SourceBase, SourceKind
from edge.sources.options import Policy, SourceOptions
from edge.sources.timing.pacing import SECOND_NS, LostFrames
from edge.vision.types import Clock, Frame, Image
from engines.errors import SettingsError, SourceError

_log = logging.getLogger("edge")

_BUFFERS = 2
"""One to be filled while one is read: each further one would only hold older pictures."""

_GRAMMAR = re.compile(
    r"camera:(?P<id>.+?)(?::(?P<w>\d+)x(?P<h>\d+)@(?P<fps>\d+(?:\.\d+)?)(?::(?P<fourcc>\w{4}))?)?"
)
_MISTAKEN = re.compile(r"\d+:|.*:\d+x|.*@")
"""An ID that looks as if size, rate or format were meant but not understood."""


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera of this machine; ``stable_id`` outlives reboots, None where udev gave none.

    ``port`` is where it is plugged in, as the kernel calls it.
    """

    device: Path
    name: str
    stable_id: str | None
    port: str

    @property
    def identity(self) -> str:
        """By what it is known when it comes back: two alike without numbers by their ports."""
        return self.stable_id or f"{self.name} at port {self.port}"

    def __str__(self) -> str:
        return f"camera:{self.stable_id or self.device.name.removeprefix('video')} ({self.name})"


@dataclass(frozen=True, slots=True)
class CameraRequest:
    """What a ``camera:`` text asks for; None leaves it to the driver."""

    id: str
    wh: tuple[int, int] | None = None
    fps: float | None = None
    fourcc: str | None = None


def list_cameras(root: Path = Path("/")) -> list[Camera]:
    """The capture devices of this machine in the order of their numbers; never fails.

    Nodes other than a device's first one carry metadata, not pictures (sysfs ``index``).
    """
    links = sorted((root / "dev/v4l/by-id").glob("*"), reverse=True)  # index0 wins
    stable_ids = {link.resolve().name: link.name for link in links}
    nodes = (root / "sys/class/video4linux").glob("video*")
    return [
        Camera(
            root / "dev" / n.name,
            _line(n / "name") or n.name,
            stable_ids.get(n.name),
            (n / "device").resolve().name,
        )
        for n in sorted(nodes, key=lambda n: (len(n.name), n.name))
        if _line(n / "index") in ("", "0")
    ]


def parse_camera(text: str) -> CameraRequest:
    """Read ``/dev/videoN`` or ``camera:ID[:WxH@FPS[:MJPG]]``.

    Raises:
        SettingsError: it is neither.
    """
    if text.startswith("/dev/"):
        return CameraRequest(text)
    match = _GRAMMAR.fullmatch(text)
    if match is None or (match["w"] is None and _MISTAKEN.match(match["id"])):
        raise SettingsError(
            f"source {text!r}: not a camera, wanted camera:ID[:WxH@FPS[:MJPG]], for example "
            "camera:0 or camera:0:1280x720@30:MJPG; ID is a number or a name in /dev/v4l/by-id"
        )
    if match["w"] is None:
        return CameraRequest(match["id"])
    wh, fps = (int(match["w"]), int(match["h"])), float(match["fps"])
    if min(*wh, fps) <= 0:
        raise SettingsError(f"source {text!r}: size and rate must be more than 0")
    return CameraRequest(match["id"], wh, fps, match["fourcc"] and match["fourcc"].upper())


def find_device(
    request: CameraRequest, root: Path = Path("/"), *, identity: str | None = None
) -> Path:
    """The device node of a request, checked as far as can be without opening it as a camera.

    Where ``identity`` is given it is the node of that camera: one that was unplugged may come back
    under another number, and another may have taken its own.

    Raises:
        SourceError: absent or not allowed; names the cameras that are there.
    """
    same = [c for c in list_cameras(root) if c.identity == identity] if identity else []
    if identity and not same:
        raise SourceError(
            f"camera {request.id}: {identity}, with which the run began, is not there; "
            f"{_choices(root)}; plug it in again, or start anew to take another"
        )
    if same:
        device = same[0].device
    elif request.id.startswith("/dev/"):
        device = root / request.id.removeprefix("/")
    elif request.id.isdigit():
        device = root / "dev" / f"video{int(request.id)}"
    else:
        device = root / "dev/v4l/by-id" / request.id
    try:
        device = device.resolve(strict=True)
        with device.open("rb"):
            pass
    except PermissionError as exc:
        raise SourceError(
            f"camera {request.id}: {device} may not be opened by this user, wanted read access; "
            "join its group (sudo usermod -aG video $USER), then log in again"
        ) from exc
    except OSError as exc:
        raise SourceError(
            f"camera {request.id}: there is no such camera ({exc.strerror}); {_choices(root)}"
        ) from exc
    return device


class CameraSource(SourceBase):
    """A V4L2 camera; ``gaps`` are frames missing from the rhythm of its timestamps.

    What was negotiated with its driver is logged. No policy changes its pace, and OpenCV waits 10 s
    for a picture, fixed.

    Raises:
        SettingsError: the text is no camera.
        SourceError: absent, not allowed, busy, or no camera after all.
    """

    def __init__(
        self,
        text: str,
        *,
        policy: Policy,
        stop: threading.Event,
        options: SourceOptions,
        root: Path = Path("/"),
    ) -> None:
        import cv2

        request = parse_camera(text)
        device = find_device(request, root, identity=options.identity)
        asked = _negotiation(request)
        # OpenCV would print its own lines about a device that does not open; ours says it in full.
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        try:
            capture = cv2.VideoCapture(os.fspath(device), cv2.CAP_V4L2)
            opened = capture.isOpened()
            for prop, value in asked if opened else ():
                capture.set(prop, value)  # what the driver made of it is read back below
        finally:
            cv2.utils.logging.setLogLevel(level)
        if not opened:
            capture.release()
            raise SourceError(
                f"camera {request.id}: {device} is there but delivers no pictures: busy with "
                f"another program (fuser -v {device} shows which) or not a camera; {_choices(root)}"
            )
        fps, code = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FOURCC))
        _log.info(
            "camera %s: %dx%d at %g fps, %s, %s buffers",
            request.id,
            capture.get(cv2.CAP_PROP_FRAME_WIDTH),
            capture.get(cv2.CAP_PROP_FRAME_HEIGHT),
            fps,
            code.to_bytes(4, "little", signed=code < 0).decode("ascii", "replace"),
            capture.get(cv2.CAP_PROP_BUFFERSIZE),
        )
        name = f"camera:{request.id}"
        super().__init__(name, live=True, stop=stop, fps=rate_of(fps), release=capture.release)
        here = [c.identity for c in list_cameras(root) if c.device.resolve() == device]
        self.identity = here[0] if here else None
        self._capture = capture
        self._root = root
        self._position_msec = cv2.CAP_PROP_POS_MSEC
        self._lost = LostFrames()

    def _read(self) -> Frame | None:
        arrived, image = self._capture.read()
        read_ns = self._clock_ns()
        if not arrived:
            if self._stop.is_set():
                return None
            raise SourceError(
                f"{self.name}: no more pictures after frame {self._next_id}: unplugged, or "
                f"taken by another program; {_choices(self._root)}"
            )
        driver_ns = round(self._capture.get(self._position_msec) * 1e6)
        capture_ns, clock = dated(driver_ns, read_ns)
        if clock == "driver":
            self.gaps += self._lost.add(capture_ns)
        return self._frame(cast(Image, image), capture_ns, read_ns, clock)


def rate_of(fps: float) -> float | None:
    """The rate that OpenCV tells: −1 where a driver has none, inf or nan where it divides by 0."""
    return fps if 0 < fps < math.inf else None


def dated(driver_ns: int, read_ns: int) -> tuple[int, Clock]:
    """The driver's timestamp where it lies 0 to 1 s before the read returned, else the read's.

    Drivers that stamp with another clock, or not at all, fall outside.
    """
    if 0 <= read_ns - driver_ns <= SECOND_NS:
        return driver_ns, "driver"
    return read_ns, "read"


def _negotiation(request: CameraRequest) -> list[tuple[int, float]]:
    """Properties in V4L2's order: the format decides the sizes, the size decides the rates."""
    import cv2

    asked: list[tuple[int, float]] = [(cv2.CAP_PROP_BUFFERSIZE, _BUFFERS)]
    if request.fourcc:
        asked.append((cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*request.fourcc)))
    if request.wh:
        sides = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        asked += zip(sides, request.wh, strict=True)
    if request.fps:
        asked.append((cv2.CAP_PROP_FPS, request.fps))
    return asked


def _choices(root: Path) -> str:
    cameras = list_cameras(root)
    if not cameras:
        return "this machine shows no camera: plug one in, or pass its device into the container"
    return "there are " + ", ".join(str(camera) for camera in cameras)


def _line(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


CAMERA = SourceKind(
    lambda text: text.startswith(("camera:", "/dev/video", "/dev/v4l/")),
    CameraSource,
    example="camera:0",
    prefixes=("camera:",),
    may_be_live=True,
    corrections=((r"(\d+)", r"camera:\1"), (r"(video\d+)", r"/dev/\1")),
)
