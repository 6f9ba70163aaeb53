"""One training in memory: the learning rate, what a checkpoint must hold, and what stops it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from engines.errors import ExportError
from export.checkpoint import network_state
from export.dataset import load_training_set
from export.model import StreetNet
from export.trainer import Recipe, Trainer, learning_rate
from tests.export.street_data import make_camvid

CPU = torch.device("cpu")
TINY = Recipe(epochs=2, batch=2, synthetic=0, height=96, width=128)
HERE = Path("last.pt")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_camvid(tmp_path_factory.mktemp("camvid"))


@pytest.fixture
def trainer(root: Path) -> Trainer:
    data = load_training_set(root, ("train",), synthetic=0, seed=0, device=CPU)
    return Trainer(TINY, data, device=CPU)


def other_network(**differing: Any) -> dict[str, Any]:
    """The weights of a network that is not the one trained here."""
    net = StreetNet(**differing)
    return {**network_state(net), "ema": net.state_dict()}


@pytest.mark.parametrize(
    ("differing", "says"),
    [
        ({"box_classes": ("bus",)}, r"box_classes \['bus'\], wanted \['car', 'pedestrian'"),
        (
            {"box_classes": ("pedestrian", "car", "bicyclist", "sign")},
            r"box_classes \['pedestrian'",
        ),
        ({"mask_classes": ("road", "sky")}, r"mask_classes \['road', 'sky'\], wanted \['sky'"),
    ],
)
def test_a_network_of_another_class_set_is_refused(
    trainer: Trainer, differing: dict[str, Any], says: str
) -> None:
    state = other_network(**differing)
    before = trainer.net.mask_out.weight.clone()
    with pytest.raises(ExportError, match=rf"last\.pt: its network has {says}"):
        trainer.start_from(state, origin=HERE)
    with pytest.raises(ExportError, match=rf"last\.pt: its network has {says}"):
        trainer.restore({**trainer.state(), **state}, origin=HERE)
    assert torch.equal(trainer.net.mask_out.weight, before)


def test_weights_without_a_training_are_no_training_to_resume(trainer: Trainer) -> None:
    with pytest.raises(ExportError, match=r"no training that could be resumed.*--init"):
        trainer.restore(other_network(), origin=HERE)


@pytest.mark.parametrize("key", ["net", "optimiser", "epoch", "steps"])
@pytest.mark.parametrize("value", [None, "text", {}])
def test_a_damaged_training_is_refused(trainer: Trainer, key: str, value: object) -> None:
    with pytest.raises(ExportError, match=r"state of its training is damaged.*--init"):
        trainer.restore({**trainer.state(), key: value}, origin=HERE)


@pytest.mark.parametrize("key", ["net", "optimiser", "epoch", "steps"])
def test_a_training_that_lacks_something_is_refused(trainer: Trainer, key: str) -> None:
    state = trainer.state()
    del state[key]
    with pytest.raises(ExportError, match="state of its training is damaged"):
        trainer.restore(state, origin=HERE)


def test_a_gradient_that_is_not_finite_stops_before_it_ruins_the_weights(root: Path) -> None:
    data = load_training_set(root, ("train",), synthetic=0, seed=0, device=CPU)
    trainer = Trainer(TINY, data, device=CPU)
    bias = trainer.net.mask_out.bias
    assert bias is not None
    bias.register_hook(lambda gradient: gradient / 0)
    with pytest.raises(
        FloatingPointError, match=r"mask \d.* gradient (nan|inf) in epoch 1, step 1"
    ):
        trainer.run_epoch(progress_bar=False)
    assert all(torch.isfinite(p).all() for p in trainer.net.parameters())
    assert trainer.epoch == 0


def test_the_learning_rate_rises_then_falls_to_a_hundredth() -> None:
    recipe = Recipe(epochs=100, lr=1.0, warmup_epochs=3)
    rates = [learning_rate(recipe, e) for e in (0, 1, 3, 50, 100)]
    assert rates[0] < rates[1] < rates[2] == pytest.approx(1.0)
    assert rates[2] > rates[3] > rates[4] == pytest.approx(0.01)


def test_without_warm_up_the_learning_rate_only_falls() -> None:
    recipe = Recipe(epochs=10, lr=1.0, warmup_epochs=0)
    # half a cosine from 1 down to 0.01: halfway 0.01 + 0.99 / 2
    assert [learning_rate(recipe, e) for e in (0, 5, 10)] == pytest.approx([1.0, 0.505, 0.01])
