"""docs/openapi.json tells of every endpoint, and what comes is as it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any

import pytest

from edge.settings.settings import DetectSettings, OverlaySettings, WebSettings
from edge.web.access.login import Login
from edge.web.access.rules import Access
from edge.web.app import routes_of
from edge.web.live import Live
from tests.edge.web.equipment.schemas import DOCUMENT, answer_of, faults, resolved
from tests.edge.web.equipment.served import DEADLINE_S, Answer, Served, served


@pytest.fixture(scope="module")
def run() -> Iterator[Served]:
    with served() as running:
        yield running


def test_every_endpoint_is_described_with_its_methods_and_no_other() -> None:
    live = Live(WebSettings(), lambda do: None)
    login = Login(Access(None, None, frozenset()))
    served_: dict[str, set[str]] = {}
    for route in routes_of(login, live):
        methods = getattr(route, "methods", None) or {"GET"}  # a WebSocket is asked for by GET
        served_.setdefault(route.path, set()).update(methods - {"HEAD"})  # type: ignore[attr-defined]
    live.close()
    described = {path: {m.upper() for m in methods} for path, methods in DOCUMENT["paths"].items()}
    assert described == served_


def test_what_can_be_changed_is_what_the_settings_have() -> None:
    names = {f"detect.{key}" for key in DetectSettings.model_fields}
    names |= {f"overlay.{key}" for key in OverlaySettings.model_fields}
    assert set(DOCUMENT["components"]["schemas"]["Change"]["properties"]) == names


def test_no_part_of_the_document_hangs_in_the_air() -> None:
    def parts(part: Any) -> Iterator[Any]:
        yield part
        for inner in part.values() if isinstance(part, dict) else part:
            if isinstance(inner, dict | list):
                yield from parts(inner)

    named = [part["$ref"] for part in parts(DOCUMENT) if "$ref" in part]
    assert all(resolved({"$ref": name}) for name in named)
    for kind in ("schemas", "responses"):
        for name in DOCUMENT["components"][kind]:
            assert f"#/components/{kind}/{name}" in named


def check(answer: Answer, method: str, path: str, status: int) -> Any:
    assert answer.status == status, answer.body
    value = json.loads(answer.body)
    assert list(faults(value, answer_of(method, path, status))) == []
    return value


def test_real_answers_are_as_described(run: Served) -> None:
    check(run.get("api/status"), "get", "/api/status", 200)
    health = run.get("healthz")  # of a run that has just begun it may be either
    check(health, "get", "/healthz", health.status)
    post = {"Content-Type": "application/json", "X-Outrider": "1"}
    given = b'{"detect.conf": 0.3, "detect.classes": ["car"], "overlay.masks": false}'
    assert list(faults(json.loads(given), DOCUMENT["components"]["schemas"]["Change"])) == []
    check(run.get("api/settings", data=given, headers=post), "post", "/api/settings", 200)
    check(run.get("api/settings", data=b"[]", headers=post), "post", "/api/settings", 400)
    check(run.get("api/settings", data=b"{}"), "post", "/api/settings", 403)
    check(run.get("api/clip", data=b'{"reason": "x"}', headers=post), "post", "/api/clip", 409)
    check(run.get("api/status", headers={"Host": "x.example"}), "get", "/api/status", 421)
    check(run.get("api/history?since=x"), "get", "/api/history", 400)
    for path, methods in DOCUMENT["paths"].items():
        content = resolved(methods.get("get", {}).get("responses", {}).get("200", {})).get(
            "content"
        )
        for kind in content or ():
            assert run.get(path[1:], method="HEAD").headers.get_content_type() == kind


def test_a_method_that_is_not_described_is_refused_with_those_that_are(run: Served) -> None:
    refused = 0
    for path, methods in DOCUMENT["paths"].items():
        allowed = {method.upper() for method in methods} | ({"HEAD"} if "get" in methods else set())
        for method in {"GET", "HEAD", "POST"} - allowed:
            answer = run.get(path[1:], method=method, headers={"X-Outrider": "1"})
            assert answer.status == 405, (method, path)
            assert set(answer.headers["Allow"].split(", ")) == allowed, (method, path)
            refused += 1
    assert refused > 10


def test_the_history_and_events_are_as_described(run: Served) -> None:
    page = HTTPConnection("127.0.0.1", run.port, timeout=DEADLINE_S)
    page.request("GET", "/api/events")
    answer = page.getresponse()
    schema = answer_of("get", "/api/events", 200)
    history: Any = {"samples": []}
    while not history["samples"]:
        line = answer.readline().decode()
        if line.startswith("data: "):
            assert list(faults(json.loads(line.removeprefix("data: ")), schema)) == []
            history = check(run.get("api/history"), "get", "/api/history", 200)
    answer.close()
    page.close()


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"flowing": True}, None),
        ({"flowing": False, "reason": "no frame yet"}, None),
        ({"flowing": 1}, ".flowing: 1 is no boolean"),
        ({}, ".flowing is missing"),
        ({"flowing": True, "more": 1}, ".more is not described"),
        ([], ": [] is no object"),
    ],
)
def test_a_fault_is_found(value: Any, fault: str | None) -> None:
    found = list(faults(value, {"$ref": "#/components/schemas/Health"}))
    assert found == ([] if fault is None else [fault])
