"""The supervisor over scripted connections: states, back-off, deadlines, threads left behind."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import psutil
import pytest

from edge.sources import SourceOptions
from edge.sources.base import OpenedSource, SourceBase
from edge.sources.live.status import SourceStatus
from edge.sources.live.supervisor import Supervised
from edge.sources.live.waits import FIRST_WAIT_S, Backoff
from edge.vision.types import Frame
from engines.errors import SettingsError, SourceError, SourceHungError
from tests.edge.scripted import IMAGE

OPTIONS = SourceOptions(
    reconnect=True, retry_s=0.001, stall_s=0.1, read_timeout_s=0.3, open_timeout_s=0.5, hang_s=0.5
)
SLACK_S = 4.0

Step = Callable[[], object]
"""What one read does: an int gives so many milliseconds of media time, an exception is raised."""


class Camera(SourceBase):
    """Gives a frame for each step that returns; what a step raises is raised."""

    def __init__(self, steps: list[Step], stop: threading.Event, *, live: bool = True) -> None:
        super().__init__("camera:9", live=live, stop=stop, fps=30.0)
        self.identity = "Webcam at port 1-1"
        self.closed_on = ""
        self.gaps = 1
        self.heard_at_ns = 0
        self._steps = iter(steps)

    @property
    def heard_ns(self) -> int:
        return self.heard_at_ns

    def _read(self) -> Frame | None:
        step = next(self._steps, None)
        if step is None:
            return None
        step()
        return self._frame(IMAGE.copy(), self._clock_ns(), self._clock_ns(), "read")

    def close(self) -> None:
        self.closed_on = threading.current_thread().name
        super().close()


def nothing() -> None:
    """A frame comes at once."""


def broken() -> None:
    raise SourceError("camera:9: unplugged")


@dataclass
class World:
    """Connections one after another: the steps of each, or what its opening raises or does."""

    connections: list[list[Step] | Exception | Step]
    live: bool = True
    stop: threading.Event = field(default_factory=threading.Event)
    told: list[SourceStatus] = field(default_factory=list)
    options: list[SourceOptions] = field(default_factory=list)
    cameras: list[Camera] = field(default_factory=list)

    def open_once(self, options: SourceOptions) -> OpenedSource:
        self.options.append(options)
        script = self.connections.pop(0) if self.connections else []
        if isinstance(script, Exception):
            raise script
        if callable(script):
            script()
            script = []
        camera = Camera(script, self.stop, live=self.live)
        self.cameras.append(camera)
        return camera

    def supervised(self, options: SourceOptions = OPTIONS) -> Supervised:
        return Supervised(
            self.open_once,
            "camera:9",
            stop=self.stop,
            options=options,
            tell=self.told.append,
            rng=random.Random(1),
        )

    @property
    def states(self) -> list[str]:
        return [status.state for status in self.told]


def read(source: Supervised, count: int) -> list[Frame]:
    frames = [source.read() for _ in range(count)]
    assert None not in frames
    return [f for f in frames if f is not None]


def test_ids_and_gaps_go_on_over_connections_and_each_is_closed_on_its_own_thread() -> None:
    world = World([[nothing, nothing, broken], [nothing, broken], [nothing]])
    source = world.supervised()
    assert source.open(within_s=5) is source
    frames = read(source, 4)
    assert [f.id for f in frames] == [0, 1, 2, 3]
    assert source.gaps == 3  # each camera lost one
    counts = source.counts()
    assert (counts.state, counts.attempts, counts.reconnects, counts.stalls) == ("live", 3, 2, 0)
    assert world.states == ["live", "reconnecting", "live", "reconnecting", "live"]
    assert world.told[1].reason == "camera:9: unplugged"
    source.close()
    assert {c.closed_on for c in world.cameras} == {"source"}


def test_the_first_opening_is_tried_again_and_the_same_reason_is_told_once() -> None:
    absent = [SourceError("camera:9: there is no such camera") for _ in range(5)]
    world = World([*absent, [nothing]])
    source = world.supervised()
    source.open(within_s=5)
    read(source, 1)
    assert world.states == ["reconnecting", "live"]
    assert source.counts().attempts == 6
    assert source.counts().reconnects == 0  # it never was there before
    source.close()


def test_without_reconnect_the_first_failure_is_raised() -> None:
    world = World([[nothing, broken], [nothing]])
    source = world.supervised(replace(OPTIONS, reconnect=False))
    source.open(within_s=5)
    read(source, 1)
    with pytest.raises(SourceError, match="unplugged"):
        source.read()
    assert world.states == ["live", "failed"]
    source.close()


@pytest.mark.parametrize("error", [SettingsError("wrong text"), ZeroDivisionError("a defect")])
def test_what_no_attempt_can_cure_is_raised_although_it_reconnects(error: Exception) -> None:
    source = World([error]).supervised()
    with pytest.raises(type(error)):
        source.open(within_s=5)
    source.close()


def test_what_is_not_live_is_handed_over_and_reads_on_without_its_thread() -> None:
    world = World([[nothing]], live=False)
    opened = world.supervised().open(within_s=5)
    assert opened is world.cameras[0]
    assert opened.read() is not None
    assert opened.read() is None
    assert world.cameras[0].closed_on == ""


def test_a_source_that_falls_silent_stalls_and_goes_on_in_the_same_connection() -> None:
    going_on = threading.Event()
    world = World([[nothing, lambda: going_on.wait(30), nothing]])
    told_at: list[float] = []

    def tell(status: SourceStatus) -> None:
        world.told.append(status)
        told_at.append(time.monotonic())
        if status.state == "stalled":
            going_on.set()

    options = replace(OPTIONS, read_timeout_s=30)
    source = Supervised(world.open_once, "camera:9", stop=world.stop, options=options, tell=tell)
    source.open(within_s=5)
    read(source, 1)
    began = time.monotonic()
    read(source, 2)
    assert world.states == ["live", "stalled", "live"]
    assert 0.1 <= told_at[1] - began <= 0.1 + 0.5
    counts = source.counts()
    assert (counts.attempts, counts.reconnects, counts.stalls) == (1, 0, 1)
    assert counts.without_s > 0
    source.close()


def test_data_without_pictures_holds_the_deadline_off() -> None:
    world = World([])

    def hear() -> None:
        for _ in range(8):  # 0.8 s: longer than the read deadline and its grace
            world.cameras[0].heard_at_ns = time.monotonic_ns()
            threading.Event().wait(0.1)

    world.connections = [[hear, nothing]]
    source = world.supervised()
    source.open(within_s=5)
    assert [f.id for f in read(source, 2)] == [0, 1]
    assert source.counts().attempts == 1
    source.close()


def test_a_read_that_hangs_is_left_behind_and_no_other_begins_until_it_is_back() -> None:
    going_on = threading.Event()
    world = World([[nothing, lambda: going_on.wait(30)], [nothing]])
    source = world.supervised(replace(OPTIONS, hang_s=30))
    source.open(within_s=5)
    read(source, 1)
    before = source.progress
    reader: list[Frame | None] = []
    thread = threading.Thread(target=lambda: reader.append(source.read()))
    thread.start()
    deadline = time.monotonic() + 10
    while world.states[-1] != "reconnecting" and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    threading.Event().wait(0.3)
    # The watchdog gets nothing of a thread that is stuck, nor of the wait for it.
    assert source.progress == before
    assert len(world.cameras) == 1
    going_on.set()
    thread.join(10)
    assert [f.id for f in reader if f] == [1]
    assert len(world.cameras) == 2
    assert source.progress > before
    source.close()


@pytest.mark.parametrize("where", ["opening", "reading", "closing"])
def test_a_call_that_never_comes_back_ends_the_source_for_the_process_to_end(where: str) -> None:
    going_on = threading.Event()

    class Stuck(Camera):
        def close(self) -> None:
            if where == "closing":
                going_on.wait(30)

    world = World([])

    def open_once(options: SourceOptions) -> OpenedSource:
        if where == "opening":
            going_on.wait(30)
        stuck: list[Step] = [nothing, (lambda: going_on.wait(30)) if where == "reading" else broken]
        return Stuck(stuck, world.stop)

    source = Supervised(open_once, "camera:9", stop=world.stop, options=OPTIONS)
    threads = threading.active_count()
    began = time.monotonic()
    source.open(within_s=0.1)
    with pytest.raises(SourceHungError, match=r"for 0\.5 s \(hang_s\)") as raised:
        read(source, 2)
    assert time.monotonic() - began < 0.5 + 0.8 + 0.5 + SLACK_S
    assert raised.value.exit_code == 5
    assert source.status.state == "failed"
    assert threading.active_count() == threads + 1  # the one that is stuck
    going_on.set()
    source.close()


def test_an_opening_that_ends_between_two_looks_is_not_taken_for_a_read() -> None:
    going_on = threading.Event()

    def open_once(options: SourceOptions) -> OpenedSource:
        going_on.wait(30)
        return Camera([nothing, nothing], threading.Event())

    source = Supervised(open_once, "camera:9", stop=threading.Event(), options=OPTIONS)
    assert source.open(within_s=0.05) is source
    going_on.set()
    deadline = time.monotonic() + 10
    while source._connection is not None and source._connection.source is None:
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    assert [f.id for f in read(source, 2)] == [0, 1]
    source.close()


def test_a_stop_ends_a_wait_of_any_kind_soon() -> None:
    going_on = threading.Event()
    for world in (
        World([lambda: going_on.wait(30)]),
        World([[lambda: going_on.wait(30)]]),
        World([SourceError("absent")] * 9),
    ):
        source = world.supervised(
            replace(OPTIONS, retry_s=30, open_timeout_s=30, read_timeout_s=30)
        )
        source.open(within_s=0.05)
        threading.Timer(0.1, world.stop.set).start()
        began = time.monotonic()
        assert source.read() is None
        assert time.monotonic() - began < SLACK_S
    going_on.set()


def test_a_stop_while_it_opens_is_told_as_one() -> None:
    world = World([[nothing]])
    world.stop.set()
    with pytest.raises(SourceError, match="stopped on request"):
        world.supervised().open(within_s=5)


def test_what_fails_at_its_own_deadline_is_late() -> None:
    def time_out() -> None:
        threading.Event().wait(0.7)
        raise SourceError("interrupted")

    source = World([time_out]).supervised(replace(OPTIONS, reconnect=False))
    with pytest.raises(SourceError, match=r"no answer within 0\.5 s"):
        source.open(within_s=5)
    source.close()


def test_a_file_that_is_found_out_too_late_plays_at_its_own_pace() -> None:
    class File(Camera):
        def _read(self) -> Frame | None:
            frame = super()._read()
            return frame and replace(frame, media_ns=frame.id * 40_000_000)

    going_on, world = threading.Event(), World([])

    def open_once(options: SourceOptions) -> OpenedSource:
        going_on.wait(30)
        return File([nothing] * 6, world.stop, live=False)

    source = Supervised(open_once, "http://x/a.mp4", stop=world.stop, options=OPTIONS)
    assert source.open(within_s=0.05) is source
    going_on.set()
    frames = read(source, 6)
    assert source.read() is None  # its end, not an outage
    # The sixth is due 5 * 40 ms after the first, on the one clock that all sinks go by.
    assert frames[5].t_capture_ns - frames[0].t_capture_ns >= 199_000_000
    assert {f.media_ns for f in frames} == {None}
    source.close()


def test_the_camera_that_was_found_first_is_wanted_again() -> None:
    world = World([[nothing, broken], [nothing]])
    source = world.supervised()
    source.open(within_s=5)
    read(source, 2)
    assert [o.identity for o in world.options] == [None, "Webcam at port 1-1"]
    source.close()


def test_waits_double_up_to_the_longest_and_begin_anew() -> None:
    class Most(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    waits = Backoff(3.0, Most())
    assert [waits.wait_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    waits.reset()
    assert waits.wait_s() == FIRST_WAIT_S
    spread = [Backoff(3.0, random.Random(n)).wait_s() for n in range(50)]
    assert 0.25 <= min(spread) < 0.3
    assert 0.45 < max(spread) <= 0.5


def test_a_thousand_reconnects_leave_nothing_behind() -> None:
    world = World([[nothing, broken] for _ in range(1000)])
    source = world.supervised(replace(OPTIONS, retry_s=1e-6))
    source.open(within_s=5)
    process = psutil.Process()
    read(source, 100)
    threads, files = process.num_threads(), process.num_fds()
    frames = read(source, 900)
    assert frames[-1].id == 999
    assert source.counts().reconnects == 999
    assert (process.num_threads(), process.num_fds()) == (threads, files)
    source.close()
