"""The doctor on GStreamer: the presets of a Jetson, and what a machine lacks."""

from __future__ import annotations

import pytest

from edge.machine.gstreamer import gstreamer
from edge.sources.gst.library import APT_LINE
from edge.sources.gst.text import JETSON_ELEMENTS, JETSON_PRESETS
from engines.errors import SourceError
from tests.edge.gst_here import needs_gst


def test_a_jetson_gets_its_presets_and_hears_what_jetpack_lacks() -> None:
    gst = needs_gst().Gst
    found = {finding.name: finding for finding in gstreamer(jetson=True)}
    for name in JETSON_ELEMENTS:
        there = gst.ElementFactory.find(name) is not None
        assert found[name].status == ("ok" if there else "missing")
        assert there or "nvidia-l4t-gstreamer" in found[name].hint
    for name in JETSON_PRESETS:
        assert found[name].text.startswith("--source ")
    assert "csi:0:1280x720@30" in found["CSI camera"].text
    assert found["RTSP, H.264"].text.startswith("--source 'gst:rtspsrc location=rtsp://HOST/PATH ")
    assert [finding.name for finding in gstreamer(jetson=False)] == ["bindings"]


def test_gstreamer_is_missing_on_a_jetson_and_no_more_than_absent_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent() -> None:
        raise SourceError(f"GStreamer cannot be used (no module named gi); install it: {APT_LINE}")

    monkeypatch.setattr("edge.machine.gstreamer.import_gst", absent)
    (on_jetson,) = gstreamer(jetson=True)
    assert (on_jetson.status, on_jetson.hint) == ("missing", f"install it: {APT_LINE}")
    (elsewhere,) = gstreamer(jetson=False)
    assert elsewhere.status == "none"
    assert APT_LINE in elsewhere.text
