"""Every network of the zoo is trained a little, exported, run, and is what torch computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from torch import Tensor

from edge.vision.types import Image
from engines import open_engine
from engines.errors import SettingsError
from engines.model_file import read_spec
from export.commands.train import train
from export.data.by_name import val_data
from export.data.camvid import CLASSES
from export.score.evaluate import evaluate_model
from export.train.checkpoint import load_checkpoint, network_state, save_checkpoint
from export.train.dataset import TrainingSet, load_training_set
from export.train.onnx_file import export_onnx, trained_network
from export.train.recipe import Recipe
from export.train.train import run_training
from export.train.trainer import Trainer
from export.zoo import NETS, build
from tests.export.street_data import make_camvid
from tests.export.zoo.nvidia import assert_builder_takes, assert_parser_takes
from tests.rtx_here import needs_rtx

CPU = torch.device("cpu")
IMAGE = np.random.default_rng(0).integers(0, 255, (1, 64, 96, 3)).astype(np.uint8)
IMAGE[:, 20:40, 30:70] = (20, 20, 230)


def rgb_of(image: Image) -> Tensor:
    """(1, H, W, 3) uint8 BGR → (1, 3, H, W) RGB 0..1."""
    return torch.from_numpy(image[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255


def labels_of(model: Path, engine: str, image: Image = IMAGE) -> NDArray[np.uint8]:
    opened = open_engine(model, engine=engine, precision="f32")
    try:
        opened.inputs(0)["image"][...] = image
        opened.submit(0)
        return opened.wait(0)["labels"].copy()
    finally:
        opened.close()


def recipe_of(name: str, backbone: str = "lite0") -> Recipe:
    return Recipe(
        net=name, backbone="plain" if name == "strided" else backbone, epochs=100, batch=2,
        synthetic=0, height=64, width=96, warmup_epochs=0,
        lr=3e-4 if name == "strided" else 2e-3,  # it has no norm
    )  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_camvid(tmp_path_factory.mktemp("camvid"))


@pytest.fixture(scope="module")
def data(root: Path) -> TrainingSet:
    return load_training_set(root, Recipe(synthetic=0), device=CPU)


QUICK = ("fcn8s", "segnet")
"""Two that between them have what the exporters find hard; the others take as long each."""
ALL = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NETS]


@pytest.fixture(scope="module", params=ALL)
def trained(
    request: pytest.FixtureRequest, data: TrainingSet, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[float]]:
    """A checkpoint and its losses."""
    trainer = Trainer(recipe_of(request.param), [data], device=CPU)
    losses = [trainer.run_epoch()["mask"] for _ in range(10)]  # of two steps each
    net = trainer.average
    with torch.no_grad():  # so little trained, it says one class everywhere: no test of a file
        net.mask_out.bias -= net(rgb_of(IMAGE)).mask.mean((0, 2, 3))
    path = tmp_path_factory.mktemp(request.param) / f"{request.param}.pt"
    save_checkpoint(path, trainer.state())
    export_onnx(path, path.with_suffix(".onnx"), height=64, width=96)
    return path, losses


def test_the_loss_falls(trained: tuple[Path, list[float]]) -> None:
    _, losses = trained
    assert sum(losses[-3:]) / 3 < 0.9 * sum(losses[:3]) / 3


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_file_computes_what_torch_does(trained: tuple[Path, list[float]], engine: str) -> None:
    path, _ = trained
    got = labels_of(path.with_suffix(".onnx"), engine)
    net = trained_network(path)
    with torch.no_grad():
        logits = net(rgb_of(IMAGE)).mask
    spec = read_spec(path.with_suffix(".onnx"))
    assert (spec.name, spec.detection, spec.masks[0].classes) == (path.stem, None, CLASSES)
    assert got.shape == spec.outputs[0].shape == (1, *logits.shape[2:])
    assert len(np.unique(got)) > 1
    assert (got == logits.argmax(1).numpy()).mean() > 0.995


@pytest.mark.parametrize("name", ["fcn8s", "deeplabv3plus"])
def test_a_size_of_no_multiple_goes_where_the_source_takes_any(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = build(name, "plain", CLASSES).eval()
    image = np.tile(IMAGE, (1, 2, 2, 1))[:, :75, :101]
    with torch.no_grad():
        net.mask_out.weight.normal_(std=0.1)
        wanted = net(rgb_of(image)).mask.argmax(1).numpy()
    path = tmp_path / "a.pt"
    save_checkpoint(path, {**network_state(net), "ema": net.state_dict()})
    export_onnx(path, tmp_path / "a.onnx", height=75, width=101)
    got = labels_of(tmp_path / "a.onnx", "onnxruntime", image)
    assert got.shape == (1, 75, 101)
    assert (got == wanted).mean() > 0.995


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("fcn8s", "vgg16"), ("segnet", "vgg16"), ("deeplabv1", "vgg16"), ("unet", "vgg16"),
        ("upsample", "resnet18"), ("deeplabv3plus", "xception"),
    ],
)  # fmt: skip
def test_on_the_backbones_of_the_sources_the_file_computes_what_torch_does(
    name: str, backbone: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = build(name, backbone, CLASSES).eval()
    with torch.no_grad():
        net.mask_out.weight.normal_(std=0.1)  # of FCN's, 0 at first
        assert net.mask_out.bias is not None
        net.mask_out.bias -= net(rgb_of(IMAGE)).mask.mean((0, 2, 3))
        wanted = net(rgb_of(IMAGE)).mask.argmax(1).numpy()
    path = tmp_path / "a.pt"
    save_checkpoint(path, {**network_state(net), "ema": net.state_dict()})
    export_onnx(path, tmp_path / "a.onnx", height=64, width=96)
    got = labels_of(tmp_path / "a.onnx", "onnxruntime")
    assert len(np.unique(got)) > 1
    assert (got == wanted).mean() > 0.995


@needs_rtx
def test_the_real_parser_takes_the_file(trained: tuple[Path, list[float]]) -> None:
    assert_parser_takes(trained[0].with_suffix(".onnx"))


@needs_rtx
@pytest.mark.slow
def test_the_real_builder_takes_the_file(trained: tuple[Path, list[float]]) -> None:
    assert_builder_takes(trained[0].with_suffix(".onnx"))


def test_a_training_that_was_cut_off_ends_where_an_unbroken_one_does(
    root: Path, data: TrainingSet, tmp_path: Path
) -> None:
    """With dropout (DeepLab v1 has it), and through the command's own function."""
    recipe = replace(recipe_of("deeplabv1"), epochs=2)
    whole = Trainer(recipe, [data], device=CPU)
    whole.run_epoch()
    save_checkpoint(tmp_path / "last.pt", whole.state())
    whole.run_epoch()
    last = run_training(recipe, out=tmp_path, root=root, device=CPU, eval_every=0)
    state = load_checkpoint(last)
    assert state["epoch"] == 2
    for name, value in whole.state()["ema"].items():
        torch.testing.assert_close(value, state["ema"][name], rtol=1e-3, atol=1e-4)


def test_a_network_is_trained_and_scored_by_the_command(root: Path, tmp_path: Path) -> None:
    arguments = ["--net", "fcn8s", "--backbone", "lite0", "--root", str(root), "--epochs", "1"]
    arguments += ["--batch", "2", "--synthetic", "0", "--device", "cpu", "--size", "72x104"]
    done = CliRunner().invoke(train, [*arguments, "--out", str(tmp_path), "--eval-every", "1"])
    assert done.exit_code == 0, done.exception
    assert load_checkpoint(tmp_path / "last.pt")["shape"] == {"net": "fcn8s", "backbone": "lite0"}
    val = val_data("camvid", {"camvid": root}, Recipe().classes)
    assert val is not None
    report = evaluate_model(tmp_path / "candidate.onnx", val)
    assert 0 <= (report.miou or 0) <= 1
    assert report.ap is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--net", "fcn9s"], "nearest is 'fcn8s'"),
        (["--net", "unet", "--box-classes", "car"], "gives a mask alone, no boxes"),
        (["--net", "unet", "--size", "72x104"], "wanted a multiple of 32, such as 64 or 96"),
    ],
)
def test_the_command_refuses_what_does_not_go(
    options: list[str], says: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(train, [*options, "--out", str(tmp_path / "o")])
    assert isinstance(done.exception, SettingsError)
    assert says in str(done.exception)
    assert not (tmp_path / "o").exists()
