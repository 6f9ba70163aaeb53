"""Video files: every frame once and in order, real rates, and an honest word on every damage."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.sources import SourceOptions, open_source
from edge.sources.base import Source
from edge.sources.options import Policy
from edge.sources.timing.pacing import SECOND_NS, Pacer
from edge.sources.video.file import open_file
from edge.sources.video.media import av
from edge.sources.video.video import VideoSource
from edge.vision.types import Frame
from engines.errors import SourceError
from tests.edge.media_files import number_of, unprivileged, write_sound, write_video


def opened(path: str | Path, policy: Policy = "auto") -> Source:
    return open_source(str(path), policy=policy, stop=threading.Event())


def drain(source: Source) -> list[Frame]:
    """All frames until the orderly end."""
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame)
    source.close()
    return frames


def drain_until_broken(source: Source) -> tuple[list[Frame], str]:
    """The frames before the error, and its message."""
    frames: list[Frame] = []

    def read_all() -> None:
        while (frame := source.read()) is not None:
            frames.append(frame)

    with pytest.raises(SourceError) as raised:
        read_all()
    source.close()
    return frames, str(raised.value)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.avi", "mpeg4"), ("a.mkv", "mpeg4"), ("a.ts", "libx264")],
)
def test_every_frame_comes_once_and_in_order(tmp_path: Path, name: str, codec: str) -> None:
    source = opened(write_video(tmp_path / name, count=12, codec=codec))
    assert (source.live, source.fps, source.name) == (False, 25.0, str(tmp_path / name))
    assert source.frame_count == 12
    frames = drain(source)
    assert [number_of(f.image) for f in frames] == list(range(12))
    assert [f.id for f in frames] == list(range(12))
    assert source.gaps == 0
    for frame in frames:
        assert frame.image.shape == (48, 64, 3)
        assert frame.image.dtype == np.uint8
        assert not frame.image.flags.writeable
        assert (frame.clock, frame.t_capture_ns) == ("read", frame.t_read_ns)


def test_a_frame_keeps_its_pixels_after_the_source_went_on(tmp_path: Path) -> None:
    source = opened(write_video(tmp_path / "a.mp4"))
    first = source.read()
    assert first is not None
    before = first.image.copy()
    drain(source)
    assert (first.image == before).all()


def test_the_real_clip_has_all_its_frames(shared: Path) -> None:
    source = opened(shared / "data/videos/highway.mp4")
    count = 0
    while (frame := source.read()) is not None:
        assert frame.wh == (960, 540)
        count += 1
    assert (count, source.gaps, source.fps) == (221, 0, 25.0)


def test_colours_come_as_blue_green_red(tmp_path: Path) -> None:
    colour = np.full((48, 64, 3), (200, 120, 40), np.uint8)  # B, G, R
    source = opened(write_video(tmp_path / "a.mp4", count=1, image=colour))
    frame = source.read()
    assert frame is not None
    assert np.abs(frame.image.mean((0, 1)) - (200, 120, 40)).max() < 6


class Wall:
    """A clock that moves only by waiting."""

    def __init__(self) -> None:
        self.now_ns = SECOND_NS

    def clock(self) -> int:
        return self.now_ns

    def wait(self, seconds: float) -> bool:
        self.now_ns += round(seconds * SECOND_NS)
        return False


def test_drop_plays_a_varying_rate_at_its_own_timestamps(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", count=4, fps=10, times=[0, 1, 5, 6])
    wall, stop = Wall(), threading.Event()
    container = open_file(path)
    source = VideoSource(
        container,
        name="a",
        live=False,
        pacer=Pacer(stop, clock_ns=wall.clock, wait=wall.wait),
        stop=stop,
        options=SourceOptions(),
        clock_ns=wall.clock,
    )
    frames = drain(source)
    assert [f.t_read_ns - SECOND_NS for f in frames] == pytest.approx(
        [0, 0.1e9, 0.5e9, 0.6e9], abs=1e6
    )


def test_a_frame_brings_its_time_in_the_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", count=4, fps=10, times=[0, 1, 5, 6])
    times = [frame.media_ns for frame in drain(opened(path))]
    assert times == pytest.approx([0, 0.1e9, 0.5e9, 0.6e9], abs=1)


def test_a_stop_ends_a_hold_of_hours(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", count=2, fps=1, times=[0, 7200])
    stop = threading.Event()
    source = open_source(str(path), policy="drop", stop=stop)
    assert source.read() is not None
    results: list[Frame | None] = []
    reader = threading.Thread(target=lambda: results.append(source.read()))
    reader.start()
    stop.set()
    reader.join(5)
    assert results == [None]
    source.close()


@pytest.mark.parametrize(
    ("name", "codec", "more"),
    [
        ("a.mp4", "libx264", {"movflags": "faststart"}),
        ("a.mkv", "mpeg4", {}),
        ("a.avi", "mpeg4", {}),
    ],
)
def test_a_video_that_was_cut_off_gives_the_frames_before_and_says_where(
    tmp_path: Path, name: str, codec: str, more: dict[str, str]
) -> None:
    path = write_video(tmp_path / name, count=40, codec=codec, noise=True, container_options=more)
    os.truncate(path, path.stat().st_size * 6 // 10)
    source = opened(path)
    frames, message = drain_until_broken(source)
    assert 15 <= len(frames) <= 30
    assert [f.id for f in frames] == list(range(len(frames)))
    seconds = (len(frames) - 1) / 25
    assert f"breaks off after frame {len(frames)} at {seconds:.2f} s" in message


def test_a_damaged_packet_is_a_gap_and_the_rest_is_read(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mkv", count=10, codec="mjpeg")
    damaged = tmp_path / "b.mkv"
    with av.open(str(whole)) as source, av.open(str(damaged), "w") as sink:
        stream = sink.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is None:
                continue
            copy = av.Packet(b"\0" * packet.size if number == 4 else bytes(packet))
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.stream = stream
            sink.mux(copy)
    result = opened(damaged)
    frames = drain(result)
    assert [number_of(f.image) for f in frames] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert [f.id for f in frames] == list(range(9))
    assert result.gaps == 1


def test_frames_that_change_size_pass_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.mjpeg"
    with path.open("wb") as file:
        for wh in ((64, 48), (64, 48), (32, 96)):
            file.write(cv2.imencode(".jpg", np.zeros((wh[1], wh[0], 3), np.uint8))[1].tobytes())
    assert [f.wh for f in drain(opened(path))] == [(64, 48), (64, 48), (32, 96)]


def missing(folder: Path) -> Path:
    (folder / "highway.mp4").write_bytes(b"x")
    return folder / "higway.mp4"  # codespell:ignore higway


def no_folder(folder: Path) -> Path:
    return folder / "none" / "a.mp4"


def empty(folder: Path) -> Path:
    (folder / "a.mp4").touch()
    return folder / "a.mp4"


def text(folder: Path) -> Path:
    (folder / "a.mp4").write_text("not a video\n" * 100)
    return folder / "a.mp4"


def random_bytes(folder: Path) -> Path:
    data = np.random.default_rng(1).integers(0, 255, 5000, np.uint8).tobytes()
    (folder / "a.mp4").write_bytes(data)
    return folder / "a.mp4"


def without_index(folder: Path) -> Path:
    path = write_video(folder / "a.mp4", noise=True)  # its index is at the end
    os.truncate(path, path.stat().st_size // 2)
    return path


def sound_only(folder: Path) -> Path:
    return write_sound(folder / "a.mp4")


def pipe(folder: Path) -> Path:
    path = folder / "a.mp4"
    path.symlink_to("/dev/null")
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (missing, r"no such file or folder; did you mean .*highway\.mp4\?"),
        (no_folder, "is not there either"),
        (empty, "the file is empty"),
        (text, "not a video that can be read"),
        (random_bytes, "not a video that can be read|no video in it|cannot be decoded|no frame"),
        (without_index, "record it again or repair it"),
        (sound_only, r"no video in it \(it holds audio\)"),
        (pipe, "not a regular file"),
    ],
)
def test_what_is_no_video_is_refused_in_words(
    tmp_path: Path,
    make: Callable[[Path], Path],
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = make(tmp_path)
    with pytest.raises(SourceError, match=message) as raised:
        opened(path).read()
    assert str(path) in str(raised.value)
    assert capfd.readouterr().err == ""


def test_a_video_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", count=2)
    path.chmod(0)
    with unprivileged(), pytest.raises(SourceError, match="cannot be read: Permission denied"):
        opened(path)


@pytest.mark.parametrize("name", ["a:b.mp4", "-a.mp4", "50%03d.mp4", "ä ö.mp4"])
def test_odd_names_are_files_all_the_same(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "x.mp4", count=2).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(drain(opened(name))) == 2


def test_closing_from_another_thread_ends_the_reader(tmp_path: Path) -> None:
    source = opened(write_video(tmp_path / "a.mp4", count=30))
    started = threading.Event()
    counts: list[int] = []

    def read() -> None:
        count = 0
        while source.read() is not None:
            count += 1
            started.set()
        counts.append(count)

    reader = threading.Thread(target=read)
    reader.start()
    assert started.wait(10)
    source.close()
    reader.join(10)
    source.close()
    assert 1 <= counts[0] <= 30
    assert source.read() is None
