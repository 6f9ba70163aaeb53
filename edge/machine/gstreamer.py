"""What the doctor finds about GStreamer, and what to write behind ``--source`` on a Jetson."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from edge.machine.finding import Finding
from edge.sources.gst.library import APT_LINE, import_gst
from edge.sources.gst.text import JETSON_ELEMENTS, JETSON_PRESETS
from engines.errors import SourceError


def gstreamer(*, jetson: bool) -> Iterator[Finding]:
    """GStreamer itself; on a Jetson also JetPack's elements and the presets that need them."""
    try:
        gst = import_gst().Gst
    except SourceError as exc:
        if jetson:
            text, _, hint = str(exc).partition("; ")
            yield Finding("GStreamer", "bindings", "missing", text, hint)
        else:
            text = f"not here; for --source gst: and csi: {APT_LINE}"
            yield Finding("GStreamer", "bindings", "none", text)
        return
    version = gst.version_string().removeprefix("GStreamer ")
    yield Finding("GStreamer", "bindings", "ok", f"{version}; --source 'gst:PIPELINE' works")
    if not jetson:
        return
    for name in JETSON_ELEMENTS:
        if gst.ElementFactory.find(name) is not None:
            yield Finding("GStreamer", name, "ok", "is there")
        else:
            hint = "sudo apt install nvidia-l4t-gstreamer; in a container: --runtime nvidia"
            yield Finding("GStreamer", name, "missing", "GStreamer does not know it", hint)
    for what, text in JETSON_PRESETS.items():
        yield Finding("GStreamer", what, "ok", f"--source {shlex.quote(text)}")
