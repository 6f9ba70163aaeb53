"""NanoDet: six heads, told apart by their cells and their numbers, never by order or name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from engines.model_file import read_spec
from tests.export.adopting import (
    APP_ENGINES,
    adopt_net,
    letterboxed,
    refusal,
    run_adopted,
    run_foreign,
    spec_of,
)
from tests.foreign_models import COLOUR_CLASSES, MEAN, STD, nanodet

HEADS = ("cls_8", "cls_16", "cls_32", "dis_8", "dis_16", "dis_32")


def test_heads_are_found_and_put_in_order(tmp_path: Path) -> None:
    done = adopt_net("nanodet", tmp_path)
    spec, head = spec_of(done)
    assert "distances of 0 to 7 strides" in done.said
    assert (spec.input.resize, spec.input.pad_value) == ("letterbox_center", 0)
    assert (head.family, head.classes, head.outputs) == ("nanodet", COLOUR_CLASSES, HEADS)
    assert (head.strides, head.conf, head.nms_iou) == ((8, 16, 32), 0.35, 0.6)


@APP_ENGINES
def test_the_adopted_file_gives_what_the_net_gives_for_its_documented_image(
    tmp_path: Path, engine: str
) -> None:
    image = letterboxed(2, top=14, pad=0)
    planes = [
        (image[:, :, c].astype(np.float32) - np.float32(MEAN[2 - c])) / np.float32(STD[2 - c])
        for c in (0, 1, 2)
    ]
    wanted = run_foreign(nanodet(), np.stack(planes)[None])
    got = run_adopted(adopt_net("nanodet", tmp_path).file, image, engine)
    assert sorted(got) == sorted(HEADS)
    for name in HEADS:
        np.testing.assert_allclose(got[name], wanted[name], rtol=1e-4, atol=1e-4)


def test_names_and_order_of_heads_mean_nothing(tmp_path: Path) -> None:
    model = nanodet()
    swapped = {"cls_16": "dis_16", "dis_16": "cls_16"}
    for node in model.graph.node:
        node.output[0] = swapped.get(node.output[0], node.output[0])
    outputs = list(model.graph.output)[::-1]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    done = adopt_net(model, tmp_path, name="nanodet")
    assert done.code == 0, done.said
    head = read_spec(done.file).detection
    assert head is not None
    assert head.outputs == ("cls_8", "dis_16", "cls_32", "dis_8", "cls_16", "dis_32")


@pytest.mark.parametrize(("kind", "which"), [("Identity", "neither lie"), ("HardSigmoid", "both")])
def test_heads_that_cannot_be_told_apart_are_refused(tmp_path: Path, kind: str, which: str) -> None:
    """Classes before their sigmoid, and distances after one."""
    model = nanodet()
    for node in model.graph.node:
        if kind == "Identity" and node.op_type == "Sigmoid":
            node.op_type = "Identity"
    if kind != "Identity":
        for s in (8, 16, 32):
            node = next(n for n in model.graph.node if n.output[0] == f"dis_{s}")
            node.output[0] = f"logits_{s}"
            model.graph.node.append(onnx.helper.make_node(kind, [f"logits_{s}"], [f"dis_{s}"]))
    message = refusal(adopt_net(model, tmp_path, name="nanodet"))
    assert "one must be classes in 0 to 1 (after sigmoid) and one the logits" in message
    assert which in message


def test_a_net_without_one_of_the_heads_is_none(tmp_path: Path) -> None:
    model = nanodet()
    del model.graph.output[0]
    message = refusal(adopt_net(model, tmp_path, name="nanodet"))
    assert "belongs to no family known here" in message
