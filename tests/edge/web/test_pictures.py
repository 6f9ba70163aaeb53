"""Pictures on their way to viewers: what is encoded, how often, and snapshots."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest

from edge.vision.types import Image
from edge.web import pictures as module
from edge.web.pictures import Pictures
from engines.errors import SinkError
from tests.edge.web.equipment.shown import grey, until


@dataclass(eq=False)
class _Way:
    """Keeps the first pixel of each picture, and holds the encoder until ``go`` is set."""

    wanted: bool = True
    broken: bool = False
    got: list[int] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    inside: threading.Event = field(default_factory=threading.Event)
    closed: bool = False
    rested: int = 0

    def encode(self, image: Image, at_ns: int) -> None:
        self.inside.set()
        assert self.go.wait(30)
        if self.broken:
            raise ValueError("no picture of mine")
        self.got.append(int(image[0, 0, 0]))

    def rest(self) -> None:
        self.rested += 1

    def close(self) -> None:
        self.closed = True


def test_the_newest_picture_wins_while_the_encoder_is_busy() -> None:
    way = _Way()
    pictures = Pictures([way], fps=240, longest=960)
    pictures.offer(grey(1))
    assert way.inside.wait(30)
    for value in (2, 3, 4):
        pictures.offer(grey(value))
    way.go.set()
    until(lambda: len(way.got) == 2)
    assert way.got == [1, 4]
    pictures.close()
    until(lambda: way.closed)


def test_a_picture_is_a_copy() -> None:
    way, image = _Way(), grey(7)
    pictures = Pictures([way], fps=240, longest=960)
    pictures.offer(image)
    image[:] = 200
    way.go.set()
    until(lambda: way.got)
    assert way.got == [7]
    pictures.close()


def test_a_way_that_fails_harms_no_other_and_is_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad, good = _Way(broken=True), _Way()
    bad.go.set()
    good.go.set()
    pictures = Pictures([bad, good], fps=240, longest=960)
    pictures.offer(grey(1))
    until(lambda: good.got == [1])
    bad.broken = False
    pictures.offer(grey(2))
    until(lambda: good.got == [1, 2])
    assert bad.got == [2]
    assert "no picture of mine" in caplog.text
    pictures.close()


def test_25_a_second_become_10() -> None:
    now = [0]
    way = _Way()
    way.go.set()
    pictures = Pictures([way], fps=10, longest=960, clock=lambda: now[0])
    taken = 0
    for frame in range(250):  # ten seconds
        now[0] = 1_000_000_000 + frame * 40_000_000
        if pictures.wanted:
            pictures.offer(grey(0))
            taken += 1
    assert 99 <= taken <= 100
    pictures.close()


def test_a_snapshot_is_of_the_full_size_and_needs_nobody_who_looks() -> None:
    pictures = Pictures([_Way(wanted=False)], fps=240, longest=100)

    async def take() -> tuple[bytes, bytes]:
        asking = [asyncio.ensure_future(pictures.snapshot()) for _ in range(2)]
        while not pictures.wanted:
            await asyncio.sleep(0)
        pictures.offer(grey(50, (301, 203)))
        first, second = await asyncio.gather(*asking)
        return first, second

    assert not pictures.wanted
    first, second = asyncio.run(take())
    assert first is second
    kept = cv2.imdecode(np.frombuffer(first, np.uint8), cv2.IMREAD_COLOR)
    assert kept is not None
    assert kept.shape == (203, 301, 3)
    assert not pictures.wanted
    pictures.close()


def test_a_snapshot_of_a_picture_that_was_skipped_is_of_the_next() -> None:
    way = _Way()
    pictures = Pictures([way], fps=240, longest=960)

    async def take() -> bytes:
        pictures.offer(grey(1))
        assert way.inside.wait(30)
        asking = asyncio.ensure_future(pictures.snapshot())
        await asyncio.sleep(0)
        pictures.offer(grey(100))
        pictures.offer(grey(200))
        way.go.set()
        return await asking

    kept = cv2.imdecode(np.frombuffer(asyncio.run(take()), np.uint8), cv2.IMREAD_COLOR)
    assert kept is not None
    assert abs(int(kept[0, 0, 0]) - 200) < 3
    pictures.close()


def test_a_snapshot_without_a_picture_says_so_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SNAPSHOT_S", 0.02)
    pictures = Pictures([], fps=30, longest=960)
    with pytest.raises(SinkError, match=r"no picture came for 0.02 s"):
        asyncio.run(pictures.snapshot())
    assert not pictures.wanted  # nobody waits for it any more
    pictures.offer(grey(1))
    with pytest.raises(SinkError):
        asyncio.run(pictures.snapshot())
    pictures.close()


def test_a_picture_that_is_no_jpeg_is_said_to_who_asked() -> None:
    pictures = Pictures([], fps=30, longest=960)

    async def take() -> bytes:
        asking = asyncio.ensure_future(pictures.snapshot())
        await asyncio.sleep(0)
        pictures.offer(np.zeros((1, 70_000, 3), np.uint8))  # JPEG has 65,535 px a side
        return await asking

    with pytest.raises(SinkError, match="got a picture of 70000x1 px"):
        asyncio.run(take())
    pictures.close()
