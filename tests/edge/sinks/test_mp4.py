"""The mp4: its times, its sizes and colours, and what stays of it when the end is not orderly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2  # noqa: F401  (before av, as in the app)
import numpy as np
import pytest

# isort: split
import av

from edge.sinks import open_sink
from edge.sources.live.status import SourceStatus
from edge.vision.types import Image
from engines.errors import SinkError
from tests.edge.sink_values import picture, result

GREY = picture((90, 90, 90))
MS = 1_000_000


def _write(path: Path, times: Sequence[tuple[int, int | None]], *, fps: float | None) -> None:
    """Write a grey frame for each (t_capture_ns, media_ns)."""
    sink = open_sink(str(path), fps=fps)
    for number, (t_ns, media_ns) in enumerate(times):
        given = result(number, t_capture_ns=t_ns, media_ns=media_ns)
        assert sink.write(given, GREY, frame_age_ms=0)
    sink.close()


def _read(path: Path) -> tuple[list[float], list[Image]]:
    """Seconds and pictures of every frame, by an independent reading of the file."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    images = [np.asarray(f.to_ndarray(format="bgr24"), np.uint8) for f in frames]
    return [float(f.time) for f in frames], images


def test_no_signal_is_filmed_at_its_time_but_not_before_the_first_frame(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "a.mp4"), fps=None)
    lost = SourceStatus("cam", "reconnecting", 0, "unplugged")
    big = picture((20, 20, 20), wh=(960, 540))  # the size where there never was a frame
    assert sink.signal(lost, big, at_ns=1000 * MS)
    assert sink.write(result(0, t_capture_ns=3000 * MS), GREY, frame_age_ms=0)
    assert sink.signal(lost, None, at_ns=3100 * MS)  # a state that is only told
    assert sink.signal(lost, picture((20, 20, 20)), at_ns=3500 * MS)
    assert sink.write(result(1, t_capture_ns=5000 * MS), GREY, frame_age_ms=0)
    sink.close()
    times, images = _read(tmp_path / "a.mp4")
    assert times == pytest.approx([0, 0.5, 2.0], abs=1e-4)
    assert {image.shape for image in images} == {(48, 64, 3)}
    assert [round(float(image.mean()), -1) for image in images] == [90, 20, 90]


def test_a_file_keeps_its_own_times_however_late_its_frames_were_captured(tmp_path: Path) -> None:
    # A varying rate, begun at 3 s.
    times = [(0, 3000 * MS), (10, 3100 * MS), (10**12, 4100 * MS), (10**12, 4200 * MS)]
    _write(tmp_path / "a.mp4", times, fps=10.0)
    assert _read(tmp_path / "a.mp4")[0] == pytest.approx([0, 0.1, 1.1, 1.2], abs=1e-4)


def test_a_live_source_keeps_the_times_of_capture(tmp_path: Path) -> None:
    _write(tmp_path / "a.mp4", [(5000 * MS, None), (5040 * MS, None), (6000 * MS, None)], fps=30.0)
    assert _read(tmp_path / "a.mp4")[0] == pytest.approx([0, 0.04, 1.0], abs=1e-4)


def test_times_that_stand_still_or_go_back_still_rise_in_the_file(tmp_path: Path) -> None:
    _write(tmp_path / "a.mp4", [(10**9, None), (10**9, None), (0, None)], fps=None)
    seconds, _ = _read(tmp_path / "a.mp4")
    assert len(seconds) == 3
    assert seconds == sorted(set(seconds))


def test_a_gap_longer_than_a_file_can_tell_is_shortened_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hours = [0, 7, 14, 14.5, 30]  # 7 h are 2.27e9 ticks of 1/90000 s, more than 31 bits
    _write(tmp_path / "a.mp4", [(0, round(h * 3600 * 1000) * MS) for h in hours], fps=1 / 25200)
    # each step of more than 6 h is 6 h, the others stay
    assert _read(tmp_path / "a.mp4")[0] == [h * 3600 for h in (0, 6, 12, 12.5, 18.5)]
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'a.mp4'}: a film shows no picture for longer than 6 h: longer gaps are "
        "shortened to that, and JSON lines have the true times; told once"
    ]


def test_a_player_is_told_the_right_duration_and_count(tmp_path: Path) -> None:
    fps = 30000 / 1001
    _write(tmp_path / "a.mp4", [(0, round(i / fps * 1e9)) for i in range(90)], fps=fps)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.frames == 90
        assert stream.average_rate == Fraction(30000, 1001)
        assert stream.duration is not None
        assert stream.time_base is not None
        assert float(stream.duration * stream.time_base) == pytest.approx(90 / fps, abs=0.001)


@pytest.mark.parametrize("bgr", [(200, 40, 20), (20, 200, 40), (10, 30, 220), (255, 255, 255)])
def test_colours_survive(bgr: tuple[int, int, int], tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "a.mp4"), fps=25.0)
    sink.write(result(0), picture(bgr), frame_age_ms=0)
    sink.close()
    _, (image,) = _read(tmp_path / "a.mp4")
    assert np.abs(image.astype(int) - np.array(bgr)).max() <= 6  # limited range and 4:2:0


@pytest.mark.parametrize("wh", [(65, 49), (64, 49), (65, 48), (2, 2), (1, 1), (1242, 375)])
def test_odd_sizes_lose_nothing_and_have_their_last_row_and_column_twice(
    wh: tuple[int, int], tmp_path: Path
) -> None:
    shown = picture((90, 90, 90), wh=wh)
    shown[-1] = shown[:, -1] = 200
    sink = open_sink(str(tmp_path / "a.mp4"), fps=25.0)
    sink.write(result(0, wh=wh), shown, frame_age_ms=0)
    sink.close()
    _, (image,) = _read(tmp_path / "a.mp4")
    height, width = image.shape[:2]
    assert (width, height) == (wh[0] + wh[0] % 2, wh[1] + wh[1] % 2)
    assert image[wh[1] - 1 :].min() > 180
    assert image[:, wh[0] - 1 :].min() > 180


def test_a_frame_of_another_size_is_fitted_into_the_first(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path / "a.mp4"), fps=25.0)
    sink.write(result(0), picture((90, 90, 90), wh=(64, 48)), frame_age_ms=0)
    sink.write(result(1), picture((255, 255, 255), wh=(32, 48)), frame_age_ms=0)
    sink.close()
    _, (first, second) = _read(tmp_path / "a.mp4")
    assert second.shape == first.shape == (48, 64, 3)
    # 32x48 in 64x48: scale 1, black 16 px at the left and at the right.
    assert second[:, 20:44].min() > 230
    assert second[:, :12].max() < 25
    assert second[:, 52:].max() < 25


ENDLESS = """
import sys
import numpy as np
from edge.sinks import open_sink
from tests.edge.sink_values import result
sink = open_sink(sys.argv[1], fps=25.0)
noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
for i in range(200):
    sink.write(result(i, media_ns=i * 40_000_000), noise, frame_age_ms=0)
print("written", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_leaves_a_playable_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.kill()
    # 8 s were written; the last fragment of a second and what the encoder holds may be lost.
    assert 150 <= len(_read(path)[0]) <= 200


FULL_DISK = """
import resource, signal, sys
import numpy as np
from edge.sinks import open_sink
from engines.errors import SinkError
from tests.edge.sink_values import result
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rng = np.random.default_rng(0)
noise = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(100)]
for limit in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    sink = open_sink(f"{sys.argv[1]}/{limit}.mp4", fps=25.0)
    try:
        for i, image in enumerate(noise):
            sink.write(result(i, media_ns=i * 40_000_000), image, frame_age_ms=0)
        sink.close()
        print("whole")
    except SinkError as exc:
        sink.close()
        print(exc)
"""


def _run_into_full_disks(folder: Path, limits: Sequence[int]) -> list[str]:
    """What is said of LIMIT.mp4, 4 s of noise, for each limit of bytes."""
    words = [sys.executable, "-c", FULL_DISK, str(folder), *map(str, limits)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_disk_that_fills_up_anywhere_is_told_and_leaves_whole_seconds(tmp_path: Path) -> None:
    assert _run_into_full_disks(tmp_path, [10**8]) == ["whole"]
    size = (tmp_path / "100000000.mp4").stat().st_size
    # also in the closing index, behind the last second, and before anything is whole
    limits = [size // 100, *(size * n // 13 for n in range(1, 13)), size - 2000, size - 100]
    for limit, said in zip(limits, _run_into_full_disks(tmp_path, limits), strict=True):
        path = tmp_path / f"{limit}.mp4"
        assert "cannot be written: File too large" in said
        frames = len(_read(path)[0]) if path.stat().st_size else 0  # fails where one is damaged
        assert ("what was written is playable" in said) == (frames > 0)
        assert frames in (0, 25, 50, 75, 100)
        assert abs(frames - 100 * limit / size) <= 26


def test_a_device_without_space_is_a_sink_error(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.symlink_to("/dev/full")
    sink = open_sink(str(path), fps=25.0)
    sink.write(result(0), GREY, frame_age_ms=0)  # held back until a fragment is whole
    with pytest.raises(SinkError, match=r"a\.mp4: cannot be written: No space left") as raised:
        sink.close()
    assert "playable" not in str(raised.value)  # nothing of it is


def test_a_size_that_the_encoder_refuses_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.h264.encoder.MOST_SIDE", 1 << 20)  # libx264 takes 16,384
    sink = open_sink(str(tmp_path / "a.mp4"), fps=25.0)
    with pytest.raises(SinkError, match=r"a\.mp4: cannot be written"):
        sink.write(result(0, wh=(20_000, 4)), picture((90, 90, 90), wh=(20_000, 4)), frame_age_ms=0)
    sink.close()
