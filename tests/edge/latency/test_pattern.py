"""The pattern is read from pictures as cameras make them, and never misread."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from edge.latency.pattern import draw, read
from edge.sources import open_source
from tests.edge.latency.filming import filmed, mixed

T = 1_234_567_000_000
PERIOD = 17_000_000


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"wh": (640, 480), "width": 600},
        {"width": 60},
        {"width": 290, "at": (0, 0), "wh": (291, 200)},
        {"wh": (1920, 1080), "width": 400, "at": (1400, 700)},
        {"noise": 30},
        {"blur": 3},
        {"noise": 20, "blur": 2, "width": 200},
        {"gain": 0.3, "noise": 3},
        {"turns": 1},
        {"turns": 2, "noise": 10},
        {"turns": 3, "mirrored": True},
        {"mirrored": True},
    ],
)
def test_a_moment_is_read_however_it_is_filmed(how: dict[str, Any]) -> None:
    for number in range(5):
        at_ns = T + number * PERIOD
        assert read(filmed(draw(at_ns), **how), T + 10 * PERIOD).shown_ns == at_ns


def test_no_mixture_of_patterns_is_taken_for_another_moment() -> None:
    rng, clear = np.random.default_rng(0), 0
    for number in range(60):
        times = [T + (number + i) * PERIOD for i in range(3)]
        share = rng.dirichlet((0.3, 0.3, 0.3))
        reading = read(filmed(mixed([draw(t) for t in times], list(share)), noise=5), T)
        if reading.shown_ns is None:
            assert reading.mixed
        else:
            assert reading.shown_ns in times
            assert share[times.index(reading.shown_ns)] > 0.5
            clear += 1
    assert 0 < clear < 60


def test_no_picture_that_was_torn_between_two_patterns_is_taken_for_a_moment() -> None:
    for number, row in enumerate(range(60, 340, 7)):
        first, second = (T + (number + i) * PERIOD for i in range(2))
        torn = draw(first)
        torn[:row] = draw(second)[:row]
        reading = read(filmed(torn), T)
        assert reading.shown_ns in (None, first, second)
        if 140 < row < 160:  # the uppermost row of blocks, most of the checksum, is of the second
            assert reading.mixed


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((240, 320, 3), 8, np.uint8), "the picture is dark (mean 8 of 255)"),
        (np.full((240, 320, 3), 120, np.uint8), "no pattern in the picture: point the camera"),
        (np.zeros((1, 1, 3), np.uint8), "dark"),
        (filmed(draw(T), gain=0.12), "the pattern is pale (30 of 255"),
        (filmed(draw(T), width=50, blur=2), "the pattern is small (cells of 4."),
        (np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8), "no pattern"),
    ],
)
def test_why_nothing_is_read_is_said(image: Any, words: str) -> None:
    reading = read(image, T)
    assert reading.shown_ns is None
    assert not reading.mixed
    assert words in reading.why


def test_half_a_pattern_is_none() -> None:
    assert read(filmed(draw(T))[:, :150], T).shown_ns is None
    assert read(filmed(draw(T))[80:], T).shown_ns is None


def test_a_street_is_no_pattern() -> None:
    """Windows and signs are framed, too, and hints about them would lead astray."""
    source = open_source("synthetic:960x540@30", policy="wait", stop=threading.Event())
    frames = [source.read() for _ in range(60)]
    whys = [read(frame.image, 0).why for frame in frames if frame is not None]
    assert len(whys) == 60
    assert sum(why.startswith("no pattern in the picture") for why in whys) > 50
