"""The page shows the same pattern as the window, on the app's clock."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from edge.latency.page import Page
from edge.latency.pattern import read
from engines.errors import SettingsError, SinkError

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@pytest.fixture
def page() -> Iterator[Page]:
    opened = Page("127.0.0.1:0")
    try:
        yield opened
    finally:
        opened.close()
        opened.close()


def test_it_gives_its_clock_and_hears_how_long_that_took(page: Page) -> None:
    page.refresh(0.05)
    assert page.clock_ms == 0
    before_ms = time.monotonic_ns() / 1e6
    with _DIRECT.open(page.url + "now?trip_ms=7.5") as answer:
        now = json.load(answer)
    assert before_ms <= now["ms"] <= time.monotonic_ns() / 1e6
    assert now["hold_ms"] == 50
    for nonsense in ("", "?trip_ms=x", "?trip_ms=nan", "?trip_ms=-1", "?trip_ms=1e99", "?trip_ms"):
        with _DIRECT.open(page.url + "now" + nonsense):
            assert page.clock_ms == 3.75
    with pytest.raises(urllib.error.HTTPError, match="404") as refused:
        _DIRECT.open(page.url + "../etc/passwd")
    refused.value.close()


def test_an_address_that_is_none_or_taken_is_refused(page: Page) -> None:
    with pytest.raises(SettingsError, match=r"--page: got .*wanted ADDRESS:PORT"):
        Page("nowhere")
    with pytest.raises(SinkError, match=r"--page 127.0.0.1:.*a port where nothing listens"):
        Page(page.url.removeprefix("http://").rstrip("/"))


@pytest.mark.slow
def test_a_browser_draws_the_moment_that_the_app_has(page: Page) -> None:
    from tests.edge.web.equipment.browser import chromium, open_page

    page.refresh(1 / 60)
    with chromium() as browser, open_page(browser, viewport={"width": 400, "height": 700}) as shown:
        shown.goto(page.url)
        shown.wait_for_function("trips.length > 3")
        for _ in range(5):
            before_ns = time.monotonic_ns()
            shot = cv2.imdecode(np.frombuffer(shown.screenshot(), np.uint8), cv2.IMREAD_COLOR)
            after_ns = time.monotonic_ns()
            assert shot is not None
            shown_ns = read(shot.astype(np.uint8), after_ns).shown_ns
            assert shown_ns is not None
            # A picture that is up when it is taken came at most some refreshes before.
            assert before_ns - 1_000_000_000 < shown_ns <= after_ns + 5_000_000
        assert page.clock_ms > 0
        page.refresh(30)  # the page hears of it within a fifth of a second
        shown.wait_for_function("hold > 1000")
        stays = shown.evaluate("shown")
        shown.wait_for_timeout(200)
        assert shown.evaluate("shown") == stays
