"""What the page asks of a run and changes in it, as JSON."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.edge.web.equipment import recording
from tests.edge.web.equipment.schemas import DOCUMENT, faults
from tests.edge.web.equipment.scraped import Scraped
from tests.edge.web.equipment.served import Answer, Served, all_shown, served


@pytest.fixture(scope="module")
def run() -> Iterator[Served]:
    """A run that everybody on this machine may look at; nobody who looks costs it a frame."""
    with served() as running:
        yield running
        running.stop()
    assert all_shown(running.said), running.said
    assert "Traceback" not in running.said
    assert "Warning" not in running.said
    assert " error " not in running.said


def post(run: Served, values: Any, *, to: str = "settings") -> Answer:
    given = {"Content-Type": "application/json", "X-Outrider": "1"}
    body = values if isinstance(values, bytes) else json.dumps(values).encode()
    return run.get(f"api/{to}", data=body, headers=given)


def change(run: Served, values: Mapping[str, object]) -> Any:
    answer = post(run, values)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def refused(run: Served, values: Any, *, status: int = 400, to: str = "settings") -> str:
    answer = post(run, values, to=to)
    assert answer.status == status, answer.body
    error = json.loads(answer.body)["error"]
    assert isinstance(error, str)
    return error


def test_the_status_tells_what_runs_and_how(run: Served) -> None:
    answer = run.get("api/status")
    assert answer.status == 200
    told = json.loads(answer.body)
    assert told["run"]["source"] == "synthetic:320x192@30"
    assert told["run"]["classes"] == ["car", "pedestrian", "bicyclist", "sign"]
    assert told["now"]["counts"]["captured"] >= told["now"]["counts"]["rendered"]
    assert told["settings"]["overlay"]["boxes"] is True
    assert told["picture"] == {"mjpeg": True, "h264": True}


def test_a_change_is_answered_with_the_settings_in_force(run: Served) -> None:
    told = change(run, {"detect.conf": 0.4, "detect.classes": ["car"], "overlay.masks": False})
    assert told["detect"]["conf"] == 0.4
    assert told["detect"]["classes"] == ["car"]
    assert told["overlay"]["masks"] is False
    assert json.loads(run.get("api/status").body)["settings"] == told
    told = change(run, {"detect.classes": None, "overlay.mask_opacity": 1})
    assert told["detect"]["classes"] is None
    assert told["detect"]["conf"] == 0.4
    assert told["overlay"]["mask_opacity"] == 1.0
    assert change(run, {}) == told
    told = change(run, {"detect.ignore": [[0, 0], [0.5, 0], [0, 0.5]]})
    assert told["detect"]["ignore"] == [[[0, 0], [0.5, 0], [0, 0.5]]]
    assert change(run, {"detect.ignore": []})["detect"]["ignore"] == []


def test_regions_that_are_ignored_are_outlined_from_the_next_picture_on(run: Served) -> None:
    def brighter() -> float:
        """The uppermost line of the region, 0.25 · 191 = 48, above its neighbour."""
        jpeg = np.frombuffer(run.get("api/snapshot.jpg").body, np.uint8)
        picture = cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        return float(picture[48, 100:220].mean()) - float(picture[45, 100:220].mean())

    change(run, {"overlay.masks": False, "overlay.legend": False, "detect.ignore": []})
    assert abs(brighter()) < 10
    square = [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]
    change(run, {"detect.ignore": square})
    assert brighter() > 15
    change(run, {"detect.ignore": []})
    assert abs(brighter()) < 10


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"detect.conf": 1.5}, "detect.conf: got 1.5, wanted 0 to 1"),
        ({"detect.conf": "0.4"}, "detect.conf: got '0.4', wanted a number"),
        ({"detect.conf": True}, "detect.conf: got true, wanted a number"),
        ({"detect.ignore": [[0, 0], [1, 1]]}, "wanted 3 to 64 different corners"),
        ({"output.blur": []}, "output.blur: cannot be changed from here"),
        ({"overlay.boxes": 1}, "overlay.boxes: got 1, wanted true or false"),
        ({"detect.classes": ["cat"]}, "car, pedestrian, bicyclist, sign"),
        ({"detect.classes": []}, "at least one entry"),
        ({"detect.classes": "car"}, 'a list, such as ["a", "b"]'),
        ({"detect.classes": ["\ud800"]}, "detect.classes"),
        ({"detect.confidence": 1}, "unknown key"),
        ({"detect.conf.x": 1}, "unknown key"),
        ({"detect": {"conf": 0.4}}, "detect: is a section, wanted each of its keys by itself"),
        ({"detect": {}}, "such as detect.conf"),
        ({"overlay.": 1}, "such as overlay.boxes"),
        ({"": 1}, "cannot be changed from here"),
        (
            {"source.uri": "x"},
            "source.uri: cannot be changed from here, as detect.* and overlay.* can",
        ),
        ({"web.token_file": None}, "web.token_file: cannot be changed from here"),
        ({"output.sinks": ["x.mp4"]}, "output.sinks: cannot be changed from here"),
        ({"overlay.mask_opacity": 0.5, "overlay.boxes": "no"}, "overlay.boxes"),
        (b"", "got no JSON"),
        (b"{", "got no JSON"),
        (b"\xff", "got no JSON"),
        (b'{"detect.conf": NaN}', "NaN is no number"),
        (b'{"detect.conf": -Infinity}', "-Infinity is no number"),
        (b'{"detect.conf": 1e999}', "detect.conf"),
        (b'{"detect.conf": 1%s}' % (b"0" * 400), "detect.conf"),
        (b'{"detect.conf": 1%s}' % (b"0" * 60_000), ""),
        (b"[" * 60_000, "got no JSON"),
        ([], "wanted an object"),
        (None, "wanted an object"),
    ],
    ids=str,
)
def test_a_change_that_is_wrong_says_so_and_changes_nothing(
    run: Served, values: Any, said: str
) -> None:
    before = json.loads(run.get("api/status").body)["settings"]
    assert said in refused(run, values)
    assert json.loads(run.get("api/status").body)["settings"] == before


def test_a_snapshot_is_the_picture_in_full_size(run: Served) -> None:
    answer = run.get("api/snapshot.jpg")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    picture = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (192, 320, 3)


def test_who_has_no_token_learns_only_whether_frames_flow(run: Served) -> None:
    answer = run.get("healthz")
    assert (answer.status, json.loads(answer.body)) == (200, {"flowing": True})


def test_what_is_not_there_says_so_as_all_errors_do(run: Served) -> None:
    answer = run.get("nosuch")
    assert answer.status == 404
    assert "GET /nosuch: nothing is there" in json.loads(answer.body)["error"]


def test_where_nothing_records_a_clip_is_refused_with_what_would(run: Served) -> None:
    assert json.loads(run.get("api/status").body)["recording"] == []
    assert "--sink record:DIR" in refused(run, {"reason": "x"}, status=409, to="clip")
    bare = run.get(
        "api/clip", data=b'{"reason": "x"}', headers={"Content-Type": "application/json"}
    )
    assert bare.status == 403  # another site's form


@pytest.mark.parametrize(
    "values",
    [b"", [], {}, {"reason": 1}, {"reason": ""}, {"reason": "x" * 201}, {"reason": "x", "for": 1}]
    + [{"reason": text} for text in ("a\nb", "\0", "\ud800")],
    ids=str,
)
def test_a_clip_for_no_reason_is_refused(run: Served, values: Any) -> None:
    assert refused(run, values, to="clip")


def test_what_records_is_told_and_keeps_a_clip(tmp_path: Path) -> None:
    kept, path = tmp_path / "kept", tmp_path / "path"
    kept.mkdir()
    path.mkdir()
    arguments = ("--sink", kept / "run.kept", "--sink", "web:127.0.0.1:0")
    with served(*arguments, env=recording.known(path)) as run:

        def state() -> Any:
            (told,) = json.loads(run.get("api/status").body)["recording"]
            return told

        assert (state()["folder"], state()["alarm"], state()["clips"]) == (str(kept), None, 0)
        answer = post(run, {"reason": "a deer, schön"}, to="clip")
        assert (answer.status, json.loads(answer.body)) == (200, {"clip": "0.clip"})
        assert (kept / "0.clip").read_text() == "a deer, schön"
        assert (state()["clip"], state()["clips"]) == ("0.clip", 1)
        (kept / recording.FULL).write_text("the disk is full")
        assert "the disk is full" in refused(run, {"reason": "x"}, status=503, to="clip")
        assert state()["alarm"] == "the disk is full"
        assert list(faults(state(), DOCUMENT["components"]["schemas"]["Recording"])) == []
        for name, expected in (("alarm", 1), ("clips", 1), ("kept_bytes", 12_345_000_000)):
            got = Scraped(run.get("metrics").body.decode())
            assert got(f"recording_{name}", folder=str(kept)) == expected


def test_what_bounds_the_rate_is_told_of_the_last_seconds(run: Served) -> None:
    for _ in range(600):
        told = json.loads(run.get("api/status").body)["verdict"]
        if told["busy"]:
            break
        threading.Event().wait(0.1)
    assert told["bound"] == "source"  # 30 frames a second, for a tiny network
    assert told["floor_fps"] == pytest.approx(30, rel=0.2)
    assert told["words"].startswith("The source bounds the rate")
    assert list(faults(told, DOCUMENT["components"]["schemas"]["Verdict"])) == []
