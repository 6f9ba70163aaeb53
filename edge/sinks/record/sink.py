"""The sink ``record``: keeps films of what a run sees, in full size and rate.

It is the main thread's side: what encodes and writes has threads of its own, so a live run is never
held up. A run that waits for every frame, as of a file, is, so that it is recorded whole.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edge.h264 import FALLBACK_FPS, open_encoder
from edge.sinks import folder_of
from edge.sinks.base import RecordingState
from edge.sinks.jsonl import news_of
from edge.sinks.place import check_place
from edge.sinks.record.clips import Clips
from edge.sinks.record.coder import KEYFRAME_S, Coder, Picture
from edge.sinks.record.disk import Disk
from edge.sinks.record.options import RecordOptions
from edge.sinks.record.ring import Ring
from edge.sinks.record.trigger import check_classes
from edge.sources.live.status import SourceStatus
from edge.vision.types import SQUARE, Image, Result
from engines.errors import SettingsError, SinkError

if TYPE_CHECKING:
    from edge.run.view import RunView

log = logging.getLogger(__name__)

CLOSE_S = 1.0
"""For what waits for the encoder at the end, and once more for the disk."""
_TRIAL_WH = 640, 480
"""A size that every encoder takes; a Jetson's own refuses very small ones."""
CLOSE_WHOLE_S = 10.0
"""The same of a run that waits for every frame."""


class RecordSink:
    """Films of one run, in a ring. ``fps`` is the source's nominal rate.

    Raises:
        SettingsError: there is no such folder, or no permission.
        SinkError: nothing here encodes H.264.
    """

    def __init__(self, text: str, *, fps: float | None, keep: bool = False) -> None:
        self.name = text
        self._folder = _checked(text)
        open_encoder(_TRIAL_WH, fps=FALLBACK_FPS, keyframe_s=KEYFRAME_S).close()
        self._fps = fps
        self._options = RecordOptions()
        self._waits = False
        self._threads: tuple[Coder, Disk, Clips] | None = None
        self._begun = self._closed = False
        self._status: SourceStatus | None = None
        self._pixel_aspect = SQUARE

    def watch(self, run: RunView) -> None:
        """Take the folder, and record as the run's settings say.

        Raises:
            SettingsError: another run records there, it cannot be used, or a class of [record]
                event_classes is never seen.
        """
        self._options, self._waits = run.settings.record.options(), run.waits
        known, kept = run.facts.classes, run.settings.detect.classes
        check_classes(self._options.event_classes, known, kept)
        self._start()

    @property
    def wants_image(self) -> bool:
        """Whether the overlay is filmed, too."""
        return self._options.overlay

    def write(self, result: Result, image: Image | None, *, frame_age_ms: float) -> bool:
        """Offer one frame.

        Raises:
            SettingsError: another run records there, or it cannot be used.
        """
        if self._closed:
            return False
        frame = result.frame
        coder, copied = self._start(), self._options.overlay
        if copied:
            assert image is not None, "the pipeline draws an overlay for a sink that wants one"
            image = coder.copy_of(image)
        else:
            image = frame.image
        times = frame.t_capture_ns, frame.media_ns, _utc_of(frame.t_capture_ns)
        self._begun = True
        self._pixel_aspect = aspect = frame.pixel_aspect
        coder.put(Picture(image, *times, result, frame_age_ms, copied, aspect))
        return True

    def signal(self, status: SourceStatus, image: Image | None, *, at_ns: int) -> bool:
        """Note a new state, and film the view of no signal where the overlay is filmed.

        Nothing before the first frame, which gives the size.
        """
        if self._begun and not self._closed:
            coder, before, self._status = self._start(), self._status, status
            record = news_of(status, before, at_ns=at_ns)
            if record is not None:
                coder.note(record)
            if self._options.overlay and image is not None:
                utc_ns = _utc_of(at_ns)
                shown, aspect = coder.copy_of(image), self._pixel_aspect
                coder.put(Picture(shown, at_ns, None, utc_ns, copied=True, pixel_aspect=aspect))
        return not self._closed

    def state(self) -> RecordingState:
        """What it is doing now."""
        if self._threads is None:
            return RecordingState(str(self._folder), None, None, 0, 0, 0)
        coder, disk, clips = self._threads
        slow = "the disk takes less than is recorded" if disk.behind else None
        return RecordingState(
            folder=str(self._folder),
            alarm=coder.alarm or disk.alarm or slow or clips.alarm,
            clip=clips.clip,
            kept_bytes=disk.bytes + clips.bytes,
            clips=clips.count,
            missed=coder.missed + disk.missed,
        )

    def mark(self, reason: str) -> str:
        """Keep a clip of now; of a clip that is under way, keep more.

        It is written as soon as there is room for it, and lost where memory is full before.

        Raises:
            SinkError: it cannot keep one.
        """
        if self._threads is None or self._closed:
            raise SinkError(f"{self.name}: nothing is recorded now")
        coder, _, clips = self._threads
        line = clips.mark(reason)
        coder.note(line)
        return str(line["clip"])

    def close(self) -> None:
        """Finish the film, within twice CLOSE_S; a second call does nothing."""
        if self._closed or self._threads is None:
            self._closed = True
            return
        self._closed = True
        coder, disk, _ = self._threads
        close_s = CLOSE_WHOLE_S if self._waits else CLOSE_S
        coder.end(close_s)
        if not disk.join(close_s):
            log.warning("%s: the disk is too slow for the end, which may be lost", self.name)
        recorded = disk.taken - disk.missed
        log.info("%s: %d pictures recorded, %d missed", self.name, recorded, self.state().missed)

    def _start(self) -> Coder:
        """The encoder's thread, which is started with the folder's."""
        if self._threads is None:
            options = self._options
            ring = Ring(
                self._folder,
                keep_bytes=round(options.keep_gb * 1e9),
                free_bytes=round(options.free_gb * 1e9),
            )
            try:
                ring.open(make=True)
                clips = Clips(ring, options)
            except BlockingIOError as exc:
                raise SettingsError(
                    f"{self.name}: another run records there; give each run a folder of its own"
                ) from exc
            except OSError as exc:
                ring.close()
                raise SettingsError(f"{self.name}: cannot be used: {exc.strerror}") from exc
            segment_s = options.segment_s
            disk = Disk(ring, segment_s=segment_s)
            coder = Coder(self.name, disk, fps=self._fps, segment_s=segment_s, waits=self._waits)
            disk.takers.append(clips)
            self._threads = coder, disk, clips
            disk.start()
            coder.start()
        return self._threads[0]


def _utc_of(capture_ns: int) -> int:
    """The time of a capture, of CLOCK_MONOTONIC, in ns since 1970."""
    return time.time_ns() - (time.monotonic_ns() - capture_ns)


def _checked(text: str) -> Path:
    """The folder of the sink, which is there or can be made.

    Raises:
        SettingsError: it is not, or it is not ours to write to.
    """
    name = folder_of(text)
    if name is None:
        raise SettingsError(f'--sink: got "{text}", wanted record:DIR, a folder for recordings')
    folder = Path(name).expanduser()
    try:
        is_folder, there = folder.is_dir(), folder.exists()
    except (OSError, ValueError):  # which is told below
        is_folder = there = False
    if there and not is_folder:
        raise SettingsError(f"{text}: is a file, wanted the name of a folder")
    check_place(folder / "film" if is_folder else folder)
    return folder
