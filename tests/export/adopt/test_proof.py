"""The proof: faults planted into the baked graph are refused with their numbers, doubts are told.

A fault stands for an error in the code that bakes: the graph is changed between baking and proof.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edge.vision.letterbox import Letterbox
from engines.spec import InputSpec, ModelSpec, Resize
from export.adopt.bake import bake
from export.adopt.families.base import Plan, Preprocess
from export.adopt.foreign import ForeignNet
from export.adopt.reference import iou, reference_blob
from tests.export.adopting import Adopted, adopt_net, refusal, write_frames
from tests.foreign_models import FOREIGN, ultralytics

Fault = Callable[[onnx.ModelProto], None]


def adopt_with(fault: Fault, net: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Adopted:
    """Adopt a generated net while the code that bakes makes a mistake."""

    def wrong(foreign: ForeignNet, plan: Plan) -> tuple[onnx.ModelProto, ModelSpec]:
        model, spec = bake(foreign, plan)
        fault(model)
        onnx.checker.check_model(model)
        return model, spec

    monkeypatch.setattr("export.adopt.adopt.bake", wrong)
    return adopt_net(net, folder)


def set_constant(model: onnx.ModelProto, name: str, values: NDArray[Any]) -> None:
    (tensor,) = (t for t in model.graph.initializer if t.name == f"outrider/{name}_value")
    assert list(tensor.dims) == list(values.shape)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def swap_channels(model: onnx.ModelProto) -> None:
    set_constant(model, "gather", np.array([0, 1, 2], np.int64))


def scale_by_256(model: onnx.ModelProto) -> None:
    set_constant(model, "div", np.full((1, 3, 1, 1), 256, np.float32))


def swap_means(model: onnx.ModelProto) -> None:
    set_constant(model, "sub", np.array([103.53, 116.28, 123.675], np.float32).reshape(1, 3, 1, 1))


def forget_the_image(model: onnx.ModelProto) -> None:
    """All planes are multiplied by 0 on their way."""
    (tensor,) = (t for t in model.graph.initializer if t.name == "outrider/div_value")
    tensor.CopyFrom(numpy_helper.from_array(np.full((1, 3, 1, 1), 1e30, np.float32), tensor.name))


def insert_last(
    model: onnx.ModelProto, output: str, op: str, values: NDArray[Any], **how: Any
) -> None:
    """One more node before an output."""
    for node in model.graph.node:
        node.input[:] = [f"{n}_before" if n == output else n for n in node.input]
        node.output[:] = [f"{n}_before" if n == output else n for n in node.output]
    model.graph.initializer.append(numpy_helper.from_array(values, f"{output}_fault"))
    inputs = [f"{output}_before", f"{output}_fault"]
    model.graph.node.append(helper.make_node(op, inputs, [output], **how))


def exchange_boxes_and_scores(model: onnx.ModelProto) -> None:
    insert_last(model, "output0", "Gather", np.array([4, 5, 2, 3, 0, 1]), axis=1)


def exchange_classes(model: onnx.ModelProto) -> None:
    insert_last(model, "output0", "Gather", np.array([0, 1, 2, 3, 5, 4]), axis=1)


def exchange_classes_of_segmenter(model: onnx.ModelProto) -> None:
    insert_last(model, "output0", "Gather", np.array([0, 1, 2, 3, 5, 4, 6, 7, 8]), axis=1)


def scale_means(model: onnx.ModelProto) -> None:
    """As if the mean were in shares of 1."""
    mean = np.array([103.53, 116.28, 123.675], np.float32) / 255
    set_constant(model, "sub", mean.reshape(1, 3, 1, 1))


def raise_scores(by: float) -> Fault:
    def fault(model: onnx.ModelProto) -> None:
        shift = np.array([0, 0, 0, 0, by, by], np.float32).reshape(1, 6, 1)
        insert_last(model, "output0", "Add", shift)

    return fault


def exchange_corners(model: onnx.ModelProto) -> None:
    insert_last(model, "output0", "Gather", np.array([1, 0, 3, 2, 4, 5]), axis=2)


def raise_sorted_scores(model: onnx.ModelProto) -> None:
    insert_last(model, "output0", "Add", np.array([0, 0, 0, 0, 0.005, 0], np.float32))


def shift_distances(model: onnx.ModelProto) -> None:
    """A bin further to the left, on one stride."""
    insert_last(model, "dis_8", "Gather", np.roll(np.arange(32), 1), axis=2)


def put_height_first(model: onnx.ModelProto) -> None:
    (tensor,) = (t for t in model.graph.initializer if t.name == "orig_target_sizes")
    tensor.CopyFrom(numpy_helper.from_array(np.array([[64, 96]]), tensor.name))


def take_corners_for_centres(model: onnx.ModelProto) -> None:
    (tensor,) = (t for t in model.graph.initializer if t.name == "outrider/corners")
    side = np.diag(np.array([96, 64, 96, 64], np.float32))
    tensor.CopyFrom(numpy_helper.from_array(side, tensor.name))


def raise_threshold(model: onnx.ModelProto) -> None:
    (tensor,) = (t for t in model.graph.initializer if t.name.endswith("threshold"))
    tensor.CopyFrom(numpy_helper.from_array(np.array(0.9, np.float32), tensor.name))


def exchange_outputs(*pair: str) -> Fault:
    def fault(model: onnx.ModelProto) -> None:
        other = {pair[0]: pair[1], pair[1]: pair[0]}
        for node in model.graph.node:
            node.output[:] = [other.get(n, n) for n in node.output]

    return fault


@pytest.mark.parametrize(
    ("net", "fault", "number"),
    [
        ("ultralytics", swap_channels, "raw head output0 differs by"),
        ("darknet", swap_channels, "raw head yolo16 differs by"),
        ("twinlite", swap_channels, "mask drivable agrees in"),
        ("semantic", swap_channels, "mask street agrees in"),
        ("darknet", scale_by_256, "raw head yolo32 differs by"),
        ("semantic", swap_means, "mask street agrees in"),
        ("ultralytics", forget_the_image, "boxes have no partner"),
        ("darknet", forget_the_image, "boxes have no partner"),
        ("twinlite", forget_the_image, "mask drivable agrees in"),
        ("twinlite", exchange_outputs("drive_area_labels", "lane_line_labels"), "mask lanes"),
        ("ultralytics", exchange_boxes_and_scores, "boxes have no partner"),
        ("ultralytics", exchange_classes, "boxes have no partner"),
        ("ultralytics", raise_scores(0.02), "largest score difference 0.02"),
        # Little beside 96 pixels, and less than boxes are compared by, but no rounding.
        ("ultralytics", raise_scores(0.005), "head output0 differs by 0.005 of a channel's range"),
        ("ultralytics-segment", exchange_classes_of_segmenter, "boxes have no partner"),
        ("yolov5", swap_channels, "raw head output0 differs by"),
        ("yolo26", swap_channels, "boxes have no partner"),
        ("yolo26", exchange_corners, "boxes have no partner"),
        ("yolo26", raise_sorted_scores, "raw head output0 differs by 0.005"),
        ("nanodet", scale_means, "raw head cls_8 differs by"),
        ("nanodet", shift_distances, "raw head dis_8 differs by"),
        ("rtdetr", swap_channels, "boxes have no partner"),
        ("rtdetr", put_height_first, "boxes have no partner"),
        ("rfdetr", take_corners_for_centres, "boxes have no partner"),
        ("semantic-labels", swap_means, "mask street agrees in"),
        ("semantic-binary", raise_threshold, "mask red agrees in"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_planted_fault_is_refused_with_its_numbers(
    net: str, fault: Fault, number: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = refusal(adopt_with(fault, net, tmp_path, monkeypatch))
    assert "refused, the adopted file does not do what the foreign one does" in message
    assert number in message
    assert "Nothing was written" in message


def test_without_a_fault_the_same_nets_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for net in sorted(FOREIGN):
        done = adopt_with(lambda model: None, net, tmp_path, monkeypatch)
        assert done.code == 0, done.said
        assert "not proven" not in done.said


def constant(value: float) -> onnx.ModelProto:
    """An Ultralytics net whose scores are the same whatever it sees."""
    model = ultralytics()
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim == 4:  # kernels
            tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(values), tensor.name))
        elif values.ndim == 1 and values.dtype == np.float32:  # biases
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, value), tensor.name))
    return model


@pytest.mark.parametrize("frames", [1, 3])
def test_a_net_that_says_one_half_everywhere_is_refused(tmp_path: Path, frames: int) -> None:
    write_frames(tmp_path / "frames", count=frames)
    message = refusal(adopt_net(constant(0.0), tmp_path))
    assert "output output0 of the foreign file is the same for every frame and for noise" in message


def blind(net: str, value: float) -> onnx.ModelProto:
    """A net whose boxes follow the image, and whose every score is ``value``, in one output."""
    model = FOREIGN[net]()
    graph = model.graph
    output = graph.output[0].name
    (maker,) = (n for n in graph.node if output in n.output)
    maker.output[list(maker.output).index(output)] = "sighted"
    ahead = net == "ultralytics"  # (1, 4 + C, N); the others have (1, N, 5 + C)
    count = 6 if ahead else 7
    kept = np.array([1.0] * 4 + [0.0] * (count - 4), np.float32)
    shape = (1, count, 1) if ahead else (1, 1, count)
    weights = {"kept": kept, "said": (1 - kept) * value, "moved": kept * 0.1}
    graph.initializer.extend(
        numpy_helper.from_array(v.reshape(shape).astype(np.float32), k) for k, v in weights.items()
    )
    graph.node.extend(
        [
            helper.make_node("Mul", ["sighted", "kept"], ["boxes_alone"]),
            helper.make_node("ReduceMean", ["images"], ["light"], keepdims=0),
            helper.make_node("Mul", ["light", "moved"], ["shift"]),
            helper.make_node("Add", ["boxes_alone", "shift"], ["shifted"]),
            helper.make_node("Add", ["shifted", "said"], [output]),
        ]
    )
    return model


@pytest.mark.parametrize("net", ["ultralytics", "yolov5", "yolox"])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_scores_that_never_change_are_refused_though_boxes_beside_them_do(
    net: str, value: float, tmp_path: Path
) -> None:
    message = refusal(adopt_net(blind(net, value), tmp_path, name=net))
    assert "scores are the same for every frame and for noise, at most" in message
    assert "or the frames show nothing that it knows; name others with --frames" in message


def test_rows_that_stay_empty_where_nothing_is_seen_are_a_doubt(tmp_path: Path) -> None:
    model = FOREIGN["yolo26"]()
    (output,) = model.graph.output
    (maker,) = (n for n in model.graph.node if output.name in n.output)
    maker.output[0] = "rows"
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.float32), "nothing"))
    model.graph.node.append(helper.make_node("Mul", ["rows", "nothing"], [output.name]))
    done = adopt_net(model, tmp_path, name="yolo26")
    assert done.code == 0, done.said
    assert "not proven: 0 boxes were found, wanted 10 or more" in done.said


def test_a_net_that_gives_no_numbers_is_refused(tmp_path: Path) -> None:
    message = refusal(adopt_net(constant(float("nan")), tmp_path))
    assert "output output0 is not finite" in message


def grey_frames(folder: Path) -> None:
    folder.mkdir()
    for i in range(3):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((64, 96, 3), 60 + i, np.uint8))


def test_more_boxes_than_are_compared_end_where_the_scores_do(tmp_path: Path) -> None:
    """Many cells of one score: each side keeps others of them, and neither is wrong."""
    write_frames(tmp_path / "frames", count=1, height=640, width=640)
    done = adopt_net(FOREIGN["rfdetr"](640, 640), tmp_path, name="rfdetr")
    assert done.code == 0, done.said
    assert "boxes: 300 in 1 frames" in done.said


def test_few_boxes_are_a_warning_that_nothing_is_proven(tmp_path: Path) -> None:
    grey_frames(tmp_path / "frames")
    done = adopt_net("ultralytics", tmp_path)
    assert done.code == 0, done.said
    assert done.written
    assert "warning      not proven: 0 boxes were found, wanted 10 or more" in done.said


def test_a_mask_of_one_class_is_a_warning_that_nothing_is_proven(tmp_path: Path) -> None:
    grey_frames(tmp_path / "frames")
    done = adopt_net("twinlite", tmp_path)
    assert done.code == 0, done.said
    assert "mask drivable shows one class only; mask lanes shows one class only" in done.said


@pytest.mark.parametrize("net", sorted(FOREIGN))
@pytest.mark.parametrize("size", [(1, 1), (1, 200), (300, 2), (64, 96), (33, 47)])
def test_frames_of_any_size_pass(net: str, size: tuple[int, int], tmp_path: Path) -> None:
    write_frames(tmp_path / "frames", height=size[0], width=size[1])
    assert adopt_net(net, tmp_path).code == 0


@given(
    frame_wh=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    input_wh=st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda n: (n[0] * 8, n[1] * 8)),
    resize=st.sampled_from(["letterbox_center", "letterbox_topleft", "stretch"]),
)
def test_the_reference_places_a_frame_as_the_app_does(
    frame_wh: tuple[int, int], input_wh: tuple[int, int], resize: Resize
) -> None:
    """Two codes that share nothing agree to the pixel."""
    frame = np.random.default_rng(0).integers(0, 256, (frame_wh[1], frame_wh[0], 3), np.uint8)
    width, height = input_wh
    spec = InputSpec("image", height, width, resize=resize)
    image = np.zeros((height, width, 3), np.uint8)
    Letterbox.fit(frame_wh, spec).apply(frame, image)
    wanted = Preprocess("RGB", (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), resize)
    blob = reference_blob(frame, wanted, height, width)
    for plane, (channel, mean, std) in enumerate([(2, 1, 4), (1, 2, 5), (0, 3, 6)]):
        np.testing.assert_allclose(blob[0, plane], (image[:, :, channel] - np.float32(mean)) / std)


def test_iou_is_shared_over_joint_area() -> None:
    assert iou([0, 0, 2, 2], [1, 0, 3, 2]) == pytest.approx(1 / 3)  # 2 of 4 + 4 - 2
    assert iou([0, 0, 2, 2], [0, 0, 2, 2]) == 1
    assert iou([0, 0, 2, 2], [2, 0, 4, 2]) == 0  # an edge touch
    assert iou([0, 0, 0, 2], [0, 0, 2, 2]) == 0  # no area
