"""Hands each new picture to all who look, on the server's loop; who is slow skips some."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator


class Newest:
    """The newest JPEG, for any number of readers of one loop."""

    def __init__(self) -> None:
        self._value: bytes | None = None
        self._number = 0
        self._news = asyncio.Event()
        self._closed = False

    def put(self, value: bytes) -> None:
        """Replace it and wake all who wait; on the loop."""
        self._value, self._number = value, self._number + 1
        self._news.set()
        self._news = asyncio.Event()

    def close(self) -> None:
        """End all readers."""
        self._closed = True
        self._news.set()

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Each newest one once, beginning with that which is there."""
        seen = 0
        while not self._closed:
            if self._value is None or seen == self._number:
                await self._news.wait()
            elif self._value is not None:
                seen = self._number
                yield self._value
