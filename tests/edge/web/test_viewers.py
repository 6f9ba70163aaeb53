"""What each of those who look gets when it is slow."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from edge.web.viewers import Backlog, Piece


def _piece(number: int) -> Piece:
    """Of ten a second, with key frames at 0, 10, 20 and 30."""
    data, at_ns = str(number).encode(), number * 100_000_000
    return Piece(cast(Any, None), data, number % 10 == 0, at_ns)


async def _taken(backlog: Backlog) -> list[int]:
    taken = []
    while backlog.waiting:
        piece = await backlog.next()
        assert piece is not None
        taken.append(int(piece.data))
    return taken


def test_who_keeps_up_gets_all_from_a_key_frame_on() -> None:
    async def look() -> None:
        backlog = Backlog()
        for number in range(7, 40):
            backlog.put(_piece(number))
            assert await _taken(backlog) == ([number] if number >= 10 else [])

    asyncio.run(look())


def test_who_is_slow_goes_on_at_a_later_key_frame() -> None:
    async def look() -> None:
        backlog = Backlog()
        for number in range(33):
            backlog.put(_piece(number))
            assert len(backlog.waiting) <= 6  # half a second, both ends with it
        # 0 to 5 are let go at 6, up to 9 none is kept, and so on.
        assert await _taken(backlog) == [30, 31, 32]

    asyncio.run(look())


def test_who_waits_for_nothing_can_be_woken() -> None:
    async def look() -> None:
        backlog = Backlog()
        backlog.news.set()
        assert await backlog.next() is None
        backlog.put(_piece(0))
        assert await _taken(backlog) == [0]

    asyncio.run(look())
