"""Evaluation of generated models on a data set of two images, with scores counted by hand."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge.proven.adopt_cache import runnable
from edge.settings.settings import SHIPPED_MODEL
from edge.vision.perception import Perception
from engines.errors import ExportError, ModelError, SettingsError
from engines.model_file import sha256_of
from export.commands.data_options import Data
from export.compare.differences import Limits
from export.compare.verify import verify_models
from export.fp16.convert import convert_file
from export.score.report import table
from tests.export.labelled_files import (
    coco_dict,
    make_coco,
    make_folder,
    make_tiny_camvid,
    score_on,
)
from tests.foreign_models import ultralytics
from tests.tiny_models import grey, paint, tiny_mask, tiny_street, tiny_yolov8

DATA: tuple[Data, ...] = ("camvid", "synthetic")


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    return make_tiny_camvid(tmp_path / "camvid")


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_scores_of_a_known_model_are_those_counted_by_hand(
    camvid: Path, tmp_path: Path, engine: str
) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    report = score_on(model, root=camvid, split="val", engine=engine)
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
    report = score_on(model, root=camvid, split="val", limit=1)
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
    report = score_on(model, root=camvid, split="val")
    assert report.ap is None
    assert report.ap50 == {}
    assert report.miou == pytest.approx(4032 / 4096 / 2)


@pytest.mark.parametrize("way", ["evaluate", "verify", "fp16"])
def test_without_the_scorer_it_is_refused_before_a_frame_is_run(
    camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    monkeypatch.setattr(Perception, "prepare", None)  # no frame gets further than this

    def run() -> None:
        if way == "evaluate":
            score_on(model, root=camvid, split="val")
        elif way == "fp16":
            convert_file(model, frames="synthetic:96x64", say=print)
        else:
            verify_models(model, model, frames="synthetic:96x64", count=2, limits=Limits())

    with pytest.raises(ExportError, match=r"AP needs faster-coco-eval.*-e '\.\[export\]'"):
        run()


def test_the_synthetic_street_gives_recall_and_miou(tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    report = score_on(model, "synthetic", limit=3)
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
            score_on(model, data, root=camvid)


def test_boxes_of_coco_count_under_the_names_of_camvid(camvid: Path, tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    spec = tiny_yolov8(tmp_path / "true.onnx")
    assert spec.detection is not None
    coco = replace(spec.detection, classes=("truck", "person", "bicycle", "kite"))
    tiny_yolov8(model, spec=replace(spec, detection=coco))
    report = score_on(model, root=camvid)
    assert report.ap50 is not None
    assert report.ap50["car"] == pytest.approx(1.0)
    assert report.ap50["pedestrian"] == pytest.approx(1.0)
    assert report.ap50["bicyclist"] is None  # a bicycle is not its rider


def test_what_is_taken_for_what_is_printed_and_guessed_for_camvid_alone(
    camvid: Path, tmp_path: Path
) -> None:
    model = tmp_path / "tiny.onnx"
    spec = tiny_yolov8(tmp_path / "true.onnx")
    assert spec.detection is not None
    coco = replace(spec.detection, classes=("truck", "person", "bicycle", "kite"))
    tiny_yolov8(model, spec=replace(spec, detection=coco))
    own = score_on(model, root=camvid)
    assert "taken      truck as car, person as pedestrian" in table(own)
    with pytest.raises(ExportError, match="There is nothing to score"):
        score_on(
            model, "coco-json", root=camvid / "boxes_val.json",
            images=camvid / "images" / "val",
        )  # fmt: skip


def test_a_model_that_computes_no_numbers_is_not_scored(camvid: Path, tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    proto = onnx.load(str(model))
    for kernel in (t for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT):
        nan = np.full(list(kernel.dims), np.nan, np.float32)
        kernel.CopyFrom(numpy_helper.from_array(nan, kernel.name))
    onnx.save(proto, str(model))
    with pytest.raises(
        ExportError, match=r"its output boxes_\d+ is not finite, so there is nothing"
    ):
        score_on(model, root=camvid, split="val", engine="onnxruntime")


def test_weights_beside_the_file_are_part_of_what_was_scored(camvid: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.onnx"
    tiny_street(plain)
    proto = onnx.load(str(plain))
    model = tmp_path / "tiny.onnx"
    onnx.save(proto, str(model), save_as_external_data=True, location="tiny.data", size_threshold=0)
    before = score_on(model, root=camvid, split="val").model_sha256
    with (tmp_path / "tiny.data").open("ab") as file:
        file.write(b"more")
    assert score_on(model, root=camvid, split="val").model_sha256 != before


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_file_that_is_no_model_is_refused(
    camvid: Path, tmp_path: Path, content: bytes | None
) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    whole = model.read_bytes()
    model.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ModelError, match=r"tiny\.onnx: "):
        score_on(model, root=camvid)


def test_labels_of_another_size_end_the_scoring_with_their_name(
    camvid: Path, tmp_path: Path
) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    cv2.imwrite(str(camvid / "labels/val/2.png"), np.zeros((32, 48), np.uint8))
    with pytest.raises(ExportError, match=r"labels/val/2\.png: got 48x32, wanted 96x64"):
        score_on(model, root=camvid, split="val")


def test_an_unknown_engine_is_refused(camvid: Path, tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    with pytest.raises(SettingsError, match="engine 'abacus', wanted one of auto"):
        score_on(model, root=camvid, engine="abacus")


def test_a_coco_file_gives_the_boxes_of_camvid_the_same_scores(shared: Path) -> None:
    camvid = shared / "data" / "camvid"
    one = score_on(SHIPPED_MODEL, root=camvid, split="val", limit=8)
    other = score_on(
        SHIPPED_MODEL,
        "coco-json",
        root=camvid / "boxes_val.json",
        images=camvid / "images" / "val",
        limit=8,
    )
    assert one.ap50 is not None
    assert other.ap50 is not None
    for name in ("car", "bicyclist", "sign"):  # of pedestrians CamVid's protocol ignores some
        assert one.ap50[name] == pytest.approx(other.ap50[name])
        assert one.ap50[name] is not None
    assert one.recall50 == other.recall50


def test_any_coco_file_is_scored_with_classes_matched_by_the_options(tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    boxes: list[dict[str, Any]]
    boxes = [{}, {"category_id": 20, "bbox": [0, 0, 8, 8]}, {"category_id": 20, "image_id": 2}]
    file = make_coco(tmp_path / "data", coco_dict(boxes))
    with pytest.raises(ExportError, match=r"its classes are car, .*boxes auto, walker.*--map"):
        score_on(model, "coco-json", root=file)
    renames = {"car": "auto", "sign": "walker"}
    report = score_on(model, "coco-json", root=file, renames=renames)
    assert (report.data, report.source, report.split, report.images) == (
        "coco-json", "truth.json", None, 2,
    )  # fmt: skip
    assert report.ap50 == {"auto": pytest.approx(1.0), "walker": 0.0}
    assert report.renamed == renames
    assert (report.miou, report.iou) == (None, {})
    assert report.confusion_boxes is not None
    assert report.confusion_boxes.rows == ("auto", "walker", "nothing there")
    assert report.confusion_boxes.columns == ("auto", "walker", "missed")
    assert report.confusion_boxes.counts == ((1, 0, 0), (0, 0, 2), (0, 0, 0))
    assert report.recall50 == {"auto": 1.0, "walker": 0.0}
    assert report.precision50 == {"auto": 1.0, "walker": None}
    assert report.worst is not None
    assert [(f.name, f.missed, f.false) for f in report.worst["boxes"]] == [
        ("1.png", 1, 0), ("2.png", 1, 0),
    ]  # fmt: skip


def test_classes_that_the_model_does_not_know_are_named_and_left_out_of_ap(tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_yolov8(model)
    file = make_coco(tmp_path / "data", coco_dict([{}, {"category_id": 20}]))
    report = score_on(model, "coco-json", root=file, renames={"car": "auto"})
    assert report.ap50 == {"auto": pytest.approx(1.0), "walker": None}
    assert report.lacking == {"boxes": ("walker",)}
    assert report.recall50 == {"auto": 1.0}
    assert report.worst == {"boxes": ()}  # the walker is nothing that this model could miss


@pytest.mark.parametrize("make", [tiny_street, tiny_mask])
def test_a_folder_is_scored_by_its_own_classes(tmp_path: Path, make: Any) -> None:
    model = tmp_path / "tiny.onnx"
    make(model)
    labels = np.full((64, 96), 1, np.uint8)  # road, of which a quarter is called fountain
    labels[:32, :48] = 0
    root = make_folder(
        tmp_path / "drive", classes=("fountain", "road"), labels=[labels, np.full_like(labels, 255)]
    )
    report = score_on(model, "folder", root=root)
    # 6144 labelled pixels, all called road (a pure blue cell is road too), 1536 of them fountain.
    assert report.iou == {"fountain": 0.0, "road": pytest.approx(0.75)}
    assert report.miou == pytest.approx(0.375)  # of all the data's classes
    assert report.lacking == {"mask classes": ("fountain",)}
    assert report.confusion_mask is not None
    assert report.confusion_mask.columns == ("fountain", "road", "none of them")
    assert report.confusion_mask.counts == ((0, 1536, 0), (0, 4608, 0))
    assert report.worst is not None
    (worst,) = report.worst["mask"]
    assert worst.name == "1.png"
    assert worst.miou == pytest.approx(0.375)
    assert report.ap is None


@pytest.mark.parametrize("make", [tiny_street, tiny_yolov8])
def test_data_without_any_truth_are_no_scores(tmp_path: Path, make: Any) -> None:
    model = tmp_path / "tiny.onnx"
    make(model)
    unlabelled = np.full((64, 96), 255, np.uint8)
    if make is tiny_street:
        root = make_folder(tmp_path / "drive", labels=[unlabelled, unlabelled])
        data: Data = "folder"
    else:
        root = make_coco(tmp_path / "data", coco_dict([{"iscrowd": 1}]))
        data = "coco-json"
    renames = {"car": "auto"} if data == "coco-json" else {}
    with pytest.raises(ExportError, match=rf"{root.name}: nothing to score: in 2 images"):
        score_on(model, data, root=root, renames=renames).check()


@pytest.mark.parametrize("folder", ["", "train/a"])
def test_a_foreign_file_is_adopted_on_the_fly(tmp_path: Path, folder: str) -> None:
    model = tmp_path / "foreign.onnx"
    onnx.save(ultralytics(), str(model))
    bytes_before = model.read_bytes()
    root = tmp_path / "data"
    coco = coco_dict([{"bbox": [32, 32, 8, 8]}])
    coco["categories"] = [{"id": 10, "name": "red"}, {"id": 20, "name": "blue"}]
    for image in coco["images"]:
        image["file_name"] = str(Path(folder) / image["file_name"])
    file = make_coco(root, coco)
    cv2.imwrite(str(root / "1.png"), paint(grey(75), (32, 32, 40, 40), 2))  # a red cell
    if folder:
        (root / folder).mkdir(parents=True)
        for i in (1, 2):
            (root / f"{i}.png").rename(root / folder / f"{i}.png")
    report = score_on(model, "coco-json", root=file, adopt=runnable)
    assert report.model == "foreign.onnx"
    assert report.model_sha256 == sha256_of(model)
    assert model.read_bytes() == bytes_before
    assert report.ap50 == {"red": pytest.approx(1.0), "blue": None}


def test_the_steps_are_timed(camvid: Path, tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    report = score_on(model, root=camvid, split="val")
    assert report.latency_ms is not None
    assert list(report.latency_ms) == ["letterbox", "infer", "decode"]
    for times in report.latency_ms.values():
        assert 0 < times["p50"] <= times["p90"]
    assert report.infer_ms_median == report.latency_ms["infer"]["p50"]
