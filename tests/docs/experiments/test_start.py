"""The weights that a training may begin with: what the pages say of them."""

from __future__ import annotations

from pathlib import Path

import torch

from export.data.camvid import BOX_CLASSES, CLASSES
from export.train.checkpoint import load_checkpoint, network_from, terms_of

START = Path(__file__).resolve().parents[3] / "docs" / "experiments" / "lite0_streets.pt"


def test_the_street_start_is_a_small_lite0_that_keeps_the_terms_of_its_data() -> None:
    state = load_checkpoint(START)
    net = network_from(state, origin=START)
    assert net.shape.backbone == "lite0"
    assert (net.box_classes, net.mask_classes) == (BOX_CLASSES, CLASSES)
    assert all(torch.isfinite(v).all() for v in net.state_dict().values())
    assert terms_of(state) == {"camvid", "cityscapes"}
    assert START.stat().st_size < 4_000_000
