"""The live picture in a real browser: both ways, and what it does when one is not to be had."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from edge.web import h264
from edge.web.access.guard import POLICY
from edge.web.app import STATIC
from engines.errors import SinkError
from tests.edge.web.equipment.browser import open_page
from tests.edge.web.equipment.shown import Shown, grey, handing_over, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

_PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<div id="picture"></div><script type="module" src="/look.js"></script>"""
_LOOK = """
import { showPicture } from "/picture.js";
window.states = [];
const way = new URLSearchParams(location.search).get("way") ?? undefined;
const onState = (state) => states.push(state);
window.picture = showPicture(document.getElementById("picture"), { way, onState });
const canvas = new OffscreenCanvas(1, 1);
const pen = canvas.getContext("2d", { willReadFrequently: true });
window.grey = () => {
  const shown = document.querySelector("#picture > *");
  if (!(shown?.videoWidth || shown?.width)) return -1;
  pen.drawImage(shown, 0, 0, 1, 1);
  return pen.getImageData(0, 0, 1, 1).data[0];
};
window.behind = () => {
  const { buffered, currentTime } = document.querySelector("video");
  return buffered.end(buffered.length - 1) - 1 - currentTime;
};
window.last = () => states.at(-1);
"""
_HURRY = """
const real = window.setTimeout;
window.setTimeout = (f, ms, ...more) => real(f, ms >= 10_000 ? ms / 30 : ms, ...more);
"""
"""Long times are shorter: 15 s without a picture become 0.5."""


def _routes() -> list[BaseRoute]:
    headers = {"Content-Security-Policy": POLICY}
    return [
        Route("/look", lambda _: HTMLResponse(_PAGE, headers=headers)),
        Route("/look.js", lambda _: Response(_LOOK, media_type="text/javascript")),
        Mount("/", StaticFiles(directory=STATIC)),
    ]


@contextlib.contextmanager
def _shown(**how: Any) -> Iterator[Shown]:
    """Pictures of grey 200, thirty a second."""
    with (
        Shown(fps=30, routes=_routes(), **how) as shown,
        handing_over(lambda _: shown.offer(grey(200))),
    ):
        yield shown


def _wait_for(page: Page, way: str, value: int = 200) -> None:
    page.wait_for_function(
        "([way, value]) => last()?.live && last().way === way && Math.abs(grey() - value) < 5",
        arg=[way, value],
    )


def test_it_is_motion_jpeg_and_h264_by_choice(browser: Browser) -> None:
    with _shown() as shown, open_page(browser) as page:
        page.goto(shown.url + "look")
        _wait_for(page, "mjpeg")
        page.evaluate("picture.use('h264')")
        _wait_for(page, "h264")
        until(lambda: not shown.mjpeg.wanted)
        page.evaluate("picture.use('mjpeg')")
        _wait_for(page, "mjpeg")
        until(lambda: not shown.live.h264.wanted)
        assert page.evaluate("document.querySelectorAll('#picture > *').length") == 1
        page.evaluate("picture.end()")
        until(lambda: not shown.mjpeg.wanted)


@pytest.mark.parametrize("way", ["mjpeg", "h264"])
def test_the_size_may_change(browser: Browser, way: str) -> None:
    size = "(s => [s.videoWidth || s.width, s.videoHeight || s.height].join())"
    with Shown(fps=30, routes=_routes()) as shown, open_page(browser) as page:
        page.goto(f"{shown.url}look?way={way}")
        for value, wh in ((60, (64, 48)), (120, (640, 360)), (180, (320, 240))):
            with handing_over(lambda _, v=value, wh=wh: shown.offer(grey(v, wh))):  # type: ignore[misc]
                _wait_for(page, way, value)
            shape = page.evaluate(f"{size}(document.querySelector('#picture > *'))")
            assert shape == f"{wh[0]},{wh[1]}"
        assert page.evaluate("states.length") == 1, "it began anew"


@pytest.mark.parametrize(
    ("without", "why"),
    [
        ("delete window.MediaSource; delete window.ManagedMediaSource", "no MediaSource"),
        ("MediaSource.isTypeSupported = () => false", "does not play video/mp4; codecs"),
    ],
)
def test_a_browser_without_h264_shows_jpegs_and_says_why(
    browser: Browser, without: str, why: str
) -> None:
    with _shown() as shown, open_page(browser) as page:
        page.add_init_script(without)
        page.goto(shown.url + "look?way=h264")
        _wait_for(page, "mjpeg")
        assert why in page.evaluate("last().why")


def test_a_server_without_h264_says_why_and_is_asked_again(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(wh: tuple[int, int], **_: object) -> None:
        raise SinkError("there is no encoder here")

    monkeypatch.setattr(h264, "open_encoder", refuse)
    with _shown() as shown, open_page(browser) as page:
        page.add_init_script(_HURRY)
        page.goto(shown.url + "look?way=h264")
        _wait_for(page, "mjpeg")
        why = "H.264 is not shown: there is no encoder here; it is tried again for who looks"
        assert page.evaluate("last().why").startswith(why)
        monkeypatch.undo()
        _wait_for(page, "h264")
        assert page.evaluate("last().why") == ""


@pytest.mark.parametrize("way", ["mjpeg", "h264"])
def test_where_there_is_no_room_it_says_so_and_waits(browser: Browser, way: str) -> None:
    with _shown(most=1) as shown, open_page(browser) as first:
        first.goto(f"{shown.url}look?way={way}")
        _wait_for(first, way)
        with open_page(browser, expected="503") as second:
            second.goto(f"{shown.url}look?way={way}")
            second.wait_for_function("() => last()?.why.startsWith('1 look already')")
            first.evaluate("picture.end()")
            _wait_for(second, way)


@pytest.mark.parametrize("way", ["mjpeg", "h264"])
def test_it_goes_on_when_the_server_is_back(browser: Browser, way: str) -> None:
    with open_page(browser, expected="ERR_|WebSocket") as page:
        with _shown() as shown:
            page.goto(f"{shown.url}look?way={way}")
            _wait_for(page, way)
        page.wait_for_function("() => !last().live && last().why.startsWith('The server')")
        with _shown(port=shown.port):
            _wait_for(page, way)


@pytest.mark.parametrize("way", ["mjpeg", "h264"])
def test_a_connection_that_falls_silent_is_taken_for_dead_and_made_anew(
    browser: Browser, way: str
) -> None:
    with Shown(fps=30, routes=_routes()) as shown, open_page(browser) as page:
        page.add_init_script(_HURRY)
        page.goto(f"{shown.url}look?way={way}")
        with handing_over(lambda _: shown.offer(grey(200))):
            _wait_for(page, way)
        page.wait_for_function("() => !last().live && last().why.startsWith('No picture has')")
        with handing_over(lambda _: shown.offer(grey(90))):
            _wait_for(page, way, 90)


@pytest.mark.parametrize("way", ["mjpeg", "h264"])
def test_a_hidden_page_asks_for_nothing(browser: Browser, way: str) -> None:
    hide = """(hidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    with _shown() as shown, open_page(browser) as page:
        page.goto(f"{shown.url}look?way={way}")
        _wait_for(page, way)
        page.evaluate(hide, True)
        until(lambda: not shown.mjpeg.wanted and not shown.live.h264.wanted)
        page.evaluate("states.length = 0")
        page.evaluate(hide, False)
        _wait_for(page, way)


def test_h264_that_fell_behind_jumps_to_the_newest(browser: Browser) -> None:
    with _shown() as shown, open_page(browser) as page:
        page.goto(shown.url + "look?way=h264")
        _wait_for(page, "h264")
        page.wait_for_function("() => document.querySelector('video').buffered.end(0) > 2")
        page.evaluate("document.querySelector('video').currentTime -= 0.8")
        page.wait_for_function("() => Math.abs(behind()) < 0.1")
