"""A whole file ends orderly, whatever its header promises; one that was cut off says so."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.sources import open_source
from engines.errors import SourceError
from tests.edge.media_files import write_video


def count_of(path: Path) -> int:
    """How many frames come before the orderly end."""
    source = open_source(str(path), policy="auto", stop=threading.Event())
    count = 0
    while source.read() is not None:
        count += 1
    source.close()
    return count


def empty_chunks(path: Path) -> int:
    """An AVI whose last 20 of 30 chunks repeat the picture before: they are empty.

    What was in them becomes a JUNK chunk, which no reader looks at.
    """
    data = bytearray(write_video(path, count=30, codec="mjpeg").read_bytes())
    at = data.index(b"movi") + 4
    for number in range(30):
        assert data[at : at + 4] == b"00dc"
        (size,) = struct.unpack_from("<I", data, at + 4)
        whole = size + size % 2
        if number >= 10:
            data[at + 4 : at + 16] = struct.pack("<I4sI", 0, b"JUNK", whole - 8)
        at += 8 + whole
    assert data[at : at + 4] == b"idx1"
    for number in range(10, 30):
        struct.pack_into("<I", data, at + 8 + 16 * number + 12, 0)
    path.write_bytes(data)
    return 10


def wrong_length(path: Path) -> int:
    """A header that promises ten times the length, 4 s: of the track, in an mp4 (8.4.2)."""
    data = bytearray(write_video(path, count=10).read_bytes())
    at = data.index(b"mdhd") + 4
    (length,) = struct.unpack_from(">I", data, at + 16)
    struct.pack_into(">I", data, at + 16, 10 * length)
    path.write_bytes(data)
    return 10


def fragments_of_wrong_length(path: Path) -> int:
    """The same, in fragments, whose header knows no length and here says one: 4 s at 12,800 Hz."""
    options = {"movflags": "frag_keyframe+empty_moov"}
    data = bytearray(write_video(path, count=10, container_options=options).read_bytes())
    at = data.index(b"mdhd") + 4
    struct.pack_into(">I", data, at + 16, 51_200)
    path.write_bytes(data)
    return 10


def tag_of_wrong_length(path: Path) -> int:
    data = write_video(path, count=10).read_bytes()
    assert b"00:00:00.400000000" in data
    path.write_bytes(data.replace(b"00:00:00.400000000", b"00:00:04.000000000"))
    return 10


def a_gap_of_an_hour(path: Path) -> int:
    write_video(path, count=4, times=[0, 1, 90_000, 90_001])
    return 4


def whole_packets(path: Path) -> int:
    """A transport stream has no end: one that stops between its packets is one that was stopped."""
    write_video(path, count=20, codec="libx264", noise=True, options={"bf": "0"})
    packets = path.stat().st_size // 188
    os.truncate(path, (packets - 20) * 188)
    return 19


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("a.avi", empty_chunks),
        ("a.mp4", wrong_length),
        ("a.mp4", fragments_of_wrong_length),
        ("a.mkv", tag_of_wrong_length),
        ("a.mkv", a_gap_of_an_hour),
        ("a.mp4", a_gap_of_an_hour),
        ("a.ts", whole_packets),
    ],
)
def test_a_whole_file_ends_orderly(name: str, made: Callable[[Path], int], tmp_path: Path) -> None:
    path = tmp_path / name
    assert made(path) == count_of(path)


@pytest.mark.parametrize(
    ("name", "made"), [("a.avi", empty_chunks), ("a.mkv", tag_of_wrong_length)]
)
def test_the_same_cut_off_breaks_off(
    name: str, made: Callable[[Path], int], tmp_path: Path
) -> None:
    made(tmp_path / name)
    os.truncate(tmp_path / name, (tmp_path / name).stat().st_size * 3 // 4)
    with pytest.raises(SourceError, match="breaks off after frame"):
        count_of(tmp_path / name)
