"""Which video of a container is shown: the film, not its cover picture; it decodes nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from edge.pixels import MOST_PIXELS, why_too_large
from edge.sources.video.media import av
from engines.errors import SourceError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

_log = logging.getLogger("edge")

_COVER_CODECS = frozenset({"mjpeg", "png", "bmp", "gif", "webp", "tiff"})
"""What covers and thumbnails are coded in; where a film stands beside one of these, it is meant."""
_COVER_SHARE = 0.1
"""A track that lasts less of the longest one's time is a picture of it."""


_PARAMETERS = {
    "h264": "its parameter sets (SPS and PPS)",
    "hevc": "its parameter sets (VPS, SPS and PPS)",
    "vvc": "its parameter sets (VPS, SPS and PPS)",
    "av1": "its sequence header",
    "mpeg2video": "its sequence header",
    "mpeg4": "its header (VOL)",
}
"""What tells a decoder the size of pictures, where it travels in the stream itself."""


def awaited(stream: VideoStream) -> str:
    """What a decoder that has given no picture yet is waiting for, as far as it shows."""
    codec = stream.codec_context
    return "a key frame" if codec.width else _PARAMETERS.get(codec.name, "a key frame")


def film_of(container: InputContainer, name: str, *, joined: bool = False) -> VideoStream:
    """The video to show; all others in the container are told.

    A cover of a song is none. Of several it is one that can be decoded, that moves, that the file
    calls its default, that has the most pixels, that comes first: FFmpeg's own order, but for the
    default before which a moving one goes. ``joined``: it is a stream that was joined midway, which
    may tell the size of its pictures later, before a key frame.

    Raises:
        SourceError: there is none, or none that can be decoded, or its pictures are too large.
    """
    tracks = [s for s in container.streams.video if not _is_attached(s)]
    if not tracks:
        kinds = {"cover picture" if s.type == "video" else s.type for s in container.streams}
        raise SourceError(
            f"{name}: no video in it (it holds {', '.join(sorted(kinds)) or 'nothing'}), wanted a "
            "video stream; check that it is the right one"
        )
    longest_s = max(length_s(s) or 0.0 for s in tracks)
    film = max(
        tracks,
        key=lambda s: (
            _pixels(s) > 0,
            not _is_still(s, longest_s),
            bool(s.disposition & av.stream.Disposition.default),
            _pixels(s),
            -s.index,
        ),
    )
    if not _pixels(film) and not (joined and film.codec_context is not None):
        raise SourceError(
            f"{name}: its video cannot be decoded (codec or picture size unknown); convert it to "
            "H.264, for example: ffmpeg -i INPUT -c:v libx264 OUTPUT.mp4"
        )
    if too_large := why_too_large(film.codec_context.width, film.codec_context.height):
        raise SourceError(f"{name}: {too_large}")
    film.codec_context.options = {"max_pixels": str(MOST_PIXELS)}  # its size may change
    others = [s for s in container.streams.video if s is not film]
    if others:
        pictures = all(_is_attached(s) or _is_still(s, longest_s) for s in others)
        _log.log(
            logging.INFO if pictures else logging.WARNING,
            "%s: shows track %d (%s); other video in it is left out: %s%s",
            name,
            film.index,
            _named(film),
            ", ".join(f"track {s.index} ({_named(s)})" for s in others),
            "" if pictures else "; to see one, copy it out: ffmpeg -i INPUT -map 0:TRACK -c copy",
        )
    return film


def length_s(stream: VideoStream) -> float | None:
    """How long a track lasts by its header, None where that does not say."""
    try:  # Matroska's tag, "00:00:08.840000000"; FFmpeg's own figure there is the whole file's
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except (KeyError, ValueError):
        return float(stream.duration * (stream.time_base or 0)) if stream.duration else None


def _is_attached(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _is_still(stream: VideoStream, longest_s: float) -> bool:
    """Whether a track is one picture, as far as its header tells."""
    if stream.frames or not _pixels(stream):
        return stream.frames == 1
    known_s = length_s(stream)
    short = known_s is not None and known_s < _COVER_SHARE * longest_s
    return short or stream.codec_context.name in _COVER_CODECS


def _pixels(stream: VideoStream) -> int:
    """Pixels of a picture; 0 where FFmpeg has no decoder or could not find the size."""
    try:
        codec = stream.codec_context
        return codec.width * codec.height if codec is not None else 0
    except (AttributeError, ValueError):
        return 0


def _named(stream: VideoStream) -> str:
    if not _pixels(stream):
        return "cannot be decoded"
    codec = stream.codec_context
    still = ", a picture" if _is_attached(stream) or stream.frames == 1 else ""
    return f"{codec.name} {codec.width}x{codec.height}{still}"
