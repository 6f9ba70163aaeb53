"""The report of a run that a test tells, through the Observer's door, and its page in a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge.profile.frames import Frames
from edge.profile.report import Report, page, write_page
from edge.settings.settings import Settings
from edge.sources.live.status import SourceStatus
from edge.telemetry.sample import Reading, Sample, Throttle
from tests.edge.profile.frames import told

if TYPE_CHECKING:
    from playwright.sync_api import Browser

S = 1_000_000_000
ENDED = {"ended": "seconds"}
EVIL = "</script><script>document.title = 'taken'</script><!--"


def report_of(count: int, *, every_ms: float = 100) -> Report:
    report = Report()
    for number in range(count):
        hot = 30 <= number < 40  # and of these 35 to 39 take longer
        took = 60 if number >= 35 and hot else 20
        begin_ns = 10 * S + round(number * every_ms * 1e6)
        report.rendered(*told(number, begin_ns=begin_ns, took_ms=took))
        if hot and number % 10 == 9:
            slowed = Sample((Reading("clock", "GPU", 300.0),), (Throttle("GPU", "heat", True),))
            report.sample(slowed, begin_ns + 80_000_000)
    return report


def data_of(report: Report, **metrics: Any) -> dict[str, Any]:
    data = report.data(Settings(), {**ENDED, **metrics}, [("source", "told")])
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    return data


def test_frames_that_throttling_slowed_are_named() -> None:
    slowed = data_of(report_of(60))["throttled"]
    assert slowed["ids"] == [35, 36, 37, 38, 39]
    assert slowed["said"] == (
        "The machine was slowed down for 1 s (GPU: heat): 5 of the 10 frames then took longer "
        "than 20.0 ms, which 9 of 10 others do not."
    )


def test_where_all_of_a_run_was_throttled_nothing_is_compared() -> None:
    report = Report()
    report.rendered(*told(0, begin_ns=10 * S))
    report.sample(Sample((), (Throttle("CPU", "heat", True),)), 10 * S + 500_000_000)
    slowed = data_of(report)["throttled"]
    assert slowed["ids"] == []
    assert "nothing to compare" in slowed["said"]


@pytest.mark.parametrize("count", [0, 1])
def test_a_run_without_two_frames_has_a_report_all_the_same(count: int) -> None:
    data = data_of(report_of(count))
    assert data["kept"] == {"frames": count, "of": count}
    assert (data["rates"]["fps"], data["utilisation"], data["throttled"]) == (None, None, None)
    assert [stage["count"] for stage in data["stages"] if stage["name"] == "sinks"] == [count]
    assert len(data["slowest"]) == count


def test_utilisation_is_said_in_words() -> None:
    # Of each 100 ms: 8 engine, 1 inbox, 2 letterbox; 3 decode, 1 sinks.
    said = data_of(report_of(30))["utilisation"]["sentences"]
    assert said == [
        "The engine: 89 % of the time it waits for the source, 8 % of the time it works, 2 % of "
        "the time it waits for the letterbox, 1 % of the time it waits for older frames to be "
        "decoded, drawn or written.",
        "Letterbox and decoding take 5 % of the time, overlay and sinks 1 %.",
    ]
    away = data_of(report_of(30), verdict={"away_s": 6.55})["utilisation"]["sentences"]
    assert away == [*said, "All but the verdict counts the 6.5 s without signal, too."]


def test_of_a_longer_run_the_newest_frames_are_kept() -> None:
    frames = Frames(most=5)
    for number in range(12):
        frames.add(*told(number, begin_ns=number * S))
    assert frames.count == 12
    assert frames.newest()["id"].tolist() == [7, 8, 9, 10, 11]
    assert frames.newest(3)["id"].tolist() == [9, 10, 11]
    assert frames.newest(99)["id"].size == 5


def test_a_frame_knows_when_the_first_came_that_it_overwrote() -> None:
    frames = Frames()
    for number, at_ms in ((0, 5), (1, 20), (2, 40)):
        frames.overwritten(told(number, begin_ns=at_ms * 1_000_000)[0].frame)
    times = frames.add(*told(3, begin_ns=60_000_000))
    assert times.overtook == 55_000_000
    assert frames.add(*told(4, begin_ns=90_000_000)).overtook == 0


def test_the_steps_of_a_frame_fill_its_time() -> None:
    columns = data_of(report_of(1))["stages"]
    of = {stage["name"]: stage["max"] for stage in columns}
    # Read at 0: 1 inbox, 2 letterbox, 8 infer, 3 decode, 5 until the main thread, 1 sinks.
    steps = ("inbox", "letterbox", "infer", "decode", "outbox", "sinks")
    assert [of[name] for name in steps] == [1, 2, 8, 3, 5, 1]
    assert sum(of[name] for name in steps) == of["end_to_end"] == 20


def test_names_cannot_end_the_script_that_holds_them() -> None:
    text = page({"what": [["source", EVIL]]}).decode()
    assert text.count("</script>") == 2
    assert EVIL not in text


def test_the_page_refers_to_nothing_outside() -> None:
    text = page(data_of(report_of(20))).decode().replace("http://www.w3.org/2000/svg", "")
    assert "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'" in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from tests.edge.web.equipment.browser import chromium

    with chromium() as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("wide", [1200, 390])
def test_a_browser_draws_all_of_it_without_an_error(
    wide: int, browser: Browser, tmp_path: Path
) -> None:
    from tests.edge.web.equipment.browser import open_page

    report = report_of(60)
    report.source(SourceStatus("cam", "reconnecting", 0, EVIL + 300 * "x"), 12 * S)
    verdict = {"words": f"The engine bounds {EVIL}", "helps": ["Fewer boxes."]}
    frames = dict.fromkeys(
        ("captured", "rendered", "dropped_overwritten", "dropped_stale", "failed",
         "discarded_at_stop", "in_flight", "source_gaps"), 60,
    )  # fmt: skip
    pages = {
        "whole": data_of(report, verdict=verdict, frames=frames),
        "empty": data_of(Report(), error=f"no such file {EVIL}"),
        "one": data_of(report_of(1)),
    }
    for name, data in pages.items():
        write_page(tmp_path / f"{name}.html", data)
    with open_page(browser, viewport={"width": wide, "height": 844}) as page_:
        for name in pages:
            page_.goto((tmp_path / f"{name}.html").as_uri())
            page_.wait_for_selector("#what dd")
            assert page_.title() == "Outrider profile: told"
            assert page_.evaluate("document.documentElement.scrollWidth") == wide
        page_.goto((tmp_path / "whole.html").as_uri())
        page_.wait_for_selector("#timeline svg")
        assert EVIL in page_.inner_text(".verdict")
        assert page_.locator("#stages tbody tr").count() == 12
        assert page_.locator("#slowest img").count() == 10
        assert page_.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth)")
        assert page_.locator("#timeline svg").count() == 4  # rate, age, engine, clock
        page_.locator("#timeline svg").first.hover()
        assert "mean" in page_.locator("#timeline output").first.inner_text()
        page_.goto((tmp_path / "empty.html").as_uri())
        assert EVIL in page_.inner_text("#error")
        assert "nothing to judge" in page_.inner_text(".verdict")


def test_a_small_picture_keeps_its_size() -> None:
    import base64

    import cv2

    (slow,) = data_of(report_of(1))["slowest"]
    kind, _, text = slow["picture"]["src"].partition(",")
    image = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)
    assert kind == "data:image/jpeg;base64"
    assert image is not None
    assert list(image.shape[1::-1]) == slow["picture"]["wh"] == [6, 4]
