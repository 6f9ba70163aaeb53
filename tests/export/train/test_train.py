"""Training through its command's own function, on a few generated frames."""

from __future__ import annotations

import csv
import json
import re
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engines.errors import ExportError, SettingsError
from engines.files import locked
from engines.model_file import read_spec
from export.data.folder import folder_data
from export.score.evaluate import evaluate_model
from export.train.checkpoint import load_checkpoint, network_state, save_checkpoint
from export.train.dataset import load_training_set
from export.train.net.street import StreetNet
from export.train.onnx_file import export_onnx
from export.train.recipe import Recipe
from export.train.train import run_training
from export.train.trainer import Trainer
from tests.export.labelled_files import coco_dict, make_folder
from tests.export.street_data import make_camvid
from tests.export.train.test_checkpoint import Hostile

CPU = torch.device("cpu")
TINY = Recipe(epochs=2, batch=2, synthetic=2, synthetic_share=0.5, height=96, width=128)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_camvid(tmp_path_factory.mktemp("camvid"))


def test_a_training_that_was_cut_off_ends_where_an_unbroken_one_does(
    root: Path, tmp_path: Path
) -> None:
    run_training(TINY, out=tmp_path / "whole", root=root, device=CPU, eval_every=0)
    cut = tmp_path / "cut"
    data = load_training_set(root, Recipe(synthetic=2), device=CPU)
    first = Trainer(TINY, [data], device=CPU)
    first.run_epoch()
    cut.mkdir()
    save_checkpoint(cut / "last.pt", first.state())
    run_training(TINY, out=cut, root=root, device=CPU, eval_every=0)
    a, b = load_checkpoint(tmp_path / "whole/last.pt"), load_checkpoint(cut / "last.pt")
    assert a["epoch"] == b["epoch"] == 2
    for name, value in a["ema"].items():
        torch.testing.assert_close(value, b["ema"][name], rtol=1e-3, atol=1e-4)


def test_a_second_training_into_a_folder_is_refused_and_a_dead_one_does_not_block(
    root: Path, tmp_path: Path
) -> None:
    once = replace(TINY, epochs=1)
    with (
        locked(tmp_path),
        pytest.raises(SettingsError, match="another training writes to it"),
    ):
        run_training(once, out=tmp_path, root=root, device=CPU, eval_every=0)
    assert list(tmp_path.iterdir()) == []  # nothing of the first is touched
    lock_and_die = "import fcntl, os; fcntl.flock(os.open('.', 0), 2); os.kill(os.getpid(), 9)"
    dead = subprocess.run([sys.executable, "-c", lock_and_die], cwd=tmp_path)
    assert dead.returncode == -signal.SIGKILL
    run_training(once, out=tmp_path, root=root, device=CPU, eval_every=0)
    assert (tmp_path / "last.pt").is_file()


def test_log_plot_and_scored_candidate_are_written(root: Path, tmp_path: Path) -> None:
    run_training(replace(TINY, epochs=1), out=tmp_path, root=root, device=CPU, eval_every=1)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["epoch"] for r in rows] == ["1"]
    assert 0 <= float(rows[0]["val_miou"]) <= 1
    assert float(rows[0]["mask"]) > 0
    assert (tmp_path / "plot.png").stat().st_size > 5_000
    assert read_spec(tmp_path / "candidate.onnx").detection is not None


def test_a_training_that_was_cut_off_before_its_row_gets_it_and_its_scores(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(TINY, epochs=1)

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("export.train.train.score_on_val", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run_training(recipe, out=tmp_path, root=root, device=CPU, eval_every=1)
    assert load_checkpoint(tmp_path / "last.pt")["epoch"] == 1
    for _ in range(2):  # once more, and nothing is added
        run_training(recipe, out=tmp_path, root=root, device=CPU, eval_every=1)
        with (tmp_path / "log.csv").open() as file:
            (row,) = csv.DictReader(file)
        assert (row["epoch"], float(row["mask"]) > 0) == ("1", True)
        assert 0 <= float(row["val_miou"]) <= 1


@pytest.mark.parametrize(("done", "kept"), [(1, r"last\.pt keeps epoch 1"), (0, "No epoch was")])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(
    root: Path, tmp_path: Path, done: int, kept: str
) -> None:
    recipe = replace(TINY, synthetic=0)
    data = load_training_set(root, Recipe(synthetic=0), device=CPU)
    trainer = Trainer(recipe, [data], device=CPU)
    trainer.epoch = done
    with torch.no_grad():
        trainer.net.mask_out.weight.fill_(float("nan"))
    save_checkpoint(tmp_path / "last.pt", trainer.state())
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(ExportError, match=rf"mask nan.* epoch {done + 1}, step 1\. .*{kept}"):
        run_training(recipe, out=tmp_path, root=root, device=CPU, eval_every=0)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_checkpoint_of_another_recipe_is_not_resumed(root: Path, tmp_path: Path) -> None:
    data = load_training_set(root, Recipe(synthetic=0), device=CPU)
    save_checkpoint(tmp_path / "last.pt", Trainer(TINY, [data], device=CPU).state())
    with pytest.raises(ExportError, match="other lr"):
        run_training(replace(TINY, lr=0.1), out=tmp_path, root=root, device=CPU, eval_every=0)


def test_a_full_disk_keeps_the_checkpoint_of_the_epoch_before(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = replace(TINY, synthetic=0)
    data = load_training_set(root, Recipe(synthetic=0), device=CPU)
    trainer = Trainer(recipe, [data], device=CPU)
    trainer.epoch = 1
    last = tmp_path / "last.pt"
    save_checkpoint(last, trainer.state())
    before = last.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(ExportError, match=r"last\.pt: the checkpoint could not be written"):
            run_training(recipe, out=tmp_path, root=root, device=CPU, eval_every=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert last.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"last.pt", "log.csv"}
    run_training(recipe, out=tmp_path, root=root, device=CPU, eval_every=0)  # it can be resumed
    assert load_checkpoint(last)["epoch"] == 2


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off"])
def test_a_broken_checkpoint_stops_before_anything_is_written(
    root: Path, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(ExportError, match=r"last\.pt: not a checkpoint"):
        run_training(TINY, out=tmp_path, root=root, device=CPU, eval_every=0)
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
    assert (tmp_path / "last.pt").read_bytes() == content


def test_an_out_folder_that_cannot_be_made_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(ExportError, match=rf"{out}: cannot be made.*--out"):
            run_training(TINY, out=out, root=root, device=CPU, eval_every=0)


def test_a_start_from_other_classes_says_what_it_keeps_and_is_resumed(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init, out = tmp_path / "init.pt", tmp_path / "o"
    net = StreetNet(box_classes=("bus",))
    terms = ["cityscapes"]
    save_checkpoint(init, {**network_state(net), "ema": net.state_dict(), "terms": terms})
    recipe = replace(
        TINY, synthetic=0, epochs=1, box_classes="thing=car+sign", mask_classes="road,sky,rest=*",
        lr_head=5e-3, freeze="backbone",
    )  # fmt: skip
    last = run_training(recipe, out=out, root=root, device=CPU, eval_every=1, init=init)
    text = capsys.readouterr().err
    assert re.search(r"kept 99\.\d% of the weights of .*init\.pt; begun anew: heads\.0\.out", text)
    spec = read_spec(out / "candidate.onnx")
    assert spec.detection is not None
    assert spec.detection.classes == ("thing",)
    assert spec.masks[0].classes == ("road", "sky", "rest")
    # the weights know the data of the start, too
    assert "CamVid" in spec.notice
    assert "Cityscapes" in spec.notice
    with (out / "log.csv").open() as file:
        assert 0 < float(next(csv.DictReader(file))["val_miou"]) <= 1
    stem = load_checkpoint(last)["ema"]["backbone.stem.0.weight"]
    torch.testing.assert_close(stem, net.state_dict()["backbone.stem.0.weight"])
    again = run_training(recipe, out=out, root=root, device=CPU, eval_every=0, init=init)
    assert load_checkpoint(again)["epoch"] == 1
    assert "resuming" in capsys.readouterr().err
    with pytest.raises(ExportError, match="other freeze"):
        run_training(
            replace(recipe, freeze=""), out=out, root=root, device=CPU, eval_every=0, init=init
        )


def test_a_start_that_is_not_there_and_a_frozen_random_backbone_are_refused(
    root: Path, tmp_path: Path
) -> None:
    init = tmp_path / "none.pt"
    with pytest.raises(ExportError, match=r"none\.pt: no such checkpoint"):
        run_training(TINY, out=tmp_path / "o", root=root, device=CPU, eval_every=0, init=init)
    frozen = replace(TINY, freeze="backbone")
    with pytest.raises(SettingsError, match="--init, or give it --backbone-weights"):
        run_training(frozen, out=tmp_path / "o", root=root, device=CPU, eval_every=0)
    mine = replace(TINY, data=((str(tmp_path), 1),))
    with pytest.raises(SettingsError, match=r"--teacher .* --data has neither"):
        run_training(
            mine, out=tmp_path / "o", root=root, device=CPU, eval_every=0, teacher=tmp_path
        )


def test_a_hostile_start_runs_no_code(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"ema": Hostile(), "shape": {}}, tmp_path / "bad.pt")
    with pytest.raises(ExportError, match="not a checkpoint that can be read safely"):
        run_training(
            TINY, out=tmp_path / "o", root=root, device=CPU, eval_every=0, init=tmp_path / "bad.pt"
        )
    assert not (tmp_path / "owned").exists()


def test_a_training_that_will_be_scored_asks_for_val_before_it_begins(tmp_path: Path) -> None:
    root = make_camvid(tmp_path / "camvid")
    (root / "boxes_val.json").unlink()
    with pytest.raises(ExportError, match=r"boxes_val\.json: missing"):
        run_training(TINY, out=tmp_path / "o", root=root, device=CPU, eval_every=1)
    assert not (tmp_path / "o" / "last.pt").exists()


def test_a_folder_of_boxes_alone_becomes_a_file_of_boxes_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = make_boxes_alone(tmp_path / "mine")
    recipe = replace(
        TINY, epochs=1, synthetic=0, data=((str(mine), 1),), box_names=("auto", "walker"),
        mask_names=(), aux=0.4, lovasz=0.5,
    )  # fmt: skip
    run_training(recipe, out=tmp_path / "o", root=mine, device=CPU, eval_every=1)
    assert f"{mine}/val: there is none, so nothing is scored" in capsys.readouterr().err
    make_boxes_alone(mine / "val")
    run_training(recipe, out=tmp_path / "p", root=mine, device=CPU, eval_every=1)
    spec = read_spec(tmp_path / "p" / "candidate.onnx")
    assert spec.detection is not None
    assert (spec.detection.classes, spec.masks, spec.notice) == (("auto", "walker"), (), "")
    with (tmp_path / "p" / "log.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["mask"]) == 0
    assert (row["val_miou"], 0 <= float(row["val_ap50"]) <= 1) == ("", True)


def make_boxes_alone(root: Path) -> Path:
    make_folder(root)
    shutil.rmtree(root / "labels")
    (root / "classes.txt").unlink()
    (root / "boxes.json").write_text(json.dumps(coco_dict([{}])))
    return root


def test_a_folder_of_masks_alone_becomes_a_file_of_a_mask_alone(tmp_path: Path) -> None:
    mine = make_folder(tmp_path / "mine")
    recipe = replace(
        TINY, epochs=1, synthetic=0, data=((str(mine), 1),), box_names=(),
        mask_names=("sky", "road", "car"),
    )  # fmt: skip
    last = run_training(recipe, out=tmp_path / "o", root=mine, device=CPU, eval_every=0)
    spec = export_onnx(last, tmp_path / "mine.onnx", height=64, width=96)
    assert spec.detection is None
    assert [(mask.name, mask.classes) for mask in spec.masks] == [
        ("street", ("sky", "road", "car"))
    ]
    report = evaluate_model(tmp_path / "mine.onnx", folder_data(mine))
    assert report.miou is not None
    assert report.ap is None


def test_backbone_weights_that_no_backbone_would_begin_with_are_refused(
    root: Path, tmp_path: Path
) -> None:
    given = tmp_path / "lite0.pth"
    for backbone, init, says in (
        ("plain", None, "--backbone is plain. Add --backbone lite0, or"),
        ("lite0", tmp_path / "init.pt", "has learnt more than they know. Leave one"),
    ):
        with pytest.raises(SettingsError, match=says):
            run_training(
                replace(TINY, backbone=backbone), out=tmp_path / "o", root=root, device=CPU,
                eval_every=0, init=init, backbone_weights=given,
            )  # fmt: skip
    assert not (tmp_path / "o").exists()
