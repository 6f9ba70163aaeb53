"""The app under everything that happens to it on a vehicle, in random order, for as long as wanted.

It plays; ``judge`` says whether all was well.
"""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.field.faults import SETTINGS, Felt, Scene
from tests.field.link import Link
from tests.field.rtsp_camera import RtspCamera
from tests.field.timecode import WH
from tests.field.watched import Watched
from tests.soak.surroundings import SmallDisk, Systemd, WallClock, overload

RESTART_S = 1.0
"""RestartSec of the service, shortened."""
SAMPLE_S = 0.5
FULL = "disk filled and freed"
LIVES = 3
"""The full disk ends a life, and only in a long one is it seen what stays."""
LOGIN = "me:s3cret"
_BACKGROUND_LOSS = 0.002
_RELOADED_S = 5.0


@dataclass(slots=True)
class Sample:
    """What a process held while frames came, at a time in seconds since its start; in MB."""

    at_s: float
    threads: int
    descriptors: int
    rss_mb: float


@dataclass(slots=True)
class Life:
    """One process of the app from its start to its end."""

    watched: Watched
    started_ns: int
    samples: list[Sample] = field(default_factory=list)
    exit_code: int | None = None
    metrics: dict[str, Any] | None = None
    ended_ns: int = 0


@dataclass(slots=True)
class Diary:
    """All that happened; ``wrong`` are troubles that the app did not come out of."""

    lives: list[Life] = field(default_factory=list)
    felt: list[Felt] = field(default_factory=list)
    played: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    watchdog_ns: list[int] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0


class Soak:
    """One soak; ``play`` is called once."""

    def __init__(self, folder: Path, *, seed: int, say: Callable[[str], None]) -> None:
        self.diary = Diary()
        self._folder = folder
        self._chance = random.Random(seed)
        self._say = say
        self._camera = RtspCamera()
        self._link = Link(self._camera.port, seed=seed)
        self._disk = SmallDisk(folder / "disk")
        self._clock = WallClock(folder / "clock")
        self._systemd = Systemd()
        self._stop = threading.Event()
        self._recording = 0

    def play(self, *, seconds: float) -> Diary:
        """Every trouble once in random order, and again and again until the time is over."""
        troubles: dict[str, Callable[[], None]] = {
            "camera killed": lambda: self._outage(self._camera.kill, self._come),
            "camera frozen": lambda: self._outage(self._camera.freeze, self._camera.thaw),
            "camera changed": self._change,
            "connection cut": lambda: self._outage(self._link.cut, lambda: None),
            "link down": lambda: self._outage(self._link.down, self._well),
            "link stalled": lambda: self._outage(self._link.stall, self._well),
            "link lossy and slow": self._lossy,
            "settings reloaded": self._reload,
            "settings spoilt": self._spoil,
            FULL: self._fill,
            "wall clock stepped": self._step,
            "processor overloaded": self._overload,
        }
        if not self._clock.works():
            del troubles["wall clock stepped"]
            self.diary.skipped.append("wall clock stepped: no libfaketime (apt install faketime)")
        began, filled = time.monotonic(), list[float]()
        with self._camera, self._link, self._disk, self._systemd:
            if not self._disk.mounted:
                self.diary.skipped.append("tmpfs not mounted: a limit on file sizes fills the disk")
            self._come()
            self._well()
            self._start()
            sampling = threading.Thread(target=self._sample, name="sampling")
            sampling.start()
            try:
                for count, name in enumerate(self._deck(list(troubles))):
                    passed_s = time.monotonic() - began
                    if count >= len(troubles) and passed_s >= seconds:
                        break
                    if name != FULL or not filled or passed_s - filled[-1] >= seconds / LIVES:
                        self._play(name, troubles[name])
                        filled += [passed_s] if name == FULL else []
            finally:
                self._stop.set()
                sampling.join()
                self._end(self._now.watched.stop())
        self.diary.watchdog_ns = self._systemd.times("WATCHDOG=1")
        self.diary.seconds = time.monotonic() - began
        return self.diary

    def _deck(self, names: list[str]) -> Iterator[str]:
        while True:
            self._chance.shuffle(names)
            yield from names

    def _play(self, name: str, trouble: Callable[[], None]) -> None:
        self._name, before = name, len(self.diary.wrong)
        try:
            self._now.watched.wait_for(
                lambda: (
                    self._now.watched.frames
                    and self._systemd.times("READY=1", self._now.started_ns)
                )
            )
            trouble()
            if self._now.watched.process.poll() is not None:
                raise AssertionError(f"the app ended: {self._now.watched.log()[-500:]}")
            self._now.watched.frame_taken_after(time.monotonic_ns())
        except AssertionError as exc:
            self.diary.wrong.append(f"{name}: {exc}")
        self.diary.played[name] = self.diary.played.get(name, 0) + 1
        self._say(f"{name}: {'NOT ' if len(self.diary.wrong) > before else ''}well again")
        if self._now.watched.process.poll() is not None:
            self._end(self._now.watched.join())
            self._start()
        self._stop.wait(self._chance.uniform(0.3, 1.0))

    @property
    def _now(self) -> Life:
        return self.diary.lives[-1]

    def _start(self) -> None:
        """Start the app as systemd does."""
        place = self._folder / f"life-{len(self.diary.lives)}"
        place.mkdir()
        watched = Watched(
            place,
            self._camera.url(LOGIN, port=self._link.port),
            settings=SETTINGS,
            sinks=("-", str(self._disk.folder / _name(self._recording))),
            env=self._clock.env() | self._systemd.env(),
        )
        self.diary.lives.append(Life(watched, time.monotonic_ns()))

    def _end(self, exit_code: int) -> None:
        life = self._now
        life.exit_code, life.ended_ns = exit_code, time.monotonic_ns()
        with contextlib.suppress(OSError, ValueError):
            life.metrics = life.watched.metrics()
        life.watched.close()

    def _sample(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            life = self._now
            if not life.watched.frames or not life.watched.is_live():
                continue  # without a connection there is less to hold
            at_s = (time.monotonic_ns() - life.started_ns) / 1e9
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(life.watched.process.pid)
                with process.oneshot():
                    rss_mb = process.memory_info().rss / 1e6
                    sample = Sample(at_s, process.num_threads(), process.num_fds(), rss_mb)
                life.samples.append(sample)

    def _come(self) -> None:
        wh, fps = self._chance.choice([WH, (320, 160)]), self._chance.choice([15, 25])
        self._camera.start(wh=wh, fps=fps, login=LOGIN)

    def _well(self) -> None:
        """The link as it is on a good day."""
        self._link.heal()
        self._link.loss, self._link.jitter_s = _BACKGROUND_LOSS, 0.02

    def _outage(self, break_it: Callable[[], object], mend_it: Callable[[], object]) -> None:
        scene = Scene(self._now.watched)
        for_s = self._chance.uniform(1.0, 3.0)
        self.diary.felt.append(scene.outage(self._name, break_it, mend_it, for_s=for_s))

    def _change(self) -> None:
        def other() -> None:
            self._camera.start(codec="mjpeg", wh=(128, 64), fps=30, login=LOGIN)

        self._outage(self._camera.kill, other)
        self._outage(self._camera.kill, self._come)

    def _lossy(self) -> None:
        link = self._link
        link.loss, link.delay_s, link.jitter_s, link.bytes_per_s = 0.1, 0.2, 0.1, 50_000
        self._stop.wait(self._chance.uniform(2.0, 5.0))
        self._well()

    def _reload(self) -> None:
        """A new file for the recording, so that the disk does not fill by itself."""
        old, self._recording = self._recording, self._recording + 1
        text = self._now.watched.settings_file.read_text()
        self._hang_up(text.replace(_name(old), _name(self._recording)), "again: output.sinks")
        (self._disk.folder / _name(old)).unlink()

    def _spoil(self) -> None:
        good = self._now.watched.settings_file.read_text()
        self._hang_up(good.replace("conf = 0.5", 'conf = "much"'), "the old ones stay")
        self._hang_up(good, "nothing to change")

    def _hang_up(self, settings: str, words: str) -> None:
        """Have settings read again, and wait for what is to be in the log."""
        watched = self._now.watched
        watched.settings_file.write_text(settings)
        since_ns, before = time.monotonic_ns(), len(watched.log())
        watched.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + _RELOADED_S
        while not (
            self._systemd.times("RELOADING=1", since_ns)
            and self._systemd.times("READY=1", since_ns)
            and words in watched.log()[before:]
        ):
            assert time.monotonic() < deadline, f"not in {_RELOADED_S:g} s: {words!r}, READY=1"
            self._stop.wait(0.05)

    def _fill(self) -> None:
        """The run ends with 5; it is started anew, to no avail until there is room."""
        self._disk.fill(self._now.watched.process.pid)
        for attempt in range(2):
            code = self._now.watched.join()
            assert code == 5, f"ended with {code} on a full disk"
            self._end(code)
            self._stop.wait(RESTART_S)
            if attempt == 1 or not self._disk.mounted:
                break
            self._start()
        self._disk.free()
        freed_ns = time.monotonic_ns()
        self._start()
        self._now.watched.frame_taken_after(freed_ns)

    def _step(self) -> None:
        for offset_s in (86_400, -86_400 * 365, 0):
            self._clock.set(offset_s + self._chance.randrange(3600))
            self._stop.wait(1.5)  # it looks once a second

    def _overload(self) -> None:
        with overload():
            self._stop.wait(self._chance.uniform(3.0, 6.0))


def _name(recording: int) -> str:
    return f"drive-{recording}.mp4"
