"""Turns GStreamer's errors into ours, with the nearest name and a next step."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

from edge.sources.gst.text import PipelineText
from engines.errors import OutriderError, SettingsError, SourceError

_PACKAGES = (
    (r"nv\w+|jetson\w*", "it comes with JetPack (package nvidia-l4t-gstreamer)"),
    (r"avdec_\w+|avdemux_\w+", "sudo apt install gstreamer1.0-libav"),
    (r"h26[45]parse|srt\w+|rtmp2?\w+|de265dec", "sudo apt install gstreamer1.0-plugins-bad"),
    (r"x26[45]enc|mpeg2dec", "sudo apt install gstreamer1.0-plugins-ugly"),
    (r"libcamerasrc", "sudo apt install gstreamer1.0-libcamera"),
    (
        r"v4l2src|rtspsrc|rtp\w+|udpsrc|souphttpsrc|qtdemux|matroskademux|avidemux|jpegdec|vp[89]dec",
        "sudo apt install gstreamer1.0-plugins-good",
    ),
    (
        r"videotestsrc|videoconvert|videoscale|videorate|decodebin3?|uridecodebin3?|app(src|sink)",
        "sudo apt install gstreamer1.0-plugins-base",
    ),
)  # fmt: skip
"""Elements and what brings them, for those that pipelines of cameras and files use."""


_LONGEST_NAME = 64
"""No element or property has a longer name, and comparing takes minutes for a whole page."""


def without_argus(text: str) -> SourceError:
    """The error for a CSI camera on a machine that is no Jetson."""
    return SourceError(
        f"{text}: GStreamer has no element nvarguscamerasrc here, wanted a Jetson with JetPack's "
        "multimedia packages (sudo apt install nvidia-l4t-gstreamer; a container needs --runtime "
        "nvidia); elsewhere use camera:N"
    )


def not_parsed(gst: Any, error: Any, missing: list[str], meant: PipelineText) -> OutriderError:
    """The error for what ``Gst.parse_launch_full`` raised.

    A missing element is a SourceError, anything else a mistake in the text.
    """
    said = meant.hide(error.message)
    absent = [name for name in missing if gst.Gst.ElementFactory.find(name) is None]
    kind = gst.Gst.ParseError
    if error.code == kind.NO_SUCH_ELEMENT and absent:
        name = absent[0]
        names = [
            f.get_name() for f in gst.Gst.Registry.get().get_feature_list(gst.Gst.ElementFactory)
        ]
        return SourceError(
            f"{meant.name}: GStreamer has no element {name!r} here{_nearest(name, names)}; "
            + _package(name)
        )
    hint = "wanted GStreamer's syntax: ELEMENT PROPERTY=VALUE ! ELEMENT ..."
    unknown = re.search(r'no property "([^"]+)" in element "([^"]+)"', error.message)
    if error.code == kind.NO_SUCH_PROPERTY and unknown:
        name, owner = unknown.groups()
        hint = f"gst-inspect-1.0 {owner} lists them"
        factory = gst.Gst.ElementFactory.find(owner)
        if factory is not None:
            names = [spec.name for spec in factory.create(None).list_properties()]
            hint = f"{_nearest(name, names)[2:]} {hint}".strip()
    elif error.code == kind.LINK:
        hint = "the text must end where raw video comes out, without a sink; " + TO_SYSTEM
    elif error.code == kind.COULD_NOT_SET_PROPERTY:
        hint = "gst-inspect-1.0 ELEMENT lists the values that it takes"
    return SettingsError(f"source {meant.name!r}: GStreamer cannot read it: {said}; {hint}")


TO_SYSTEM = "from a Jetson's NVMM memory: nvvidconv ! video/x-raw,format=BGRx"


def advice(gst: Any, error: Any, detail: str | None) -> str:
    """The next step for an error that an element put on the bus."""
    resource, stream, core = gst.ResourceError, gst.StreamError, gst.CoreError
    steps = {
        (resource, resource.NOT_FOUND): "check that the device, file or address is there",
        (resource, resource.BUSY): "another program holds it: end that one",
        (resource, resource.NOT_AUTHORIZED): "give it a login that the server accepts",
        (resource, resource.OPEN_READ): "check the address and the rights to read it",
        (core, core.MISSING_PLUGIN): "sudo apt install gstreamer1.0-plugins-bad gstreamer1.0-libav",
        (stream, stream.CODEC_NOT_FOUND): "sudo apt install gstreamer1.0-plugins-bad "
        "gstreamer1.0-libav",
    }
    for (domain, code), step in steps.items():
        if error.matches(domain.quark(), code):
            return step
    if "not-negotiated" in (detail or "") or "not-linked" in (detail or ""):
        return f"the elements do not fit together, wanted raw video at the end; {TO_SYSTEM}"
    return "try the pipeline alone: gst-launch-1.0 PIPELINE ! fakesink"


def _nearest(name: str, names: list[str]) -> str:
    close = get_close_matches(name[:_LONGEST_NAME], names, n=1)
    return f", did you mean {close[0]}?" if close else ""


def _package(name: str) -> str:
    for pattern, step in _PACKAGES:
        if re.fullmatch(pattern, name):
            return step
    return "gst-inspect-1.0 lists those that are there"
