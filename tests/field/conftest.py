"""A camera and a link to it; both end with the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.edge.gst_here import needs_gst
from tests.field.rtsp_camera import RtspCamera, missing


@pytest.fixture
def camera() -> Iterator[RtspCamera]:
    """An RTSP camera that is off."""
    lacking = missing(needs_gst())
    if lacking:
        pytest.skip(f"needs {lacking}")
    with RtspCamera() as camera:
        yield camera
