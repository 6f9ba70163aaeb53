from __future__ import annotations

from typing import cast

import cv2

from edge.vision.types import Image
from tests.field.timecode import coded, time_in_pixels

T = 1_234_567_000_000


def test_the_time_is_read_whatever_the_size_and_a_torn_picture_has_none() -> None:
    for wh in ((128, 64), (256, 128), (320, 160)):
        fitted = cast(Image, cv2.resize(coded(T, wh), (192, 96)))
        assert time_in_pixels(fitted, near_ns=T + 5_000_000_000) == T
    torn = coded(T)
    torn[:32] = coded(T + 40_000_000)[:32]  # the upper row
    assert time_in_pixels(torn, near_ns=T) is None


def test_the_time_goes_on_where_its_bits_begin_anew() -> None:
    wrap = (1 << 20) * 1_000_000  # ms in ns, 17 min
    assert time_in_pixels(coded(3 * wrap - 1_000_000), near_ns=3 * wrap) == 3 * wrap - 1_000_000
    assert time_in_pixels(coded(3 * wrap), near_ns=3 * wrap - 7) == 3 * wrap
