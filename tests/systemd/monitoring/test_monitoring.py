"""What is shipped for Prometheus and Grafana: checked by promtool, and tried on a real run."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.edge.loopback import endless_mjpeg
from tests.edge.loopback import served as camera
from tests.edge.telemetry.trees import ORIN_NANO, plant
from tests.edge.web.equipment.recording import KNOWN
from tests.edge.web.equipment.served import served
from tests.prometheus_here import prometheus, promtool

SHIPPED = ROOT / "systemd" / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((SHIPPED / "grafana.json").read_text())
TOKEN = "a-token-of-the-tests-0123456789"
SPAN = "4s"
"""What Grafana puts for $__rate_interval is four times the scrape interval, here 1 s."""


def targets() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each query with the title of its panel."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target


def queries() -> list[tuple[str, str]]:
    """Title and query, as Grafana would ask for all vehicles."""
    return [
        (title, t["expr"].replace("$instance", ".+").replace("$__rate_interval", SPAN))
        for title, t in targets()
    ]


def test_the_example_and_the_rules_are_good() -> None:
    assert "SUCCESS" in promtool("check", "rules", SHIPPED / "alerts.yml")
    # Whether the token's file is there is a matter of the machine.
    assert "SUCCESS" in promtool("check", "config", "--syntax-only", SHIPPED / "prometheus.yml")


def test_each_alert_fires_when_it_should_and_no_sooner() -> None:
    folder = Path(__file__).parent
    assert "SUCCESS" in promtool("test", "rules", folder / "alerts_test.yml", cwd=folder)
    rules = set(re.findall(r"alert: (\w+)", (SHIPPED / "alerts.yml").read_text()))
    tested = (folder / "alerts_test.yml").read_text()
    fired = set(re.findall(r"alertname: (\w+)\n\s+exp_alerts:", tested))
    assert fired == rules
    assert set(re.findall(r"alertname: (\w+)}", tested)) == rules
    told = (ROOT / "docs/MONITORING.md").read_text()
    assert set(re.findall(r"^\| (Outrider\w+) \|", told, re.MULTILINE)) == rules


def test_panels_stand_beside_each_other_and_ask_the_chosen_prometheus() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["targets"]
    source = {"type": "prometheus", "uid": "${datasource}"}
    for title, target in targets():
        assert target["datasource"] == source, title
        assert 'instance=~"$instance"' in target["expr"], title
    for panel in panels:
        if panel["type"] in ("stat", "timeseries", "state-timeline"):  # a row or a line each
            legends = [target["legendFormat"] for target in panel["targets"]]
            assert all("{{instance}}" in legend for legend in legends), panel["title"]
    names = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert names == ["datasource", "instance"]


@pytest.mark.slow
def test_every_query_is_answered_by_a_prometheus_that_asks_a_live_run(tmp_path: Path) -> None:
    """The files as they are shipped, but for the address, the token's place and the pace.

    The machine is a recorded Orin: one without sensors would leave its panels empty.
    """
    orin = plant(tmp_path / "orin", ORIN_NANO)
    (tmp_path / "sitecustomize.py").write_text(
        "from pathlib import Path\n"
        "import edge.telemetry.telemetry as telemetry\n"
        f"telemetry.ROOT = Path({str(orin)!r})\n"
        f"{KNOWN}"
    )
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)
    shutil.copy(SHIPPED / "alerts.yml", tmp_path)
    with (
        camera(endless_mjpeg(fps=25)) as port,
        served(
            "--source", f"http://127.0.0.1:{port}/", "--reconnect", "--web-token", token,
            "--sink", "web:127.0.0.1:0", "--sink", tmp_path / "run.kept",
            env={"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        ) as run,
    ):  # fmt: skip
        assert run.get("metrics").status == 401
        config = tmp_path / "prometheus.yml"
        text = (SHIPPED / "prometheus.yml").read_text()
        for shipped, here in (
            ("127.0.0.1:8090", f"127.0.0.1:{run.port}"),
            ("/etc/prometheus/outrider-token", str(token)),
            ("_interval: 5s", "_interval: 1s"),
        ):
            assert shipped in text
            text = text.replace(shipped, here)
        config.write_text(text)
        promtool("check", "config", config)
        with prometheus(config) as server:
            enough = f'min_over_time(up{{job="outrider"}}[{SPAN}]) == 1 and '
            enough += f'count_over_time(up{{job="outrider"}}[{SPAN}]) >= 3'
            server.until(lambda: bool(server.query(enough)), "three scrapes went well")

            answers = {(title, query): server.query(query) for title, query in queries()}
            empty = [
                key
                for key, found in answers.items()
                if not found or all(math.isnan(value) for _, value in found)
            ]
            assert empty == []
            rate = dict(answers)["Rendered frames a second", queries()[0][1]]
            assert rate[0][1] > 5

            shown = " ".join(query for _, query in answers)
            told = server.ask("label/__name__/values", **{"match[]": '{job="outrider"}'})
            ours = {re.sub(r"_(bucket|count|sum)$", "", n) for n in told if "outrider_" in n}
            assert {name for name in ours if name not in shown} == set()

            groups = server.ask("rules")["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
            for rule in rules:
                server.query(rule["query"])
