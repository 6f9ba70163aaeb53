"""``edge run`` and ``edge bench`` with tiles: what a user asks for and gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.commands.bench import bench
from edge.settings.settings import SHIPPED_MODEL
from engines.errors import SettingsError
from tests.edge.door import edge
from tests.tiny_models import tiny_mask


def test_the_shipped_network_sees_tiles_and_every_pass_is_in_the_time(tmp_path: Path) -> None:
    reports = {}
    for tiles in ("1x1", "2x1"):
        (tmp_path / "car.toml").write_text(f'[model]\ntiles = "{tiles}"\n')
        done = edge(
            "run", "car.toml", "--source", "synthetic:640x360@30", "--policy", "wait",
            "--engine", "openvino", "--frames", "6", "--sink", f"{tiles}.jsonl",
            "--metrics", f"{tiles}.json", cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert ("in 2x1 tiles and the whole frame" in done.stderr) == (tiles == "2x1")
        reports[tiles] = json.loads((tmp_path / f"{tiles}.json").read_text())
        assert len((tmp_path / f"{tiles}.jsonl").read_text().splitlines()) == 6
    assert SHIPPED_MODEL.name in reports["2x1"]["model"]
    assert "tiles" not in reports["1x1"]
    assert reports["2x1"]["tiles"] == "2x1"
    counts = reports["2x1"]["frames"]
    assert counts["rendered"] == 6
    assert counts["in_flight"] == 0
    # Three passes for one; 1.5 leaves room for a machine with other work.
    one, three = (reports[tiles]["stages"]["infer"]["p50_ms"] for tiles in ("1x1", "2x1"))
    assert three > 1.5 * one


@pytest.mark.parametrize("tiles", ["0x1", "9x9", "2", "two"])
def test_what_is_no_grid_is_told_by_run_and_by_bench(tiles: str, tmp_path: Path) -> None:
    said = 'wanted COLUMNSxROWS, such as "2x1", of 1 to 16 tiles in all'
    done = edge("run", "--tiles", tiles, "--frames", "1", cwd=tmp_path)
    assert done.returncode == 2
    assert f"--tiles: got '{tiles}', {said}" in done.stderr
    with pytest.raises(SettingsError, match=f'--tiles: got "{tiles}", {said}'):
        bench.main(["--tiles", tiles], standalone_mode=False)


def test_a_network_without_boxes_is_refused(tmp_path: Path) -> None:
    tiny_mask(tmp_path / "mask.onnx")
    done = edge(
        "run", "--model", "mask.onnx", "--source", "synthetic:96x64@30", "--frames", "1",
        "--tiles", "2x1", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "a model without boxes" in done.stderr
    assert "Leave tiles out" in done.stderr
    assert "Traceback" not in done.stderr
