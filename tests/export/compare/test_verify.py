"""Two models compared: what must pass passes, and each kind of broken file is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from onnx import helper, numpy_helper

from engines import open_engine
from engines.errors import ExportError, ModelError, OutriderError
from engines.model_file import load_model, read_spec, save_model, write_spec
from engines.spec import MaskHead, ModelSpec
from export.commands.verify import verify
from export.compare.differences import SAME, Limits
from export.compare.parity import compare
from export.fp16.convert import convert_file
from export.fp16.typed import to_float16
from export.onnx.graph import name_nodes
from export.onnx.half import open_half
from export.train.checkpoint import load_checkpoint, network_state, save_checkpoint
from export.train.net.street import StreetNet
from export.train.onnx_file import export_onnx
from tests.export.labelled_files import coco_dict, make_folder, score_on
from tests.export.planted import Step, Steps, change, coarse, gain, pictures, plant
from tests.export.street_data import make_camvid
from tests.tiny_models import grey, paint, tiny_mask, tiny_street, tiny_yolov8, tiny_yolox


def check(a: Path, b: Path, *more: str | Path) -> Result:
    return CliRunner().invoke(verify, [str(a), str(b), *map(str, more)])


def refusal(done: Result, code: int = 4) -> str:
    assert isinstance(done.exception, OutriderError), (done.exception, done.output)
    assert done.exception.exit_code == code
    return str(done.exception)


@pytest.fixture
def street(tmp_path: Path) -> Path:
    tiny_street(tmp_path / "a.onnx")
    return tmp_path / "a.onnx"


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    return pictures(tmp_path / "frames")


# What passes


def test_a_file_says_what_it_says_itself(street: Path, frames: Path, tmp_path: Path) -> None:
    done = check(street, street, "--frames", frames, "--json", tmp_path / "r.json")
    assert done.exit_code == 0, done.exception
    assert "the same within the limits" in done.output
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["passed"]
    assert report["a"]["sha256"] == report["b"]["sha256"]
    assert (report["a"]["engine"], report["a"]["precision"]) == ("onnxruntime", "f32")
    assert report["data"] == f"4 frames of {frames}"
    assert [o["largest"] for o in report["outputs"]] == [0.0] * 4
    assert report["boxes"]["unmatched"] == 0
    assert report["boxes"]["min_iou"] == 1.0
    assert report["candidate"]["miou"] == 1.0


def test_fp32_and_its_fp16_pass_and_the_difference_is_told(street: Path, frames: Path) -> None:
    made = convert_file(street, frames=str(frames), say=lambda line: None)
    done = check(street, made.target, "--frames", frames, "--unmatched", "0", "--mask", "0.99")
    assert done.exit_code == 0, done.exception
    assert "half f16" in done.output
    assert "lowest IoU" in done.output


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    net = StreetNet()
    with torch.no_grad():
        for head in net.heads:  # so that an untrained net finds boxes
            head.out.bias.view(3, 9)[:, 4:] += 5  # type: ignore[union-attr, operator]
        net.mask_out.weight *= 50  # and sees several classes
    path = tmp_path_factory.mktemp("checkpoint") / "net.pt"
    weights = [1.0] * 10 + [3.0]
    save_checkpoint(path, {**network_state(net), "ema": net.state_dict(), "mask_weights": weights})
    return path


def test_a_checkpoint_and_the_file_exported_from_it_pass_either_way(
    checkpoint: Path, tmp_path: Path
) -> None:
    export_onnx(checkpoint, tmp_path / "net.onnx", height=64, width=96)
    rng = np.random.default_rng(0)
    import cv2

    (tmp_path / "noise").mkdir()
    for i in range(2):
        image = rng.integers(0, 255, (8, 12, 3)).astype(np.uint8)
        large = cv2.resize(image, (96, 64), interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(tmp_path / "noise" / f"{i}.png"), large)
    strict: list[str | Path] = [
        "--frames",
        tmp_path / "noise",
        "--unmatched",
        "0",
        "--mask",
        "0.999",
    ]
    for pair in ((checkpoint, tmp_path / "net.onnx"), (tmp_path / "net.onnx", checkpoint)):
        done = check(*pair, *strict)
        assert done.exit_code == 0, (done.exception, done.output)
        assert "torch f32" in done.output


def test_a_checkpoint_with_class_weights_that_do_not_fit_is_refused(
    checkpoint: Path, street: Path, tmp_path: Path
) -> None:
    path = tmp_path / "net.pt"
    save_checkpoint(path, {**load_checkpoint(checkpoint), "mask_weights": ["a"]})
    assert "net.pt: its class weights are not 11 numbers" in refusal(check(path, street))


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    """Generated CamVid; its boxes are counted from 1, as COCO's scorer wants."""
    root = make_camvid(tmp_path / "camvid")
    boxes = root / "boxes_val.json"
    coco = json.loads(boxes.read_text())
    for annotation in coco["annotations"]:
        annotation["id"] += 1
    boxes.write_text(json.dumps(coco))
    return root


def test_labelled_images_give_scores_against_the_labels(
    street: Path, camvid: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "r.json"
    more: list[str | Path] = ["--data", "camvid", "--root", camvid, "--limit", "3", "--json", kept]
    done = check(street, street, *more)
    assert isinstance(done.exception, ExportError), done.exception
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["truth"] == "labels"
    assert report["frames"] == 3
    assert report["data"] == "3 labelled images of camvid val"
    assert report["candidate"]["iou"]["road"] is not None
    # the tiny net knows nothing of such frames: no boxes, and that is said
    assert "not proven" in refusal(done)


def test_labelled_data_of_ones_own_is_scored_as_evaluate_does(tmp_path: Path) -> None:
    tiny_street(tmp_path / "a.onnx")
    root = make_folder(tmp_path / "drive")
    coco = coco_dict([{"bbox": [40, 16, 8, 8]}])
    coco["categories"][0]["name"] = "car"
    (root / "boxes.json").write_text(json.dumps(coco))
    kept = tmp_path / "r.json"
    check(tmp_path / "a.onnx", tmp_path / "a.onnx", "--data", "folder", "--root", root,
          "--json", kept)  # fmt: skip
    report = json.loads(kept.read_text())
    scored = score_on(tmp_path / "a.onnx", "folder", root=root, engine="onnxruntime").to_dict()
    assert report["data"] == "2 labelled images of folder drive"
    assert scored["miou"] is not None
    assert report["candidate"]["miou"] == scored["miou"]
    assert report["candidate"]["iou"] == scored["iou"]
    assert scored["ap"] is not None
    assert report["candidate"]["boxes"]["ap50"] == scored["ap50"]


def test_classes_of_another_name_are_mapped(tmp_path: Path) -> None:
    tiny_street(tmp_path / "a.onnx")
    root = make_folder(tmp_path / "drive")
    coco = coco_dict([{"bbox": [40, 16, 8, 8]}])
    coco["categories"][0]["name"] = "vehicle"
    (root / "boxes.json").write_text(json.dumps(coco))
    model = tmp_path / "a.onnx"
    data: list[str | Path] = ["--data", "folder", "--root", root]
    mapped = check(model, model, *data, "--map", "car=vehicle", "--json", tmp_path / "r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["candidate"]["boxes"]["ap50"]["vehicle"] is not None, mapped.output
    spec = read_spec(model)
    assert spec.detection is not None
    names = ("vehicle", *spec.detection.classes[1:])
    proto = load_model(model)
    write_spec(proto, replace(spec, detection=replace(spec.detection, classes=names)))
    save_model(proto, other := tmp_path / "b.onnx")
    check(model, other, *data, "--map", "car=vehicle", "--json", tmp_path / "r.json")
    report = json.loads((tmp_path / "r.json").read_text())  # the other one has the data's own name
    for side in ("reference", "candidate"):
        assert report[side]["boxes"]["ap50"]["vehicle"] is not None
    assert "--map: 'lorry' is no class of the model" in refusal(
        check(model, model, *data, "--map", "lorry=vehicle"), code=2
    )
    said = refusal(check(model, model, "--map", "car=vehicle"), code=2)
    assert "--map goes with --data" in said


def test_thresholds_that_show_other_boxes_are_caught(street: Path, frames: Path) -> None:
    model, spec = load_model(street), read_spec(street)
    assert spec.detection is not None
    write_spec(model, replace(spec, detection=replace(spec.detection, conf=0.99)))
    save_model(model, other := street.with_name("conf.onnx"))
    said = refusal(check(street, other, "--frames", frames))
    assert f"the threshold of score is {spec.detection.conf} in the one file and 0.99" in said


def test_a_log_that_cannot_be_written_is_told_before_the_models_are_opened(
    camvid: Path, tmp_path: Path
) -> None:
    for kind in ("images", "labels"):
        (camvid / kind / "val").rename(camvid / kind / "test")
    (camvid / "boxes_val.json").rename(camvid / "boxes_test.json")
    missing = tmp_path / "none.onnx"
    more: list[str | Path] = ["--data", "camvid", "--root", camvid, "--split", "test"]
    more += ["--test-log", tmp_path]
    assert "cannot be logged" in refusal(check(missing, missing, *more))


def test_a_scoring_of_the_test_split_is_logged_for_both(
    street: Path, camvid: Path, tmp_path: Path
) -> None:
    for kind in ("images", "labels"):
        (camvid / kind / "val").rename(camvid / kind / "test")
    (camvid / "boxes_val.json").rename(camvid / "boxes_test.json")
    log = tmp_path / "log.jsonl"
    more: list[str | Path] = [
        "--data",
        "camvid",
        "--root",
        camvid,
        "--split",
        "test",
        "--test-log",
        log,
    ]
    check(street, street, *more)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["model"] for line in lines] == ["a.onnx", "a.onnx"]
    assert lines[0]["images"] == 4


# What the gate must catch


def test_an_overflow_that_the_outputs_hide_is_caught(street: Path, frames: Path) -> None:
    """Three planes · 1000, then a ReLU6: any value past half is 6 either way, so outputs agree."""
    clip = np.float32(6)
    planted = plant(
        street,
        street.with_name("b.onnx"),
        behind="Transpose",
        steps=[gain(1000), ("Min", [clip.reshape(1)]), gain(40)],
    )
    model = onnx.load(planted)
    name_nodes(model)
    save_model(to_float16(model, (), origin="a test"), street.with_name("half.onnx"))
    said = refusal(check(planted, street.with_name("half.onnx"), "--frames", frames))
    assert "float16 tensor 'planted_0' leaves half's range" in said
    # the same comparison without half's rounding sees nothing
    a = open_engine(planted, engine="onnxruntime", precision="f32")
    b = open_engine(street.with_name("half.onnx"), engine="onnxruntime", precision="f32")
    images = [paint(grey(75), (32 * i, 0, 32 * i + 32, 32), i) for i in range(3)]
    parity = compare(a, b, images, limits=SAME)
    assert parity.failures == ()


def test_swapped_channels_are_caught(street: Path, frames: Path) -> None:
    swap: Step = ("Gather", [np.array([2, 1, 0], np.int64)])
    swapped = plant(street, street.with_name("b.onnx"), behind="Transpose", steps=[swap])
    assert "AP50 was 1.0000" in refusal(check(street, swapped, "--frames", frames))


def test_a_wrong_mean_is_caught(street: Path, frames: Path) -> None:
    steps: Steps = [("Sub", [np.array([[[[20]]]], np.float32)])]
    wrong = plant(street, street.with_name("b.onnx"), behind="Transpose", steps=steps)
    assert "mIoU was 1.0000" in refusal(check(street, wrong, "--frames", frames))


def test_an_output_that_ignores_its_input_is_caught(street: Path, frames: Path) -> None:
    nothing, grey_75 = np.array([[[[0]]]], np.float32), np.array([[[[75]]]], np.float32)
    steps: Steps = [("Mul", [nothing]), ("Add", [grey_75])]
    blind = plant(street, street.with_name("b.onnx"), behind="Transpose", steps=steps)
    said = refusal(check(street, blind, "--frames", frames))
    for name in ("boxes_8", "boxes_16", "boxes_32", "labels"):
        assert f"output {name} ignores its input" in said


def test_an_output_that_ignores_its_input_is_caught_on_a_single_frame(street: Path) -> None:
    steps: Steps = [("Mul", [np.array([[[[0]]]], np.float32)])]
    blind = plant(street, street.with_name("b.onnx"), behind="Transpose", steps=steps)
    a, b = (open_engine(p, engine="onnxruntime", precision="f32") for p in (street, blind))
    image = paint(grey(75), (0, 0, 32, 32), 0)
    parity = compare(a, b, [image], limits=Limits(miou=None, ap50=None))
    assert any("ignores its input" in failure for failure in parity.failures)


def two_masks(path: Path, *, exchanged: bool = False) -> None:
    """The tiny mask twice: ``street`` as it is, and ``other`` with every label one higher."""
    spec = tiny_mask(path)
    model = onnx.load(str(path))
    names = ["labels", "labels_up"]
    head = spec.masks[0]
    model.graph.node.extend(
        [
            helper.make_node("Cast", ["labels"], ["real"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Add", ["real", "one"], ["more"]),
            helper.make_node("Cast", ["more"], ["labels_up"], to=onnx.TensorProto.UINT8),
        ]
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array([1], np.float32), "one"))
    model.graph.output.append(helper.make_tensor_value_info("labels_up", 2, (1, 16, 24)))
    if exchanged:
        names.reverse()
    two = ModelSpec(
        "two", spec.input,
        (spec.outputs[0], replace(spec.outputs[0], name="labels_up")),
        masks=(MaskHead("street", names[0], head.classes),
               MaskHead("other", names[1], (*head.classes, "more"))),
    )  # fmt: skip
    write_spec(model, two)
    save_model(model, path)


def test_heads_whose_names_are_exchanged_are_caught(frames: Path, tmp_path: Path) -> None:
    two_masks(tmp_path / "a.onnx")
    two_masks(tmp_path / "b.onnx", exchanged=True)
    assert check(tmp_path / "a.onnx", tmp_path / "a.onnx", "--frames", frames).exit_code == 0
    said = refusal(check(tmp_path / "a.onnx", tmp_path / "b.onnx", "--frames", frames))
    assert "mIoU was 1.0000" in said


def test_box_heads_whose_names_are_exchanged_are_refused(street: Path, frames: Path) -> None:
    def swap(model: onnx.ModelProto) -> None:
        names = {"boxes_8": "boxes_16", "boxes_16": "boxes_8"}
        for node in model.graph.node:
            node.output[:] = [names.get(n, n) for n in node.output]
        for output in model.graph.output:
            output.name = names.get(output.name, output.name)

    change(street, street.with_name("b.onnx"), swap)
    done = check(street, street.with_name("b.onnx"), "--frames", frames)
    assert isinstance(done.exception, ModelError)
    assert "boxes_8" in str(done.exception)


def test_an_int8_file_that_finds_nothing_is_refused(frames: Path, tmp_path: Path) -> None:
    """Scores in steps of 1e-5: none can be more than 127 · 1e-5."""
    tiny_yolov8(tmp_path / "a.onnx")
    change(tmp_path / "a.onnx", tmp_path / "b.onnx",
           lambda m: coarse(m, before="Reshape", step=1e-5))  # fmt: skip
    said = refusal(check(tmp_path / "a.onnx", tmp_path / "b.onnx", "--frames", frames))
    assert "AP50 was 1.0000 and is 0.0000" in said


def dimmed(share: float) -> Callable[[onnx.ModelProto], None]:
    """Multiplies every score by ``share``, as a scale that was calibrated wrongly does."""

    def dim(model: onnx.ModelProto) -> None:
        for i in reversed([i for i, n in enumerate(model.graph.node) if n.op_type == "Reshape"]):
            score = model.graph.node[i].input[0]
            dim = helper.make_node("Mul", [score, "share"], [f"{score}_dim"])
            model.graph.node[i].input[0] = dim.output[0]
            model.graph.node.insert(i, dim)
        share_of = numpy_helper.from_array(np.array(share, np.float32), "share")
        model.graph.initializer.append(share_of)

    return dim


def test_scores_that_are_lower_throughout_are_caught_though_ap_is_the_same(
    frames: Path, tmp_path: Path
) -> None:
    """0.9999 · 0.61 = 0.610: order and places of the boxes are as before."""
    one, two = tmp_path / "a.onnx", tmp_path / "b.onnx"
    tiny_yolov8(one)
    change(one, two, dimmed(0.61))
    done = check(one, two, "--frames", frames, "--json", tmp_path / "r.json")
    said = refusal(done)
    report = json.loads((tmp_path / "r.json").read_text())
    boxes = report["boxes"]
    assert report["candidate"]["boxes"]["ap"] == report["reference"]["boxes"]["ap"]
    assert boxes["unmatched"] == boxes["boxes"] > 100
    assert boxes["max_score"] == pytest.approx(0.39, abs=1e-3)
    assert f"{boxes['boxes']} of {boxes['boxes']} boxes have no partner" in said
    assert "largest score difference 0.390" in said
    assert "the same within the limits" not in done.output
    # what is asked for is what is judged
    asked = check(one, two, "--frames", frames, "--score", "0.4")
    assert asked.exit_code == 0, asked.exception
    assert "0 without a partner of IoU >= 0.99 and score within 0.4" in asked.output


@pytest.mark.parametrize(("share", "code"), [(0.995, 0), (0.98, 4)])  # off by 0.005 and by 0.02
def test_the_usual_limit_of_a_score_is_a_hundredth(
    share: float, code: int, frames: Path, tmp_path: Path
) -> None:
    one, two = tmp_path / "a.onnx", tmp_path / "b.onnx"
    tiny_yolov8(one)
    change(one, two, dimmed(share))
    done = check(one, two, "--frames", frames)
    assert getattr(done.exception, "exit_code", 0) == code, done.output


def test_an_int8_file_that_gives_a_half_everywhere_is_refused(frames: Path, tmp_path: Path) -> None:
    """Logits in steps of 1e6 are all 0, and sigmoid(0) is 0.5."""
    tiny_yolox(tmp_path / "a.onnx")
    change(tmp_path / "a.onnx", tmp_path / "b.onnx",
           lambda m: coarse(m, before="Sigmoid", step=1e6))  # fmt: skip
    engine = open_engine(tmp_path / "b.onnx", engine="onnxruntime", precision="f32")
    engine.submit(0)
    assert (engine.wait(0)["output"][0, :, 4:] == 0.5).all()
    engine.close()
    said = refusal(check(tmp_path / "a.onnx", tmp_path / "b.onnx", "--frames", frames))
    assert "output output ignores its input" in said
    assert "AP50 was 1.0000" in said


def test_an_output_that_is_not_finite_is_caught(street: Path, frames: Path) -> None:
    steps: Steps = [("Div", [np.array([[[[0]]]], np.float32)])]
    broken = plant(street, street.with_name("b.onnx"), behind="Transpose", steps=steps)
    assert "output boxes_8 is not finite" in refusal(check(street, broken, "--frames", frames))


# What proves nothing, and what cannot be compared


def test_frames_that_show_nothing_prove_nothing(street: Path, tmp_path: Path) -> None:
    import cv2

    (tmp_path / "plain").mkdir()
    for i in range(3):
        cv2.imwrite(str(tmp_path / "plain" / f"{i}.png"), grey(75))
    said = refusal(check(street, street, "--frames", tmp_path / "plain"))
    assert "not proven" in said
    assert "mask street shows one class only" in said
    assert "output labels is the same for different frames" in said


def test_what_the_data_has_no_truth_for_is_not_passed(tmp_path: Path) -> None:
    tiny_street(tmp_path / "a.onnx")
    unlabelled = np.full((64, 96), 255, np.uint8)
    root = make_folder(tmp_path / "drive", labels=[unlabelled, unlabelled])
    where: list[str | Path] = ["--data", "folder", "--root", root]
    said = refusal(check(tmp_path / "a.onnx", tmp_path / "a.onnx", *where))
    assert "masks were not judged: no labels are there for mIoU (--mask)" in said
    held: list[str | Path] = ["--mask", "0.99"]
    assert "not judged" not in refusal(
        check(tmp_path / "a.onnx", tmp_path / "a.onnx", *where, *held)
    )
    assert "one frame cannot show that an output ignores its input" in refusal(
        check(tmp_path / "a.onnx", tmp_path / "a.onnx", *where, *held, "--limit", "1")
    )


def test_a_limit_can_be_widened_and_is_held_to(street: Path, frames: Path) -> None:
    steps: Steps = [("Sub", [np.array([[[[20]]]], np.float32)])]
    wrong = plant(street, street.with_name("b.onnx"), behind="Transpose", steps=steps)
    loose: list[str | Path] = ["--frames", frames, "--miou", "1", "--ap50", "1"]
    assert check(street, wrong, *loose).exit_code == 0
    said = refusal(check(street, wrong, *loose, "--mask", "0.99"))
    assert "mask street agrees in" in said
    assert "limit 99.00%" in said


def test_models_of_other_sizes_or_tensors_cannot_be_compared(
    street: Path, frames: Path, tmp_path: Path
) -> None:
    tiny_street(tmp_path / "large.onnx", 96, 96)
    said = refusal(check(street, tmp_path / "large.onnx", "--frames", frames))
    assert "64x96 and 96x96" in said
    tiny_mask(tmp_path / "mask.onnx")
    said = refusal(check(street, tmp_path / "mask.onnx", "--frames", frames))
    assert "output 'boxes_8' is float32[1, 27, 8, 12] in the one and missing in the other" in said


def test_a_limit_that_is_no_number_is_missed(street: Path) -> None:
    engine = open_engine(street, engine="onnxruntime", precision="f32")
    images = [paint(grey(75), (32 * i, 0, 32 * i + 32, 32), i) for i in range(3)]
    none = Limits(unmatched=np.nan, mask=np.nan, miou=np.nan, ap50=np.nan)
    parity = compare(engine, engine, images, limits=none)
    engine.close()
    assert len(parity.failures) == 4


def test_a_file_that_is_no_model_is_refused(street: Path, tmp_path: Path) -> None:
    (tmp_path / "b.onnx").write_bytes(street.read_bytes()[:200])
    assert isinstance(check(street, tmp_path / "b.onnx").exception, ModelError)
    (tmp_path / "b.pt").write_bytes(b"no checkpoint")
    assert "not a checkpoint" in refusal(check(street, tmp_path / "b.pt"))


def test_a_near_tie_that_nms_decides_otherwise_is_no_difference(tmp_path: Path) -> None:
    """The partner of a box is looked for before NMS; the numbers are those of the near tie."""
    spec = tiny_street(tmp_path / "a.onnx")
    assert spec.detection is not None
    loose = replace(spec, detection=replace(spec.detection, nms_iou=0.01))
    tiny_street(tmp_path / "b.onnx", spec=loose)
    a, b = (open_half(tmp_path / n) for n in ("a.onnx", "b.onnx"))
    image = paint(grey(75), (0, 0, 32, 32), 0)
    parity = compare(a, b, [image], limits=Limits(unmatched=0.0, miou=None, ap50=None))
    assert parity.boxes is not None
    assert parity.boxes.boxes > 0
    assert parity.boxes.unmatched == 0
