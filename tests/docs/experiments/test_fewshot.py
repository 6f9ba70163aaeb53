"""The few-shot comparison: commands that make the same recipe again, a table, and refusals."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from docs.experiments.fewshot import Run, main, read_run
from engines.errors import ExportError
from export.commands.train import recipe_of, train
from export.train.checkpoint import network_state, save_checkpoint
from export.train.net.street import StreetNet
from export.train.recipe import Recipe
from tests.conftest import ROOT

SHOT = Recipe(
    splits=("train", "val"), epochs=4, batch=8, lr=5e-4, lr_head=2e-3, synthetic=0, images=50,
    height=224, width=320, freeze="backbone", box_classes="vehicle=car",
    mask_classes="road,other=*", lovasz=0.5, mask_gain=2.5, seed=2, init_sha256="ab" * 32,
)  # fmt: skip
HEADER = "epoch,seconds,box,objectness,classes,mask,val_miou,val_ap,val_ap50\n"


def make_run(folder: Path, recipe: Recipe, *, miou: float, epochs: int | None = None) -> Path:
    folder.mkdir()
    net = StreetNet()
    state: dict[str, Any] = {**network_state(net), "ema": net.state_dict()}
    save_checkpoint(
        folder / "last.pt", {**state, "recipe": {**asdict(recipe), "splits": list(recipe.splits)}}
    )
    rows = [
        f"{e},1.0,1,1,1,1,{miou * e / recipe.epochs:.3f},0.1,0.2\n"
        for e in range(2, (epochs or recipe.epochs) + 1, 2)
    ]
    (folder / "log.csv").write_text(HEADER + "1,1.0,1,1,1,1,,,\n" + "".join(rows))
    return folder


@pytest.mark.parametrize(
    "recipe", [SHOT, Recipe(), replace(SHOT, splits=(), freeze="", init_sha256="")]
)
def test_the_command_of_a_run_makes_its_recipe(recipe: Recipe) -> None:
    command = Run("out", {**asdict(recipe), "splits": list(recipe.splits)}, {}).command(init="i.pt")
    program, name, *arguments = shlex.split(command)
    assert (program, name) == ("edge-export", "train")
    params = train.make_context("train", arguments).params
    left = {"out", "root", "init", "device", "eval_every"}
    made = recipe_of(**{k: v for k, v in params.items() if k not in left})
    assert replace(made, init_sha256=recipe.init_sha256) == recipe
    assert params["init"] == (Path("i.pt") if recipe.init_sha256 else None)
    assert params["out"] == Path("out")


def test_runs_become_a_table_of_ways_and_seeds_and_a_plot(tmp_path: Path) -> None:
    scratch = replace(SHOT, freeze="", init_sha256="", lr_head=0.0)
    folders = [
        make_run(tmp_path / "a", SHOT, miou=0.6),
        make_run(tmp_path / "b", replace(SHOT, seed=1), miou=0.4),
        make_run(tmp_path / "c", scratch, miou=0.3),
        make_run(tmp_path / "e", replace(scratch, epochs=8), miou=0.35),
        make_run(tmp_path / "d", replace(SHOT, freeze=""), miou=0.7),
    ]
    picture = tmp_path / "plot.png"
    result = CliRunner().invoke(main, [*map(str, folders), "--plot", str(picture)])
    assert result.exit_code == 0, result.exception
    rows = [line.split(" | ")[:5] for line in result.output.splitlines()]
    # mean 0.5 of 0.4 and 0.6, whose sample deviation is √(2 · 0.1²) = 0.141
    assert rows[2:6] == [
        ["| from scratch", "4", "1", "0.300", "0.200 |"],
        ["| from scratch", "8", "1", "0.350", "0.200 |"],
        ["| frozen backbone", "4", "2", "0.500 ± 0.141", "0.200 ± 0.000 |"],
        ["| fine-tuned", "4", "1", "0.700", "0.200 |"],
    ]
    assert [row[:3] for row in rows[9:]] == [
        ["| from scratch", "2", "0.300"],
        ["| from scratch", "2", "0.350"],
        ["| frozen backbone", "1", "0.400"],
        ["| frozen backbone", "2", "0.600"],
        ["| fine-tuned", "2", "0.700"],
    ]
    assert picture.stat().st_size > 5_000


def test_a_run_that_is_not_finished_or_not_scored_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="not scored after its last epoch 4"):
        read_run(make_run(tmp_path / "cut", SHOT, miou=0.5, epochs=2))
    (tmp_path / "cut" / "log.csv").unlink()
    with pytest.raises(ExportError, match=r"log\.csv: cannot be read"):
        read_run(tmp_path / "cut")
    with pytest.raises(ExportError, match=r"last\.pt: no such checkpoint"):
        read_run(tmp_path / "nothing")


def test_the_script_runs_from_the_projects_folder_and_its_error_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "docs.experiments.fewshot", str(tmp_path / "nothing")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    assert done.stderr.startswith(f"fewshot: {tmp_path}/nothing/last.pt: no such checkpoint")
    assert done.stderr.count("\n") == 1


def test_the_links_of_the_experiments_lead_to_files() -> None:
    page = ROOT / "docs" / "experiments" / "EXPERIMENTS.md"
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert "fewshot.png" in links
    assert [link for link in links if not (page.parent / link).exists()] == []
