"""The probe: where a view shows labels and boxes, and a head that learns what features tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner

from docs.experiments.probe import frames_of, learn, main, score, truth_of
from export.data.camvid import CLASSES
from export.data.labelled import UNLABELLED
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
    good, bad = (
        score(learn(given, truth, steps=40, seed=0, batch=2), given, frames)
        for given in (features, blind)
    )
    assert good[0] > bad[0] + 0.2


def test_the_command_prints_a_row_a_seed(roots: None) -> None:
    result = CliRunner().invoke(
        main, ["random", "-", "--steps", "1", "--seed", "3", "--seed", "4"], catch_exceptions=False
    )
    rows = [line.strip("| ").split(" | ") for line in result.output.splitlines()]
    assert [row[:2] for row in rows] == [["random", "3"], ["random", "4"]]
    assert all(len(row) == 9 and np.isfinite([float(v) for v in row[2:]]).all() for row in rows)
