"""One film: what plays and is said of it, at its end and wherever it is cut off."""

from __future__ import annotations

import contextlib
import resource
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.sinks.record.clips import Clips
from edge.sinks.record.film import Film, mend
from edge.sinks.record.options import RecordOptions
from edge.sinks.record.ring import Ring
from edge.sources.video.media import av
from tests.edge.sinks.record.coded import UTC_NS, coded, lines, played


@contextlib.contextmanager
def _limit(size: int) -> Iterator[None]:
    """No file of this process may be longer, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def _film(path: Path, count: int, *, first: int = 0) -> Film:
    pictures = coded(count, first=first)
    film = Film(path, next(pictures))
    for picture in pictures:
        film.add(picture)
    return film


@pytest.mark.parametrize("count", [1, 2, 25, 26, 60])
def test_each_picture_plays_at_its_time_and_has_its_line(count: int, tmp_path: Path) -> None:
    film = _film(tmp_path / "a.mp4", count, first=75)
    film.close()
    film.close()
    times, images = played(tmp_path / "a.mp4")
    assert times == pytest.approx([n / 25 for n in range(count)])
    greys = [float(image.mean()) for image in images]
    assert greys == pytest.approx([75 + n for n in range(count)], abs=3)
    told = lines(tmp_path / "a.mp4")
    assert [line["film_s"] for line in told] == [n / 25 for n in range(count)]
    assert [line["frame"] for line in told] == [75 + n for n in range(count)]
    assert [line["utc_ns"] for line in told] == [
        UTC_NS + (75 + n) * 40_000_000 for n in range(count)
    ]
    assert film.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_a_part_of_a_second_is_on_the_disk_as_soon_as_it_is_full(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    film = _film(path, 25)
    assert list(tmp_path.iterdir()) == []  # no film without a picture
    film = _film(path, 26)
    assert len(played(path)[0]) == len(lines(path)) == 25
    film.end_part()  # as where no picture comes for a while
    assert len(played(path)[0]) == len(lines(path)) == 26


def test_lines_that_come_after_the_last_picture_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    first, *rest = coded(10)
    film = Film(path, first)
    for picture in rest:
        film.add(picture)
    assert film.end_part()
    assert not film.end_part()
    whole = path.read_bytes()
    film.note({"event": "source", "state": "reconnecting"})
    assert film.end_part()
    assert lines(path)[10:] == [{"event": "source", "state": "reconnecting"}]
    film.note({"event": "source", "state": "live"})
    film.close()
    assert [line["state"] for line in lines(path)[10:]] == ["reconnecting", "live"]
    assert path.read_bytes() == whole
    assert film.bytes == len(whole) + path.with_suffix(".jsonl").stat().st_size


def test_a_film_cut_off_anywhere_plays_its_whole_parts_and_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    sizes = []
    pictures = coded(76)
    film = Film(path, next(pictures))
    for picture in pictures:
        if film.add(picture):
            sizes.append(path.stat().st_size)
    assert len(sizes) == 3
    whole, told = path.read_bytes(), path.with_suffix(".jsonl").read_bytes()
    for size in (sizes[0], sizes[1], sizes[1] + 1, sizes[1] + 100, sizes[2] - 1):
        path.write_bytes(whole[:size])
        path.with_suffix(".jsonl").write_bytes(told[:-9] + bytes(4))
        parts = sum(size >= end for end in sizes)
        assert _count(path) >= 25 * parts
        mend(path)
        assert len(played(path)[0]) == 25 * parts
        assert path.stat().st_size == sizes[parts - 1]
        assert len(lines(path)) == 74
    for size in (0, 7, 900, sizes[0] - 1):
        path.write_bytes(whole[:size])
        mend(path)
        assert list(tmp_path.iterdir()) == []
    path.write_bytes(whole)
    mend(path)  # without lines
    assert path.read_bytes() == whole


def _count(path: Path) -> int:
    """How many pictures a player shows that goes on to where it cannot."""
    count = 0
    with contextlib.suppress(av.error.FFmpegError), av.open(str(path)) as container:
        for _ in container.decode(video=0):
            count += 1
    return count


def test_absolute_times_stand_in_the_film(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    _film(path, 51, first=5).close()
    with av.open(str(path)) as container:
        assert container.metadata["creation_time"] == "2027-01-15T08:00:00.000000Z"
    data, told, at = path.read_bytes(), [], 0
    while (at := data.find(b"prft", at) + 4) >= 4:
        version_flags, track, seconds, part, begin = struct.unpack(">IIIIQ", data[at : at + 24])
        assert (version_flags, track) == (1 << 24 | 24, 1)
        # From 1900 to 1970 are 70 years and 17 leap days.
        utc_s = seconds - (70 * 365 + 17) * 86400 + part / 2**32
        told += [begin / 90000, utc_s - UTC_NS / 1e9]
    assert told == pytest.approx([0, 0.2, 1, 1.2, 2, 2.2], abs=1e-6)


def test_what_does_not_fit_is_taken_back_and_the_rest_plays(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    pictures = coded(80)
    film = Film(path, next(pictures))
    while not film.add(next(pictures)):
        pass
    before = {name: name.read_bytes() for name in tmp_path.iterdir()}
    for picture in pictures:
        if film.waiting == 25:
            break
        film.add(picture)
    with _limit(path.stat().st_size + 100), pytest.raises(OSError, match="File too large"):
        film.add(picture)
    assert {name: name.read_bytes() for name in tmp_path.iterdir()} == before
    film.add(picture)  # there is room again
    film.close()
    assert len(played(path)[0]) == 51


def test_a_film_that_cannot_be_begun_leaves_nothing_and_takes_no_others_place(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"a film of before")
    film = _film(path, 25)
    with pytest.raises(FileExistsError):
        film.close()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a.mp4": b"a film of before"}
    path.unlink()
    film = _film(path, 25)
    with _limit(1000), pytest.raises(OSError, match="File too large"):
        film.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["film-00000007-20260101T000000Z", "clips/clip-00000007-{}-car"])
@pytest.mark.parametrize("suffix", [".mp4", ".jsonl"])
def test_a_planted_link_leads_a_recorder_to_no_other_file(
    name: str, suffix: str, tmp_path: Path
) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "films"
    victim.write_bytes(b"not a film, and without an end of line")
    planted = folder / (name.format("20260101T000000Z") + suffix)
    planted.parent.mkdir(parents=True)
    planted.symlink_to(victim)
    if suffix == ".jsonl":
        planted.with_suffix(".mp4").write_bytes(b"cut off")
    ring = Ring(folder, keep_bytes=10**6, free_bytes=0)
    ring.open()
    Clips(ring, RecordOptions())
    ring.close()
    assert victim.read_bytes() == b"not a film, and without an end of line"
