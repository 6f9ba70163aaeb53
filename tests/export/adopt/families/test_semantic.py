"""Semantic nets: known ones by their heads, others by what is said on the command line."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from engines.model_file import read_spec
from tests.export.adopting import (
    APP_ENGINES,
    adopt_net,
    letterboxed,
    refusal,
    rgb_blob,
    run_adopted,
    run_foreign,
    with_metadata,
)
from tests.foreign_models import (
    MEAN,
    STD,
    colour_frame,
    semantic,
    semantic_binary,
    semantic_labels,
    twinlite,
    ultralytics_semantic,
)

ANCHORED = ["--mask", "logits=a,b,c", "--anchors", '{"8": [[1, 1]]}']
IMAGENET = ["--colour", "RGB", "--mean", ",".join(map(str, MEAN)), "--std", ",".join(map(str, STD))]


def test_a_known_net_needs_no_options(tmp_path: Path) -> None:
    done = adopt_net("twinlite", tmp_path)
    assert done.code == 0, done.said
    assert "not proven" not in done.said
    spec = read_spec(done.file)
    assert spec.detection is None
    assert (spec.input.height, spec.input.width, spec.input.resize) == (64, 96, "stretch")
    assert [(m.name, m.output, m.classes, m.background) for m in spec.masks] == [
        ("drivable", "drive_area_labels", ("background", "drivable"), ("background",)),
        ("lanes", "lane_line_labels", ("background", "lane"), ("background",)),
    ]
    assert [(t.shape, t.dtype) for t in spec.outputs] == [((1, 64, 96), "uint8")] * 2
    assert "MIT" in spec.notice


@APP_ENGINES
def test_the_masks_of_a_known_net_are_its_best_classes(tmp_path: Path, engine: str) -> None:
    frame = np.random.default_rng(4).integers(0, 256, (48, 128, 3), np.uint8)
    image = np.asarray(cv2.resize(frame, (96, 64), interpolation=cv2.INTER_LINEAR))
    wanted = run_foreign(twinlite(), rgb_blob(image))
    got = run_adopted(adopt_net("twinlite", tmp_path).file, image, engine)
    for logits, labels in (("drive_area", "drive_area_labels"), ("lane_line", "lane_line_labels")):
        best = wanted[logits].argmax(axis=1)
        assert 0.05 < best.mean() < 0.95  # both classes are seen
        assert (got[labels] == best).mean() > 0.999


@APP_ENGINES
def test_an_unknown_net_is_normalised_as_said(tmp_path: Path, engine: str) -> None:
    done = adopt_net("semantic", tmp_path)
    assert done.code == 0, done.said
    image = np.random.default_rng(5).integers(0, 256, (64, 96, 3), np.uint8)
    image = image.repeat(4, axis=0).repeat(4, axis=1)[:64, :96]  # cells as large as the mask's
    planes = [
        (image[:, :, c].astype(np.float32) - np.float32(MEAN[i])) / np.float32(STD[i])
        for i, c in enumerate((2, 1, 0))
    ]
    best = run_foreign(semantic(), np.stack(planes)[None])["logits"].argmax(axis=1)
    assert set(np.unique(best)) == {0, 1, 2}
    got = run_adopted(done.file, image, engine)["logits_labels"]
    assert (got == best).mean() > 0.998  # of 384 labels, none or one on the border of two classes
    (mask,) = read_spec(done.file).masks
    assert (mask.name, mask.classes) == ("street", ("background", "red", "blue"))
    assert mask.background == ("background",)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--mask logits=CLASS0,CLASS1,CLASS2. And "),
        (["--mask", "logits=a,b,c"], "Give --colour RGB, --mean 0,0,0, --std 255,255,255 for"),
        (["--mask", "logits=a,b,c", "--colour", "BGR"], "Give --mean 0,0,0, --std 255,255,255 for"),
        (["--mask", "nothing=a,b,c", *IMAGENET], "--mask names the output 'nothing'"),
        (["--mask", "logits=a,b,c", "--mask", "logits=d,e,f", *IMAGENET], "an output twice"),
        (["--mask", "logits", *IMAGENET], "wanted OUTPUT[:NAME]=CLASS,CLASS"),
        (["--mask", "logits=a,,c", *IMAGENET], "wanted OUTPUT[:NAME]=CLASS,CLASS"),
        (["--family", "semantic", *ANCHORED, *IMAGENET], "Leave --anchors out"),
    ],
)
def test_what_is_missing_is_asked_for_by_option(
    tmp_path: Path, options: list[str], said: str
) -> None:
    assert said in refusal(adopt_net(semantic(), tmp_path, *options), code=2)


def test_an_output_may_have_a_colon_in_its_name(tmp_path: Path) -> None:
    model = semantic()
    for tensor in (*model.graph.output, *model.graph.node):
        if tensor.name == "logits":
            tensor.name = "Identity:0"
        for i, made in enumerate(getattr(tensor, "output", ())):
            tensor.output[i] = "Identity:0" if made == "logits" else made
    for said, name in (("Identity:0", "Identity:0"), ("Identity:0:street", "street")):
        done = adopt_net(model, tmp_path, "--mask", f"{said}=a,b,c", *IMAGENET)
        assert done.code == 0, done.said
        assert [m.name for m in read_spec(done.file).masks] == [name]


def test_classes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    done = adopt_net(semantic(), tmp_path, "--mask", "logits=void,void,void 2", *IMAGENET)
    assert done.code == 0, done.said
    assert read_spec(done.file).masks[0].classes == ("void", "void 3", "void 2")


@APP_ENGINES
def test_a_net_with_its_argmax_inside_keeps_its_labels(tmp_path: Path, engine: str) -> None:
    done = adopt_net("semantic-labels", tmp_path)
    assert done.code == 0, done.said
    assert "not proven" not in done.said
    spec = read_spec(done.file)
    assert [(t.name, t.shape, t.dtype) for t in spec.outputs] == [
        ("classes_labels", (1, 16, 24), "uint8")
    ]
    image = colour_frame(6)
    folder = tmp_path / "scores"
    folder.mkdir()
    twin = adopt_net("semantic", folder)
    wanted = run_adopted(twin.file, image, engine)["logits_labels"]
    assert (run_adopted(done.file, image, engine)["classes_labels"] == wanted).mean() > 0.998


def test_labels_may_come_with_a_channel_and_in_32_bits(tmp_path: Path) -> None:
    model = semantic_labels()
    model.graph.node[-1].attribute[-1].i = 1  # keepdims
    model.graph.node[-1].output[0] = "wide"
    cast = onnx.helper.make_node("Cast", ["wide"], ["classes"], to=onnx.TensorProto.INT32)
    model.graph.node.append(cast)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT32
    done = adopt_net(model, tmp_path, name="semantic-labels")
    assert done.code == 0, done.said
    assert read_spec(done.file).outputs[0].shape == (1, 16, 24)


def test_more_labels_than_names_are_refused(tmp_path: Path) -> None:
    masks = ["--mask", "classes=a,b", *IMAGENET]
    message = refusal(adopt_net(semantic_labels(), tmp_path, *masks))
    assert "classes has the classes 0 to 2, but 2 names" in message
    asked = refusal(adopt_net(semantic_labels(), tmp_path), code=2)
    assert "--mask classes=CLASS0,CLASS1,…" in asked


@APP_ENGINES
@pytest.mark.parametrize("after", ["sigmoid", "nothing"])
def test_a_single_channel_is_a_class_and_its_absence(
    tmp_path: Path, engine: str, after: str
) -> None:
    model = semantic_binary()
    logits = semantic_binary()
    logits.graph.node[-1].op_type = "Identity"
    done = adopt_net(model if after == "sigmoid" else logits, tmp_path, name="semantic-binary")
    assert done.code == 0, done.said
    assert "not proven" not in done.said
    image = colour_frame(11)
    blob = image[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    wanted = run_foreign(logits, blob)["red"][0, 0] > 0
    assert 0.05 < wanted.mean() < 0.95
    got = run_adopted(done.file, image, engine)["red_labels"]
    assert got.shape == (1, 64, 96)
    assert (got[0] == wanted).mean() > 0.999
    (mask,) = read_spec(done.file).masks
    assert (mask.classes, mask.background) == (("background", "red"), ("background",))


def test_a_single_channel_has_two_classes(tmp_path: Path) -> None:
    message = refusal(adopt_net(semantic_binary(), tmp_path, "--mask", "red=a,b,c", *IMAGENET))
    assert "gives 3 classes for red, but the graph tells 2 apart there" in message


def test_scores_after_softmax_give_the_same_mask(tmp_path: Path) -> None:
    model = semantic()
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("Softmax", ["before"], ["logits"], axis=1))
    done = adopt_net(model, tmp_path, name="semantic")
    assert done.code == 0, done.said
    image = colour_frame(12)
    folder = tmp_path / "scores"
    folder.mkdir()
    wanted = run_adopted(adopt_net("semantic", folder).file, image, "onnxruntime")
    got = run_adopted(done.file, image, "onnxruntime")
    assert (got["logits_labels"] == wanted["logits_labels"]).mean() > 0.998


def test_names_serve_for_a_single_head(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("void\nred\nblue\n")
    done = adopt_net(semantic(), tmp_path, "--names", names, *IMAGENET)
    assert done.code == 0, done.said
    (mask,) = read_spec(done.file).masks
    assert (mask.classes, mask.background) == (("void", "red", "blue"), ("void",))
    folder = tmp_path / "two"
    folder.mkdir()
    message = refusal(adopt_net("twinlite", folder, "--names", names), code=2)
    assert "--names is for a net with one head" in message


def test_more_or_fewer_classes_than_channels_are_refused(tmp_path: Path) -> None:
    done = adopt_net(semantic(), tmp_path, "--mask", "logits=a,b", *IMAGENET)
    assert "gives 2 classes for logits, but the graph tells 3 apart there" in refusal(done)


def test_two_masks_of_one_name_are_refused(tmp_path: Path) -> None:
    masks = ["--mask", "drive_area:x=a,b", "--mask", "lane_line:x=c,d"]
    assert "one name to several masks" in refusal(adopt_net("twinlite", tmp_path, *masks), code=2)


def test_one_head_of_two_can_be_taken(tmp_path: Path) -> None:
    done = adopt_net("twinlite", tmp_path, "--mask", "lane_line:paint=road,paint")
    assert done.code == 0, done.said
    spec = read_spec(done.file)
    assert [m.name for m in spec.masks] == ["paint"]
    assert [t.name for t in spec.outputs] == ["lane_line_labels"]


def test_a_value_of_the_graph_may_bear_the_name_of_a_mask(tmp_path: Path) -> None:
    model = twinlite()
    taken = model.graph.initializer[0].name
    model.graph.initializer[0].name = "drive_area_labels"
    for node in model.graph.node:
        node.input[:] = ["drive_area_labels" if n == taken else n for n in node.input]
    done = adopt_net(model, tmp_path)
    assert done.code == 0, done.said
    assert [m.output for m in read_spec(done.file).masks] == [
        "drive_area_labels_2",
        "lane_line_labels",
    ]


def test_classes_that_are_equal_everywhere_are_refused(tmp_path: Path) -> None:
    model = twinlite()
    zero = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "zero")
    model.graph.initializer.append(zero)
    model.graph.node[-1].output[0] = "lanes"
    model.graph.node.append(onnx.helper.make_node("Mul", ["lanes", "zero"], ["lane_line"]))
    message = refusal(adopt_net(model, tmp_path))
    assert "all classes of lane_line are equal everywhere" in message


@pytest.mark.parametrize("baked", [True, False])
@pytest.mark.parametrize("classes", [3, 1])
def test_ultralytics_semantic_nets_need_no_options(
    tmp_path: Path, classes: int, baked: bool
) -> None:
    """Of one class they tell it from nothing, by the sign of its logit."""
    model = ultralytics_semantic(classes=classes, baked=baked)
    done = adopt_net(model, tmp_path)
    assert done.code == 0, done.said
    assert "not proven" not in done.said
    spec = read_spec(done.file)
    (mask,) = spec.masks
    assert mask.classes == (("road", "red", "blue") if classes == 3 else ("background", "red"))
    assert (spec.input.resize, spec.input.pad_value) == ("letterbox_center", 114)
    assert "Ultralytics tiny semantic model" in spec.notice
    image = letterboxed(2, top=14)
    image[20:40, 10:40] = (0, 0, 255)  # BGR
    image[20:40, 50:80] = (255, 0, 0)
    (labels,) = run_adopted(done.file, image, "onnxruntime").values()
    assert labels.shape == (1, 64, 96)
    assert set(labels[0, 20:40, 10:40].ravel()) == {1}
    assert set(labels[0, 20:40, 50:80].ravel()) == ({2} if classes == 3 else {0})
    assert set(labels[0, :14].ravel()) == {0}  # grey


def test_an_ultralytics_semantic_file_of_another_form_is_refused(tmp_path: Path) -> None:
    model = with_metadata(semantic(), task="semantic", stride="32", names="['a', 'b', 'c']")
    model.graph.node[-1].output[0] = "fine"
    constant = onnx.numpy_helper.from_array(np.array([1, 3, -1], np.int64), "flat")
    model.graph.initializer.append(constant)
    model.graph.node.append(onnx.helper.make_node("Reshape", ["fine", "flat"], ["logits"]))
    said = refusal(adopt_net(model, tmp_path))
    assert "an Ultralytics file for the task 'semantic'" in said
    assert "wanted logits [1, classes, 64, 96]" in said
