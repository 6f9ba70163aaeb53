"""DETR-style nets: the second input is put there for good, and both forms become one output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from engines.model_file import load_model, read_spec
from tests.export.adopting import (
    APP_ENGINES,
    adopt_net,
    refusal,
    run_adopted,
    run_foreign,
    spec_of,
    with_metadata,
)
from tests.foreign_models import (
    COLOUR_CLASSES,
    MEAN,
    STD,
    colour_frame,
    rfdetr,
    rtdetr,
    ultralytics_rtdetr,
)


def test_labels_boxes_and_scores_become_one_output(tmp_path: Path) -> None:
    done = adopt_net("rtdetr", tmp_path)
    spec, head = spec_of(done)
    assert "orig_target_sizes is 96, 64 for good" in done.said
    model = load_model(done.file)
    assert [i.name for i in model.graph.input] == ["image"]
    assert spec.input.resize == "stretch"
    assert (head.family, head.classes, head.nms_iou) == ("end2end", COLOUR_CLASSES, None)
    assert [(t.name, t.shape) for t in spec.outputs] == [("detections", (1, 40, 6))]


@APP_ENGINES
def test_boxes_come_in_pixels_of_the_input(tmp_path: Path, engine: str) -> None:
    image = colour_frame(8)
    blob = image[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    session = ort.InferenceSession(rtdetr().SerializeToString())
    feed = {"images": blob, "orig_target_sizes": np.array([[96, 64]])}
    labels, boxes, scores = session.run(["labels", "boxes", "scores"], feed)
    got = run_adopted(adopt_net("rtdetr", tmp_path).file, image, engine)["detections"][0]
    np.testing.assert_allclose(got[:, 4], scores[0], rtol=1e-4, atol=1e-4)
    sure = scores[0] > 0.9  # the rest may have changed places
    assert sure.sum() >= 3
    order = np.lexsort(boxes[0, sure].T)
    theirs = np.lexsort(got[sure, :4].T)
    np.testing.assert_allclose(got[sure][theirs, :4], boxes[0, sure][order], atol=1e-3)
    assert got[sure][theirs, 5].tolist() == labels[0, sure][order].tolist()


def _squeezed(model: onnx.ModelProto, *outputs: str) -> onnx.ModelProto:
    """The outputs without the axis of the batch."""
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0], np.int64), "first"))
    for name in outputs:
        (maker,) = [n for n in model.graph.node if name in n.output]
        maker.output[list(maker.output).index(name)] = f"{name}_batch"
        model.graph.node.append(
            onnx.helper.make_node("Squeeze", [f"{name}_batch", "first"], [name])
        )
    return model


@pytest.mark.parametrize("outputs", [("labels", "boxes", "scores"), ("labels",), ("boxes",)])
def test_outputs_without_the_axis_of_the_batch_are_the_same_net(
    tmp_path: Path, outputs: tuple[str, ...]
) -> None:
    """As D-FINE's and DEIM's own exporters and onnxsim may leave them: [40], [40, 4], [40]."""
    image = colour_frame(8)
    wanted = run_adopted(adopt_net("rtdetr", tmp_path).file, image, "onnxruntime")
    model = _squeezed(rtdetr(), *outputs)
    sizes = model.graph.input[1]
    del sizes.type.tensor_type.shape.dim[0]  # the pair of numbers lacks it as well
    lift = onnx.helper.make_node("Reshape", ["orig_target_sizes", "lift"], ["lifted"])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 2], np.int64), "lift"))
    for node in model.graph.node:
        node.input[:] = ["lifted" if n == "orig_target_sizes" else n for n in node.input]
    model.graph.node.insert(0, lift)
    done = adopt_net(model, tmp_path, name="rtdetr")
    spec, head = spec_of(done)
    assert (head.family, spec.outputs[0].shape) == ("end2end", (1, 40, 6))
    got = run_adopted(done.file, image, "onnxruntime")
    np.testing.assert_array_equal(got["detections"], wanted["detections"])


def test_labels_as_float_are_told_from_scores_by_name(tmp_path: Path) -> None:
    model = rtdetr()
    (maker,) = [n for n in model.graph.node if "labels" in n.output]
    maker.output[0] = "whole"
    model.graph.node.append(onnx.helper.make_node("Cast", ["whole"], ["labels"], to=1))
    (output,) = [o for o in model.graph.output if o.name == "labels"]
    output.type.tensor_type.elem_type = 1
    assert spec_of(adopt_net(model, tmp_path, name="rtdetr"))[1].family == "end2end"


def test_logits_and_shares_without_the_axis_of_the_batch_are_the_same_net(tmp_path: Path) -> None:
    image = colour_frame(9)
    wanted = run_adopted(adopt_net("rfdetr", tmp_path).file, image, "onnxruntime")
    done = adopt_net(_squeezed(rfdetr(), "dets", "labels"), tmp_path, name="rfdetr")
    assert spec_of(done)[0].outputs[0].shape == (1, 126, 6)
    got = run_adopted(done.file, image, "onnxruntime")
    np.testing.assert_array_equal(got["detections"], wanted["detections"])


@APP_ENGINES
def test_logits_and_boxes_in_shares_become_the_same_output(tmp_path: Path, engine: str) -> None:
    done = adopt_net("rfdetr", tmp_path)
    assert done.code == 0, done.said
    assert "not proven" not in done.said
    image = colour_frame(9)
    planes = [
        (image[:, :, c].astype(np.float32) - np.float32(MEAN[i])) / np.float32(STD[i])
        for i, c in enumerate((2, 1, 0))
    ]
    raw = run_foreign(rfdetr(), np.stack(planes)[None])
    x, y, w, h = raw["dets"][0].T * np.array([[96], [64], [96], [64]])
    corners = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1)
    got = run_adopted(done.file, image, engine)["detections"][0]
    np.testing.assert_allclose(got[:, :4], corners, rtol=1e-3, atol=1e-3)
    logits = raw["labels"][0]
    np.testing.assert_allclose(got[:, 4], 1 / (1 + np.exp(-logits.max(axis=1))), atol=1e-4)
    assert got[:, 5].tolist() == logits.argmax(axis=1).tolist()


@APP_ENGINES
def test_rows_in_shares_are_told_by_their_head_and_become_pixels(
    tmp_path: Path, engine: str
) -> None:
    done = adopt_net("ultralytics-rtdetr", tmp_path)
    assert done.code == 0, done.said
    assert "not proven" not in done.said
    assert "family       detr:" in done.said
    spec = read_spec(done.file)
    assert (spec.input.resize, spec.notice) == ("stretch", "Ultralytics tiny end-to-end model")
    image = colour_frame(4)
    folder = tmp_path / "yolo"
    folder.mkdir()
    wanted = run_adopted(adopt_net("yolo26", folder).file, image, engine)["output0"][0]
    got = run_adopted(done.file, image, engine)["detections"][0]
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-3)


def test_rows_in_shares_that_no_head_tells_are_refused(tmp_path: Path) -> None:
    model = with_metadata(ultralytics_rtdetr(), head="Detect", end2end="True")
    assert "wanted input pixels" in refusal(adopt_net(model, tmp_path))


def test_a_size_given_height_first_is_refused(tmp_path: Path) -> None:
    model = rtdetr()
    multiply = next(n for n in model.graph.node if n.output[0] == "boxes")
    sizes = multiply.input[1]
    turn = onnx.numpy_helper.from_array(np.array([1, 0, 3, 2]), "turn")
    model.graph.initializer.append(turn)
    place = list(model.graph.node).index(multiply)
    turned = onnx.helper.make_node("Gather", [sizes, "turn"], ["turned"], axis=1)
    multiply.input[1] = "turned"
    model.graph.node.insert(place, turned)
    message = refusal(adopt_net(model, tmp_path, name="rtdetr"))
    assert "orig_target_sizes is not the width and height" in message


def test_a_size_that_nothing_uses_is_refused(tmp_path: Path) -> None:
    model = rtdetr()
    for node in model.graph.node:
        node.input[:] = ["fixed" if n == "orig_target_sizes" else n for n in node.input]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([[96, 64]]), "fixed"))
    message = refusal(adopt_net(model, tmp_path, name="rtdetr"))
    assert "is not the width and height that boxes are scaled by" in message


def test_names_are_asked_for_as_many_as_the_graph_has(tmp_path: Path) -> None:
    assert "has 2 classes" in refusal(adopt_net(rtdetr(), tmp_path), code=2)
    assert "has 3 classes" in refusal(adopt_net(rfdetr(), tmp_path), code=2)
    names = tmp_path / "three.txt"
    names.write_text("a\nb\nc\n")
    message = refusal(adopt_net(rtdetr(), tmp_path, "--names", names))
    assert "--names has 3 class names, but the graph has 2 class channels" in message


@pytest.mark.parametrize("held", ["initializer", "value_int", "value_ints"])
@pytest.mark.parametrize("op", ["Div", "Mod"])
def test_eighty_classes_that_only_a_division_tells_are_those_of_coco(
    tmp_path: Path, op: str, held: str
) -> None:
    model = rtdetr(classes=80)
    if held != "initializer":
        count = next(n for n in model.graph.node if n.op_type == "Div").input[1]
        (weight,) = (t for t in model.graph.initializer if t.name == count)
        model.graph.initializer.remove(weight)
        value: dict[str, Any] = {held: 80 if held == "value_int" else [80]}
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], [count], **value))
    if op == "Mod":
        sub = next(n for n in model.graph.node if n.op_type == "Sub")
        count = next(n for n in model.graph.node if n.op_type == "Div").input[1]
        sub.op_type = "Mod"
        sub.input[:] = [sub.input[0], count]
    done = adopt_net(model, tmp_path)
    assert done.code == 0, done.said
    head = read_spec(done.file).detection
    assert head is not None
    assert (len(head.classes), head.classes[0]) == (80, "person")


def test_labels_of_which_nothing_is_known_need_names(tmp_path: Path) -> None:
    model = rtdetr()
    for node in model.graph.node:
        if node.op_type == "Sub":
            node.op_type = "Max"
            node.input[:] = ["some", "some"]
    some = onnx.numpy_helper.from_array(np.arange(40) % 2, "some")
    model.graph.initializer.append(some)
    assert "gives labels and the file does not name them" in refusal(
        adopt_net(model, tmp_path), code=2
    )


def with_last(op: str, output: str, values: list[float]) -> onnx.ModelProto:
    """The raw form with one more node before an output."""
    model = rfdetr()
    model.graph.initializer.append(
        onnx.numpy_helper.from_array(np.asarray(values, np.float32), "row")
    )
    node = next(n for n in model.graph.node if n.output[0] == output)
    node.output[0] = "before"
    inputs = ["before", "row"] if values else ["before"]
    model.graph.node.append(onnx.helper.make_node(op, inputs, [output]))
    return model


@pytest.mark.parametrize(
    ("op", "output", "row", "said"),
    [
        ("Sigmoid", "labels", [], "so they are after sigmoid or softmax already"),
        ("Mul", "dets", [96, 64, 96, 64], "wanted centre and size in shares"),
        ("Add", "labels", [0, 0, 30], "stands for 'no object'"),
    ],
)
def test_numbers_that_are_no_detr_are_refused(
    tmp_path: Path, op: str, output: str, row: list[float], said: str
) -> None:
    message = refusal(adopt_net(with_last(op, output, row), tmp_path, name="rfdetr"))
    assert said in message


def test_with_four_classes_the_names_of_the_outputs_tell(tmp_path: Path) -> None:
    model = with_last("Concat", "labels", [])
    names = tmp_path / "four.txt"
    names.write_text("a\nb\nc\nd\n")
    model.graph.node[-1].input[:] = ["before", "never"]
    model.graph.node[-1].attribute.append(onnx.helper.make_attribute("axis", 2))
    cells = 126
    never = onnx.numpy_helper.from_array(np.full((1, cells, 1), -9, np.float32), "never")
    model.graph.initializer.append(never)
    done = adopt_net(model, tmp_path, "--names", names)
    assert done.code == 0, done.said
    for output, other in (("dets", "x"), ("labels", "y")):
        for node in model.graph.node:
            node.output[:] = [other if n == output else n for n in node.output]
        for value in model.graph.output:
            value.name = other if value.name == output else value.name
    message = refusal(adopt_net(model, tmp_path, "--names", names, "-o", tmp_path / "z.onnx"))
    assert "belongs to no family known here" in message


def test_the_column_for_background_is_asked_for_by_name(tmp_path: Path) -> None:
    names = tmp_path / "two.txt"
    names.write_text("red\nblue\n")
    said = refusal(adopt_net(rfdetr(), tmp_path, "--names", names))
    assert "one column more than classes, for background" in said
