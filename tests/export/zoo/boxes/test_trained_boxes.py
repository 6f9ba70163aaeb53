"""Every network with boxes is trained a little, exported, run, and is what torch computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray

from engines import open_engine
from engines.errors import ExportError, SettingsError
from engines.model_file import read_spec
from export.commands.train import train
from export.data.by_name import val_data
from export.data.camvid import BOX_CLASSES
from export.score.evaluate import evaluate_model
from export.train.batch import Known
from export.train.checkpoint import load_checkpoint, save_checkpoint
from export.train.dataset import TrainingSet, load_training_set
from export.train.onnx_file import export_onnx, trained_network
from export.train.recipe import Recipe
from export.train.trainer import Trainer
from export.zoo import BOX_NETS, OWN_ENCODER
from tests.edge.door import edge
from tests.export.street_data import make_camvid
from tests.export.zoo.nvidia import assert_builder_takes, assert_parser_takes
from tests.export.zoo.test_trained import CPU, rgb_of
from tests.rtx_here import needs_rtx

SIZE = 224, 256
"""Height and width: OverFeat's coarsest windows need 208."""
IMAGE = np.random.default_rng(0).integers(0, 255, (1, *SIZE, 3)).astype(np.uint8)
IMAGE[:, 60:140, 90:220] = (20, 20, 230)


def boxes_of(model: Path, engine: str) -> NDArray[np.float32]:
    opened = open_engine(model, engine=engine, precision="f32")
    try:
        opened.inputs(0)["image"][...] = IMAGE
        opened.submit(0)
        return opened.wait(0)["boxes"].copy()
    finally:
        opened.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_camvid(tmp_path_factory.mktemp("camvid"))


@pytest.fixture(scope="module")
def data(root: Path) -> TrainingSet:
    return load_training_set(root, Recipe(synthetic=0), device=CPU)


@pytest.fixture(scope="module", params=list(BOX_NETS))
def trained(
    request: pytest.FixtureRequest, data: TrainingSet, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[float]]:
    """A checkpoint and its losses."""
    name = request.param
    recipe = Recipe(
        net=name, backbone="plain" if name in OWN_ENCODER else "lite0", epochs=100, batch=2,
        synthetic=0, height=SIZE[0], width=SIZE[1], warmup_epochs=0, lr=1e-3,
    )  # fmt: skip
    trainer = Trainer(recipe, [data], device=CPU)
    losses = [sum(trainer.run_epoch().values()) for _ in range(8)]  # of two steps each
    path = tmp_path_factory.mktemp(name) / f"{name}.pt"
    save_checkpoint(path, trainer.state())
    export_onnx(path, path.with_suffix(".onnx"), height=SIZE[0], width=SIZE[1])
    return path, losses


def test_the_loss_falls(trained: tuple[Path, list[float]]) -> None:
    _, losses = trained
    assert sum(losses[-3:]) / 3 < 0.9 * sum(losses[:3]) / 3


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_file_computes_what_torch_does(trained: tuple[Path, list[float]], engine: str) -> None:
    path, _ = trained
    got = boxes_of(path.with_suffix(".onnx"), engine)
    with torch.no_grad():
        wanted = trained_network(path)(rgb_of(IMAGE)).numpy()
    spec = read_spec(path.with_suffix(".onnx"))
    assert spec.detection is not None
    assert (spec.name, spec.masks, spec.detection.classes) == (path.stem, (), BOX_CLASSES)
    assert got.shape == spec.outputs[0].shape == wanted.shape
    np.testing.assert_allclose(got[:, :4], wanted[:, :4], atol=0.05)
    np.testing.assert_allclose(got[:, 4:], wanted[:, 4:], atol=1e-4)


@needs_rtx
def test_the_real_parser_takes_the_file(trained: tuple[Path, list[float]]) -> None:
    assert_parser_takes(trained[0].with_suffix(".onnx"))


@needs_rtx
@pytest.mark.slow
def test_the_real_builder_takes_the_file(trained: tuple[Path, list[float]]) -> None:
    assert_builder_takes(trained[0].with_suffix(".onnx"))


def test_the_app_runs_it(trained: tuple[Path, list[float]], tmp_path: Path) -> None:
    done = edge(
        "run", "--model", trained[0].with_suffix(".onnx"), "--source", "synthetic:320x180",
        "--sink", "seen.jsonl", "--frames", "2", "--conf", "0.001", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "seen.jsonl").read_text().count("\n") == 2


def test_a_network_is_trained_and_scored_by_the_command(root: Path, tmp_path: Path) -> None:
    arguments = ["--net", "localise", "--backbone", "lite0", "--root", str(root), "--epochs", "1"]
    arguments += ["--batch", "2", "--synthetic", "0", "--device", "cpu", "--size", "72x104"]
    done = CliRunner().invoke(train, [*arguments, "--out", str(tmp_path), "--eval-every", "1"])
    assert done.exit_code == 0, done.exception
    shape = load_checkpoint(tmp_path / "last.pt")["shape"]
    assert shape == {"net": "localise", "backbone": "lite0"}
    val = val_data("camvid", {"camvid": root}, Recipe().classes)
    assert val is not None
    report = evaluate_model(tmp_path / "candidate.onnx", val)
    assert 0 <= (report.ap or 0) <= 1
    assert report.miou is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--net", "overfit"], "nearest is 'overfeat'"),
        (["--net", "localise", "--mask-classes", "road,other=*"], "gives boxes alone, no mask"),
        (["--net", "localise", "--lovasz", "1"], "--lovasz 1.0: --net localise gives boxes alone"),
        (["--net", "localise", "--aux", "1"], "belongs to --net street"),
        (["--net", "overfeat", "--size", "128x256"], "wanted sides of 208 or more"),
        (["--net", "overfeat", "--backbone", "lite0"], "has an encoder of its own"),
    ],
)
def test_the_command_refuses_what_does_not_go(
    options: list[str], says: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(train, [*options, "--out", str(tmp_path / "o")])
    assert isinstance(done.exception, SettingsError)
    assert says in str(done.exception)
    assert not (tmp_path / "o").exists()


def test_other_classes_are_read_out_anew(trained: tuple[Path, list[float]]) -> None:
    path, _ = trained
    state = load_checkpoint(path)
    recipe = Recipe(**{**state["recipe"], "data": (("camvid", 1),), "box_classes": "car"})
    data = two_frames(known=None)
    kept = Trainer(replace(recipe, batch=2), [data], device=CPU).start_from(state, origin=path)
    assert set(kept.new) == {"class_out.weight", "class_out.bias"}


def test_data_that_label_different_boxes_are_refused() -> None:
    known = Known(torch.tensor([[True, False, True, True]]), torch.ones(1, 11, dtype=torch.bool))
    with pytest.raises(ExportError, match="would take for background"):
        Trainer(Recipe(net="localise", batch=2), [two_frames(known=known)], device=CPU)


def two_frames(*, known: Known | None) -> TrainingSet:
    """Two frames that show nothing."""
    return TrainingSet(
        torch.zeros(2, 3, 64, 96, dtype=torch.uint8), torch.zeros(2, 64, 96, dtype=torch.uint8),
        torch.zeros(2, 1, 4), torch.full((2, 1), -1), torch.zeros(2, 1, dtype=torch.bool), 2,
        known=known,
    )  # fmt: skip


def test_an_export_refuses_a_size_below_the_windows_and_a_mask(
    trained: tuple[Path, list[float]], tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="gives no mask"):
        export_onnx(trained[0], tmp_path / "a.onnx", height=256, width=256, mask_stride=2)
    with pytest.raises(SettingsError, match="or more for"):
        export_onnx(trained[0], tmp_path / "a.onnx", height=16, width=256)
