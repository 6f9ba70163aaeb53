"""What viewers cost a run, and how long a picture takes to one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.edge.web.equipment import cost, latency
from tests.edge.web.equipment.served import served

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.timing]


def test_twenty_viewers_cost_a_tenth_of_a_core_more_than_one_and_no_frame() -> None:
    with served("--source", "synthetic:960x540@10") as run:
        one, many = (cost.measure(run, viewers) for viewers in (1, 20))
        assert many.taken > 15 * one.taken, "they did not all get their pictures"
        assert many.cpu - one.cpu <= 10
        assert many.dropped <= one.dropped


def test_two_hundred_that_never_read_cost_no_memory_and_no_frame() -> None:
    with served("--source", "synthetic:960x540@10") as run:
        one = cost.measure(run, 1)
        stuck = cost.measure(run, 200, reads=False)
        assert stuck.dropped <= one.dropped
        assert stuck.memory_mb - one.memory_mb < 40


def test_a_picture_is_on_the_page_in_time(browser: Browser) -> None:
    bare = latency.measure(browser, "bare", fps=30, seconds=4)
    for way, most_ms in (("mjpeg", 45), ("h264", 120)):
        shown = latency.measure(browser, way, fps=30, seconds=4)
        assert shown.seen > 0.8 * shown.handed
        assert shown.p95 <= max(most_ms, 1.5 * bare.p95), (shown, bare)
