"""Finds the JPEG pictures in a stream of bytes, whatever is around them; it decodes none.

Cameras send Motion JPEG with and without boundaries, headers and right lengths, so nothing but the
pictures' own markers counts (ITU-T T.81, annex B).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MOST_BYTES = 64 << 20
"""No picture is longer: what claims to be is given up, so that memory stays bounded."""
_START = re.compile(rb"\xff\xd8\xff[\xc0-\xfe]")
# In coded data 0xFF comes as FF 00, restart markers stand alone, and any number of FF may fill up.
_AFTER_CODED = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01


class JpegSplitter:
    """Takes bytes in pieces of any size.

    A picture is given as soon as its end is there. One whose end is missing is given where the next
    one begins, if coded data had begun: some cameras leave the end out.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._at = 0  # where the next marker is looked for; 0: no picture has begun
        self._in_coded = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pictures that ``data`` completes."""
        self._bytes += data
        while self._begin():
            end = self._end()
            if end is None:
                if len(self._bytes) > MOST_BYTES:
                    self._drop(len(self._bytes))
                return
            if end:
                yield bytes(self._bytes[:end])
            self._drop(end or 2)

    def rest(self) -> bytes:
        """The picture that has begun and will not go on; empty where there is none."""
        begun = bytes(self._bytes) if self._in_coded else b""
        self._drop(len(self._bytes))
        return begun

    def _begin(self) -> bool:
        """Whether the bytes begin with a picture; what stands before one is thrown away."""
        if self._at:
            return True
        start = _START.search(self._bytes)
        # The last bytes may be the first ones of a start.
        del self._bytes[: start.start() if start else max(0, len(self._bytes) - 3)]
        self._at = 2 if start else 0
        return start is not None

    def _end(self) -> int | None:
        """Where the picture ends, None if that is still to come, 0 where it is damaged."""
        data = self._bytes
        while True:
            if self._in_coded:
                found = _AFTER_CODED.search(data, self._at)
                if found is None:
                    tail = len(data)
                    while tail > self._at and data[tail - 1] == 0xFF:
                        tail -= 1
                    self._at = tail
                    return None
                self._at, marker, after = found.start(), data[found.end() - 1], found.end()
            else:
                after = self._at
                while after < len(data) and data[after] == 0xFF:
                    after += 1
                if after == len(data):
                    return None
                if after == self._at:
                    return 0
                marker, after = data[after], after + 1
            if marker == _EOI:
                return after
            if marker == _SOI:
                return self._at if self._in_coded else 0
            if marker == _TEM or 0xD0 <= marker <= 0xD7:
                self._at = after
                continue
            if len(data) < after + 2:
                return None
            length = int.from_bytes(data[after : after + 2], "big")
            if marker == 0 or length < 2:
                return 0
            if len(data) < after + length:
                return None
            self._at, self._in_coded = after + length, marker == _SOS

    def _drop(self, count: int) -> None:
        del self._bytes[:count]
        self._at, self._in_coded = 0, False
