"""Scores of any class set: merged truth by hand, and agreement with the project's own protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from export.checkpoint import network_state, save_checkpoint
from export.class_set import Classes, ClassSet
from export.evaluate import evaluate_model
from export.model import StreetNet
from export.onnx_file import export_onnx
from export.val_score import merged, score_classes
from tests.export.street_data import CATEGORIES, make_camvid


def coco_of(*names: str) -> dict[str, Any]:
    """One box of each name, in one image."""
    return {
        "images": [{"id": 0, "file_name": "a.jpg", "width": 100, "height": 50}],
        "categories": [{"id": i + 1, "name": n} for i, n in enumerate(CATEGORIES)],
        "annotations": [
            {"id": i, "image_id": 0, "category_id": CATEGORIES.index(n) + 1, "iscrowd": 0,
             "area": 1, "bbox": [10 * i, 0, 8, 8]} for i, n in enumerate(names)
        ],
    }  # fmt: skip


def told(text: str, *names: str) -> list[tuple[int, int]]:
    made = merged(coco_of(*names), ClassSet.parse(text, of=CATEGORIES, option="--box-classes"))
    return [(a["category_id"], a["iscrowd"]) for a in made["annotations"]]


def test_boxes_come_in_the_merged_classes_and_others_are_left_out() -> None:
    text = "vehicle=car,person=pedestrian+bicyclist"
    assert told(text, "car", "sign", "bicyclist", "pedestrian") == [(1, 0), (2, 0), (2, 0)]


def test_a_bicyclist_is_an_ignored_pedestrian_unless_one_class_takes_both() -> None:
    assert told("pedestrian", "bicyclist") == [(1, 1)]
    assert told("bicyclist,pedestrian", "bicyclist") == [(1, 0), (2, 1)]
    assert told("person=bicyclist+pedestrian", "bicyclist") == [(1, 0)]
    assert told("car", "bicyclist") == []


@pytest.mark.heavy
def test_on_camvids_own_classes_it_gives_what_the_evaluation_gives(tmp_path: Path) -> None:
    root = make_camvid(tmp_path / "camvid", images=2)
    file = root / "boxes_val.json"
    coco = json.loads(file.read_text())
    coco["annotations"][0]["category_id"] = 3
    for i, annotation in enumerate(coco["annotations"]):
        annotation["id"] = i + 1
    file.write_text(json.dumps(coco))
    torch.manual_seed(0)
    net = StreetNet()
    with torch.no_grad():
        net.get_parameter("mask_out.bias")[0] += 1.0
        for i in range(3):
            net.get_parameter(f"heads.{i}.out.bias").zero_()
    save_checkpoint(tmp_path / "a.pt", {**network_state(net), "ema": net.state_dict()})
    export_onnx(tmp_path / "a.pt", tmp_path / "a.onnx", height=96, width=128)
    ours = score_classes(tmp_path / "a.onnx", Classes.parse(), root=root, split="val")
    report = evaluate_model(tmp_path / "a.onnx", root=root, split="val")
    assert ours["val_miou"] == pytest.approx(report.miou)
    assert ours["val_miou"] > 0
    assert ours["val_ap"] == pytest.approx(report.ap)
