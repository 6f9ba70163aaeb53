"""H.264 as fragmented MP4 (ISO/IEC 14496-12); it encodes, sends and writes nothing.

FFmpeg writes the head. It would write a fragment only when the next picture is there, so those are
written here: each is whole by itself, and nothing before it is ever changed.
"""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.h264.encoder import TIME_BASE
from edge.sources.video.media import av

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.stream import VideoStream

    from edge.h264.encoder import Encoder

_START_CODE = re.compile(rb"\x00*\x00\x00\x01")
_SPS = 7
_KEY, _DELTA = 0x02000000, 0x01010000
"""A sample that depends on no other; one that does and where nothing can begin (8.8.3.1)."""
_BASE_IS_MOOF = 0x020000
_DURATION, _SIZE, _FLAGS, _OFFSET = 0x100, 0x200, 0x400, 0x1
_TRACK = 1
_NAME, _UTF8 = b"\xa9nam", 1
"""An item of the list of iTunes, which FFmpeg and players read, and the type of its text."""
_AT_CAPTURE = 24
"""Of ``prft``: the time is that of the capture (8.16.5.3)."""
_SINCE_1900_S, _SINCE_1904_S = 2_208_988_800, 2_082_844_800
"""Where NTP's time and that of MP4 begin, in seconds before 1970."""
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture: NAL units, each with its length before it; ``pts`` is in TIME_BASE."""

    data: bytes
    pts: int
    key: bool


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What must come before the first fragment of a stream.

    ``kind`` is the media type, with codecs, as ``MediaSource`` wants it.
    """

    kind: str
    data: bytes

    def begun_at(self, utc_ns: int, title: str = "") -> bytes:
        """The head of a file that begins at this time, in ns since 1970, and has a title."""
        written = bytearray(self.data)
        if title:  # as the last item of FFmpeg's list, which ends the head
            item = _box(_NAME, _box(b"data", struct.pack(">II", _UTF8, 0), title.encode()))
            written += item
            for name in (b"moov", b"udta", b"meta", b"ilst"):
                at = written.rindex(name) - 4
                size = struct.unpack_from(">I", written, at)[0] + len(item)
                struct.pack_into(">I", written, at, size)
        seconds = utc_ns // _NS + _SINCE_1904_S
        for name in (b"mvhd", b"tkhd", b"mdhd") if 0 <= seconds < 2**32 else ():
            at = written.index(name) + 8  # behind version (0) and flags: creation, modification
            struct.pack_into(">II", written, at, seconds, seconds)
        return bytes(written)


def head_of(encoder: Encoder) -> Head:
    """The head of an encoder's stream, after its first packet."""
    sps = next(unit for unit in _units(encoder.extradata) if unit[0] & 0x1F == _SPS)
    written = io.BytesIO()
    options = {"movflags": "empty_moov+default_base_moof+frag_custom"}
    container = av.open(written, "w", format="mp4", options=options)
    stream = encoder.stream_in(container)
    container.start_encoding()
    assert stream.time_base == TIME_BASE, stream.time_base
    data = written.getvalue()
    container.close()
    return Head(f'video/mp4; codecs="avc1.{sps[1:4].hex().upper()}"', data)


def sample_of(packet: Packet[VideoStream]) -> Sample:
    """The sample of an encoder's packet."""
    assert packet.pts is not None
    units = [struct.pack(">I", len(unit)) + unit for unit in _units(bytes(packet))]
    return Sample(b"".join(units), packet.pts, bool(packet.is_keyframe))


def fragment(
    samples: Sequence[Sample],
    number: int,
    *,
    end: int,
    origin: int = 0,
    utc_ns: int | None = None,
) -> bytes:
    """The fragment of one or more pictures.

    Args:
        samples: the pictures, by rising ``pts``.
        number: one more than that of the fragment before.
        end: where the last picture ends, in TIME_BASE.
        origin: the ``pts`` that is the file's time 0.
        utc_ns: when the first picture was taken, in ns since 1970; told before the fragment.
    """
    ends = [*(sample.pts for sample in samples[1:]), end]
    begin = samples[0].pts - origin
    table = b"".join(
        struct.pack(">III", until - sample.pts, len(sample.data), _KEY if sample.key else _DELTA)
        for sample, until in zip(samples, ends, strict=True)
    )
    data = b"".join(sample.data for sample in samples)
    moof = _moof(number, begin, len(samples), table, offset=0)
    # The first sample begins behind this box and the eight bytes before the data.
    moof = _moof(number, begin, len(samples), table, offset=len(moof) + 8)
    time = b"" if utc_ns is None else _taken_at(utc_ns, begin)
    return time + moof + _box(b"mdat", data)


def whole_end(fd: int) -> int:
    """Where the last whole fragment of an open file ends, 0 where it has none.

    Raises:
        OSError: it cannot be read.
    """
    end = os.fstat(fd).st_size
    at = whole = 0
    while len(box := os.pread(fd, 8, at)) == 8:
        size, name = struct.unpack(">I4s", box)
        at += size
        if size < 8 or at > end:
            break
        whole = at if name == b"mdat" else whole
    return whole


def _moof(number: int, begin: int, count: int, table: bytes, *, offset: int) -> bytes:
    run = _DURATION | _SIZE | _FLAGS | _OFFSET
    return _box(
        b"moof",
        _full(b"mfhd", 0, 0, struct.pack(">I", number)),
        _box(
            b"traf",
            _full(b"tfhd", 0, _BASE_IS_MOOF, struct.pack(">I", _TRACK)),
            _full(b"tfdt", 1, 0, struct.pack(">Q", begin)),
            _full(b"trun", 0, run, struct.pack(">Ii", count, offset) + table),
        ),
    )


def _taken_at(utc_ns: int, begin: int) -> bytes:
    """The box of the producer's reference time (8.16.5), in NTP's format of 32.32 bits."""
    seconds, ns = divmod(utc_ns + _SINCE_1900_S * _NS, _NS)
    fields = struct.pack(">IIIQ", _TRACK, seconds % 2**32, (ns << 32) // _NS, begin)
    return _full(b"prft", 1, _AT_CAPTURE, fields)


def _units(annex_b: bytes) -> list[bytes]:
    """The NAL units between the start codes; none ends in a zero byte (ITU-T H.264, 7.4.1)."""
    return [unit for part in _START_CODE.split(annex_b) if (unit := part.rstrip(b"\0"))]


def _box(name: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + name + body


def _full(name: bytes, version: int, flags: int, content: bytes) -> bytes:
    return _box(name, struct.pack(">I", version << 24 | flags), content)
