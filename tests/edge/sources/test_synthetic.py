"""The street as a source: its spec, its pace, its ids and gaps, by a clock that the test moves."""

from __future__ import annotations

import threading

import pytest

from edge.sources.options import Policy, SourceOptions
from edge.sources.synthetic import SyntheticSource, open_synthetic, parse_spec
from edge.street import StreetScene
from engines.errors import SettingsError

MS = 1_000_000


class FakeTime:
    """A clock that moves when told to, or when somebody waits."""

    def __init__(self) -> None:
        self.now = 5_000 * MS
        self.waited: list[float] = []
        self.stop_after: int | None = None

    def read(self) -> int:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        if self.stop_after is not None and len(self.waited) > self.stop_after:
            return True
        self.now += round(seconds * 1e9)
        return False


def source(
    clock: FakeTime, *, paced: bool = True, fps: float = 10.0, stop: threading.Event | None = None
) -> SyntheticSource:
    return SyntheticSource(
        StreetScene(64, 64, seed=0),
        fps=fps,
        paced=paced,
        stop=stop or threading.Event(),
        now_ns=clock.read,
        wait=clock.wait,
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("synthetic", (960, 540, 30.0)),
        ("synthetic:640x360", (640, 360, 30.0)),
        ("synthetic:64x64@0.5", (64, 64, 0.5)),
        (" synthetic:1920X1080@59.94 ", (1920, 1080, 59.94)),
    ],
)
def test_a_spec_names_size_and_rate(text: str, wanted: tuple[int, int, float]) -> None:
    assert parse_spec(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "synthetic:0x0@-3",
        "synthetic:foo",
        "synthetic:",
        "synthetic:640",
        "synthetic:640x360@",
        "synthetic:640x360@0",
        "synthetic:640x360@nan",
        "synthetic:640x360@1e3",
        "synthetic:63x64",
        "synthetic:999999999x999999999@30",
        "synthetic:99999999999999999999x10@30",
        "synthetic:640x360@999999",
        "synthetic:-640x360",
        "syntheticx",
        "synthetic:640x360@30:seed",
    ],
)
def test_a_bad_spec_says_what_was_got_and_what_is_wanted(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_spec(text)
    assert repr(text) in str(caught.value)
    assert "synthetic:960x540@30" in str(caught.value)


def test_a_reader_in_time_gets_every_frame_at_its_due_time() -> None:
    clock = FakeTime()
    street = source(clock)
    frames = [street.read() for _ in range(4)]
    assert [f.id for f in frames if f] == [0, 1, 2, 3]
    # 10 frames a second from 5,000 ms on: 5,000, 5,100, 5,200, 5,300.
    assert [f.t_capture_ns // MS for f in frames if f] == [5000, 5100, 5200, 5300]
    assert [f.t_read_ns // MS for f in frames if f] == [5000, 5100, 5200, 5300]
    assert [f.media_ns for f in frames if f] == [None] * 4
    assert clock.waited == pytest.approx([0.1, 0.1, 0.1])
    assert street.gaps == 0


def test_a_late_reader_gets_the_newest_due_frame_and_the_others_are_gaps() -> None:
    clock = FakeTime()
    street = source(clock)
    street.read()
    clock.now += 350 * MS  # frames 1, 2 and 3 are due at 100, 200, 300
    late = street.read()
    assert late is not None
    assert late.id == 3
    assert street.gaps == 2
    assert late.t_capture_ns // MS == 5300
    assert late.t_read_ns // MS == 5350
    after = street.read()
    assert after is not None
    assert after.id == 4
    assert after.t_capture_ns // MS == 5400
    assert street.gaps == 2


def test_a_rate_that_does_not_divide_a_second_does_not_drift() -> None:
    clock = FakeTime()
    street = source(clock, fps=29.97)
    frame = None
    for _ in range(120):
        frame = street.read()
    assert frame is not None
    assert frame.t_capture_ns == 5_000 * MS + round(119 * 1e9 / 29.97)
    assert street.gaps == 0


def test_on_demand_every_frame_comes_and_is_stamped_when_handed_over() -> None:
    clock = FakeTime()
    street = source(clock, paced=False)
    street.read()
    clock.now += 990 * MS
    frame = street.read()
    assert frame is not None
    assert (frame.id, frame.t_capture_ns // MS, frame.t_read_ns // MS) == (1, 5990, 5990)
    assert frame.media_ns == 100 * MS
    assert clock.waited == []
    assert street.gaps == 0


@pytest.mark.parametrize("paced", [True, False])
def test_frame_n_shows_the_scene_at_n_over_fps_and_is_read_only(paced: bool) -> None:
    street = source(FakeTime(), paced=paced)
    street.read()
    frame = street.read()
    assert frame is not None
    assert frame.image.tobytes() == StreetScene(64, 64, seed=0).render(0.1).tobytes()
    assert not frame.image.flags.writeable
    assert (frame.clock, frame.wh) == ("read", (64, 64))
    assert frame.source == street.name == "synthetic:64x64@10"


@pytest.mark.parametrize("paced", [True, False])
def test_a_stop_before_the_read_ends_the_stream(paced: bool) -> None:
    stop = threading.Event()
    street = source(FakeTime(), paced=paced, stop=stop)
    assert street.read() is not None
    stop.set()
    assert street.read() is None


def test_a_stop_during_the_wait_ends_the_stream_without_a_gap() -> None:
    clock = FakeTime()
    clock.stop_after = 0
    street = source(clock)
    assert street.read() is not None
    assert street.read() is None
    assert street.gaps == 0


def test_the_wait_is_on_the_stop_event_so_that_setting_it_wakes_the_reader() -> None:
    stop = threading.Event()
    options = SourceOptions()
    street = open_synthetic("synthetic:64x64@0.1", policy="auto", stop=stop, options=options)
    assert street.read() is not None  # the next is due in 10 s
    got: list[object] = []
    reader = threading.Thread(target=lambda: got.append(street.read()))
    reader.start()
    stop.set()
    reader.join(timeout=5.0)
    assert not reader.is_alive()
    assert got == [None]


def test_a_closed_source_gives_no_more_frames() -> None:
    street = source(FakeTime())
    street.close()
    street.close()
    assert street.read() is None


@pytest.mark.parametrize(("policy", "paced"), [("auto", True), ("drop", True), ("wait", False)])
def test_the_policy_decides_the_pace_and_the_seed_the_street(policy: Policy, paced: bool) -> None:
    stop, options = threading.Event(), SourceOptions(seed=7)
    street = open_synthetic("synthetic:64x64@10", policy=policy, stop=stop, options=options)
    assert street.live
    assert street.fps == 10.0
    first = street.read()
    assert first is not None
    assert first.image.tobytes() == StreetScene(64, 64, seed=7).render(0.0).tobytes()
    assert (first.t_capture_ns != first.t_read_ns) is paced
