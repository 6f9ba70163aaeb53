"""Pictures that no library here writes: a HEIC, and headers that say 144 megapixels."""

from __future__ import annotations

import io
import re
import struct
from fractions import Fraction
from zlib import compress, crc32

import cv2
import numpy as np

from edge.sources.video.media import av
from edge.vision.types import Image


def heic(image: Image, quarters: int = 0, *, mirror: int | None = None) -> bytes:
    """One picture (even sides) as HEIC, to be turned against the clock (ISO/IEC 23008-12).

    Then it is mirrored: 0 swaps above and below (EXIF's 4), 1 left and right (EXIF's 2).
    """
    config, coded = _hevc(image)
    height, width = image.shape[:2]
    properties = [config, _box(b"ispe", struct.pack(">II", width, height), flags=0)]
    if quarters:
        properties.append(_box(b"irot", bytes([quarters])))
    if mirror is not None:
        properties.append(_box(b"imir", bytes([mirror])))
    uses = bytes(0x80 | number for number in range(1, len(properties) + 1))
    item = _box(b"infe", struct.pack(">HH", 1, 0) + b"hvc1\0", flags=2 << 24)

    def meta(offset: int) -> bytes:
        place = struct.pack(">BBHHHHII", 0x44, 0, 1, 1, 0, 1, offset, len(coded))
        return _box(
            b"meta",
            _box(b"hdlr", bytes(4) + b"pict" + bytes(13), flags=0),
            _box(b"pitm", struct.pack(">H", 1), flags=0),
            _box(b"iinf", struct.pack(">H", 1), item, flags=0),
            _box(
                b"iprp",
                _box(b"ipco", *properties),
                _box(b"ipma", struct.pack(">IHB", 1, 1, len(uses)) + uses, flags=0),
            ),
            _box(b"iloc", place, flags=0),
            flags=0,
        )

    kind = _box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    return kind + meta(len(kind) + len(meta(0)) + 8) + _box(b"mdat", coded)


def _box(kind: bytes, *parts: bytes, flags: int | None = None) -> bytes:
    body = b"" if flags is None else struct.pack(">I", flags)
    body += b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def _hevc(image: Image) -> tuple[bytes, bytes]:
    """The decoder's configuration, a whole box (ISO/IEC 14496-15, 8.3.3), and the coded picture."""
    coder = av.CodecContext.create("libx265", "w")
    coder.height, coder.width = image.shape[:2]
    coder.pix_fmt, coder.time_base = "yuv420p", Fraction(1)
    coder.options = {"x265-params": "log-level=none"}
    frame = av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p")
    stream = b"".join(map(bytes, [*coder.encode(frame), *coder.encode(None)]))
    units = [unit for unit in re.split(rb"\x00{2,3}\x01", stream) if unit]
    sets = {unit[0] >> 1: unit for unit in units if 32 <= unit[0] >> 1 <= 34}  # VPS, SPS, PPS
    head = b"\1" + bytes(20) + b"\xff" + bytes([len(sets)])  # lengths have 4 bytes
    arrays = [struct.pack(">BHH", kind, 1, len(unit)) + unit for kind, unit in sets.items()]
    pictures = [unit for unit in units if unit[0] >> 1 < 32]
    coded = b"".join(struct.pack(">I", len(unit)) + unit for unit in pictures)
    return _box(b"hvcC", head, *arrays), coded


def png_of(width: int, height: int) -> bytes:
    """A whole PNG by its checksums, whose header says more than its pixels are."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", compress(bytes(99))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def _with(suffix: str, size: bytes, said: bytes) -> bytes:
    """A black picture of 48x32 whose header says another size."""
    data: bytes = cv2.imencode(suffix, np.zeros((32, 48, 3), np.uint8))[1].tobytes()
    assert size in data
    return data.replace(size, said, 1)


def _avi() -> bytes:
    """One picture of 48x32 in a film whose header says another size."""
    out = io.BytesIO()
    with av.open(out, "w", format="avi") as container:
        stream = container.add_stream("rawvideo", rate=1)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 48, 3), np.uint8), format="bgr24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return out.getvalue().replace(struct.pack("<ii", 48, 32), struct.pack("<ii", _SIDE, _SIDE))


_SIDE = 12_000
_JPEG = _with(".jpg", struct.pack(">HH", 32, 48), struct.pack(">HH", _SIDE, _SIDE))
MEGAPIXELS_144 = {
    "x.png": png_of(_SIDE, _SIDE),
    "x.jpg": _JPEG,
    "film.avi": _avi(),
    "x.bmp": _with(".bmp", struct.pack("<ii", 48, 32), struct.pack("<ii", _SIDE, _SIDE)),
    "x.ppm": b"P6 12000 12000 255\n" + bytes(99),
    "x.dat": b"P5 12000 12000 255\n" + bytes(99),
    "x.tif": _with(
        ".tif", struct.pack("<HHIHH", 257, 3, 1, 32, 0), struct.pack("<HHII", 257, 4, 1, 4_000_000)
    ),
    "folder.jfif": _JPEG,
}
"""By name; each is refused by its header alone."""
