"""When a film's pictures are shown: the same in every container, and always rising."""

from __future__ import annotations

import itertools
import logging
import threading
from fractions import Fraction
from pathlib import Path

import pytest

from edge.sources import SourceOptions, open_source
from edge.sources.video.media import av
from edge.vision.types import Frame
from tests.edge.media_files import number_of, write_video

PERIOD_NS = 40_000_000  # 25 fps
HOUR = 25 * 3600  # frame periods
H264 = {"x264-params": "bframes=3:b-adapt=0:keyint=12:open-gop=1"}  # I B B B P ..., open groups
H265 = {"x265-params": "bframes=3:b-adapt=0:keyint=12:log-level=none"}
MPEG = {"bf": "2", "g": "12"}


def frames_of(path: Path, options: SourceOptions | None = None) -> list[Frame]:
    """All frames, which are numbered as they are shown, until the orderly end."""
    source = open_source(str(path), policy="auto", stop=threading.Event(), options=options)
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame)
    source.close()
    return frames


def times_of(frames: list[Frame]) -> list[int]:
    times = [frame.media_ns for frame in frames if frame.media_ns is not None]
    assert len(times) == len(frames)
    return times


def steps_of(frames: list[Frame]) -> list[int]:
    times = times_of(frames)
    return [after - before for before, after in itertools.pairwise(times)]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.avi", "libx264", H264),
        ("a.avi", "mpeg4", MPEG),
        ("a.avi", "mpeg2video", MPEG),
        ("a.asf", "libx264", H264),
        ("a.asf", "mpeg4", MPEG),
        ("a.asf", "mpeg2video", MPEG),
        ("a.mkv", "libx264", H264),
        ("a.mkv", "libx265", H265),
        ("a.mp4", "mpeg4", MPEG),
        ("a.flv", "libx264", H264),
        ("a.ts", "libx265", H265),
        ("a.mpg", "mpeg2video", MPEG),
        ("a.vob", "libx264", H264),  # one time for all of it
        ("a.wtv", "mpeg2video", MPEG),
        ("a.mxf", "mpeg2video", MPEG),
        ("a.h264", "libx264", H264),
        ("a.hevc", "libx265", H265),
        ("a.m4v", "mpeg4", MPEG),
        ("a.m2v", "mpeg2video", MPEG),
    ],
)
def test_a_film_has_the_same_times_in_every_container(
    name: str, codec: str, options: dict[str, str], tmp_path: Path
) -> None:
    frames = frames_of(write_video(tmp_path / name, count=24, codec=codec, options=options))
    assert [number_of(f.image) for f in frames] == list(range(24))
    assert steps_of(frames) == pytest.approx([PERIOD_NS] * 23, abs=2)
    if name not in ("a.flv", "a.ts", "a.mpg", "a.vob", "a.wtv"):  # which begin a little later
        assert times_of(frames)[0] == 0


def copied(source: Path, sink: Path, *, decode_times: bool = False, damage: int = -1) -> Path:
    """The same packets, by their decode times alone, or with one in ruins."""
    with av.open(str(source)) as old, av.open(str(sink), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [p for p in old.demux(video=0) if p.size]
        for number, packet in enumerate(packets):
            copy = av.Packet(b"\0" * packet.size if number == damage else bytes(packet))
            assert packet.dts is not None
            assert packets[0].dts is not None
            copy.dts, copy.time_base = packet.dts - packets[0].dts, packet.time_base
            copy.pts = copy.dts if decode_times else packet.pts
            copy.is_keyframe, copy.stream = packet.is_keyframe, stream
            new.mux(copy)
    return sink


def test_an_mp4_that_only_keeps_decode_times_is_shown_in_order(tmp_path: Path) -> None:
    good = write_video(tmp_path / "a.mp4", count=24, codec="libx264", options=H264)
    frames = frames_of(copied(good, tmp_path / "b.mp4", decode_times=True))
    assert [number_of(f.image) for f in frames] == list(range(24))
    assert steps_of(frames) == [PERIOD_NS] * 23


@pytest.mark.parametrize(
    ("codec", "options"),
    [("libx264", H264), ("libx264", {"bf": "0"}), ("mpeg4", MPEG), ("mjpeg", {})],
)
@pytest.mark.parametrize("name", ["a.avi", "a.mkv"])
def test_pauses_in_an_avi_are_where_they_are_in_the_mkv(
    name: str, codec: str, options: dict[str, str], tmp_path: Path
) -> None:
    times = [0, 1, 2, 3, 10, 11, 12, 13, 20, 21, 22, 23, 24, 25]
    path = write_video(tmp_path / name, count=14, codec=codec, options=options, times=times)
    assert times_of(frames_of(path)) == [n * PERIOD_NS for n in times]


def test_a_damaged_picture_in_an_avi_does_not_move_the_others(tmp_path: Path) -> None:
    good = write_video(tmp_path / "a.avi", count=24, codec="mpeg4", options={"g": "4"})
    frames = frames_of(copied(good, tmp_path / "b.avi", damage=7))
    later = [f for f in frames if number_of(f.image) > 7]
    assert [f.media_ns for f in later] == [number_of(f.image) * PERIOD_NS for f in later]


def test_b_frames_packed_behind_their_p_frame_are_shown_in_order(tmp_path: Path) -> None:
    """DivX: the chunk of a P-frame holds the B-frame that is shown before it, too.

    The next chunk is a picture "not coded": 00 00 01 b6, type 01, modulo 0, marker 1, the time in
    five bits (25 fps), marker 1, coded 0, and 0111 to the end of the byte.
    """
    options = {"bf": "1", "g": "100", "sc_threshold": "1000000000"}
    good = write_video(tmp_path / "a.avi", count=9, options=options)
    path = tmp_path / "b.avi"
    with av.open(str(good)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        first, *rest = [bytes(p) for p in old.demux(video=0) if p.size]
        chunks = [b"\0\0\1\xb2DivX503b1393p" + first]
        for p_frame, b_frame in zip(rest[::2], rest[1::2], strict=True):
            chunks += [p_frame + b_frame, b"\0\0\1\xb6" + bytes([0b01_0_1_0000, 0b0_1_0_01111])]
        for number, data in enumerate(chunks):
            copy = av.Packet(data)
            copy.pts = copy.dts = number
            copy.time_base = Fraction(1, 25)
            copy.is_keyframe, copy.stream = number == 0, stream
            new.mux(copy)
    frames = frames_of(path)
    assert [number_of(f.image) for f in frames] == list(range(9))
    assert times_of(frames) == [n * PERIOD_NS for n in range(9)]


def joined(folder: Path, first: int, second: int, suffix: str = "ts") -> Path:
    """Two recordings of six frames strung together, beginning at these frame periods."""
    parts = []
    for start in (first, second):
        path = folder / f"{start}.{suffix}"
        write_video(path, count=6, codec="libx264", times=range(start, start + 6))
        parts.append(path.read_bytes())
    (folder / f"joined.{suffix}").write_bytes(b"".join(parts))
    return folder / f"joined.{suffix}"


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (25_000, 0, "fall back by 1000.12 s"),  # B-frames: the second begins at period 2
        (0, 25_000, "leap by 999.72 s"),
        (0, 0, "fall back by 0.20 s"),
    ],
)
def test_recordings_joined_in_one_file_go_on_one_after_the_other(
    first: int, second: int, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = frames_of(joined(tmp_path, first, second))
    assert [number_of(f.image) for f in frames] == [0, 1, 2, 3, 4, 5] * 2
    assert steps_of(frames) == pytest.approx([PERIOD_NS] * 11, abs=2)
    assert [told in r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        True
    ]


def test_the_clock_of_a_transport_stream_may_begin_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At 2^33 / 90,000 Hz = 95,443.718 s, which is 2,386,092.9 periods."""
    frames = frames_of(joined(tmp_path, 2_386_085, 2_386_091))
    assert steps_of(frames) == pytest.approx([PERIOD_NS] * 11, abs=2)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_a_picture_every_hour_keeps_its_times(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hours = 7 if name != "a.avi" else 0.01  # an AVI has an empty chunk for every period between
    times = [round(n * hours * HOUR) for n in range(4)]
    frames = frames_of(write_video(tmp_path / name, count=4, codec="mpeg4", times=times))
    assert steps_of(frames) == pytest.approx([hours * 3600e9] * 3, abs=2)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.h264", "libx264"), ("a.hevc", "libx265"), ("a.m4v", "mpeg4"), ("a.m2v", "mpeg2video")],
)
def test_a_raw_video_plays_at_the_rate_that_it_states(
    name: str, codec: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    frames = frames_of(write_video(tmp_path / name, fps=50, codec=codec, options=options))
    assert times_of(frames) == [n * 20_000_000 for n in range(10)]
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def bits_of(data: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in data)


def without_rate(path: Path) -> Path:
    """Raw H.264 of the baseline profile without the part of its parameters that tells the rate.

    ITU-T H.264, 7.3.2.1.1: after the profile and level come Exp-Golomb numbers, of which one
    with z leading zeros is 2z + 1 bits long.
    """
    data = path.read_bytes()
    start = data.index(b"\0\0\0\1\x67") + 5
    end = data.index(b"\0\0\0\1", start)
    bits = bits_of(data[start:end])

    def after(at: int, count: int) -> int:
        for _ in range(count):
            at += 2 * (bits.index("1", at) - at) + 1
        return at

    at = after(24, 2)  # its id, log2_max_frame_num
    order = bits[at : after(at, 1)]  # pic_order_cnt_type: 0 has another number, 2 has none
    at = after(at, 3 if order == "1" else 2) + 1  # max_num_ref_frames, gaps allowed
    at = after(at, 2) + 2  # width and height, frame_mbs_only, direct_8x8
    assert bits[at : at + 2] == "01"  # no cropping, but the part in question
    whole = bits[: at + 1] + "0" + "1"
    whole += "0" * (-len(whole) % 8)
    sps = bytes(int(whole[k : k + 8], 2) for k in range(0, len(whole), 8))
    path.write_bytes(data[:start] + sps + data[end:])
    return path


def test_the_rate_of_a_raw_video_that_states_none_is_a_guess_and_can_be_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_video(tmp_path / "a.h264", codec="libx264", options={"profile": "baseline"})
    frames = frames_of(without_rate(path))
    assert times_of(frames) == [n * PERIOD_NS for n in range(10)]
    assert "25 fps is a guess; say it with --raw-fps" in caplog.text
    caplog.clear()
    assert times_of(frames_of(path, SourceOptions(raw_fps=40))) == [
        n * 25_000_000 for n in range(10)
    ]
    assert caplog.text.count("guess") == 0
