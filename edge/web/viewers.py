"""Those who look, on the server's loop: how many may, and what each gets; it encodes nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.types import Receive

if TYPE_CHECKING:
    from edge.h264.fragments import Head

_BEHIND_NS = 500_000_000
"""What waits for a viewer for longer is not sent any more."""


class Seats:
    """Room for ``most`` viewers at once, whichever way they look."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._taken = 0

    @contextmanager
    def one(self) -> Iterator[bool]:
        """Whether there was room, which is taken for the length of the block."""
        free = self._taken < self.most
        self._taken += free
        try:
            yield free
        finally:
            self._taken -= free

    @property
    def full(self) -> str:
        """What one is told who finds no room."""
        return (
            f"{self.most} look already, as many as [web] max_viewers allows; close another page "
            "or allow more"
        )


class Newest:
    """The newest picture, for any number of readers of one loop; who is slow skips some.

    Attributes:
        readers: how many read; any thread may look.
    """

    def __init__(self) -> None:
        self.readers = 0
        self._value: bytes | None = None
        self._number = 0
        self._news = asyncio.Event()
        self._closed = False

    def put(self, value: bytes) -> None:
        """Replace it and wake all who wait."""
        if self.readers:  # else it would be old when the next one comes
            self._value, self._number = value, self._number + 1
            self._wake()

    def close(self) -> None:
        """End all readers."""
        self._closed = True
        self._wake()

    async def read(self) -> AsyncGenerator[bytes, None]:
        """Each newest one once, beginning with that which is there."""
        seen = 0
        self.readers += 1
        try:
            while not self._closed:
                if self._value is None or seen == self._number:
                    await self._news.wait()
                else:
                    seen = self._number
                    yield self._value
        finally:
            self.readers -= 1
            if not self.readers:
                self._value = None

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


@dataclass(frozen=True, slots=True)
class Piece:
    """One picture of a video on its way; ``stream`` says how it is read."""

    stream: Head
    data: bytes
    key: bool
    at_ns: int


@dataclass(eq=False, slots=True)
class Backlog:
    """What one viewer of a video has not taken yet: each picture builds on the one before."""

    waiting: deque[Piece] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    lost: bool = True
    """Whether it needs a key frame before anything else."""

    def put(self, piece: Piece) -> None:
        """Add a picture, or go on at the next key frame where too much waits."""
        if self.waiting and piece.at_ns - self.waiting[0].at_ns > _BEHIND_NS:
            self.waiting.clear()
            self.lost = True
        if piece.key or not self.lost:
            self.lost = False
            self.waiting.append(piece)
            self.news.set()

    async def next(self) -> Piece | None:
        """The oldest that waits; None where it was only woken."""
        await self.news.wait()
        piece = self.waiting.popleft() if self.waiting else None
        if not self.waiting:
            self.news.clear()
        return piece


async def left(receive: Receive) -> None:
    """Come back when a viewer of a response has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def until_first(*doing: Coroutine[None, None, None]) -> None:
    """Do all at once until the first has ended, and end the others.

    Raises:
        Exception: what one of them raised.
    """
    tasks = [asyncio.ensure_future(each) for each in doing]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
