"""The probe: where a view shows labels and boxes, and a head that learns what features tell."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import nn

from docs.experiments.probe import (
    EVEN,
    Evened,
    Learning,
    frames_of,
    learn,
    main,
    network,
    score,
    stored,
    street_views,
    truth_of,
)
from docs.experiments.trunks import own
from export.data import camvid
from export.data.camvid import CLASSES
from export.data.labelled import UNLABELLED
from export.train.dataset import class_weights, load_training_sets
from export.train.recipe import Recipe
from tests.export.street_data import make_camvid, make_cityscapes, painted


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTRIDER_CAMVID", str(make_camvid(tmp_path / "camvid")))
    labels = painted(car=(64, 32, 96, 64))
    city = make_cityscapes(tmp_path / "city", labels)
    for name in ("images", "labels"):
        (city / name / "train").symlink_to(city / name / "val")
    (city / "persons_train.json").symlink_to(city / "persons_val.json")
    monkeypatch.setenv("OUTRIDER_CITYSCAPES", str(city))


def test_a_view_shows_cityscapes_at_its_true_aspect_and_mirrored(roots: None) -> None:
    truth = truth_of(frames_of("cityscapes", "val"))
    assert truth.labels.shape == (2, 192, 320)
    # 256x256 → 512x256 → 320x160 with 16 rows of grey above and below: scales 1.25 and 0.625
    car = [80, 36, 120, 56]
    assert truth.boxes.tolist() == [[car], [[320 - 120, 36, 320 - 80, 56]]]
    assert truth.class_ids.tolist() == [[0], [0]]
    assert truth.crowd.tolist() == [[False], [False]]
    assert (truth.labels[0, [*range(16), *range(176, 192)]] == UNLABELLED).all()
    wanted = torch.full((160, 320), CLASSES.index("road"))
    wanted[20:40, 80:120] = CLASSES.index("car")
    assert torch.equal(truth.labels[0, 16:-16].long(), wanted)
    assert torch.equal(truth.labels[1], truth.labels[0].flip(1))


def test_frames_are_taken_evenly_and_no_more_than_there_are(roots: None) -> None:
    whole = [f.item.image_path.name for f in frames_of("camvid", "train")]
    assert len(whole) == 4
    assert [f.item.image_path.name for f in frames_of("camvid", "train", 2)] == [whole[0], whole[3]]
    assert len(frames_of("camvid", "train", 9)) == 4


@pytest.mark.slow
def test_a_head_learns_what_features_tell_and_nothing_from_none(roots: None) -> None:
    frames = frames_of("camvid", "train")
    truth = truth_of(frames)
    told = (
        F.one_hot(truth.labels[:, 2::4, 2::4].long().clamp(max=11), 12).movedim(-1, 1).half()
    )  # (8, 12, 48, 80)
    features = [F.avg_pool2d(told.float(), k).half() for k in (1, 2, 4, 8)]
    blind = [torch.zeros_like(level) for level in features]
    weights = class_weights([truth], len(CLASSES))
    scores = []
    for given in (features, blind):
        torch.manual_seed(0)
        views = stored(given, truth, steps=40, batch=2)
        net = learn(network((12,) * 4, nn.Identity()), views, weights, Learning(40))
        inputs = ([level[i : i + 1].float() for level in given] for i in range(len(frames)))
        scores.append(score(net, inputs, frames)[0])
    assert scores[0] > scores[1] + 0.2


def test_a_trunk_learns_at_its_own_rate_and_an_average_follows(roots: None) -> None:
    torch.manual_seed(0)
    sets = load_training_sets(
        {"camvid": camvid.default_root()}, Recipe(synthetic=0), device=torch.device("cpu")
    )
    views = [(images, batch) for images, batch in street_views(sets * 2, steps=1, seed=0)]
    assert views[0][0].shape == (8, 3, 192, 320)
    assert torch.equal(views[0][0], next(street_views(sets * 2, steps=1, seed=0))[0])
    weights = class_weights(sets, len(CLASSES))
    before = network(EVEN, Evened("random", own("random", Path("-"))))
    moved = []
    for how in (Learning(1), Learning(1, trunk=1e-3), Learning(1, trunk=1e-3, ema=1.0)):
        after = learn(deepcopy(before), views, weights, how)
        pairs = zip(before.named_parameters(), after.parameters(), strict=True)
        most = {name: (new - old).abs().max().item() for (name, old), new in pairs}
        inside = {n for n in most if n.startswith(Evened.TRUNK)}
        moved.append((max(most[n] for n in inside), most["backbone.fits.0.0.weight"]))
    # Adam's first step is the rate, of which warmup gives a twentieth; the average keeps e^(-1/300)
    # of what was: 1 - 1.0 * (1 - e^(-1/300)) of the step is taken, 0.9967
    assert moved[0] == pytest.approx((0, 1e-4), rel=0.05, abs=1e-9)
    assert moved[1] == pytest.approx((5e-5, 1e-4), rel=0.05)
    assert moved[2] == pytest.approx((5e-5 * 0.9967, 1e-4 * 0.9967), rel=0.05)


@pytest.mark.parametrize("more", [[], ["--tune", "1e-3"]])
def test_the_command_prints_a_row_a_seed(more: list[str], roots: None) -> None:
    result = CliRunner().invoke(
        main,
        ["random", "-", "--steps", "1", "--seed", "3", "--seed", "4", *more],
        catch_exceptions=False,
    )
    rows = [line.strip("| ").split(" | ") for line in result.output.splitlines()]
    assert [row[:2] for row in rows] == [["random", "3"], ["random", "4"]]
    assert all(len(row) == 9 and np.isfinite([float(v) for v in row[2:]]).all() for row in rows)
