"""The view of no signal by its pixels: never bright as a frame, readable at any size."""

from __future__ import annotations

import numpy as np
import pytest

from edge.sinks.overlay.no_signal import SIZE, no_signal
from edge.sinks.overlay.overlay import Overlay

LONG = "rtsp://camera.local/stream: cannot be opened: Connection refused; wanted a server " * 3


@pytest.mark.parametrize("wh", [(64, 48), (640, 480), (960, 540), (540, 960), (3840, 2160)])
def test_the_last_frame_is_grey_and_dark_under_white_text(wh: tuple[int, int]) -> None:
    frame = np.empty((wh[1], wh[0], 3), np.uint8)
    frame[:] = (255, 100, 0)
    image = no_signal(frame, "NO SIGNAL", ("5 s since the last frame", LONG))
    assert image.shape == frame.shape
    assert np.all(image[..., 0] == image[..., 1])
    assert np.all(image[..., 1] == image[..., 2])
    # Its grey is 0.114 * 255 + 0.587 * 100 = 88, a third of which is 31.
    assert np.median(image[0]) == pytest.approx(31, abs=1)
    assert image.max() == 255
    assert np.all(frame == (255, 100, 0))  # the frame itself stays as it was


def test_without_a_frame_it_is_black_and_says_so_all_the_same() -> None:
    image = Overlay().no_signal(None, "NO SIGNAL", ("3 s since the start",))
    assert image.shape == (*SIZE, 3)
    assert np.median(image) == 0
    assert image.max() == 255


def test_long_reasons_stay_inside_the_frame() -> None:
    image = no_signal(None, "NO SIGNAL", (LONG,))
    lit = np.flatnonzero(image.max(axis=(0, 2)))
    assert lit[0] > 0
    assert lit[-1] < image.shape[1] - 1
