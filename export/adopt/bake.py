"""Graph surgery: puts a net's preprocessing and the making of its masks into it; decides nothing.

The baked graph takes the letterboxed camera image, uint8 (1, H, W, 3) BGR. TensorRT converts uint8
at the network's edge only and only from and to float, so the first node casts to float and the
last casts from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import ExportError
from engines.spec import ModelSpec, TensorSpec
from export.adopt.families.base import MaskPlan, Plan, Preprocess, RowsPlan
from export.adopt.foreign import ForeignNet, first_line

if TYPE_CHECKING:
    import onnx


def bake(net: ForeignNet, plan: Plan) -> tuple[onnx.ModelProto, ModelSpec]:
    """The adopted graph and its spec; ``net.model`` is left as it is.

    Raises:
        ExportError: the ONNX checker refuses the graph.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.ModelProto()
    model.CopyFrom(net.model)
    graph = model.graph
    image = plan.input_spec(net)
    before, constants = _preprocessing(image.name, net.input, plan.preprocess)
    after: list[onnx.NodeProto] = []
    for mask in plan.masks:
        nodes, more = _labels(mask)
        after += nodes
        constants += more
    if plan.rows is not None:
        nodes, more = _rows(net, plan.rows)
        after += nodes
        constants += more
    if net.sizes is not None:
        size = np.array([(net.width, net.height)], net.sizes.dtype)
        constants.append(numpy_helper.from_array(size, net.sizes.name))
    foreign = list(graph.node)
    del graph.node[:]
    graph.node.extend([*before, *foreign, *after])
    graph.initializer.extend(constants)
    outputs = _outputs(net, plan)
    kinds = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}
    del graph.input[:], graph.output[:]
    graph.input.append(
        helper.make_tensor_value_info(image.name, TensorProto.UINT8, image.tensor.shape)
    )
    graph.output.extend(
        helper.make_tensor_value_info(t.name, kinds[t.dtype], t.shape) for t in outputs
    )
    spec = ModelSpec(
        name=net.name,
        input=image,
        outputs=outputs,
        detection=plan.detection,
        masks=tuple(m.head for m in plan.masks),
        precision="int8" if net.int8 else "fp32",
        source_sha256=net.sha256,
        notice=plan.notice,
    )
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as exc:
        raise ExportError(
            f"{net.path}: cannot be adopted, the ONNX checker refuses its graph with the "
            f"preprocessing inside: {first_line(exc)}"
        ) from exc
    return model, spec


def _outputs(net: ForeignNet, plan: Plan) -> tuple[TensorSpec, ...]:
    """The tensors that the heads name; other outputs of the foreign net are left out."""
    shapes = {t.name: t.shape for t in net.outputs}
    if plan.rows is not None:
        shapes[plan.rows.output] = (1, shapes[plan.rows.boxes][1], 6)
    boxes = plan.detection.outputs if plan.detection else ()
    masks = ((m.head.output, shapes[m.raw]) for m in plan.masks)
    return (
        *(TensorSpec(name, shapes[name], "float32") for name in boxes),
        *(TensorSpec(name, (1, *shape[-2:]), "uint8") for name, shape in masks),
    )


def _preprocessing(
    image: str, blob: str, wanted: Preprocess
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes from the camera image to the net's input: cast, planes, channel order, mean, std."""
    from onnx import TensorProto, helper, numpy_helper

    steps: list[tuple[str, str, dict[str, Any]]] = [
        ("Cast", "", {"to": TensorProto.FLOAT}),  # (1, H, W, 3) float
        ("Transpose", "", {"perm": [0, 3, 1, 2]}),  # (1, 3, H, W)
    ]
    constants: list[onnx.TensorProto] = []

    def step(op: str, value: np.ndarray[tuple[int, ...], np.dtype[np.generic]], **how: Any) -> None:
        name = f"outrider/{op.lower()}_value"
        constants.append(numpy_helper.from_array(value, name))
        steps.append((op, name, how))

    if wanted.colour == "RGB":
        step("Gather", np.array([2, 1, 0], np.int64), axis=1)
    if any(wanted.mean):
        step("Sub", np.asarray(wanted.mean, np.float32).reshape(1, 3, 1, 1))
    if any(s != 1 for s in wanted.std):
        # Divided, not multiplied by 1 / std: the same bits as the exporters' own preprocessing.
        step("Div", np.asarray(wanted.std, np.float32).reshape(1, 3, 1, 1))
    nodes = []
    value = image
    for i, (op, constant, attributes) in enumerate(steps):
        made = blob if i == len(steps) - 1 else f"outrider/{op.lower()}"
        inputs = [value, constant] if constant else [value]
        nodes.append(helper.make_node(op, inputs, [made], f"outrider/{op}", **attributes))
        value = made
    return nodes, constants


def _labels(mask: MaskPlan) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """From a semantic head to labels uint8 (1, h, w), by way of float."""
    from onnx import TensorProto, helper, numpy_helper

    output = mask.head.output
    real, constants = f"outrider/{output}_float", []
    value = mask.raw
    nodes = []
    if mask.form == "scores":
        best = f"outrider/{output}_argmax"
        nodes.append(helper.make_node("ArgMax", [value], [best], best, axis=1, keepdims=0))
        value = best
    elif mask.form == "switch":
        limit = np.array(mask.threshold, np.float32)
        constants.append(numpy_helper.from_array(limit, f"outrider/{output}_threshold"))
        above = f"outrider/{output}_above"
        nodes.append(helper.make_node("Greater", [value, constants[-1].name], [above], above))
        value = above
    nodes.append(helper.make_node("Cast", [value], [real], real, to=TensorProto.FLOAT))
    if mask.form != "scores":  # (1, 1, h, w) may be
        shape = numpy_helper.from_array(np.array(mask.shape, np.int64), f"outrider/{output}_shape")
        constants.append(shape)
        flat = f"outrider/{output}_flat"
        nodes.append(helper.make_node("Reshape", [real, shape.name], [flat], flat))
        real = flat
    last = helper.make_node("Cast", [real], [output], f"outrider/{output}", to=TensorProto.UINT8)
    return [*nodes, last], constants


def _rows(net: ForeignNet, rows: RowsPlan) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """From the parts of a DETR's answer to (1, K, 6): corners in input pixels, score, class."""
    from onnx import TensorProto, helper, numpy_helper

    constants: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, value: np.ndarray[Any, Any]) -> str:
        constants.append(numpy_helper.from_array(value, f"outrider/{name}"))
        return constants[-1].name

    def node(op: str, inputs: list[str], name: str, *more: str, **attributes: Any) -> str:
        made = f"outrider/{name}"
        nodes.append(helper.make_node(op, inputs, [made, *more], made, **attributes))
        return made

    w, h = float(net.width), float(net.height)
    # cx, cy, w, h in shares → x0, y0, x1, y1 in pixels, as one product.
    corners = [[w, 0, w, 0], [0, h, 0, h], [-w / 2, 0, w / 2, 0], [0, -h / 2, 0, h / 2]]
    boxes, scores, labels = rows.boxes, rows.scores, rows.labels
    if rows.form == "shares":
        whole = np.eye(6, dtype=np.float32)  # score and class stay
        whole[:4, :4] = corners
        last = helper.make_node(
            "MatMul", [boxes, constant("corners", whole)], [rows.output], "outrider/rows"
        )
        return [last], constants
    if rows.form == "logits":
        # TopK of one gives the best class and its logit in every opset from 10 on; sigmoid keeps
        # the order.
        boxes = node("MatMul", [boxes, constant("corners", np.array(corners, np.float32))], "boxes")
        labels = "outrider/labels"
        one = constant("one", np.ones(1, np.int64))
        scores = node("Sigmoid", [node("TopK", [scores, one], "best", labels, axis=2)], "scores")
    else:
        column = constant("column", np.array([1, -1, 1], np.int64))
        scores = node("Reshape", [scores, column], "scores")
        labels = node("Reshape", [labels, column], "labels")
    real = node("Cast", [labels], "classes", to=TensorProto.FLOAT)
    join = helper.make_node("Concat", [boxes, scores, real], [rows.output], "outrider/rows", axis=2)
    return [*nodes, join], constants
