"""Darknet-style nets: heads are bound to anchors by their stride, and anchors must be sane."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from engines.model_file import read_spec
from tests.export.adopting import (
    APP_ENGINES,
    adopt_net,
    refusal,
    rgb_blob,
    run_adopted,
    run_foreign,
    spec_of,
    with_metadata,
)
from tests.foreign_models import ANCHORS, COLOUR_CLASSES, darknet


def test_heads_and_anchors_are_bound_by_stride(tmp_path: Path) -> None:
    done = adopt_net("darknet", tmp_path)
    spec, head = spec_of(done)
    assert (spec.input.height, spec.input.width, spec.input.resize) == (64, 96, "stretch")
    assert (head.family, head.box_code) == ("yolo-anchors", "darknet")
    assert head.classes == COLOUR_CLASSES
    # The file lists the coarse head first.
    assert head.outputs == ("yolo16", "yolo32")
    assert head.strides == (16, 32)
    assert head.anchors == (ANCHORS[16], ANCHORS[32])


@APP_ENGINES
def test_the_adopted_file_gives_what_the_net_gives_for_its_documented_image(
    tmp_path: Path, engine: str
) -> None:
    frame = np.random.default_rng(3).integers(0, 256, (48, 128, 3), np.uint8)
    image = cv2.resize(frame, (96, 64), interpolation=cv2.INTER_LINEAR)  # stretched
    wanted = run_foreign(darknet(), rgb_blob(image))
    got = run_adopted(adopt_net("darknet", tmp_path).file, np.asarray(image), engine)
    assert sorted(got) == ["yolo16", "yolo32"]
    for name in got:
        np.testing.assert_allclose(got[name], wanted[name], rtol=1e-4, atol=1e-4)


def without_anchors(model: onnx.ModelProto, *kept_too: str) -> onnx.ModelProto:
    kept = [p for p in model.metadata_props if p.key in ("names", *kept_too)]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    return model


def test_names_of_heads_mean_nothing(tmp_path: Path) -> None:
    model = darknet()
    swapped = {"yolo16": "yolo32", "yolo32": "yolo16"}
    for node in model.graph.node:
        node.output[0] = swapped[node.output[0]]
    done = adopt_net(model, tmp_path)
    assert done.code == 0, done.said
    head = read_spec(done.file).detection
    assert head is not None
    assert dict(zip(head.outputs, head.strides, strict=True)) == {"yolo32": 16, "yolo16": 32}


def test_masks_of_two_sizes_are_no_heads_of_a_detector(tmp_path: Path) -> None:
    model = darknet()  # its heads could as well be scores of some classes
    assert "--family semantic" in refusal(adopt_net(without_anchors(model), tmp_path), code=2)
    said = refusal(adopt_net(model, tmp_path, "--mask", "nothing=a,b"))
    assert "belongs to no family" in said  # at strides 16 and 32 they are too coarse for masks


def test_missing_anchors_are_asked_for_and_taken(tmp_path: Path) -> None:
    model = without_anchors(darknet(), "scale_x_y")
    asked = refusal(adopt_net(model, tmp_path), code=2)
    # an example for the strides of this net alone, which can be given as it stands
    assert """--anchors '{"16": [[30,61],[62,45],[59,119]], "32": [[116,90],""" in asked
    done = adopt_net(model, tmp_path, "--anchors", json.dumps(ANCHORS))
    assert done.code == 0, done.said
    head = read_spec(done.file).detection
    assert head is not None
    assert head.anchors == (ANCHORS[16], ANCHORS[32])


def test_heads_that_could_be_yolov5s_are_asked_for_with_all_that_is_missing(
    tmp_path: Path,
) -> None:
    """Nothing but scale_x_y is Darknet's alone: anchors by stride suit both."""
    model = without_anchors(darknet())
    del model.metadata_props[:]
    said = refusal(adopt_net(model, tmp_path), code=2)
    path = tmp_path / "net.onnx"
    for wanted in (
        f"edge-export adopt {path} --family darknet",
        f"edge-export adopt {path} --family yolov5",
        "--anchors '{",
        "--names FILE",
        "--family semantic",
    ):
        assert wanted in said
    model = without_anchors(darknet(), "anchors", "strides")
    said = refusal(adopt_net(model, tmp_path), code=2)
    assert "--family yolov5" in said
    assert not any(option in said for option in ("--anchors", "--names"))
    for family, code in (("darknet", "darknet"), ("yolov5", "yolov5")):
        head = spec_of(adopt_net(model, tmp_path, "--family", family))[1]
        assert head.box_code == code


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"anchors": "[[[Infinity, 1], [1, 1]], [[1, 1], [1, 1]]]"}, "wanted positive sizes"),
        ({"anchors": "[[[0, 1], [1, 1]], [[1, 1], [1, 1]]]"}, "wanted positive sizes"),
        ({"anchors": "[[], []]"}, "wanted positive sizes"),
        ({"anchors": "[16, 16]"}, "wanted one list of [width, height] a stride"),
        ({"strides": "[1e999, 16]"}, "wanted one list of [width, height] a stride"),
        ({"strides": "[8, 16]"}, "are for the strides [8, 16], but the heads have [16, 32]"),
        ({"anchors": "[[[1, 1]], [[1, 1], [1, 1]]]"}, "do not divide by [2, 1] anchors"),
        (
            {"anchors": "[[[1, 1], [1, 1], [1, 1]], [[1, 1], [1, 1], [1, 1]]]"},
            "do not divide by [3, 3] anchors",
        ),
        ({"scale_x_y": "[1.05]"}, "wanted 1 to 2 for each of the strides, in one order"),
        ({"scale_x_y": "[0.9, 1.0]"}, "scale_x_y [0.9, 1.0] and strides [32, 16]; wanted 1 to 2"),
        ({"scale_x_y": '["a", 1.0]'}, "scale_x_y ['a', 1.0] and strides [32, 16]; wanted 1 to 2"),
        ({"scale_x_y": "true"}, "scale_x_y True and strides [32, 16]; wanted 1 to 2"),
        ({"names": '["one"]'}, "has 1 class names, but the graph has 2 class channels"),
    ],
)
def test_metadata_that_contradicts_the_graph_is_refused(
    tmp_path: Path, entries: dict[str, str], said: str
) -> None:
    assert said in refusal(adopt_net(with_metadata(darknet(), **entries), tmp_path))


@pytest.mark.parametrize(
    ("entries", "options", "scale"),
    [
        ({}, ["--family", "darknet"], ()),
        ({"scale_x_y": "[1.0, 1.0]"}, [], ()),
        ({"scale_x_y": "[1.05, 1.1]"}, [], (1.1, 1.05)),  # the file lists stride 32 first
        ({"scale_x_y": "1.2"}, [], (1.2, 1.2)),
        ({"scale_x_y": "(1.05, 1.1)"}, [], (1.1, 1.05)),
        ({"scale_x_y": "1.2"}, ["--scale-xy", "1.5"], (1.5, 1.5)),
        ({}, ["--scale-xy", '{"32": 1.05, "16": 1.1}'], (1.1, 1.05)),
    ],
)
def test_centres_are_widened_as_yolov4_does(
    tmp_path: Path, entries: dict[str, str], options: list[str], scale: tuple[float, ...]
) -> None:
    model = with_metadata(without_anchors(darknet(), "anchors", "strides"), **entries)
    done = adopt_net(model, tmp_path, *options)
    assert done.code == 0, done.said
    head = read_spec(done.file).detection
    assert head is not None
    assert head.centre_scale == scale
    assert ("centres      widened by" in done.said) == bool(scale)
    assert ("say so with --scale-xy" in done.said) == ("--family" in options)


@pytest.mark.parametrize("strides", [None, '["a", "b"]', "[[16], [32]]", "[null, 16]", "[16]"])
def test_different_scales_without_strides_are_asked_for(
    tmp_path: Path, strides: str | None
) -> None:
    model = without_anchors(darknet())
    entries = {} if strides is None else {"strides": strides}
    model = with_metadata(model, scale_x_y="[1.05, 1.1]", **entries)
    said = refusal(adopt_net(model, tmp_path, "--anchors", json.dumps(ANCHORS)))
    assert "wanted 1 to 2 for each of the strides, in one order. Say it with --scale-xy" in said


@pytest.mark.parametrize(
    "text", ["", "{}", "true", '{"16": true}', "0.9", "3", "nan", "[1]", '{"16": 9}', "{" * 9999]
)
def test_a_scale_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    assert "wanted a number from 1 to 2, or JSON" in refusal(
        adopt_net("darknet", tmp_path, "--scale-xy", text), code=2
    )


def test_a_scale_for_other_strides_or_another_family_is_refused(tmp_path: Path) -> None:
    said = refusal(adopt_net("darknet", tmp_path, "--scale-xy", '{"8": 1.2}'))
    assert "from --scale-xy is for the strides [8], but the heads have [16, 32]" in said
    said = refusal(adopt_net("ultralytics", tmp_path, "--scale-xy", "1.2"), code=2)
    assert "--scale-xy is for nets of the family darknet" in said


def test_heads_after_sigmoid_are_refused(tmp_path: Path) -> None:
    model = darknet()
    for node in list(model.graph.node):
        name = node.output[0]
        node.output[0] = f"{name}_raw"
        model.graph.node.append(onnx.helper.make_node("Sigmoid", [node.output[0]], [name]))
    assert "they are after sigmoid already" in refusal(adopt_net(model, tmp_path))


def test_sizes_beyond_all_numbers_do_no_more_than_fail_the_proof(tmp_path: Path) -> None:
    model = darknet()
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor).copy()
        if values.ndim == 1:  # biases of a head; tw of the first anchor
            values[2] = 200.0  # exp(200) is no float32
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    assert "boxes have no partner" in refusal(adopt_net(model, tmp_path))
