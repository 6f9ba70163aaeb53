"""The page as a run serves it."""

from __future__ import annotations

import json

from tests.edge.web.served import served


def test_a_run_serves_its_state_at_the_address_that_it_logs() -> None:
    with served() as run:
        answer = run.get("api/status")
        assert answer.status == 200
        assert json.loads(answer.body)["run"]["classes"] == [
            "car",
            "pedestrian",
            "bicyclist",
            "sign",
        ]
        said = run.stop()
    assert "0 overwritten + 0 stale + 0 failed" in said
