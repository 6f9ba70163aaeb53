"""H.264 as fragmented MP4 (ISO/IEC 14496-12), a picture a fragment; it encodes and sends nothing.

FFmpeg writes the head. It would write a fragment only when the next picture is there, so those are
written here.
"""

from __future__ import annotations

import io
import re
import struct
from typing import TYPE_CHECKING

from edge.h264 import TIME_BASE
from edge.sources.video.media import av

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

    from edge.h264 import Encoder

_START_CODE = re.compile(rb"\x00*\x00\x00\x01")
_SPS = 7
_KEY, _DELTA = 0x02000000, 0x01010000
"""A sample that depends on no other; one that does and where nothing can begin (8.8.3.1)."""
_BASE_IS_MOOF = 0x020000
_DURATION, _SIZE, _FLAGS, _OFFSET = 0x100, 0x200, 0x400, 0x1
_LONGEST = 90_000
"""How long a picture may be said to last, in TIME_BASE. Browsers drop all up to the next key frame
where one comes later than twice that, and none is sent at a time that is known before."""


class Fragments:
    """One stream of fragments; opened after the encoder's first packet.

    Attributes:
        kind: the media type, with codecs, as ``MediaSource`` wants it.
        head: what must come before the first fragment.
    """

    def __init__(self, encoder: Encoder) -> None:
        sps = next(unit for unit in _units(encoder.extradata) if unit[0] & 0x1F == _SPS)
        self.kind = f'video/mp4; codecs="avc1.{sps[1:4].hex().upper()}"'
        self.head = _head(encoder)
        self._number = 0

    def of(self, packet: Packet[VideoStream]) -> bytes:
        """The fragment of one packet."""
        assert packet.pts is not None
        self._number += 1
        units = [struct.pack(">I", len(unit)) + unit for unit in _units(bytes(packet))]
        sample = b"".join(units)
        flags = _KEY if packet.is_keyframe else _DELTA
        moof = self._moof(packet.pts, len(sample), flags, offset=0)
        # The sample begins behind this box and the eight bytes before the data.
        moof = self._moof(packet.pts, len(sample), flags, offset=len(moof) + 8)
        return moof + _box(b"mdat", sample)

    def _moof(self, pts: int, size: int, flags: int, *, offset: int) -> bytes:
        run = _DURATION | _SIZE | _FLAGS | _OFFSET
        return _box(
            b"moof",
            _full(b"mfhd", 0, 0, struct.pack(">I", self._number)),
            _box(
                b"traf",
                _full(b"tfhd", 0, _BASE_IS_MOOF, struct.pack(">I", 1)),
                _full(b"tfdt", 1, 0, struct.pack(">Q", pts)),
                _full(b"trun", 0, run, struct.pack(">IiIII", 1, offset, _LONGEST, size, flags)),
            ),
        )


def _head(encoder: Encoder) -> bytes:
    written = io.BytesIO()
    options = {"movflags": "empty_moov+default_base_moof+frag_custom"}
    container = av.open(written, "w", format="mp4", options=options)
    stream = encoder.stream_in(container)
    container.start_encoding()
    assert stream.time_base == TIME_BASE, stream.time_base
    head = written.getvalue()
    container.close()
    return head


def _units(annex_b: bytes) -> list[bytes]:
    """The NAL units between the start codes; none ends in a zero byte (ITU-T H.264, 7.4.1)."""
    return [unit for part in _START_CODE.split(annex_b) if (unit := part.rstrip(b"\0"))]


def _box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + name + body


def _full(name: bytes, version: int, flags: int, content: bytes) -> bytes:
    return _box(name, struct.pack(">I", version << 24 | flags), content)
