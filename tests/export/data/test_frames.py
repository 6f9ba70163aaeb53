"""Frames of a proof: spread over a source of unknown length, and said where they come from."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import SettingsError, SourceError
from export.data.frames import COUNT, read_frames
from tests.edge.media_files import number_of, write_video


def _images(folder: Path, count: int) -> Path:
    for i in range(count):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((4, 6, 3), i, np.uint8))
    return folder


def numbers(folder: Path, count: int = COUNT) -> list[int]:
    return [int(image[0, 0, 0]) for image in read_frames(str(folder), count=count).images]


@pytest.mark.parametrize("length", [1, 2, 7, 8])
def test_a_short_source_is_taken_whole(tmp_path: Path, length: int) -> None:
    assert numbers(_images(tmp_path, length)) == list(range(length))


@pytest.mark.parametrize("length", [9, 15, 16, 17, 31, 100])
def test_a_long_source_is_taken_from_start_to_near_its_end(tmp_path: Path, length: int) -> None:
    got = numbers(_images(tmp_path, length))
    assert len(got) == COUNT
    assert got == sorted(set(got))
    assert got[0] == 0
    # Of every step-th frame the last is kept: steps are at most a COUNT-th of the length, rounded.
    assert got[-1] >= length - 1 - length // COUNT
    assert max(b - a for a, b in pairwise(got)) <= 2 * -(-length // COUNT)


def test_one_frame_can_be_asked_for(tmp_path: Path) -> None:
    assert numbers(_images(tmp_path, 5), count=1) == [0]


def test_frames_of_a_video_are_those_of_the_file(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", count=10)
    frames = read_frames(str(video))
    got = [number_of(image) for image in frames.images]
    assert got[0] == 0
    assert got == sorted(set(got))
    assert len(got) == COUNT
    assert frames.described == f"8 frames of {video}"


def test_without_a_source_it_is_the_synthetic_street_and_says_so() -> None:
    frames = read_frames(None)
    assert len(frames.images) == COUNT
    assert frames.described.startswith("8 frames of the synthetic street; real ones prove more")
    first, second = frames.images[:2]
    assert not np.array_equal(first, second)
    named = read_frames("synthetic:96x64")
    assert len(named.images) == COUNT
    assert named.images[0].shape == (64, 96, 3)


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        read_frames(str(tmp_path / "nowhere"))
    with pytest.raises(SourceError, match=r"no image|empty"):
        read_frames(str(tmp_path))
    with pytest.raises(SettingsError, match="not a source"):
        read_frames("")


def test_what_breaks_off_is_taken_as_far_as_it_goes_and_that_is_said(tmp_path: Path) -> None:
    folder = _images(tmp_path, 5)
    (folder / "3.png").write_bytes((folder / "4.png").read_bytes()[:40])
    frames = read_frames(str(folder))
    assert [int(image[0, 0, 0]) for image in frames.images] == [0, 1, 2]
    assert frames.described.startswith(f"3 frames of {folder}; no more could be read: ")
    assert "3.png" in frames.described


def test_a_source_that_breaks_at_its_first_frame_is_refused_with_its_own_words(
    tmp_path: Path,
) -> None:
    (_images(tmp_path, 2) / "0.png").write_bytes(b"no picture")
    with pytest.raises(SourceError, match=r"0\.png"):
        read_frames(str(tmp_path))
