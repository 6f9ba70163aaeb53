"""What the page asks of a run and changes in it, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import pytest

from tests.edge.web.equipment.served import Answer, Served, all_shown, served


@pytest.fixture(scope="module")
def run() -> Iterator[Served]:
    """A run that everybody on this machine may look at; nobody who looks costs it a frame."""
    with served() as running:
        yield running
        running.stop()
    assert all_shown(running.said), running.said
    assert "Traceback" not in running.said
    assert " error " not in running.said


def post(run: Served, values: Any, **headers: str) -> Answer:
    given = {"Content-Type": "application/json", "X-Outrider": "1"} | headers
    body = values if isinstance(values, bytes) else json.dumps(values).encode()
    return run.get("api/settings", data=body, headers=given)


def change(run: Served, values: Mapping[str, object]) -> Any:
    answer = post(run, values)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def refused(run: Served, values: Any, *, status: int = 400) -> str:
    answer = post(run, values)
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


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"detect.conf": 1.5}, "detect.conf: got 1.5, wanted 0 to 1"),
        ({"detect.conf": "0.4"}, "detect.conf: got '0.4', wanted a number"),
        ({"detect.conf": True}, "detect.conf: got true, wanted a number"),
        ({"detect.ignore": [[0, 0], [1, 1]]}, "wanted 3 to 64 different corners"),
        ({"output.blur": []}, "output.blur: only a restart changes it"),
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
        ({"": 1}, "only a restart changes it"),
        ({"source.uri": "x"}, "source.uri: only a restart changes it"),
        ({"web.token_file": None}, "web.token_file: only a restart changes it"),
        ({"output.sinks": ["x.mp4"]}, "output.sinks: only a restart changes it"),
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
