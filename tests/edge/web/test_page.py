"""The page in a real browser: what it shows of a run, changes there, and survives."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from tests.edge.web.browser import open_page
from tests.edge.web.served import Served, served
from tests.field.mjpeg_camera import MjpegCamera

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

PHONE = {"width": 360, "height": 740}
LOOKS = Path(__file__).resolve().parent / "looks.js"


@pytest.fixture(scope="module")
def run() -> Iterator[Served]:
    with served() as run:
        yield run


@contextlib.contextmanager
def looked_at(
    browser: Browser, url: str, *, expected: str = "$^", **context: Any
) -> Iterator[Page]:
    """The page; it asks no other machine for anything, and errors of its console fail the test."""
    asked: list[str] = []
    with open_page(browser, expected=expected, **context) as page:
        page.on("request", lambda request: asked.append(request.url))
        page.add_init_script(path=LOOKS)
        page.goto(url)
        page.wait_for_function("fps().ariaValueText.startsWith('now')")
        yield page
    origin = urlsplit(url).netloc
    assert [url for url in asked if urlsplit(url).netloc not in (origin, "")] == []


def moves(page: Page) -> None:
    """Wait until the picture has changed."""
    page.wait_for_function("picture() !== null")
    before = page.evaluate("picture()")
    page.wait_for_function("(before) => ![null, before].includes(picture())", arg=before)


def test_the_picture_moves_and_the_charts_fill(browser: Browser, run: Served) -> None:
    with looked_at(browser, run.url) as page:
        moves(page)
        assert page.inner_text("#state") == "Live"
        assert page.title() == "Live · Outrider"
        page.wait_for_function("fps().ariaValueMin < -2")
        for chart in ("times", "fps", "age", "queue"):
            assert page.evaluate(f"painted('chart-{chart}')") > 5, chart
        assert float(page.inner_text("#value-fps")) > 5
        facts = page.inner_text("#run")
        assert "synthetic:320x192@30" in facts
        assert "tiny.onnx" in facts
        stages = page.locator("#stages tbody tr").all_inner_texts()
        assert [text.split("\t")[0].strip() for text in stages] == [
            "letterbox", "infer", "decode", "overlay", "sinks", "end to end"
        ]  # fmt: skip


def test_a_second_is_read_by_pointer_and_by_keyboard(browser: Browser, run: Served) -> None:
    with looked_at(browser, run.url) as page:
        page.wait_for_function("fps().ariaValueMin <= -2")
        chart = page.locator("#chart-fps canvas")
        chart.hover(position={"x": 40, "y": 20})  # the oldest
        page.wait_for_function("document.querySelector('#when').textContent.startsWith('at ')")
        page.mouse.move(0, 0)
        page.wait_for_function("document.querySelector('#when').textContent === 'the last minute'")
        chart.focus()
        page.keyboard.press("ArrowLeft")
        assert "1 seconds ago: " in (chart.get_attribute("aria-valuetext") or "")
        page.keyboard.press("Escape")
        assert page.inner_text("#when") == "the last minute"


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_it_fits_a_phone_can_be_read_and_names_its_parts(
    browser: Browser, run: Served, theme: str
) -> None:
    with looked_at(browser, run.url, viewport=PHONE, color_scheme=theme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert page.evaluate("unnamed()") == []
        assert page.evaluate("faint()") == []
        assert page.evaluate("lowest()") >= 36
        before = page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor")
        page.click("#theme")
        assert page.evaluate("document.documentElement.dataset.theme") != theme
        after = page.evaluate("getComputedStyle(document.body.parentElement).backgroundColor")
        assert before != after


def test_no_signal_is_said_with_its_reason_and_goes_away(browser: Browser) -> None:
    with MjpegCamera(fps=15) as camera, contextlib.ExitStack() as stack:
        camera.start()
        run = stack.enter_context(served("--source", camera.url, "--reconnect"))
        page = stack.enter_context(looked_at(browser, run.url))
        page.wait_for_selector("#badge[data-kind=live]")
        camera.stalled.set()
        page.wait_for_selector("#badge[data-kind=bad]")
        assert page.inner_text("#state") == "NO SIGNAL"
        page.wait_for_function("/stalled|reconnecting/.test(document.all.trouble.textContent)")
        assert "No frame for" in page.inner_text("#trouble")
        assert page.evaluate("faint()") == []
        camera.stalled.clear()
        page.wait_for_selector("#badge[data-kind=live]")
        page.wait_for_selector("#trouble", state="hidden")
        moves(page)


def test_it_says_that_the_server_is_gone_and_goes_on_with_the_next(browser: Browser) -> None:
    with contextlib.ExitStack() as stack:
        first = served()
        run = first.__enter__()
        stack.push(first)
        page = stack.enter_context(looked_at(browser, run.url, expected="ERR_|Failed to load"))
        moves(page)
        run.stop()
        page.wait_for_selector("#lost", state="visible")
        assert page.inner_text("#state") == "Lost"
        assert "does not answer" in page.inner_text("#lost")
        stack.enter_context(served("--sink", f"web:127.0.0.1:{run.port}"))
        page.wait_for_selector("#lost", state="hidden")
        page.wait_for_selector("#badge[data-kind=live]")
        moves(page)
        page.wait_for_function("fps().ariaValueText.startsWith('now')")
