"""Evaluation of generated models on a data set of two images, with scores counted by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from engines.errors import ExportError, ModelError, SettingsError
from engines.model_file import sha256_of
from export.evaluate import Data, evaluate, evaluate_model
from tests.tiny_models import grey, paint, tiny_mask, tiny_street, tiny_yolov8

ROAD, CAR, IGNORED = 3, 8, 11
DATA: tuple[Data, ...] = ("camvid", "synthetic")


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """Two 96x64 frames: a car of 8x8 px; a pedestrian and a rider, both seen as pedestrians."""
    root = tmp_path / "camvid"
    first = paint(grey(75), (40, 16, 48, 24), 0)
    second = paint(paint(grey(75), (8, 8, 16, 16), 1), (64, 32, 72, 40), 1)
    labels = np.full((64, 96), ROAD, np.uint8)
    labels[16:24, 40:48] = CAR
    labels[:, 64:] = IGNORED
    annotations: list[dict[str, Any]] = []
    for image_id, category, x, y in ((1, 1, 40, 16), (2, 2, 8, 8), (2, 3, 64, 32)):
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": category,
                "bbox": [x, y, 8, 8],
                "area": 64,
                "iscrowd": 0,
            }
        )
    names = ("car", "pedestrian", "bicyclist", "sign")
    coco = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 96, "height": 64} for i in (1, 2)],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(names)],
        "annotations": annotations,
    }
    for split in ("val", "test"):
        write(root, split, [first, second], [labels, np.full_like(labels, IGNORED)], coco)
    return root


def write(
    root: Path,
    split: str,
    images: list[NDArray[np.uint8]],
    labels: list[NDArray[np.uint8]],
    coco: dict[str, Any],
) -> None:
    for kind, arrays in (("images", images), ("labels", labels)):
        folder = root / kind / split
        folder.mkdir(parents=True)
        for i, array in enumerate(arrays, start=1):
            assert cv2.imwrite(str(folder / f"{i}.png"), array)
    (root / f"boxes_{split}.json").write_text(json.dumps(coco))


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_scores_of_a_known_model_are_those_counted_by_hand(
    camvid: Path, tmp_path: Path, engine: str
) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    report = evaluate_model(model, root=camvid, split="val", engine=engine)
    assert report.ap50 == {
        "car": pytest.approx(1.0),
        "pedestrian": pytest.approx(1.0),  # the rider seen as a pedestrian is ignored
        "bicyclist": 0.0,
        "sign": None,
    }
    assert report.ap == pytest.approx(2 / 3)  # the boxes are exact at every IoU: (1 + 1 + 0) / 3
    assert report.ap50_400px == dict.fromkeys(report.ap50)  # 64 px² each
    # 64·64 labelled pixels, all called road, 64 of them car.
    assert {k: v for k, v in report.iou.items() if v is not None} == {
        "road": pytest.approx(4032 / 4096),
        "car": 0.0,
    }
    assert report.miou == pytest.approx(4032 / 4096 / 2)
    assert (report.engine, report.precision, report.images) == (engine, "f32", 2)
    assert report.model_sha256 == sha256_of(model)
    assert report.infer_ms_median is not None
    assert report.infer_ms_median > 0


def test_a_limit_scores_the_first_images_and_their_truth_alone(
    camvid: Path, tmp_path: Path
) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    report = evaluate_model(model, root=camvid, split="val", limit=1)
    assert report.images == 1
    assert report.ap50 == {
        "car": pytest.approx(1.0),
        "pedestrian": None,
        "bicyclist": None,
        "sign": None,
    }


def test_a_model_without_boxes_has_no_ap(camvid: Path, tmp_path: Path) -> None:
    model = tmp_path / "mask.onnx"
    tiny_mask(model)
    report = evaluate_model(model, root=camvid, split="val")
    assert report.ap is None
    assert report.ap50 == {}
    assert report.miou == pytest.approx(4032 / 4096 / 2)


def test_every_scoring_of_test_is_logged_and_no_other(camvid: Path, tmp_path: Path) -> None:
    model, log = tmp_path / "tiny.onnx", tmp_path / "log.jsonl"
    tiny_street(model)
    evaluate_model(model, root=camvid, split="val", test_log=log)
    assert not log.exists()
    for _ in range(2):
        evaluate_model(model, root=camvid, split="test", test_log=log)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == 2
    assert lines[0]["model_sha256"] == sha256_of(model)
    assert lines[0]["ap"] == pytest.approx(2 / 3)
    assert lines[0]["date"][:2] == "20"


def test_a_log_that_cannot_be_written_is_an_error(camvid: Path, tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    with pytest.raises(ExportError, match="--test-log"):
        evaluate_model(model, root=camvid, split="test", test_log=tmp_path / "no" / "log.jsonl")


def test_missing_data_names_the_folder_and_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    monkeypatch.setenv("OUTRIDER_CAMVID", str(tmp_path / "nowhere"))
    with pytest.raises(ExportError, match=r"nowhere.*--root or set OUTRIDER_CAMVID"):
        evaluate_model(model)


def test_the_command_writes_the_scores_as_json_and_prints_a_table(
    camvid: Path, tmp_path: Path
) -> None:
    model, out = tmp_path / "tiny.onnx", tmp_path / "scores.json"
    tiny_street(model)
    arguments = [str(model), "--root", str(camvid), "--split", "val", "--json", str(out)]
    ran = CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
    assert ran.exit_code == 0
    scores = json.loads(out.read_text())
    assert {"miou", "iou", "ap", "ap50", "ap50_400px", "model_sha256", "split"} <= set(scores)
    assert scores["iou"]["road"] == pytest.approx(4032 / 4096)
    assert scores["input_wh"] == [96, 64]
    assert "mIoU       0.492" in ran.output
    assert "car        1.000" in ran.output


def test_the_synthetic_street_gives_recall_and_miou(tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    report = evaluate_model(model, data="synthetic", limit=3)
    assert (report.data, report.split, report.images) == ("synthetic", None, 3)
    assert report.recall50 is not None
    assert set(report.recall50) == {"bicyclist", "car", "pedestrian", "sign"}
    assert report.recall50["car"] == 0.0  # cells of pure colour are no cars of the scene
    assert report.miou is not None
    assert 0 < report.miou < 0.5


def test_a_model_that_knows_no_class_of_the_data_is_refused(camvid: Path, tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    spec = tiny_yolov8(tmp_path / "true.onnx")
    assert spec.detection is not None
    animals = replace(spec.detection, classes=("cat", "dog", "cow", "hen"))
    tiny_yolov8(model, spec=replace(spec, detection=animals))
    for data in DATA:
        with pytest.raises(ExportError, match=r"its classes are cat, dog, cow, hen; wanted one"):
            evaluate_model(model, data=data, root=camvid)


def test_boxes_of_coco_count_under_the_names_of_camvid(camvid: Path, tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    spec = tiny_yolov8(tmp_path / "true.onnx")
    assert spec.detection is not None
    coco = replace(spec.detection, classes=("truck", "person", "bicycle", "kite"))
    tiny_yolov8(model, spec=replace(spec, detection=coco))
    report = evaluate_model(model, root=camvid)
    assert report.ap50 is not None
    assert report.ap50["car"] == pytest.approx(1.0)
    assert report.ap50["pedestrian"] == pytest.approx(1.0)
    assert report.ap50["bicyclist"] is None  # a bicycle is not its rider


def test_a_model_without_a_spec_is_sent_to_adopt(camvid: Path, tmp_path: Path) -> None:
    model, bare = tmp_path / "tiny.onnx", tmp_path / "bare.onnx"
    tiny_street(model)
    proto = onnx.load(str(model))
    del proto.metadata_props[:]
    onnx.save(proto, str(bare))
    with pytest.raises(ModelError, match=r"bare\.onnx: .*edge-export adopt"):
        evaluate_model(bare, root=camvid)


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_file_that_is_no_model_is_refused(
    camvid: Path, tmp_path: Path, content: bytes | None
) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    whole = model.read_bytes()
    model.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ModelError, match=r"tiny\.onnx: "):
        evaluate_model(model, root=camvid)


def test_labels_of_another_size_end_the_scoring_with_their_name(
    camvid: Path, tmp_path: Path
) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    cv2.imwrite(str(camvid / "labels/val/2.png"), np.zeros((32, 48), np.uint8))
    with pytest.raises(ExportError, match=r"labels/val/2\.png: got 48x32, wanted 96x64"):
        evaluate_model(model, root=camvid, split="val")


def test_an_unknown_engine_is_refused(camvid: Path, tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    with pytest.raises(SettingsError, match="engine 'abacus', wanted one of auto"):
        evaluate_model(model, root=camvid, engine="abacus")


def test_scores_that_cannot_be_written_are_shown_all_the_same(camvid: Path, tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    arguments = [str(model), "--root", str(camvid), "--split", "val", "--json", str(tmp_path)]
    ran = CliRunner().invoke(evaluate, arguments)
    assert isinstance(ran.exception, ExportError)
    assert "cannot be written (Is a directory). Name a writable file" in str(ran.exception)
    assert "mIoU       0.492" in ran.output
