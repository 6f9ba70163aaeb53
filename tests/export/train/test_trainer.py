"""One training in memory: what it starts from, what learns, what is resumed, and what stops it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from engines.errors import ExportError
from export.data.class_set import Classes
from export.train.checkpoint import (
    load_checkpoint,
    network_from,
    network_state,
    save_checkpoint,
)
from export.train.dataset import TrainingSet, load_training_set
from export.train.loss import Gains, StreetLoss
from export.train.net.street import ANCHORS, SHAPES, AuxMask, Shape, StreetNet
from export.train.recipe import Recipe
from export.train.trainer import Trainer
from export.train.views.augment import Augment
from export.train.views.cameras import Cameras
from export.train.views.mosaic import Mosaic
from export.train.views.paste import Paste
from export.zoo.trunks.lite0 import Lite0
from tests.export.street_data import make_camvid

CPU = torch.device("cpu")
TINY = Recipe(epochs=2, batch=2, synthetic=0, height=96, width=128)
HERE = Path("last.pt")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_camvid(tmp_path_factory.mktemp("camvid"))


@pytest.fixture
def trainer(root: Path) -> Trainer:
    data = load_training_set(root, Recipe(synthetic=0), device=CPU)
    return Trainer(TINY, [data], device=CPU)


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
def test_a_training_of_another_class_set_is_not_resumed(
    trainer: Trainer, differing: dict[str, Any], says: str
) -> None:
    state = other_network(**differing)
    before = trainer.net.mask_out.weight.clone()
    with pytest.raises(ExportError, match=rf"last\.pt: its network has {says}"):
        trainer.restore({**trainer.state(), **state}, origin=HERE)
    assert torch.equal(trainer.net.mask_out.weight, before)


HEAD_OUT = tuple(f"heads.{i}.out.{kind}" for i in range(3) for kind in ("weight", "bias"))
MASK_OUT = ("mask_out.weight", "mask_out.bias")


@pytest.mark.parametrize(
    ("differing", "new"),
    [
        ({}, ()),
        ({"box_classes": ("bus",)}, HEAD_OUT),
        # the same shape, but other classes at the same places
        ({"box_classes": ("pedestrian", "car", "bicyclist", "sign")}, HEAD_OUT),
        ({"mask_classes": ("road", "sky")}, MASK_OUT),
    ],
)
def test_a_start_keeps_what_fits_and_names_what_is_new(
    trainer: Trainer, differing: dict[str, Any], new: tuple[str, ...]
) -> None:
    state = other_network(**differing)
    fresh = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    kept = trainer.start_from(state, origin=HERE)
    assert kept.new == new
    for net in (trainer.net, trainer.average):
        for name, value in net.state_dict().items():
            assert torch.equal(value, fresh[name] if name in new else state["ema"][name]), name
    # 36 rows of 96 weights and a bias a grid for four classes; 11 rows of 64 and a bias
    count = {HEAD_OUT: 3 * 27 * 97, MASK_OUT: 11 * 65, (): 0}[new]
    whole = sum(p.numel() for p in trainer.net.parameters())
    assert kept.share == pytest.approx(1 - count / whole)


def test_a_start_from_a_network_of_other_widths_keeps_what_fits(trainer: Trainer) -> None:
    kept = trainer.start_from(other_network(shape=Shape(mask=32)), origin=HERE)
    assert {name.split(".")[0] for name in kept.new} == {
        "mask_in", "mask_skip", "mask_conv", "mask_out",
    }  # fmt: skip
    assert 0.9 < kept.share < 1


def test_a_start_that_nothing_fits_is_refused(trainer: Trainer) -> None:
    narrow = Shape(stem=8, widths=(8, 8, 8, 8), pyramid=8, mask=8)
    state = other_network(shape=narrow, box_classes=("bus",), mask_classes=("road", "sky"))
    before = [p.clone() for p in trainer.net.parameters()]
    with pytest.raises(ExportError, match=r"last\.pt: no tensor of it fits"):
        trainer.start_from(state, origin=HERE)
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.net.parameters(), strict=True))


def of_recipe(root: Path, **differing: Any) -> Trainer:
    recipe = replace(TINY, **differing)
    data = load_training_set(root, recipe, device=CPU)
    return Trainer(recipe, [data], device=CPU)


def test_a_frozen_backbone_keeps_weights_and_statistics_while_the_rest_learns(root: Path) -> None:
    trainer = of_recipe(root, freeze="backbone", box_classes="car", lr_head=1e-2)
    trainer.start_from(other_network(), origin=HERE)
    before = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    trainer.run_epoch()
    after = trainer.net.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in changed if name.startswith("backbone.")]
    assert {"heads.0.out.weight", "smooth.0.1.0.weight", "smooth.0.1.1.running_mean"} <= changed
    average = trainer.average.state_dict()
    for name in before:
        if name.startswith("backbone."):
            torch.testing.assert_close(average[name], before[name])


def test_frozen_features_leave_the_heads_alone_to_learn(root: Path) -> None:
    trainer = of_recipe(root, freeze="features", box_classes="car", lr_head=1e-2)
    trainer.start_from(other_network(), origin=HERE)
    before = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    trainer.run_epoch()
    after = trainer.net.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith(("heads.", "mask_conv.", "mask_out.")) for name in changed)
    assert {"heads.0.out.weight", "heads.2.out.bias", "mask_out.bias"} <= changed
    assert any(name.startswith("mask_conv.") for name in changed)
    with pytest.raises(ExportError, match=r"of its features lateral\.0\.0\.weight does not fit"):
        of_recipe(root, freeze="features").start_from(
            other_network(shape=Shape(pyramid=64)), origin=HERE
        )


def test_a_backbone_that_does_not_fit_cannot_be_frozen(root: Path) -> None:
    trainer = of_recipe(root, freeze="backbone")
    with pytest.raises(ExportError, match=r"of its backbone backbone\.stem\.0.* does not fit"):
        trainer.start_from(other_network(shape=Shape(stem=16)), origin=HERE)


def test_heads_and_new_tensors_learn_at_a_rate_of_their_own(root: Path) -> None:
    trainer = of_recipe(root, lr=1e-3, lr_head=4e-3, aux=0.4, warmup_epochs=0)
    trainer.start_from(other_network(shape=Shape(pyramid=64)), origin=HERE)
    trainer.run_epoch()
    rate = {id(p): group["lr"] for group in trainer.optimiser.param_groups for p in group["params"]}
    names = {n: rate[id(p)] for n, p in trainer.net.named_parameters()}
    low = names["backbone.stem.0.weight"]
    assert names["context.0.weight"] == low  # kept
    assert names["heads.1.out.bias"] == pytest.approx(4 * low)  # a head
    assert names["lateral.0.0.weight"] == pytest.approx(4 * low)  # begun anew: 96 wide, not 64
    assert trainer.aux is not None
    assert all(rate[id(p)] == pytest.approx(4 * low) for p in trainer.aux.parameters())
    assert len(rate) == len(names) + len(list(trainer.aux.parameters()))


def test_the_backbone_learns_at_a_rate_of_its_own(root: Path) -> None:
    trainer = of_recipe(root, backbone="lite0", lr=1e-3, lr_backbone=1e-4, lr_head=4e-3)
    rate = {
        id(p): group["lr"] * factor / 1e-3
        for group, factor in zip(trainer.optimiser.param_groups, trainer.rates, strict=True)
        for p in group["params"]
    }
    rates = {n: rate[id(p)] for n, p in trainer.net.named_parameters()}
    assert rates["backbone.blocks.7.expand.0.weight"] == pytest.approx(0.1)
    assert rates["lateral.0.0.weight"] == rates["bottom_up.0.smooth.0.weight"] == 1
    assert rates["heads.1.out.bias"] == pytest.approx(4)


def test_a_backbone_begins_with_given_weights_and_its_early_blocks_may_stay(root: Path) -> None:
    trainer = of_recipe(root, backbone="lite0", freeze="early")
    weights = Lite0().state_dict()
    kept = trainer.begin_with_backbone(weights, origin=HERE)
    assert kept == (1.0, ())
    trainer.run_epoch()
    for net in (trainer.net, trainer.average):
        after = net.backbone.state_dict()
        early = ("stem.", "blocks.0.", "blocks.1.", "blocks.2.")
        for name, value in weights.items():
            if name.startswith(early):
                torch.testing.assert_close(after[name], value)
    changed = trainer.net.backbone.state_dict()["blocks.3.expand.0.weight"]
    assert not torch.equal(changed, weights["blocks.3.expand.0.weight"])


def test_weights_that_a_backbone_lacks_are_told_and_none_that_is_frozen_may(root: Path) -> None:
    weights = Lite0().state_dict()
    del weights["blocks.12.project.0.weight"]
    trainer = of_recipe(root, backbone="lite0", freeze="early")
    kept = trainer.begin_with_backbone(weights, origin=HERE)
    assert kept.new == ("backbone.blocks.12.project.0.weight",)
    assert 0.8 < kept.share < 0.9  # 1152 x 192 of 1.4 M
    del weights["stem.0.weight"]
    with pytest.raises(ExportError, match=r"of its early backbone\.stem\.0\.weight does not fit"):
        trainer.begin_with_backbone(weights, origin=HERE)


def test_an_epoch_that_was_cut_off_goes_on_in_its_middle(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("export.train.trainer.KEEP_S", 0.0)  # after every batch
    whole, states = of_recipe(root, batch=2), list[dict[str, Any]]()

    def keep() -> None:
        save_checkpoint(tmp_path / f"{len(states)}.pt", whole.state())
        states.append(load_checkpoint(tmp_path / f"{len(states)}.pt"))

    losses = whole.run_epoch(keep)
    assert [state["cut_off"]["batches"] for state in states] == [1, 2]
    again = of_recipe(root, batch=2)
    again.restore(states[0], origin=HERE)
    assert again.run_epoch() == pytest.approx(losses)
    assert again.epoch == whole.epoch == 1
    assert "cut_off" not in again.state()
    for name, value in whole.net.state_dict().items():
        assert torch.equal(again.net.state_dict()[name], value), name
    for name, value in whole.average.state_dict().items():
        assert torch.equal(again.average.state_dict()[name], value), name


def test_an_epoch_shows_each_set_as_often_as_it_is_asked_to(root: Path) -> None:
    recipe = replace(TINY, synthetic=8, synthetic_share=0.5)
    small = load_training_set(root, recipe, device=CPU)  # 4 photographs and 8 drawings
    wide = replace(load_training_set(root, replace(TINY, synthetic=0), device=CPU), times=3)
    trainer = Trainer(recipe, [small, wide], device=CPU)
    index = trainer.order(torch.Generator().manual_seed(0)).tolist()
    counts = [index.count(i) for i in range(16)]
    assert counts[:4] == [1] * 4
    assert counts[12:] == [3] * 4
    # half of 16 photographs, of which there are eight
    assert counts[4:12] == [1] * 8


def test_views_of_sets_of_two_sizes_make_one_batch_in_the_order_asked_for(root: Path) -> None:
    data = load_training_set(root, TINY, device=CPU)
    grey = torch.full((2, 3, 90, 40), 60, dtype=torch.uint8)
    boxes = torch.tensor([[[10.0, 30, 20, 60], [0, 0, 5, 5], [1, 1, 9, 9]]]).expand(2, -1, -1)
    ids = torch.tensor([[0, -1, 1], [0, -1, 1]])
    squeezed = TrainingSet(
        grey, torch.full((2, 90, 40), 5, dtype=torch.uint8), boxes, ids, ids < 0, 2,
        scale_xy=(4.0, 1.0),
    )  # fmt: skip
    trainer = Trainer(TINY, [data, squeezed], device=CPU)
    chosen = torch.tensor([len(data), 0, len(data) + 1, 1])
    batch = trainer.views(chosen, torch.Generator().manual_seed(3))
    assert batch.images.shape == (4, 3, TINY.height, TINY.width)
    most = max(3, data.boxes.shape[1])
    assert batch.boxes.shape == (4, most, 4)
    assert (batch.class_ids[[1, 3], data.boxes.shape[1] :] == -1).all()
    # the photographs have road and sky; the other set is all trees
    assert [bool((labels == 5).any()) for labels in batch.labels] == [True, False, True, False]
    generator = torch.Generator().manual_seed(3)
    ratios: list[float] = []
    while len(ratios) < 8:  # most views cut the object or show it too small to be learnt
        batch = trainer.views(chosen, generator)
        for n in (0, 2):
            x0, y0, x1, y1 = batch.boxes[n, 0].tolist()
            if batch.class_ids[n, 0] == 0 and not batch.crowd[n, 0] and x0 > 0 and x1 < TINY.width:
                ratios.append((x1 - x0) / (y1 - y0))
    # 10 x 30 px, shown 40 x 30, give or take the stretch
    assert ratios == pytest.approx([4 / 3] * len(ratios), rel=0.2)


def test_the_largest_seed_trains(root: Path) -> None:
    trainer = of_recipe(root, seed=2**31 - 1)
    assert all(math.isfinite(value) for value in trainer.run_epoch().values())


def test_an_auxiliary_mask_is_trained_and_resumed_but_no_part_of_the_network(root: Path) -> None:
    trainer = of_recipe(root, aux=0.4)
    assert trainer.aux is not None
    before = [p.clone() for p in trainer.aux.parameters()]
    trainer.run_epoch()
    after = list(trainer.aux.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    state = trainer.state()
    assert set(network_from(state, origin=HERE).state_dict()) == set(StreetNet().state_dict())
    again = of_recipe(root, aux=0.4)
    again.restore(state, origin=HERE)
    assert again.aux is not None
    assert all(torch.equal(a, b) for a, b in zip(after, again.aux.parameters(), strict=True))
    with pytest.raises(ExportError, match="other aux"):
        of_recipe(root).restore(state, origin=HERE)


def test_an_option_that_is_off_leaves_the_training_as_it_was(root: Path) -> None:
    # a checkpoint from before the options lacks them in its recipe, and has two groups of weights
    state = of_recipe(root).state()
    added = {
        "lr_head", "freeze", "images", "box_classes", "mask_classes", "lovasz", "aux", "paste",
        "mask_gain", "mosaic", "gamma", "min_cells", "cameras",
    }  # fmt: skip
    state["recipe"] = {k: v for k, v in state["recipe"].items() if k not in added}
    assert len(state["optimiser"]["param_groups"]) == 2
    of_recipe(root).restore(state, origin=HERE)
    with pytest.raises(ExportError, match="other lovasz"):
        of_recipe(root, lovasz=1.0).restore(state, origin=HERE)


@pytest.mark.parametrize(
    "option",
    [
        {"lovasz": 1.0},
        {"aux": 0.4},
        {"paste": 1.0},
        {"mosaic": 1.0},
        {"gamma": 1.0},
        {"cameras": 0.5},
    ],
)
def test_each_term_changes_what_is_learnt(root: Path, option: dict[str, float]) -> None:
    plain, other = of_recipe(root, batch=4), of_recipe(root, batch=4, **option)
    for a, b in zip(plain.net.parameters(), other.net.parameters(), strict=True):
        assert torch.equal(a, b)  # the seed gives the same start
    masks = [t.run_epoch()["mask"] for t in (plain, other)]
    assert all(math.isfinite(m) for m in masks)
    if "lovasz" in option or "aux" in option:
        assert masks[1] > masks[0] * 1.1
    elif "paste" not in option:  # there is nothing rare in these frames to paste
        assert masks[1] != masks[0]


def test_the_gain_of_the_mask_is_that_of_the_recipe(root: Path) -> None:
    assert of_recipe(root, mask_gain=3.0).loss.gains.mask == 3


def test_the_sizes_of_the_strides_are_those_of_the_recipe(root: Path) -> None:
    assert of_recipe(root, min_cells=2.0).loss.min_cells == 2


def test_fewer_images_than_a_batch_are_refused(root: Path) -> None:
    assert of_recipe(root, batch=4).epoch == 0  # the four frames of the set
    with pytest.raises(ExportError, match="an epoch of 4 images does not fill a batch of 5"):
        of_recipe(root, batch=5)


def test_a_batch_that_is_no_mosaic_is_refused(root: Path) -> None:
    assert of_recipe(root, batch=4, mosaic=0.5).views.together == [Mosaic(0.5)]
    with pytest.raises(ExportError, match=r"--mosaic needs 4 views a batch, got --batch 3"):
        of_recipe(root, batch=3, mosaic=0.5)


def test_without_photographs_an_epoch_is_every_synthetic_frame(root: Path) -> None:
    data = load_training_set(root, Recipe(splits=(), synthetic=4), device=CPU)
    trainer = Trainer(replace(TINY, splits=(), synthetic=4), [data], device=CPU)
    assert sorted(trainer.order(torch.Generator().manual_seed(0)).tolist()) == [0, 1, 2, 3]
    assert trainer.loss.class_weights.std() > 0  # weighed by the synthetic frames


def test_the_average_follows_every_weight_statistic_and_counter(trainer: Trainer) -> None:
    trainer.run_epoch()
    mine, theirs = trainer.average.state_dict(), trainer.net.state_dict()
    # four images in batches of two: after two steps keep = 0.999 · (1 − e^(−2/300)) < 0.01
    for name, value in mine.items():
        if value.dtype.is_floating_point:
            torch.testing.assert_close(value, theirs[name], atol=2e-2, rtol=2e-2)
        else:
            assert value.item() == theirs[name].item() == 2


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
    data = load_training_set(root, Recipe(synthetic=0), device=CPU)
    trainer = Trainer(TINY, [data], device=CPU)
    bias = trainer.net.mask_out.bias
    assert bias is not None
    bias.register_hook(lambda gradient: gradient / 0)
    with pytest.raises(
        FloatingPointError, match=r"mask \d.* gradient (nan|inf) in epoch 1, step 1"
    ):
        trainer.run_epoch()
    assert all(torch.isfinite(p).all() for p in trainer.net.parameters())
    assert trainer.epoch == 0


def test_views_pasting_and_losses_never_wait_for_the_device() -> None:
    # on tensors that have shapes but no values, whatever would bring a value or a count from the
    # device to the host raises
    data = load_training_set(Path("nowhere"), Recipe(splits=(), synthetic=4), device=CPU)
    paste = Paste(data, Classes.parse(), chance=0.5)
    assert len(paste.cutouts)
    draw = torch.Generator().manual_seed(0)
    net = StreetNet()
    aux = AuxMask(net.shape, 11)
    loss = StreetLoss(ANCHORS, torch.ones(11), gains=Gains(lovasz=1.0, aux=0.4))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        batch = paste(data.batch(mode.from_tensor(torch.arange(4))), generator=draw)
        batch = Augment(size_hw=(96, 128), gamma=0.5, lift=0.5)(batch, generator=draw)
        batch = Mosaic(0.5)(batch, generator=draw)
        batch = Cameras(0.5, Classes.parse())(batch, generator=draw)
        outputs, features = net.with_features(batch.images)
        total, _ = loss(outputs, batch, aux=aux(features))
        with pytest.raises(DynamicOutputShapeException):
            torch.nonzero(batch.labels)
        with pytest.raises(DataDependentOutputException):
            total.item()


def test_a_start_from_the_other_backbone_is_refused_with_the_option_to_add(
    trainer: Trainer,
) -> None:
    other = other_network(shape=SHAPES["lite0"])
    with pytest.raises(ExportError, match=r"its backbone is lite0, .* with --backbone lite0, or"):
        trainer.start_from(other, origin=HERE)
