"""A bad network for tests: a TCP link to a port of this machine that loses, delays and cuts.

It stands for netem, which many kernels lack. What it loses are whole RTP packets of a stream inside
RTSP (RFC 2326, 10.12), as cameras throw them away when their socket is full.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import AsyncIterator, Callable

_WAITING = 256
"""Pieces on their way; when so many wait the sender is held back, as by a full socket."""
_LOOK_S = 0.02


class Link:
    """Listens at ``port`` while it is open. All attributes may be set while it runs.

    Attributes:
        loss: the part of RTP packets that are lost on the way to the client, 0..1.
        delay_s, jitter_s: each piece takes the delay and up to the jitter more; none overtakes.
        bytes_per_s: how much goes through towards the client, None for all.
        stalled: connections stay and new ones are taken, but nothing goes through.
        refusing: new connections are ended at once.
    """

    def __init__(self, target: int, *, seed: int = 0) -> None:
        self.target = target
        self.loss = 0.0
        self.delay_s = self.jitter_s = 0.0
        self.bytes_per_s: float | None = None
        self.stalled = self.refusing = False
        self.lost = 0
        self.port = 0
        self._chance = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link")
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """End all connections, those that are stalled too."""
        self._on_loop(self._end_all)

    def stall(self) -> None:
        """Let nothing through, and keep connections."""
        self.stalled = True

    def down(self) -> None:
        """End all connections and take no new ones."""
        self.refusing = True
        self.cut()

    def heal(self) -> None:
        """Lose, delay and refuse nothing from now on."""
        self.loss = self.delay_s = self.jitter_s = 0.0
        self.bytes_per_s, self.stalled, self.refusing = None, False, False

    def __enter__(self) -> Link:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        self._on_loop(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _on_loop(self, call: Callable[[], object]) -> None:
        async def run() -> None:
            call()
            await asyncio.gather(*self._connections, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def _end_all(self) -> None:
        for connection in self._connections:
            connection.cancel()

    def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        self._end_all()

    def _accept(self, near: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        connection = self._loop.create_task(self._carry(near, client))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _carry(self, near: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """One connection to its end, which is that of either side."""
        writers = [client]
        try:
            if self.refusing:
                return
            far, server = await asyncio.open_connection("127.0.0.1", self.target)
            writers.append(server)
            ways = [
                self._loop.create_task(_copy(near, server)),
                self._loop.create_task(self._deliver(far, client)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass  # nobody listens behind the link: the client's connection ends
        finally:
            for writer in writers:
                writer.transport.abort()

    async def _deliver(self, far: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """Towards the client, with all that the link does to a stream."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WAITING)

        async def receive() -> None:
            async for piece, is_rtp in _pieces(far):
                if is_rtp and self._chance.random() < self.loss:
                    self.lost += 1
                    continue
                delay_s = self.delay_s + self.jitter_s * self._chance.random()
                await waiting.put((self._loop.time() + delay_s, piece))
            await waiting.put((0.0, b""))

        receiving = self._loop.create_task(receive())
        try:
            while True:
                due, piece = await waiting.get()
                await asyncio.sleep(due - self._loop.time())
                while self.stalled:
                    await asyncio.sleep(_LOOK_S)
                if not piece:
                    return
                if self.bytes_per_s is not None:
                    await asyncio.sleep(len(piece) / self.bytes_per_s)
                client.write(piece)
                await client.drain()
        finally:
            receiving.cancel()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _pieces(reader: asyncio.StreamReader) -> AsyncIterator[tuple[bytes, bool]]:
    """What comes, and whether it is a packet that may be lost; all else is RTSP's or raw."""
    try:
        while True:
            head = await reader.readexactly(4)
            if head[:1] == b"$":
                yield head + await reader.readexactly(int.from_bytes(head[2:], "big")), True
            elif head == b"RTSP":
                text = head + await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", text)
                yield text + await reader.readexactly(int(length[1]) if length else 0), False
            else:
                yield head, False
                while data := await reader.read(65536):
                    yield data, False
                return
    except asyncio.IncompleteReadError as exc:
        yield exc.partial, False
