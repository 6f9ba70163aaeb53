"""The ring of films, and what a disk may do to it: fill up, vanish, refuse, be slow."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.sinks.record import disk as disk_module
from edge.sinks.record.disk import Disk
from edge.sinks.record.film import Coded
from edge.sinks.record.ring import Ring
from tests.edge.sinks.record.coded import UTC_NS, coded, lines, played

MB = 1_000_000
DEADLINE_S = 20


@contextlib.contextmanager
def _recorder(
    folder: Path, *, segment_s: float = 2, keep: int = 100 * MB, free: int = 0
) -> Iterator[Disk]:
    ring = Ring(folder, keep_bytes=keep, free_bytes=free)
    ring.open(make=True)
    disk = Disk(ring, segment_s=segment_s)
    disk.start()
    try:
        yield disk
    finally:
        disk.end()
        assert disk.join(DEADLINE_S)


def _feed(disk: Disk, pictures: Iterable[Coded], until: Callable[[], bool] | None = None) -> None:
    """Give it pictures: all, or until something is so."""
    deadline = time.monotonic() + DEADLINE_S
    for picture in pictures:
        disk.put(picture, wait_s=DEADLINE_S)
        if until is not None:
            if until():
                return
            os.sched_yield()
            assert time.monotonic() < deadline
    assert until is None or _soon(until)


def _soon(done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while not done() and time.monotonic() < deadline:
        time.sleep(0.002)
    return done()


def _films(folder: Path) -> list[Path]:
    return sorted(folder.glob("film-????????-*.mp4"))


def _frames(folder: Path) -> list[list[int]]:
    """The numbers of the pictures in each film, which are those that play."""
    found = []
    for film in _films(folder):
        told = [line["frame"] for line in lines(film)]
        assert len(played(film)[0]) == len(told)
        found.append(told)
    return found


def test_films_end_at_key_frames_and_lose_nothing_between(tmp_path: Path) -> None:
    with _recorder(tmp_path, segment_s=1.5) as disk:
        _feed(disk, coded(110))
    # Key frames come every second, so at 2 and 4 s.
    assert _frames(tmp_path) == [list(range(50)), list(range(50, 100)), list(range(100, 110))]
    assert [film.name for film in _films(tmp_path)] == [
        "film-00000000-20270115T080000Z.mp4",
        "film-00000001-20270115T080002Z.mp4",
        "film-00000002-20270115T080004Z.mp4",
    ]
    assert (disk.taken, disk.missed) == (110, 0)
    assert disk.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_lines_are_on_the_disk_though_no_picture_comes_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_module, "_PART_S", 0.02)
    folder = tmp_path / "films"
    with _recorder(folder) as disk:
        _feed(disk, coded(10), lambda: bool(_films(folder)))
        (film,) = _films(folder)
        assert _soon(lambda: len(lines(film)) == 10)
        disk.note({"event": "source"})
        assert _soon(lambda: lines(film)[10:] == [{"event": "source"}])


def test_a_clock_that_jumps_back_neither_misorders_nor_overwrites(tmp_path: Path) -> None:
    def back(pictures: Iterable[Coded], by_s: int) -> Iterator[Coded]:
        return (replace(p, utc_ns=p.utc_ns - by_s * 10**9) for p in pictures)

    pictures = coded(200)
    with _recorder(tmp_path, keep=10 * MB) as disk:
        _feed(disk, (next(pictures) for _ in range(100)))
        _feed(disk, back(pictures, 4 + 86400))
    names = [film.name for film in _films(tmp_path)]
    assert names[2] == "film-00000002-20270114T080000Z.mp4"
    assert [frames[0] for frames in _frames(tmp_path)] == [0, 50, 100, 150]
    with _recorder(tmp_path, keep=1) as disk:  # the oldest by number goes, whatever its time
        _feed(disk, back(coded(1), UTC_NS // 10**9 + 1))  # before 1970
        assert _soon(lambda: len(_films(tmp_path)) <= 1)
    assert [film.name for film in _films(tmp_path)] == ["film-00000004-19691231T235959Z.mp4"]


def test_a_restart_goes_on_and_mends_what_a_crash_left(tmp_path: Path) -> None:
    with _recorder(tmp_path) as disk:
        _feed(disk, coded(60))
    torn = _films(tmp_path)[-1]
    torn.write_bytes(torn.read_bytes()[:-1])
    with _recorder(tmp_path) as disk:
        assert len(_films(tmp_path)) == 1  # 10 pictures were all of it
        _feed(disk, coded(10, first=500))
    assert _frames(tmp_path) == [list(range(50)), list(range(500, 510))]


def test_all_is_within_its_bound_the_oldest_go_and_nothing_of_others(tmp_path: Path) -> None:
    others = ["a.mp4", "film-1.mp4", "film-00000000-20270115T080000Z.mp4.part", "clips/a.mp4"]
    for name in others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(200_000))
    (tmp_path / "clips" / "film-00000000-20270115T080000Z.mp4").write_bytes(b"an event")
    with _recorder(tmp_path, keep=300_000) as disk:
        _feed(disk, coded(300, noise=True))
    assert all((tmp_path / name).stat().st_size == 200_000 for name in others)
    assert (tmp_path / "clips" / "film-00000000-20270115T080000Z.mp4").exists()
    kept = _films(tmp_path)
    assert 2 <= len(kept) < 6
    assert {film.stem for film in tmp_path.glob("film-????????-*.jsonl")} == {f.stem for f in kept}
    frames = _frames(tmp_path)
    assert [n for film in frames for n in film] == list(range(frames[0][0], 300))
    assert disk.bytes <= 300_000
    assert disk.missed == 0


def test_a_bound_below_one_film_cuts_it_short(tmp_path: Path) -> None:
    with _recorder(tmp_path, segment_s=600, keep=200_000) as disk:
        _feed(disk, coded(200, noise=True))
    sizes = [film.stat().st_size for film in _films(tmp_path)]
    assert sum(sizes) < 400_000
    assert _frames(tmp_path)[-1][-1] == 199


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount (root)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


def _fill(path: Path, size: int) -> None:
    """Fill a disk as another program does, as far as it goes."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        for _ in range(size // 10_000):
            file.write(bytes(10_000))


def test_a_disk_that_others_fill_shrinks_the_ring_then_alarms_and_is_used_again(
    small_disk: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_module, "RETRY_S", 0.0)
    folder, other = small_disk / "films", small_disk / "log"
    pictures = coded(100_000, noise=True)
    with caplog.at_level(logging.INFO), _recorder(folder, free=MB) as disk:
        _feed(disk, pictures, lambda: disk.bytes > MB)
        assert disk.alarm is None
        before = len(_films(folder))
        _fill(other, 5 * MB // 2)  # of 4.19: 0.69 are left for films
        _feed(disk, pictures, lambda: disk.bytes < 0.75 * MB)
        assert disk.alarm is None
        assert 0 < len(_films(folder)) < before
        _fill(other, 4 * MB)
        _feed(disk, pictures, lambda: disk.alarm is not None)
        missed = disk.missed
        _feed(disk, pictures, lambda: disk.missed > missed + 50)  # it takes them all the same
        assert re.fullmatch(
            r"[0-9.e-]+ GB of the disk are free, wanted 0\.001[0-9]*, and no older film is left",
            str(disk.alarm),
        )
        assert len(_films(folder)) == 1  # the newest is not given up for nothing
        assert _frames(folder)  # what is left plays
        other.unlink()
        _feed(disk, pictures, lambda: disk.alarm is None)
        whole = disk.missed
        _feed(disk, pictures, lambda: len(_films(folder)) > 3)
        assert disk.missed == whole
    told = [record.getMessage() for record in caplog.records]
    assert sum("nothing is recorded" in line for line in told) == 1
    assert sum("records again" in line for line in told) == 1
    assert _frames(folder)


def test_films_make_room_on_a_disk_that_is_filled_up_at_once(small_disk: Path) -> None:
    folder = small_disk / "films"
    pictures = coded(100_000, noise=True)
    with _recorder(folder, free=MB // 2) as disk:
        _feed(disk, pictures, lambda: disk.bytes > 1.5 * MB)
        kept = _films(folder)
        _fill(small_disk / "log", 5 * MB)  # to the last byte
        _feed(disk, pictures, lambda: _films(folder)[0] > kept[2])
        _feed(disk, pictures, lambda: disk.alarm is None)
        assert 0 < disk.bytes < 1.5 * MB
        missed = disk.missed
        _feed(disk, pictures, lambda: _films(folder)[0] > kept[-1])  # the ring goes on
        assert disk.missed == missed


def test_it_is_not_used_again_for_a_moments_room(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_module, "RETRY_S", 0.0)
    folder, other = small_disk / "films", small_disk / "log"
    pictures = coded(100_000, noise=True)
    with _recorder(folder, free=2 * MB) as disk:
        _feed(disk, pictures, lambda: disk.bytes > 0)
        _fill(other, 3 * MB)
        _feed(disk, pictures, lambda: disk.alarm is not None)
        kept = _films(folder)
        other.write_bytes(bytes(4 * 1024 * 1024 - 2_100_000 - disk.bytes))  # 2.1 MB are free
        missed = disk.missed
        _feed(disk, pictures, lambda: disk.missed > missed + 200)
        assert disk.alarm is not None
        assert re.search("wanted 0.0022[0-9]*, and", disk.alarm)  # a tenth more than to go on
        assert _films(folder) == kept  # the last before the alarm is not given up for more
        other.unlink()
        _feed(disk, pictures, lambda: disk.alarm is None)


def test_a_folder_that_vanishes_or_refuses_is_used_again_when_it_is_back(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_module, "RETRY_S", 0.0)
    folder = small_disk / "films"
    pictures = coded(100_000)
    with _recorder(folder) as disk:
        _feed(disk, pictures, lambda: disk.bytes > 0)
        shutil.rmtree(folder)
        _feed(disk, pictures, lambda: disk.alarm is not None)
        _feed(disk, pictures, lambda: "No such file" in (disk.alarm or ""))
        assert not folder.exists()  # where a disk was, another is not filled
        folder.mkdir()
        _feed(disk, pictures, lambda: disk.alarm is None)
        shutil.rmtree(folder)
        _feed(disk, pictures, lambda: disk.alarm is not None)
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        _feed(disk, pictures, lambda: disk.alarm is not None)
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        folder.mkdir()
        _feed(disk, pictures, lambda: disk.alarm is None)
        folder.rename(small_disk / "gone")
        folder.mkdir()
        subprocess.run(["mount", "--bind", "-o", "ro", str(folder), str(folder)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        _feed(disk, pictures, lambda: "Read-only" in (disk.alarm or ""))
        subprocess.run(["umount", str(folder)], check=True)
        _feed(disk, pictures, lambda: disk.alarm is None)
    assert _frames(folder)


@pytest.mark.parametrize("has_part", [True, False])
def test_a_disk_that_was_unmounted_is_not_recorded_beside(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, has_part: bool
) -> None:
    """A film's files are made with its first part, up to a second after it has begun."""
    monkeypatch.setattr(disk_module, "RETRY_S", 0.0)
    pictures = coded(100_000)
    with _recorder(small_disk) as disk:
        if has_part:
            _feed(disk, pictures, lambda: disk.bytes > 0)
        else:
            disk.put(next(pictures), wait_s=0)
            assert _soon(lambda: disk._film is not None)
        subprocess.run(["umount", "--lazy", str(small_disk)], check=True)
        _feed(disk, pictures, lambda: "nothing is mounted" in (disk.alarm or ""))
        assert list(small_disk.iterdir()) == []
        mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small_disk)]
        subprocess.run(mount, check=True)
        _feed(disk, pictures, lambda: disk.alarm is None)
    assert _frames(small_disk)


def test_a_disk_that_is_too_slow_loses_pictures_up_to_a_key_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = list(coded(100))
    room = sum(len(p.sample.data) + 2000 for p in pictures[:30])
    monkeypatch.setattr(disk_module, "BACKLOG_BYTES", room - 1)
    disk = Disk(ring := Ring(tmp_path, keep_bytes=MB, free_bytes=0), segment_s=60)
    ring.open()
    for picture in pictures[:40]:  # it stands still
        disk.put(picture, wait_s=0)
    assert (disk.taken, disk.missed, disk.behind) == (40, 10, True)
    disk.start()
    assert _soon(lambda: not disk._waiting)
    for picture in pictures[40:]:
        disk.put(picture, wait_s=0)
        assert disk.behind is (picture.sample.pts < 2 * 90_000)
        assert _soon(lambda: not disk._waiting)
    disk.end()
    assert disk.join(DEADLINE_S)
    assert _frames(tmp_path) == [[*range(30), *range(50, 100)]]
    assert disk.missed == 20


class _Listener:
    """Hears all, and fails at times."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.notes: list[Mapping[str, Any]] = []
        self.closed = 0

    def note(self, record: Mapping[str, Any]) -> None:
        self.notes.append(record)

    def rest(self) -> None:
        raise ValueError("a taker's own mistake")

    def take(self, picture: Coded) -> None:
        assert picture.record is not None
        self.heard.append(picture.record["frame"])
        if len(self.heard) % 10 == 0:
            raise ValueError("a taker's own mistake")

    def close(self) -> None:
        self.closed += 1


def test_who_listens_hears_every_picture_recorded_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_module, "RETRY_S", 1e6)
    listener = _Listener()
    with _recorder(tmp_path / "films") as disk:
        disk.takers.append(listener)
        pictures = coded(200)
        _feed(disk, (next(pictures) for _ in range(60)))
        assert _soon(lambda: len(listener.heard) == 60)
        shutil.rmtree(tmp_path / "films")
        disk.note({"event": "source"})
        _feed(disk, pictures)
    assert listener.heard == list(range(200))
    assert listener.notes == [{"event": "source"}]
    assert listener.closed == 1
    assert disk.alarm is not None
