"""The page in a real browser: what it shows of a run, changes there, and survives."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import cv2
import pytest

from tests.edge.web.equipment import recording
from tests.edge.web.equipment.browser import open_page, until
from tests.edge.web.equipment.served import Served, served
from tests.field.mjpeg_camera import MjpegCamera

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.slow

PHONE = {"width": 360, "height": 740}
LOOKS = Path(__file__).resolve().parent / "equipment" / "looks.js"


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
        until(page, "fps().ariaValueText?.startsWith('now')")
        yield page
    origin = urlsplit(url).netloc
    assert [url for url in asked if urlsplit(url).netloc not in (origin, "")] == []


def moves(page: Page) -> None:
    """Wait until the picture has changed."""
    until(page, "picture() !== null")
    before = page.evaluate("picture()")
    until(page, "(before) => ![null, before].includes(picture())", arg=before)


def test_the_picture_moves_and_the_charts_fill(browser: Browser, run: Served) -> None:
    with looked_at(browser, run.url) as page:
        moves(page)
        until(page, "getComputedStyle(document.all.picture, '::before').content === 'none'")
        assert page.inner_text("#state") == "Live"
        assert page.title() == "Live · Outrider"
        until(page, "fps().ariaValueMin < -2")
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


def test_the_picture_comes_as_h264_where_one_asks(browser: Browser, run: Served) -> None:
    with looked_at(browser, run.url) as page:
        page.get_by_label("H.264").check()
        page.wait_for_selector("#picture video")
        moves(page)
        page.reload()  # it is remembered
        page.wait_for_selector("#picture video")
        moves(page)
        assert page.is_checked("[value=h264]")
        page.get_by_label("MJPEG").check()
        page.wait_for_selector("#picture canvas")
        moves(page)


def test_a_snapshot_is_a_file(browser: Browser, run: Served, tmp_path: Path) -> None:
    with looked_at(browser, run.url) as page:
        with page.expect_download() as download:
            page.click("#snapshot")
        assert re.fullmatch(r"outrider-[\dT-]+\.jpg", download.value.suggested_filename)
        download.value.save_as(tmp_path / "it.jpg")
        image = cv2.imread(str(tmp_path / "it.jpg"))
        assert image is not None
        assert image.shape == (192, 320, 3)


def test_a_second_is_read_by_pointer_and_by_keyboard(browser: Browser, run: Served) -> None:
    with looked_at(browser, run.url) as page:
        until(page, "fps().ariaValueMin <= -2")
        chart = page.locator("#chart-fps canvas")
        chart.hover(position={"x": 40, "y": 20})  # the oldest
        until(page, "document.querySelector('#when').textContent.startsWith('at ')")
        page.mouse.move(0, 0)
        until(page, "document.querySelector('#when').textContent === 'the last minute'")
        chart.focus()
        page.keyboard.press("ArrowLeft")
        assert "1 seconds ago: " in (chart.get_attribute("aria-valuetext") or "")
        page.keyboard.press("Escape")
        assert page.inner_text("#when") == "the last minute"


def test_what_bounds_the_rate_is_drawn_and_said(browser: Browser, run: Served) -> None:
    with looked_at(browser, run.url) as page:
        page.wait_for_selector("#verdict .source.bounds", timeout=60_000)
        assert "The source bounds the rate" in page.inner_text("#verdict p")
        assert page.inner_text("#verdict .source output") in {f"{n} %" for n in range(90, 101)}
        assert page.locator("#verdict .source [role=img]").get_attribute("aria-label")
        width = "(part) => document.querySelector(`#verdict .${part} i`).offsetWidth"
        assert page.evaluate(width, "source") > page.evaluate(width, "output")
        for part in ("#records", "#unrecorded", "#clip", "#recording-panel", "#blurred"):
            assert not page.is_visible(part)


def test_a_run_that_is_recorded_says_so_and_keeps_a_clip(browser: Browser, tmp_path: Path) -> None:
    kept, path, settings = tmp_path / "kept", tmp_path / "path", tmp_path / "run.toml"
    kept.mkdir()
    path.mkdir()
    settings.write_text('[output]\nblur = ["pedestrian"]\n')
    arguments = (settings, "--sink", kept / "run.kept", "--sink", "web:127.0.0.1:0")
    with (
        served(*arguments, env=recording.known(path)) as run,
        looked_at(browser, run.url, expected="503") as page,
    ):
        until(page, "document.querySelector('#records-title').textContent === 'Recording'")
        assert page.inner_text("#blurred") == "Blurred here: pedestrian"
        assert "12.3 GB" in page.inner_text("#recording")
        page.get_by_role("button", name="Keep a clip").click()
        until(page, "document.querySelector('#note').textContent === 'Keeps the clip 0.clip'")
        until(page, "document.querySelector('#recording').innerText.includes('1, writing 0.clip')")
        assert (kept / "0.clip").read_text() == "the page"
        (kept / recording.FULL).write_text("no clip can be kept: the disk is full")
        page.wait_for_selector("#unrecorded", state="visible")
        said = page.inner_text("#unrecorded")  # of films that are recorded, too
        assert said.startswith("Not everything is recorded: ")
        assert "no clip can be kept: the disk is full" in said
        assert page.inner_text("#records") == "Recording fails"
        page.get_by_role("button", name="Keep a clip").click()
        until(page, "document.querySelector('#note').textContent.startsWith('No clip: ')")
        (kept / recording.FULL).unlink()
        page.wait_for_selector("#unrecorded", state="hidden")


def crowd(route: Route) -> None:
    """Answer as a run of which there is as much to tell as can be."""
    answer = route.fetch()
    told = answer.json()
    classes = [f"class number {n}" for n in range(80)]
    told["run"] |= {"classes": classes, "colours": ["#ff8800"] * 80}
    told["run"] |= {
        "source": "rtsp://camera.local/" + "stream" * 20,
        "models": ["m" * 90 + ".onnx"],
    }
    told["now"] |= {"flowing": False, "silent_s": 9, "age_ms": 50}
    told["now"]["status"] = {"source": "cam", "state": "reconnecting", "reason": "refused, " * 20}
    told["machine"]["throttling"] = [{"device": "GPU", "reason": "heat"}]
    told["blurred"] = classes[:20]
    told["recording"] = [
        {"folder": "/a" * 60, "alarm": "full, " * 30, "clip": "c" * 90, "kept_bytes": 10**15,
         "clips": 10**6, "missed": 10**9},
    ] * 2  # fmt: skip
    route.fulfill(response=answer, json=told | {"login": True})


def slow_seconds(route: Route) -> None:
    """Answer as a run whose frames are seconds old, with the widest of numbers."""
    answer = route.fetch()
    told = answer.json()
    for sample in told["samples"]:
        times = {"p50_ms": 12345.678, "p99_ms": 23456.789}
        sample["stages"] = dict.fromkeys(("capture", "infer", "sinks", "end_to_end"), times)
        sample |= {"age_p50_ms": 12345.6, "age_p99_ms": 23456.7, "dropped": 1234, "queue": 12}
        sample["fps"] = 1234.56
    route.fulfill(response=answer, json=told)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_it_fits_a_phone_can_be_read_and_names_its_parts(
    browser: Browser, run: Served, theme: str
) -> None:
    with looked_at(browser, run.url, viewport=PHONE, color_scheme=theme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        page.route("**/api/status", crowd)
        page.route("**/api/history*", slow_seconds)
        page.wait_for_selector("#slowed", state="visible")
        assert page.inner_text("#state") == "NO SIGNAL"
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        until(page, "/2345[67]/.test(document.querySelector('.charts').textContent)")
        for width in (PHONE["width"], 320):
            page.set_viewport_size({"width": width, "height": 780})
            assert page.evaluate("document.documentElement.scrollWidth") == width
        page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
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
        until(page, "/Stalled|Reconnecting/.test(document.all.trouble.textContent)")
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
        until(page, "fps().ariaValueText?.startsWith('now')")


def in_force(run: Served) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(run.get("api/status").body)["settings"]
    return settings


def test_what_is_switched_changes_the_run_and_what_changed_there_is_shown(
    browser: Browser, run: Served
) -> None:
    with looked_at(browser, run.url) as page:
        change(run, {"detect.conf": 0.01})
        assert "car" in page.evaluate("found()")
        chip = page.get_by_role("button", name="car", exact=True)
        assert chip.get_attribute("aria-pressed") == "true"
        settled = "/api/settings"
        with page.expect_response(f"**{settled}"):
            chip.click()
        assert in_force(run)["detect"]["classes"] == ["pedestrian", "bicyclist", "sign"]
        assert chip.get_attribute("aria-pressed") == "false"
        assert "car" not in page.evaluate("found()")
        with page.expect_response(f"**{settled}"):
            page.get_by_label("Score threshold").fill("0.6")
        assert in_force(run)["detect"]["conf"] == 0.6
        assert page.evaluate("found()") == []
        assert page.inner_text("#conf-value") == "0.60"
        with page.expect_response(f"**{settled}"):
            page.get_by_role("switch", name="Masks").uncheck()
        assert in_force(run)["overlay"]["masks"] is False
        # None of the classes is no setting: nothing is sent until one is chosen.
        page.get_by_role("button", name="None").click()
        assert "Choose one" in page.inner_text("#classes-note")
        with page.expect_response(f"**{settled}"):
            page.get_by_role("button", name="sign", exact=True).click()
        assert in_force(run)["detect"]["classes"] == ["sign"]
        with page.expect_response(f"**{settled}"):
            page.get_by_role("button", name="All", exact=True).click()
        assert in_force(run)["detect"]["classes"] is None
        # Another page, or a reload of the settings.
        change(run, {"overlay.masks": True, "detect.conf": None})
        until(page, "document.all.masks.checked")
        assert page.inner_text("#conf-value") == "0.25"
        assert page.is_disabled("#conf-own")


def change(run: Served, values: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json", "X-Outrider": "1"}
    assert run.get("api/settings", headers=headers, data=json.dumps(values).encode()).status == 200


def test_a_refusal_is_shown_and_the_switch_is_back_at_what_is_in_force(
    browser: Browser, run: Served
) -> None:
    with looked_at(browser, run.url, expected="400") as page:
        # As a page that is older than the run would ask.
        page.evaluate("document.all.opacity.max = 2")
        page.get_by_label("Mask opacity").fill("1.5")
        page.wait_for_selector("#refusal", state="visible")
        assert "overlay.mask_opacity: got 1.5" in page.inner_text("#refusal")
        assert page.inner_text("#opacity-value") == "0.45"
        page.evaluate("document.all.opacity.max = 1")
        page.get_by_label("Mask opacity").fill("0.5")
        page.wait_for_selector("#refusal", state="hidden")
        assert in_force(run)["overlay"]["mask_opacity"] == 0.5
        change(run, {"overlay.mask_opacity": 0.45})


def test_the_machine_is_told_a_row_a_device_and_what_slows_it_first(
    browser: Browser, run: Served
) -> None:
    def reading(kind: str, name: str, value: float, unit: str) -> dict[str, Any]:
        return {"kind": kind, "name": name, "value": value, "unit": unit}

    machine = {
        "power_mode": "15W",
        "readings": [
            reading("load", "GPU", 81.25, "%"),
            reading("temperature", "GPU", 61.5, "°C"),
            reading("memory", "RAM total", 8000, "MB"),
            reading("memory", "RAM available", 5500, "MB"),
            reading("throttles", "SoC heat", 0, ""),
            reading("throttles", "SoC over-current", 2, ""),
        ],
        "throttling": [{"device": "SoC", "reason": "over-current"}],
    }
    with looked_at(browser, run.url) as page:
        read = "async (machine) => (await import('/state.js')).machineOf(machine)"
        assert page.evaluate(read, machine) == {
            "slowed": "SoC: over-current",
            "rows": [
                ["Slowed down now", "SoC: over-current", True],
                ["Power mode", "15W"],
                ["GPU", "81 %, 62 °C"],
                ["RAM", "2.5 of 8.0 GB"],
                ["Slowed: SoC over-current", "2 times"],
            ],
        }
        assert page.evaluate(read, {}) == {"slowed": "", "rows": []}
        assert "GB" in page.inner_text("#machine")


def test_a_login_that_ends_leads_to_the_next(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("a-token-of-more-than-16-letters\n")
    file.chmod(0o600)
    with served("--web-token", file) as run, open_page(browser, expected="401") as page:
        page.goto(run.url)
        page.get_by_label("Token").fill("a-token-of-more-than-16-letters")
        page.get_by_label("Token").press("Enter")
        page.wait_for_selector("#badge[data-kind=live]")
        page.context.clear_cookies()  # as if its time were over
        page.wait_for_url("**/login")
        page.get_by_label("Token").fill("a-token-of-more-than-16-letters")
        page.get_by_label("Token").press("Enter")
        page.get_by_role("button", name="Log out").click()
        page.wait_for_url("**/login")
        assert page.get_by_label("Token").input_value() == ""
