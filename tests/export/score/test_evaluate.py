"""Evaluation of generated models on a data set of two images, with scores counted by hand."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from onnx import numpy_helper

from edge.settings.settings import SHIPPED_MODEL
from edge.vision.perception import Perception
from engines.errors import ExportError, ModelError, SettingsError
from engines.model_file import sha256_of
from export.compare.differences import Limits
from export.compare.verify import verify_models
from export.fp16.convert import convert_file
from export.score.evaluate import Data, evaluate, evaluate_model
from export.score.report import table
from tests.export.labelled_files import coco_dict, make_coco, make_folder
from tests.foreign_models import ultralytics
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


def test_a_log_that_cannot_be_written_is_told_before_the_model_is_opened(
    camvid: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="--test-log"):
        evaluate_model(
            tmp_path / "no model", root=camvid, split="test", test_log=tmp_path / "no" / "log.jsonl"
        )


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


def test_a_dash_sends_the_scores_to_standard_output_alone(camvid: Path, tmp_path: Path) -> None:
    tiny_street(tmp_path / "tiny.onnx")
    arguments = [str(tmp_path / "tiny.onnx"), "--root", str(camvid), "--split", "val"]
    ran = CliRunner().invoke(evaluate, [*arguments, "--json", "-"], catch_exceptions=False)
    assert json.loads(ran.stdout)["split"] == "val"
    assert {path.name for path in tmp_path.iterdir()} == {"camvid", "tiny.onnx"}


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
            evaluate_model(model, root=camvid, split="val")
        elif way == "fp16":
            convert_file(model, frames="synthetic:96x64", say=print)
        else:
            verify_models(model, model, frames="synthetic:96x64", count=2, limits=Limits())

    with pytest.raises(ExportError, match=r"AP needs faster-coco-eval.*-e '\.\[export\]'"):
        run()


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


def test_what_is_taken_for_what_is_printed_and_guessed_for_camvid_alone(
    camvid: Path, tmp_path: Path
) -> None:
    model = tmp_path / "tiny.onnx"
    spec = tiny_yolov8(tmp_path / "true.onnx")
    assert spec.detection is not None
    coco = replace(spec.detection, classes=("truck", "person", "bicycle", "kite"))
    tiny_yolov8(model, spec=replace(spec, detection=coco))
    own = evaluate_model(model, root=camvid)
    assert "taken      truck as car, person as pedestrian" in table(own)
    with pytest.raises(ExportError, match="There is nothing to score"):
        evaluate_model(
            model, data="coco-json", root=camvid / "boxes_val.json",
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
        evaluate_model(model, root=camvid, split="val", engine="onnxruntime")


def test_weights_beside_the_file_are_part_of_what_was_scored(camvid: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.onnx"
    tiny_street(plain)
    proto = onnx.load(str(plain))
    model = tmp_path / "tiny.onnx"
    onnx.save(proto, str(model), save_as_external_data=True, location="tiny.data", size_threshold=0)
    before = evaluate_model(model, root=camvid, split="val").model_sha256
    with (tmp_path / "tiny.data").open("ab") as file:
        file.write(b"more")
    assert evaluate_model(model, root=camvid, split="val").model_sha256 != before


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


@pytest.mark.parametrize("option", ["--json", "--html", "--test-log"])
def test_an_output_that_cannot_be_written_is_told_before_scoring(
    camvid: Path, tmp_path: Path, option: str
) -> None:
    missing = tmp_path / "missing.onnx"
    arguments = [str(missing), "--root", str(camvid), "--split", "test", option, str(tmp_path)]
    ran = CliRunner().invoke(evaluate, arguments)
    assert isinstance(ran.exception, ExportError)
    assert f"{tmp_path}: " in str(ran.exception)
    assert "(Is a directory)" in str(ran.exception)
    assert option in str(ran.exception)


def test_a_run_that_fails_leaves_what_was_there_and_nothing_new(
    camvid: Path, tmp_path: Path
) -> None:
    model, old = tmp_path / "tiny.onnx", tmp_path / "out" / "old.json"
    tiny_street(model)
    old.parent.mkdir()
    old.write_text("old")
    cv2.imwrite(str(camvid / "labels/test/2.png"), np.zeros((32, 48), np.uint8))
    arguments = [str(model), "--root", str(camvid), "--json", str(old)]
    arguments += ["--html", str(old.with_name("new.html")), "--test-log", str(old) + "l"]
    ran = CliRunner().invoke(evaluate, arguments)
    assert isinstance(ran.exception, ExportError)
    assert [p.name for p in old.parent.iterdir()] == ["old.json"]
    assert old.read_text() == "old"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data", "folder"], "--data folder: wanted --root with a folder with images/NAME"),
        (["--data", "coco-json"], "--data coco-json: wanted --root with the annotations' file"),
        (["--data", "synthetic", "--split", "val"], "--split val: synthetic has no splits"),
        (["--data", "synthetic", "--root", "x"], "--root: the synthetic street has no files"),
        (["--images", "x"], "--images goes with --data coco-json"),
        (["--map", "car"], "wanted MODEL_NAME=DATA_NAME"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(arguments: list[str], told: str) -> None:
    ran = CliRunner().invoke(evaluate, ["model.onnx", *arguments])
    assert isinstance(ran.exception, SettingsError)
    assert told in str(ran.exception)


@pytest.mark.parametrize("outputs", [["--json", "model.onnx"], ["--json", "a", "--html", "a"]])
def test_an_output_never_takes_the_place_of_another_file_of_the_run(outputs: list[str]) -> None:
    ran = CliRunner().invoke(evaluate, ["model.onnx", *outputs])
    assert isinstance(ran.exception, SettingsError)
    assert "is used by this run already" in str(ran.exception)


@pytest.mark.parametrize(
    "name", ["classes.txt", "boxes.json", "labels/0.png", "images/new.html", "boxes_val.json"]
)
def test_an_output_never_takes_the_place_of_the_data(tmp_path: Path, name: str) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    (tmp_path / "classes.txt").write_text("road")
    arguments = ["model.onnx", "--data", "folder", "--root", str(tmp_path)]
    for option in ("--html", "--json"):
        ran = CliRunner().invoke(evaluate, [*arguments, option, str(tmp_path / name)])
        assert isinstance(ran.exception, SettingsError)
        assert f"{name}: is a file of the data" in str(ran.exception)


def test_an_output_may_lie_beside_the_data_and_replaces_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.JPG").write_bytes(b"a picture")
    arguments = ["none.onnx", "--data", "coco-json", "--root", str(tmp_path / "boxes.json")]
    arguments += ["--images", str(tmp_path), "--html"]
    ran = CliRunner().invoke(evaluate, [*arguments, str(tmp_path / "a.JPG")])
    assert "a.JPG: is a file of the data" in str(ran.exception)
    ran = CliRunner().invoke(evaluate, [*arguments, str(tmp_path / "report.html")])
    assert "boxes.json: cannot be read" in str(ran.exception)


def test_a_coco_file_gives_the_boxes_of_camvid_the_same_scores(shared: Path) -> None:
    camvid = shared / "data" / "camvid"
    one = evaluate_model(SHIPPED_MODEL, root=camvid, split="val", limit=8)
    other = evaluate_model(
        SHIPPED_MODEL,
        data="coco-json",
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
        evaluate_model(model, data="coco-json", root=file)
    renames = {"car": "auto", "sign": "walker"}
    report = evaluate_model(model, data="coco-json", root=file, renames=renames)
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
    report = evaluate_model(model, data="coco-json", root=file, renames={"car": "auto"})
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
    report = evaluate_model(model, data="folder", root=root)
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
        evaluate_model(model, data=data, root=root, renames=renames)


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
    report = evaluate_model(model, data="coco-json", root=file)
    assert report.model == "foreign.onnx"
    assert report.model_sha256 == sha256_of(model)
    assert model.read_bytes() == bytes_before
    assert report.ap50 == {"red": pytest.approx(1.0), "blue": None}


def test_the_steps_are_timed(camvid: Path, tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    report = evaluate_model(model, root=camvid, split="val")
    assert report.latency_ms is not None
    assert list(report.latency_ms) == ["letterbox", "infer", "decode"]
    for times in report.latency_ms.values():
        assert 0 < times["p50"] <= times["p90"]
    assert report.infer_ms_median == report.latency_ms["infer"]["p50"]


def test_the_command_writes_one_page_without_links(camvid: Path, tmp_path: Path) -> None:
    model, page = tmp_path / "tiny.onnx", tmp_path / "report.html"
    tiny_street(model)
    arguments = [str(model), "--root", str(camvid), "--split", "val", "--html", str(page)]
    CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
    text = page.read_text(encoding="utf-8")
    assert "0.492" in text  # mIoU
    assert "0016E5" not in text
    assert text.count('src="data:image/jpeg;base64,') == 3 + 2  # a mask's frame and boxes' frame
    assert re.findall(r'(?:src|href|url|action)\s*[=(]\s*["\']?(?!data:)[^\s"\')>]+', text) == []
    assert "http" not in text.replace("http-equiv", "")
    assert page.stat().st_mode & 0o044 == 0o044
