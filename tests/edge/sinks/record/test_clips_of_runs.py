"""Clips of real runs: of a class on the built-in street, and of a request to the page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.edge.door import edge
from tests.edge.sinks.record.coded import lines, played
from tests.edge.web.equipment.served import DEADLINE_S, Served, served


def _until(done: Callable[[], bool], run: Served) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < deadline, run.said
        time.sleep(0.02)


def _frames(clip: Path) -> list[dict[str, Any]]:
    """Its lines of frames, after a look whether each plays at its time."""
    times, images = played(clip)
    told = [line for line in lines(clip) if "event" not in line]
    assert [line["film_s"] for line in told] == pytest.approx(times, abs=1e-4)
    assert {image.shape for image in images} == {(192, 320, 3)}
    return told


@pytest.mark.slow
def test_a_pedestrian_on_the_street_is_kept_and_the_ring_goes_on_without_it(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        '[source]\nuri = "synthetic:320x192@10"\npolicy = "wait"\nseed = 3\n'
        '[pipeline]\nframes = 60\n[output]\nsinks = ["record:films", "all.jsonl"]\n'
        "[record]\nsegment_s = 1.0\nkeep_gb = 0.0001\npre_s = 2.0\npost_s = 1.0\n"
        'event_classes = ["pedestrian"]\nevent_score = 0.5\nevent_s = 0.3\n'
    )
    done = edge("run", "run.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (clip,) = (tmp_path / "films/clips").glob("*.mp4")
    assert f"{clip.name}: kept, for: pedestrian" in done.stderr
    results = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    seen = [
        any(box["class"] == "pedestrian" and box["score"] >= 0.5 for box in line["detections"])
        for line in results
    ]
    # Ten frames a second: the fourth in a row is 0.3 s after the first.
    event = next(n for n in range(3, 60) if all(seen[n - 3 : n + 1]))
    assert 25 < event < 55, seen
    first = (event - 20) // 10 * 10  # the key frame at or before 2 s before it
    told = _frames(clip)
    times = [line["film_s"] for line in lines(clip) if "event" in line]
    end = first + round(times[-1] * 10) + 11  # 1 s after the last sighting that began on it
    assert [line["frame"] for line in told] == [*range(first, min(end, 60))]
    assert [line["detections"] for line in told] == [
        line["detections"] for line in results[first:end]
    ]
    line = lines(clip)[0]
    assert (line["reason"], line["by"]) == ("pedestrian", "class")
    assert line["film_s"] == pytest.approx((event - first) / 10)
    assert line["film_s"] >= 2
    films = sorted((tmp_path / "films").glob("*.mp4"))
    assert films
    assert lines(films[0])[0]["frame"] > first  # what the clip has is gone from the ring


def test_a_request_to_the_page_keeps_a_clip_with_what_was_before(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("[record]\npre_s = 1.0\npost_s = 0.5\n")
    record = f"record:{tmp_path}/films"
    with served(tmp_path / "run.toml", "--sink", "web:127.0.0.1:0", "--sink", record) as run:

        def status() -> dict[str, Any]:
            value: dict[str, Any] = json.loads(run.get("api/status").body)
            return value

        def state() -> dict[str, Any]:
            value: dict[str, Any] = status()["recording"][0]
            return value

        _until(lambda: status()["now"]["counts"]["rendered"] > 45, run)
        answer = run.get(
            "api/clip",
            data=json.dumps({"reason": "a deer"}).encode(),
            headers={"Content-Type": "application/json", "X-Outrider": "1"},
        )
        assert answer.status == 200, answer.body
        name = json.loads(answer.body)["clip"]
        assert state()["clip"] in (name, None)
        _until(lambda: bool(state()["clips"] == 1 and state()["clip"] is None), run)
        clip = tmp_path / "films/clips" / name
        told = _frames(clip)  # while the run goes on
        event = lines(clip)[0]
        assert (event["reason"], event["by"]) == ("a deer", "mark")
        assert 1 <= event["film_s"] < 2.5  # up to a second more to a key frame, and a frame
        assert 0.3 < told[-1]["film_s"] - event["film_s"] <= 0.5
        assert abs(event["utc_ns"] - told[0]["utc_ns"] - event["film_s"] * 1e9) < 0.5e9


def test_a_class_that_is_never_seen_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[record]\nevent_classes = ["unicorn"]\n')
    done = edge("run", "run.toml", "--sink", "record:films", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "[record] event_classes: class 'unicorn' is not one of the model's" in done.stderr
