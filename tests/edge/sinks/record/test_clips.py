"""Clips of events: what is before and after, however they come about and whatever the disk does."""

from __future__ import annotations

import os
import threading
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.sinks.record.clips import FOLDER, Clips
from edge.sinks.record.film import Coded
from edge.sinks.record.options import RecordOptions
from edge.sinks.record.ring import Ring
from edge.sources.video.media import av
from engines.errors import SinkError
from tests.edge.sinks.record.coded import UTC_NS, coded, lines, played

FPS = 25
SHORT = {"pre_s": 2.0, "post_s": 1.0, "most_s": 6.0}


def _clips(folder: Path, now: Sequence[float] = (100.0,), **options: Any) -> Clips:
    ring = Ring(folder, keep_bytes=10**9, free_bytes=0)
    ring.open()
    return Clips(ring, RecordOptions(**SHORT | options), clock=lambda: now[0])


def _take(clips: Clips, pictures: Iterable[Coded], *, marks: dict[int, str] | None = None) -> None:
    """Give it pictures; after that of a frame's number in ``marks`` there is an event."""
    for picture in pictures:
        clips.take(picture)
        assert picture.record is not None
        reason = (marks or {}).get(picture.record["frame"])
        if reason is not None:
            clips.note(clips.mark(reason))


def _state(clips: Clips) -> tuple[str | None, str | None, int]:
    """The clip that is under way, the alarm, and how many there are."""
    return clips.clip, clips.alarm, clips.count


def _films(folder: Path) -> list[Path]:
    return sorted((folder / FOLDER).glob("*.mp4"))


def _frames(film: Path) -> list[int]:
    """The frames that a clip has, after a look whether each plays as it was at its time."""
    times, images = played(film)
    told = [line for line in lines(film) if "event" not in line]
    assert [line["film_s"] for line in told] == pytest.approx(times)
    frames = [line["frame"] for line in told]
    assert [float(image.mean()) for image in images] == pytest.approx(frames, abs=4)
    assert [line["utc_ns"] for line in told] == [UTC_NS + frame * 40_000_000 for frame in frames]
    return frames


def test_a_clip_has_what_was_before_from_a_key_frame_on_and_what_comes_after(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = _clips(tmp_path)
    _take(clips, coded(180), marks={110: "a deer, schön"})
    (film,) = _films(tmp_path)
    # The event is at 4.4 s: from the key frame at or before 2.4 s, which is at 2 s, until 5.4 s.
    assert _frames(film) == list(range(50, 136))
    event = lines(film)[0]
    assert (event["event"], event["reason"], event["by"]) == ("clip", "a deer, schön", "mark")
    assert (event["film_s"], event["clip"]) == (2.4, film.name)
    assert film.name.startswith("clip-00000000-2")
    assert film.name.endswith("Z-a-deer-schon.mp4")
    with av.open(str(film)) as container:
        assert container.metadata["title"] == "a deer, schön"
        assert container.metadata["creation_time"] == "2027-01-15T08:00:02.000000Z"
    assert _state(clips) == (None, None, 1)
    assert clips.bytes == sum(path.stat().st_size for path in (tmp_path / FOLDER).iterdir())
    clips.close()
    assert _frames(film) == list(range(50, 136))
    assert not caplog.records


@pytest.mark.parametrize(
    ("at", "first", "last"),
    [
        (0, 0, 25),
        (1, 0, 26),
        (49, 0, 74),
        (50, 0, 75),
        (74, 0, 99),
        (75, 25, 100),  # 3 s: a key frame is at 1 s exactly
        (76, 25, 101),
    ],
)
def test_a_clip_begins_at_the_key_frame_at_or_before_its_time(
    at: int, first: int, last: int, tmp_path: Path
) -> None:
    clips = _clips(tmp_path)
    _take(clips, coded(110), marks={at: "x"})
    assert _frames(*_films(tmp_path)) == list(range(first, last + 1))


def test_where_key_frames_are_rare_a_clip_has_more_before_and_never_less(tmp_path: Path) -> None:
    clips = _clips(tmp_path)
    _take(clips, coded(180, keyframe_s=3), marks={149: "x"})  # at 5.96 s; key frames at 3 and 6 s
    assert _frames(*_films(tmp_path))[0] == 75


def test_without_time_before_it_begins_at_the_key_frame(tmp_path: Path) -> None:
    clips = _clips(tmp_path, pre_s=0.0, post_s=0.0)
    _take(clips, coded(60), marks={30: "x"})
    assert _frames(*_films(tmp_path)) == list(range(25, 31))


def test_a_mark_during_a_clip_makes_it_longer_up_to_a_bound(tmp_path: Path) -> None:
    clips = _clips(tmp_path)
    # 2 s before 4 s; without a bound until 6.8 + 1 s, with one until 2 + 6 s, then another.
    _take(clips, coded(199), marks={100: "a", 120: "b", 144: "c", 168: "d", 180: "e"})
    clips.close()
    (film,) = _films(tmp_path)
    assert _frames(film) == list(range(50, 199))
    told = [(line["reason"], line["film_s"]) for line in lines(film) if "event" in line]
    assert told == [("a", 2), ("b", 2.8), ("c", 3.76), ("d", 4.72), ("e", 5.2)]
    assert lines(film)[0]["reason"] == "a"


def test_a_clip_that_is_as_long_as_it_may_be_is_followed_by_another(tmp_path: Path) -> None:
    clips = _clips(tmp_path, most_s=3.0)
    _take(clips, coded(199), marks={n: f"{n}" for n in range(100, 150, 10)})
    first, second = _films(tmp_path)
    assert _frames(first) == list(range(50, 126))
    # The mark after 5 s: from the key frame at or before 3.2 s; the last mark is within the bound.
    assert _frames(second) == list(range(75, 156))
    reasons = [line["reason"] for line in lines(second) if "event" in line]
    assert reasons == ["130", "110", "120", "140"]  # its own first, the others where they were


def test_a_storm_of_marks_from_many_threads_is_one_clip(tmp_path: Path) -> None:
    clips = _clips(tmp_path)
    pictures = coded(150)
    _take(clips, (next(pictures) for _ in range(76)))
    told: list[Any] = []
    threads = [
        threading.Thread(target=lambda: told.append(clips.mark("storm"))) for _ in range(100)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {line["clip"] for line in told} == {clips.clip}
    for line in told:
        clips.note(line)
    _take(clips, pictures)
    (film,) = _films(tmp_path)
    assert film.name == told[0]["clip"]
    assert _frames(film) == list(range(25, 101))
    assert sum("event" in line for line in lines(film)) == 100


def test_a_clip_waits_for_marks_that_are_on_their_way(tmp_path: Path) -> None:
    clips = _clips(tmp_path)
    pictures = coded(180)
    _take(clips, (next(pictures) for _ in range(76)), marks={75: "a"})
    late = clips.mark("b")
    _take(clips, (next(pictures) for _ in range(40)))  # its end was at 100
    assert clips.clip == late["clip"]
    clips.note(late)
    _take(clips, pictures)
    (film,) = _films(tmp_path)
    assert _frames(film) == list(range(25, 141))  # 115 and a second


def test_a_mark_that_comes_after_its_clip_was_as_long_as_may_be_has_a_film_of_its_name(
    tmp_path: Path,
) -> None:
    clips = _clips(tmp_path, most_s=3.0)
    pictures = coded(190)
    _take(clips, (next(pictures) for _ in range(76)), marks={75: "a"})
    late = clips.mark("b")
    _take(clips, (next(pictures) for _ in range(60)))
    assert len(_films(tmp_path)) == 1
    assert clips.clip == late["clip"]  # of which there will be more
    clips.note(late)
    _take(clips, pictures)
    second, first = _films(tmp_path)  # "-" is before "."
    assert (first.name, second.stem) == (late["clip"], f"{first.stem}-2")
    assert (_frames(first)[0], _frames(first)[-1]) == (25, 100)
    assert (_frames(second)[0], _frames(second)[-1]) == (75, 160)
    assert _state(clips) == (None, None, 1)


def test_more_marks_than_can_wait_are_refused(tmp_path: Path) -> None:
    clips = _clips(tmp_path)
    for _ in range(1000):
        clips.mark("x")
    with pytest.raises(SinkError, match="wait for a clip already"):
        clips.mark("x")


def test_a_mark_before_the_first_picture_begins_with_it(tmp_path: Path) -> None:
    clips = _clips(tmp_path)
    clips.note(clips.mark("early"))
    clips.rest()
    _take(clips, coded(60))
    (film,) = _films(tmp_path)
    assert _frames(film) == list(range(26))
    assert lines(film)[0]["film_s"] == 0


def test_a_mark_of_a_run_without_pictures_leaves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = _clips(tmp_path)
    clips.note(clips.mark("never"))
    clips.close()
    assert _films(tmp_path) == []
    assert "is lost: no picture came" in caplog.text


def test_the_end_of_a_run_finishes_the_clip_with_what_there_is(tmp_path: Path) -> None:
    clips = _clips(tmp_path)
    _take(clips, coded(83), marks={80: "x"})
    clips.close()
    assert _frames(*_films(tmp_path)) == list(range(25, 83))


def test_what_was_before_is_on_the_disk_at_once_and_the_rest_by_parts(tmp_path: Path) -> None:
    clips = _clips(tmp_path, post_s=3.0)
    pictures = coded(150)
    _take(clips, (next(pictures) for _ in range(81)), marks={80: "x"})
    (film,) = _films(tmp_path)  # as a kill would leave it
    assert _frames(film) == list(range(25, 81))
    _take(clips, (next(pictures) for _ in range(25)))
    assert _frames(film) == list(range(25, 81))
    _take(clips, [next(pictures)])
    assert _frames(film) == list(range(25, 106))
    _take(clips, (next(pictures) for _ in range(5)))
    clips.rest()
    assert _frames(film) == list(range(25, 112))


def test_where_nothing_comes_any_more_a_clip_ends_by_itself(tmp_path: Path) -> None:
    now = [100.0]
    clips = _clips(tmp_path, now)
    _take(clips, coded(60), marks={50: "x"})
    now[0] += 0.9
    clips.rest()
    assert clips.clip is not None
    now[0] += 0.1
    clips.rest()
    assert _state(clips) == (None, None, 1)
    assert _frames(*_films(tmp_path)) == list(range(60))


def test_lines_of_the_source_stand_in_the_clip(tmp_path: Path) -> None:
    clips = _clips(tmp_path)
    pictures = coded(100)
    clips.note({"event": "source", "state": "lost before the first"})
    _take(clips, (next(pictures) for _ in range(30)))
    clips.note({"event": "source", "state": "stalled"})
    _take(clips, pictures, marks={40: "x"})
    told = lines(*_films(tmp_path))
    assert told[31] == {"film_s": 29 / FPS, "event": "source", "state": "stalled"}


def test_pictures_of_another_stream_go_on_in_a_film_of_their_own(tmp_path: Path) -> None:
    clips = _clips(tmp_path)
    _take(clips, coded(60))
    _take(clips, coded(80, first=60, wh=(80, 48)), marks={70: "x"})
    second, first = _films(tmp_path)
    assert _frames(first) == list(range(60))
    assert _frames(second) == list(range(60, 96))
    assert [lines(film)[0]["film_s"] for film in (first, second)] == [2.8, 0.4]


def _seen(pictures: Iterable[Coded], when: Container[int]) -> Iterator[Coded]:
    """Pictures with a car on those of the frames ``when``."""
    for picture in pictures:
        assert picture.record is not None
        found = [{"class": "car", "score": 0.9}] if picture.record["frame"] in when else []
        yield replace(picture, record=dict(picture.record) | {"detections": found})


def test_a_class_that_is_seen_for_some_time_is_an_event(tmp_path: Path) -> None:
    clips = _clips(tmp_path, event_classes=("car",), event_s=0.4)
    _take(clips, _seen(coded(190), range(80, 190)))  # all the time: one event
    (film,) = _films(tmp_path)
    # Seen at 3.2 s, told at 3.6 s: from 1 s until 4.6 s.
    assert _frames(film) == list(range(25, 116))
    event = lines(film)[0]
    assert (event["reason"], event["by"], event["film_s"]) == ("car", "class", 2.6)
    assert event["utc_ns"] == UTC_NS + 3_600_000_000
    assert film.name == "clip-00000000-20270115T080003Z-car.mp4"


def test_a_class_that_comes_during_a_clip_makes_it_longer(tmp_path: Path) -> None:
    clips = _clips(tmp_path, event_classes=("car",), event_s=0.4)
    _take(clips, _seen(coded(190), {*range(80, 91), *range(100, 111)}))
    (film,) = _films(tmp_path)
    assert _frames(film) == list(range(25, 136))  # 1 s after it was told for the second time
    told = [line["film_s"] for line in lines(film) if "event" in line]
    assert told == [2.6, 3.4]


def test_too_little_memory_is_told_once_and_keeps_what_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = _clips(tmp_path, pre_s=5.0, pre_mb=0.1)  # 2 kB a picture and more: below 50
    _take(clips, coded(180), marks={160: "x"})
    assert caplog.text.count("pre_s = 5 needs more than pre_mb = 0.1") == 1
    clips.close()
    frames = _frames(*_films(tmp_path))
    assert frames in (list(range(125, 180)), list(range(150, 180)))


def test_names_go_on_after_those_of_before_and_take_no_others_place(tmp_path: Path) -> None:
    for number in range(3):
        clips = _clips(tmp_path)
        clips._ring.close()
        clips = _clips(tmp_path)
        _take(clips, coded(30), marks={20: "../a b"})
        clips.close()
        clips._ring.close()
        assert _films(tmp_path)[-1].name.startswith(f"clip-{number:08d}-")
        assert clips.count == number + 1
    assert all(film.name.endswith("Z-a-b.mp4") for film in _films(tmp_path))
    clips = _clips(tmp_path)
    name = clips.mark("x")["clip"]
    (tmp_path / FOLDER / name).write_text("somebody's")
    clips.note({"event": "clip", "clip": name, "reason": "x", "by": "mark", "utc_ns": 0})
    _take(clips, coded(60))
    assert (tmp_path / FOLDER / name).read_text() == "somebody's"
    assert _frames((tmp_path / FOLDER / name).with_name(f"{name[:-4]}-2.mp4")) == list(range(26))


def test_a_clip_that_a_kill_cut_off_is_mended_at_the_next_start(tmp_path: Path) -> None:
    clips = _clips(tmp_path)
    _take(clips, coded(81), marks={80: "x"})
    clips._ring.close()
    (film,) = _films(tmp_path)
    whole = film.stat().st_size
    with film.open("ab") as file:
        file.write(b"\0\0\1\0moof half of a part")
    _clips(tmp_path)
    assert film.stat().st_size == whole
    assert _frames(film) == list(range(25, 81))


def test_the_ring_removes_no_clip(tmp_path: Path) -> None:
    clips = _clips(tmp_path)
    _take(clips, coded(60), marks={20: "x"})
    kept = {path: path.read_bytes() for path in (tmp_path / FOLDER).iterdir()}
    (tmp_path / "film-00000000-20270115T080003Z.mp4").write_bytes(bytes(1000))
    ring = Ring(tmp_path, keep_bytes=1, free_bytes=0)
    clips._ring.close()
    ring.open()
    ring.make_room()
    assert not list(tmp_path.glob("film-*"))
    assert {path: path.read_bytes() for path in (tmp_path / FOLDER).iterdir()} == kept


def test_a_clip_waits_in_memory_for_a_disk_that_has_no_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    clips = _clips(tmp_path, now, clips_gb=0.0, most_s=3.0)
    pictures = coded(190)
    # The second is later than the clip could last, were it written already.
    _take(clips, (next(pictures) for _ in range(150)), marks={75: "x", 140: "y"})
    assert _films(tmp_path) == []
    assert clips.alarm is not None
    assert "clips_gb = 0" in clips.alarm
    assert clips.clip is not None
    clips._most_bytes = 10**9  # somebody moved some elsewhere
    _take(clips, [next(pictures)])
    assert _films(tmp_path) == []  # not tried yet
    now[0] += 2
    _take(clips, pictures)
    assert _frames(*_films(tmp_path)) == list(range(25, 166))
    assert _state(clips) == (None, None, 1)
    assert caplog.text.count("it waits in memory") == 1


def test_a_clip_for_which_there_is_no_memory_is_lost_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    clips = _clips(tmp_path, now, clips_gb=0.0, pre_mb=0.2)  # 2 kB and more a picture: below 100
    for picture in coded(190):
        now[0] += 0.04
        _take(clips, [picture], marks={20: "x"})
    assert "is lost: no clip can be kept" in caplog.text
    assert "x.mp4" in caplog.text
    assert _state(clips) == (None, None, 0)


@pytest.mark.parametrize(
    ("lacking", "said"), [("clips_gb", "clips_gb = 0.0002"), ("free", "GB of the disk are free")]
)
def test_a_clip_takes_no_room_that_there_is_not_while_it_grows_and_its_lost_end_is_told(
    lacking: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    most_gb = 2e-4 if lacking == "clips_gb" else 1.0
    clips = _clips(tmp_path, clips_gb=most_gb, pre_s=0.5, post_s=5.0)
    pictures = coded(190, noise=True)  # 58 kB a part, with its lines
    _take(clips, (next(pictures) for _ in range(60)), marks={30: "x"})
    assert clips.alarm is None
    if lacking == "free":
        clips._ring._free_bytes = 10**18  # others fill the disk
    _take(clips, pictures)
    (film,) = _films(tmp_path)
    assert played(film)[0][-1] < 5  # of 6 s and more
    assert sum(path.stat().st_size for path in film.parent.iterdir()) <= most_gb * 1e9
    clips.close()
    (lost,) = (line for line in caplog.messages if "its end is lost" in line)
    assert said in lost
    assert "kept, for" not in caplog.text


def test_a_clip_whose_folder_is_removed_goes_on_in_another_film(tmp_path: Path) -> None:
    now = [100.0]
    clips = _clips(tmp_path, now, post_s=4.0)
    pictures = coded(190)
    _take(clips, (next(pictures) for _ in range(60)), marks={55: "x"})
    for path in (tmp_path / FOLDER).iterdir():
        path.unlink()
    os.rmdir(tmp_path / FOLDER)
    _take(clips, (next(pictures) for _ in range(30)))
    assert clips.alarm is not None
    assert "it was removed" in clips.alarm
    now[0] += 2
    _take(clips, pictures)
    (film,) = _films(tmp_path)
    assert _frames(film)[-1] == 155
    assert 55 < _frames(film)[0] <= 75
    assert lines(film)[0]["film_s"] < 0  # the event was before
    assert clips.alarm is None
