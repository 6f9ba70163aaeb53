"""The browser that tests of the page use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.edge.web.equipment.browser import open_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow


def test_it_runs_a_page(browser: Browser) -> None:
    with open_page(browser, viewport={"width": 390, "height": 844}) as page:
        page.set_content("<p>here</p>")
        assert page.inner_text("p") == "here"
        assert page.evaluate("innerWidth") == 390


def test_it_shows_h264(browser: Browser) -> None:
    with open_page(browser) as page:
        assert page.evaluate("MediaSource.isTypeSupported('video/mp4; codecs=\"avc1.42E01F\"')")


def test_what_a_page_raises_fails_its_test(browser: Browser) -> None:
    with pytest.raises(AssertionError, match="not there"), open_page(browser) as page:
        page.set_content("<script>throw new Error('not there')</script>")


def test_but_not_what_the_test_expects(browser: Browser) -> None:
    with open_page(browser, expected="not there") as page:
        page.set_content("<script>throw new Error('not there')</script>")
