"""Reads ``csi:`` and ``gst:`` texts, and holds the presets for a Jetson; it imports no GStreamer.

An appsink is never part of the text: the source adds its own.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote

from engines.errors import SettingsError
from engines.redact import HIDDEN, redact, secret_properties

_CSI = re.compile(r"csi:(?P<id>\d+)(?::(?P<w>\d+)x(?P<h>\d+)@(?P<fps>\d+(?:\.\d+)?))?")
_OWN_SINK = re.compile(r"!\s*appsink\b[^!]*$")
_VALUE = re.compile(r"""=\s*("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:\\.|[^\s"'])+)""")
_LINE_END = re.compile(r"\s*[\r\n]\s*")

TO_BGRX = "nvvidconv ! video/x-raw,format=BGRx"
"""From NVMM memory to the system's; nvvidconv has no BGR, so the CPU drops the fourth byte."""

JETSON_PRESETS = {
    "CSI camera": "csi:0:1280x720@30",
    "USB camera, MJPG": "gst:v4l2src device=/dev/video0 ! "
    "image/jpeg,width=1280,height=720,framerate=30/1 ! nvv4l2decoder mjpeg=1 ! " + TO_BGRX,
    "USB camera, raw": "gst:v4l2src device=/dev/video0 ! "
    "video/x-raw,format=YUY2,width=640,height=480,framerate=30/1",
    "RTSP, H.264": "gst:rtspsrc location=rtsp://HOST/PATH latency=100 ! rtph264depay ! "
    "h264parse ! nvv4l2decoder ! " + TO_BGRX,
    "RTSP, H.265": "gst:rtspsrc location=rtsp://HOST/PATH latency=100 ! rtph265depay ! "
    "h265parse ! nvv4l2decoder ! " + TO_BGRX,
    "file, H.264": "gst:filesrc location=VIDEO.mp4 ! qtdemux ! h264parse ! nvv4l2decoder ! "
    + TO_BGRX,
}
"""What to write behind ``--source`` on a Jetson, by what it reads."""
JETSON_ELEMENTS = ("nvarguscamerasrc", "nvv4l2decoder", "nvvidconv")
"""What those presets need and JetPack brings (package nvidia-l4t-gstreamer)."""


@dataclass(frozen=True, slots=True)
class PipelineText:
    """``name`` is the source without its secrets, ``pipeline`` what GStreamer is to run.

    ``secrets`` are the values that no message may show.
    """

    name: str
    pipeline: str
    secrets: tuple[str, ...] = ()

    def hide(self, text: str) -> str:
        """A text of GStreamer's without the secrets of this pipeline."""
        text = redact(text)
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text


def parse_csi(text: str) -> PipelineText:
    """Read ``csi:N[:WxH@FPS]``.

    Raises:
        SettingsError: it is not of that form.
    """
    match = _CSI.fullmatch(text)
    if match is None:
        raise SettingsError(
            f"source {text!r}: not a CSI camera, wanted csi:N[:WxH@FPS], for example csi:0 or "
            "csi:0:1280x720@30; N is the sensor's number"
        )
    caps = "video/x-raw(memory:NVMM),format=NV12"
    if match["w"] is not None:
        rate = Fraction(match["fps"])
        if 0 in (int(match["w"]), int(match["h"]), rate):
            raise SettingsError(f"source {text!r}: size and rate must be more than 0")
        caps += f",width={match['w']},height={match['h']}"
        caps += f",framerate={rate.numerator}/{rate.denominator}"
    return PipelineText(text, f"nvarguscamerasrc sensor-id={int(match['id'])} ! {caps} ! {TO_BGRX}")


def parse_gst(text: str) -> PipelineText:
    """Read ``gst:PIPELINE``; an appsink at its end, as other programs want one, is left out.

    Raises:
        SettingsError: there is no pipeline in it.
    """
    # Over several lines in a settings file; spaces may belong to a quoted file's name.
    pipeline = _LINE_END.sub(" ", text.removeprefix("gst:")).strip()
    pipeline = _OWN_SINK.sub("", pipeline).rstrip("! ")
    if not pipeline:
        raise SettingsError(
            f"source {text!r}: no pipeline in it, wanted GStreamer's elements joined by '!' up to "
            "raw video, for example 'gst:videotestsrc is-live=true'"
        )
    secrets = tuple(value for value in secret_properties(pipeline) if len(value) >= 3)
    return PipelineText(redact(f"gst:{pipeline}"), pipeline, secrets)


def named_files(text: str) -> list[Path]:
    """The files that a pipeline reads: every value of a property that names one."""
    values = [re.sub(r"\\(.)", r"\1", value.strip("\"'")) for value in _VALUE.findall(text)]
    paths = [unquote(v[7:]) if v.startswith("file://") else v for v in values]
    return [Path(path) for path in paths if os.path.isfile(path)]
