"""Kills a recorder at random moments, and looks at what is left: a table, and 1 where more is lost.

    python -m tests.edge.sinks.record.kills [COUNT [SEED]]

Each recorder goes on in the folder that the one before left. It tells the number of every picture
that it has handed to its disk; parts have 25 pictures, so at most the newest 25 and the one that
is told may be missing.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.sinks.record.clips import FOLDER, Clips
from edge.sinks.record.coder import Coder, Picture
from edge.sinks.record.disk import Disk
from edge.sinks.record.film import Coded
from edge.sinks.record.options import RecordOptions
from edge.sinks.record.ring import Ring
from edge.sources.video.media import av, cv2
from tests.edge.sink_values import result

PART = 25
PERIOD_NS = 1_000_000_000 // PART
_KEEP_BYTES = 1_500_000
"""So little that films go as others come."""
_CLIPS = RecordOptions(pre_s=1, post_s=1)
_LATEST_S = 0.2


class _Told:
    """Says the number of each picture into a pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def take(self, picture: Coded) -> None:
        assert picture.record is not None
        os.write(self._fd, b"%d\n" % picture.record["frame"])

    def note(self, record: Mapping[str, Any]) -> None: ...

    def rest(self) -> None: ...

    def close(self) -> None: ...


def record(folder: Path, told: int, first: int) -> None:
    """Record noise as fast as it goes, until killed."""
    ring = Ring(folder, keep_bytes=_KEEP_BYTES, free_bytes=0)
    ring.open(make=True)
    disk = Disk(ring, segment_s=4)
    clips = Clips(ring, _CLIPS)
    disk.takers += [_Told(told), clips]
    coder = Coder("kills", disk, fps=PART, segment_s=4, waits=True)
    disk.start()
    coder.start()
    noise = np.random.default_rng(0).integers(0, 255, (16, 48, 64, 3), np.uint8)
    for number in itertools.count(first):
        at_ns = number * PERIOD_NS
        coder.put(Picture(noise[number % 16], at_ns, None, time.time_ns(), result(number)))
        if number % (4 * PART) == 0:
            coder.note(clips.mark("kill"))


def kill_one(folder: Path, after_s: float, first: int) -> int:
    """Kill a recorder so long after its first picture; returns the last number that it told."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            record(folder, writing, first)
        os._exit(1)
    os.close(writing)
    select.select([reading], [], [], 30)
    time.sleep(after_s)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, "it ended by itself"
    with os.fdopen(reading, "rb") as pipe:
        return int(pipe.read().split(b"\n")[-2])


def films(folder: Path) -> list[Path]:
    """Those that are there, oldest first."""
    return sorted(folder.glob("*.mp4"))


def are_in_order(frames: Sequence[int]) -> bool:
    """Whether none is missing between the first and the last."""
    return list(frames) == list(range(frames[0], frames[-1] + 1)) if frames else True


def pictures_of(film: Path) -> tuple[int, bool]:
    """How many pictures a player shows to the end, and whether the end is torn there."""
    count = 0
    try:
        with av.open(str(film)) as container:
            for _ in container.decode(video=0):
                count += 1
    except av.error.FFmpegError:
        return count, True
    return count, False


def frames_of(film: Path) -> list[int]:
    """The numbers of the pictures in a film, by its lines; those behind its end are left out."""
    whole = film.with_suffix(".jsonl").read_bytes().rpartition(b"\n")[0].splitlines()
    told = [line for line in map(json.loads, whole) if "event" not in line]
    count, _ = pictures_of(film)
    assert len(told) >= count, f"{film.name}: {len(told)} lines of {count} pictures"
    times = [line["film_s"] for line in told]
    assert times == [n / PART for n in range(len(told))], film.name
    return [line["frame"] for line in told[:count]]


def main(count: int = 50, seed: int = 1) -> int:
    """Print the table."""
    cv2.setNumThreads(1)
    chance, worst, torn_ends = random.Random(seed), 0, 0
    print("kill  after ms  films  clips  told   kept   lost  torn end")
    with tempfile.TemporaryDirectory() as made:
        folder, first = Path(made) / "films", 0
        for number in range(1, count + 1):
            before = {*films(folder), *films(folder / FOLDER)}
            after_s = chance.uniform(0, _LATEST_S)
            last = kill_one(folder, after_s, first)
            left = [film for film in films(folder) if film not in before]
            kept = [frame for film in left for frame in frames_of(film)]
            clips = [clip for clip in films(folder / FOLDER) if clip not in before]
            torn = any(pictures_of(film)[1] for film in (*left[-1:], *clips))
            assert are_in_order(kept)
            assert all(are_in_order(frames_of(clip)) for clip in clips)
            lost = last + 1 - (kept[-1] + 1 if kept else first)
            print(
                f"{number:4}  {after_s * 1000:8.1f}  {len(left):5}  {len(clips):5}  "
                f"{last + 1 - first:4}  {len(kept):5}  {lost:5}  {'yes' if torn else 'no':>8}"
            )
            worst, torn_ends, first = max(worst, lost), torn_ends + torn, last + 1
        with contextlib.closing(Ring(folder, keep_bytes=_KEEP_BYTES, free_bytes=0)) as ring:
            ring.open()  # which mends what the last one left
            Clips(ring, _CLIPS)
        kept_clips = films(folder / FOLDER)
        assert not any(pictures_of(film)[1] for film in (*films(folder), *kept_clips))
    print(f"{count} kills, at most {worst} pictures lost, {torn_ends} torn ends, all mended")
    print(f"{len(kept_clips)} clips play")
    return int(worst > PART + 1 or not kept_clips)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
