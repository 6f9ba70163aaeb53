"""Faults of real cameras and networks, one after another in a run, and how long each was felt.

``python -m tests.field faults`` prints the table; tests hold it against the limits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.field.link import Link
from tests.field.mjpeg_camera import MjpegCamera
from tests.field.rtsp_camera import RtspCamera
from tests.field.timecode import WH
from tests.field.watched import State, Watched, faults_of

STALL_S = 0.5
READ_TIMEOUT_S = 1.5
RETRY_S = 1.0
TOLD_MS, TRUE_MS, LATE_MS = 1000.0, 1500.0, 200.0
SETTINGS = f"""
stall_s = {STALL_S}
read_timeout_s = {READ_TIMEOUT_S}
open_timeout_s = 5.0
retry_s = {RETRY_S}
hang_s = 10.0
[detect]
conf = 0.5
[pipeline]
max_age_ms = {TOLD_MS}
"""
LONG_S = READ_TIMEOUT_S + 1.5
"""So long that the connection is given up."""
_VIDEO = "video/x-raw,width=256,height=128,framerate=30/1"
ENDING = f"videotestsrc is-live=true num-buffers=15 ! {_VIDEO}"
BREAKING = f"videotestsrc is-live=true ! {_VIDEO} ! identity error-after=15"
SMALL, LARGE = (128, 64), (320, 160)
LIVE_NS = 1_000_000_000
"""How long it is well between two faults: times that do not fit together show only then."""
TOLD_WITHIN_S = STALL_S + 0.5
BACK_WITHIN_S = RETRY_S + 2.0


@dataclass(frozen=True, slots=True)
class Felt:
    """One fault: how long until the app told it, in which words, and how long from the repair until
    a frame taken since was shown. ``told_s`` is None where the fault was there before the app.
    """

    fault: str
    told_s: float | None
    state: str
    reason: str
    back_s: float
    wh: tuple[int, int]


@dataclass(slots=True)
class Report:
    """All faults of a run, what was wrong with its frames, its metrics and exit code."""

    felt: list[Felt] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    frames: dict[str, int] = field(default_factory=dict)
    signal: dict[str, float] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)
    exit_code: int = -1
    lost: int = 0
    damaged: float = 0.0
    """Packets that the lossy link lost, and the part of pictures in which no time could be read."""

    def failures(self) -> list[str]:
        """Where limits were passed, one line each."""
        late = [
            f"{f.fault}: {f.told_s or 0:.2f} s until told, {f.back_s:.2f} s until back"
            for f in self.felt
            if (f.told_s or 0) > TOLD_WITHIN_S or f.back_s > BACK_WITHIN_S
        ]
        fates = ("rendered", "dropped_overwritten", "dropped_stale", "failed")
        counted = sum(self.frames[name] for name in (*fates, "discarded_at_stop", "in_flight"))
        balance = [] if self.frames["captured"] == counted else [f"ledger: {self.frames}"]
        ended = [] if self.exit_code == 0 else [f"exit code {self.exit_code}"]
        return late + self.wrong + balance + ended


class Scene:
    """A run that is watched while things break and are mended."""

    def __init__(self, run: Watched) -> None:
        self.run = run
        self.report = Report()

    def outage(
        self,
        fault: str,
        break_it: Callable[[], object],
        mend_it: Callable[[], object],
        *,
        for_s: float = 1.0,
    ) -> Felt:
        """Break, let it last, mend, and wait for a frame that was taken after."""
        broken_ns = time.monotonic_ns()
        break_it()
        told = self.run.state_after(broken_ns, "stalled", "reconnecting")
        threading.Event().wait(for_s - (time.monotonic_ns() - broken_ns) / 1e9)
        return self.mended(fault, broken_ns, told, mend_it)

    def mended(
        self, fault: str, broken_ns: int | None, told: State, mend_it: Callable[[], object]
    ) -> Felt:
        """Mend what was broken at ``broken_ns``, None where that was before the app."""
        mend_it()
        mended_ns = time.monotonic_ns()
        fresh = self.run.frame_taken_after(mended_ns)
        self.run.frame_taken_after(mended_ns + LIVE_NS)
        felt = Felt(
            fault,
            None if broken_ns is None else (told.seen_ns - broken_ns) / 1e9,
            told.name,
            told.reason,
            (fresh.seen_ns - mended_ns) / 1e9,
            fresh.wh,
        )
        self.report.felt.append(felt)
        return felt

    def end(self) -> Report:
        """Stop the run and look at all of it."""
        self.report.exit_code = self.run.stop()
        metrics = self.run.metrics()
        self.report.frames, self.report.signal = metrics["frames"], metrics["signal"]
        self.report.states = self.run.states
        self.report.wrong = faults_of(
            self.run.frames, told_ms=TOLD_MS, true_ms=TRUE_MS, late_ms=LATE_MS
        )
        return self.report


def rtsp_faults(folder: Path) -> Report:
    """A camera that comes, dies, freezes and changes."""
    with RtspCamera() as camera:

        def come(codec: str = "h264", wh: tuple[int, int] = WH, fps: int = 25) -> None:
            camera.start(codec=codec, wh=wh, fps=fps, login="me:s3cret")

        def ask_for_another_password() -> None:
            camera.kill()
            camera.start(login="me:0ther")

        with Watched(folder, camera.url("me:s3cret"), settings=SETTINGS) as run:

            def ask_for_the_password() -> None:
                run.wait_for(lambda: "wanted a login" in run.states[-1].reason)
                camera.kill()
                come()

            scene = Scene(run)
            told = run.state_after(0, "reconnecting")
            scene.mended("absent at the start", None, told, come)
            scene.outage("killed", camera.kill, come)
            scene.outage("frozen for a moment", camera.freeze, camera.thaw)
            scene.outage("frozen for long", camera.freeze, camera.thaw, for_s=LONG_S)
            scene.outage("back as VP8, larger, slower", camera.kill, lambda: come("vp8", LARGE, 15))
            scene.outage(
                "back as MJPEG, smaller, faster", camera.kill, lambda: come("mjpeg", SMALL, 30)
            )
            scene.outage("password refused", ask_for_another_password, ask_for_the_password)
            return scene.end()


def link_faults(folder: Path) -> Report:
    """An RTSP camera behind a bad link."""
    with RtspCamera() as camera, Link(camera.port, seed=1) as link:
        camera.start()
        with Watched(folder, camera.url(port=link.port), settings=SETTINGS) as run:
            scene = Scene(run)
            run.wait_for(lambda: run.frames)
            scene.outage("connection cut", link.cut, lambda: None)
            scene.outage("link down", link.down, link.heal)
            scene.outage("link stalls for a moment", link.stall, link.heal)
            scene.outage("link stalls for long", link.stall, link.heal, for_s=LONG_S)
            seen = len(run.frames)
            link.loss, link.delay_s, link.jitter_s, link.bytes_per_s = 0.1, 0.2, 0.05, 20_000
            run.frame_taken_after(time.monotonic_ns() + 3 * LIVE_NS)
            link.heal()
            scene.report.lost = link.lost
            bad = run.frames[seen:]
            scene.report.damaged = sum(f.taken_ns is None for f in bad) / len(bad)
            return scene.end()


def mjpeg_faults(folder: Path) -> Report:
    """An HTTP Motion JPEG camera."""
    with MjpegCamera() as camera, Watched(folder, camera.url, settings=SETTINGS) as run:

        def come_larger() -> None:
            camera.wh = LARGE
            camera.start()

        scene = Scene(run)
        told = run.state_after(0, "reconnecting")
        scene.mended("HTTP: absent at the start", None, told, camera.start)
        scene.outage("HTTP: cut", camera.stop, camera.start)
        silent, speaking = camera.stalled.set, camera.stalled.clear
        scene.outage("HTTP: silent for a moment", silent, speaking)
        scene.outage("HTTP: silent for long", silent, speaking, for_s=LONG_S)
        scene.outage("HTTP: back larger", camera.stop, come_larger)
        return scene.end()


def pipeline_faults(folder: Path, pipeline: str) -> Report:
    """A live pipeline of GStreamer that ends or fails by itself, again and again."""
    with Watched(folder, f"gst:{pipeline}", settings=SETTINGS) as run:
        scene = Scene(run)
        since_ns = 0
        for _ in range(3):
            since_ns = run.state_after(since_ns, "reconnecting").since_ns
            since_ns = run.state_after(since_ns, "live").since_ns
        return scene.end()


SCENES: dict[str, Callable[[Path], Report]] = {
    "rtsp": rtsp_faults,
    "link": link_faults,
    "mjpeg": mjpeg_faults,
    "ended pipeline": lambda folder: pipeline_faults(folder, ENDING),
    "broken pipeline": lambda folder: pipeline_faults(folder, BREAKING),
}


def all_at_once(folder: Path) -> dict[str, Report]:
    """Every scene in a folder of its own, side by side: they wait most of the time."""

    def play(name: str) -> Report:
        place = folder / name.replace(" ", "-")
        place.mkdir()
        return SCENES[name](place)

    with ThreadPoolExecutor(len(SCENES)) as pool:
        return dict(zip(SCENES, pool.map(play, SCENES), strict=True))


def as_markdown(reports: Iterable[Report]) -> str:
    """The table for BENCHMARKS.md."""
    lines = [
        f"stall_s = {STALL_S:g}, read_timeout_s = {READ_TIMEOUT_S:g}, retry_s = {RETRY_S:g}",
        "",
        "| fault | told after | as | first fresh frame after the repair |",
        "|---|---|---|---|",
    ]
    for felt in (felt for report in reports for felt in report.felt):
        told = "" if felt.told_s is None else f"{felt.told_s:.2f} s"
        lines.append(f"| {felt.fault} | {told} | {felt.state} | {felt.back_s:.2f} s |")
    return "\n".join(lines)
