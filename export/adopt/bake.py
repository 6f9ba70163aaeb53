"""Puts a net's preprocessing and the making of its masks into its graph; decides nothing.

The baked graph takes the letterboxed camera image, uint8 (1, H, W, 3) BGR. TensorRT converts uint8
at the network's edge only, from and to float, so the first node casts to float and the last casts
from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engines.base import Array
from engines.errors import ExportError
from engines.model_file import ModelFile, is_quantized
from engines.runtimes import first_line
from engines.spec import ModelSpec, TensorSpec
from export.adopt.families.base import MaskPlan, Plan, Preprocess, RowsPlan
from export.adopt.foreign import ForeignNet

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
    before, after = _Steps(), _Steps()
    _add_preprocessing(before, image.name, net.input, plan.preprocess)
    for mask in plan.masks:
        _add_labels(after, mask)
    if plan.rows is not None:
        _add_rows(after, plan.rows, net)
    for output, grid in plan.split.items():
        _add_grid(after, output, grid, _joined(net, grid))
    foreign = list(graph.node)
    del graph.node[:]
    graph.node.extend([*before.nodes, *foreign, *after.nodes])
    graph.initializer.extend([*before.constants, *after.constants])
    if net.sizes is not None:
        size = np.array([net.width, net.height], net.sizes.dtype).reshape(net.sizes.shape)
        graph.initializer.append(numpy_helper.from_array(size, net.sizes.name))
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
        precision="int8" if is_quantized(net.model) else "fp32",
        source_sha256=ModelFile(net.path).sha256,
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


class _Steps:
    """Nodes to add to a graph, in order, and their constants; all names begin with outrider/."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Array) -> str:
        """Add a constant; returns its name in the graph."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(value, f"outrider/{name}"))
        return self.constants[-1].name

    def node(self, op: str, inputs: list[str], name: str, *outputs: str, **attributes: Any) -> str:
        """Add a node; its output is called as the node where ``outputs`` name no others."""
        from onnx import helper

        made = outputs or (f"outrider/{name}",)
        self.nodes.append(helper.make_node(op, inputs, made, f"outrider/{name}", **attributes))
        return made[0]


def _outputs(net: ForeignNet, plan: Plan) -> tuple[TensorSpec, ...]:
    """The tensors that the heads name; other outputs of the foreign net are left out."""
    shapes = {t.name: t.shape for t in net.outputs}
    if plan.rows is not None:
        shapes[plan.rows.output] = (1, shapes[plan.rows.boxes][-2], 6)
    shapes |= {output: _joined(net, grid) for output, grid in plan.split.items()}
    boxes = plan.detection.outputs if plan.detection else ()
    masks = ((m.head.output, shapes[m.raw]) for m in plan.masks)
    return (
        *(TensorSpec(name, shapes[name], "float32") for name in boxes),
        *(TensorSpec(name, (1, *shape[-2:]), "uint8") for name, shape in masks),
    )


def _joined(net: ForeignNet, grid: str) -> tuple[int, ...]:
    """(1, A·(5 + C), h, w) of a grid (1, A, h, w, 5 + C)."""
    (shape,) = (t.shape for t in net.outputs if t.name == grid)
    _, anchors, rows, columns, numbers = shape
    return 1, anchors * numbers, rows, columns


def _add_grid(steps: _Steps, output: str, grid: str, shape: tuple[int, ...]) -> None:
    """From (1, A, h, w, 5 + C) to the planes (1, A·(5 + C), h, w)."""
    planes = steps.node("Transpose", [grid], f"{output}_planes", perm=[0, 1, 4, 2, 3])
    wanted = steps.constant(f"{output}_shape", np.array(shape, np.int64))
    steps.node("Reshape", [planes, wanted], output, output)


def _add_preprocessing(steps: _Steps, image: str, blob: str, wanted: Preprocess) -> None:
    """From the camera image to the net's input: cast, planes, channel order, mean, std."""
    from onnx import TensorProto

    plan: list[tuple[str, Array | None, dict[str, Any]]] = [
        ("Cast", None, {"to": TensorProto.FLOAT}),  # (1, H, W, 3) float
        ("Transpose", None, {"perm": [0, 3, 1, 2]}),  # (1, 3, H, W)
    ]
    if wanted.colour == "RGB":
        plan.append(("Gather", np.array([2, 1, 0], np.int64), {"axis": 1}))
    if any(wanted.mean):
        plan.append(("Sub", np.asarray(wanted.mean, np.float32).reshape(1, 3, 1, 1), {}))
    if any(s != 1 for s in wanted.std):
        # Divided, not multiplied by 1 / std: the same bits as the exporters' own preprocessing.
        plan.append(("Div", np.asarray(wanted.std, np.float32).reshape(1, 3, 1, 1), {}))
    value = image
    for op, constant, attributes in plan:
        inputs = [value]
        if constant is not None:
            inputs.append(steps.constant(f"{op.lower()}_value", constant))
        made = blob if op == plan[-1][0] else f"outrider/{op.lower()}"
        value = steps.node(op, inputs, op, made, **attributes)


def _add_labels(steps: _Steps, mask: MaskPlan) -> None:
    """From a semantic head to labels uint8 (1, h, w), by way of float."""
    from onnx import TensorProto

    output, value = mask.head.output, mask.raw
    if mask.form == "scores":
        value = steps.node("ArgMax", [value], f"{output}_argmax", axis=1, keepdims=0)
    elif mask.form == "switch":
        limit = steps.constant(f"{output}_threshold", np.array(mask.threshold, np.float32))
        value = steps.node("Greater", [value, limit], f"{output}_above")
    value = steps.node("Cast", [value], f"{output}_float", to=TensorProto.FLOAT)
    if mask.form != "scores":  # (1, 1, h, w) may be
        shape = steps.constant(f"{output}_shape", np.array(mask.shape, np.int64))
        value = steps.node("Reshape", [value, shape], f"{output}_flat")
    steps.node("Cast", [value], output, output, to=TensorProto.UINT8)


def _add_rows(steps: _Steps, rows: RowsPlan, net: ForeignNet) -> None:
    """From the outputs of a DETR to (1, K, 6): corners in input pixels, score, class."""
    from onnx import TensorProto

    shapes = {t.name: t.shape for t in net.outputs}

    def batched(tensor: str) -> str:
        """A table (1, K, n), of (K, n) as well."""
        if len(shapes[tensor]) == 3:
            return tensor
        shape = steps.constant(f"{tensor}_shape", np.array([1, *shapes[tensor]], np.int64))
        return steps.node("Reshape", [tensor, shape], f"{tensor}_batched")

    w, h = float(net.width), float(net.height)
    # cx, cy, w, h in shares → x0, y0, x1, y1 in pixels, as one product.
    corners = [[w, 0, w, 0], [0, h, 0, h], [-w / 2, 0, w / 2, 0], [0, -h / 2, 0, h / 2]]
    boxes, scores, labels = batched(rows.boxes), rows.scores, rows.labels
    if rows.form == "shares":
        whole = np.eye(6, dtype=np.float32)  # score and class stay
        whole[:4, :4] = corners
        steps.node("MatMul", [boxes, steps.constant("corners", whole)], "rows", rows.output)
        return
    if rows.form == "logits":
        placing = steps.constant("corners", np.array(corners, np.float32))
        boxes = steps.node("MatMul", [boxes, placing], "boxes")
        # TopK of one gives the best class and its logit in every opset from 10 on; sigmoid keeps
        # the order.
        one, labels = steps.constant("one", np.ones(1, np.int64)), "outrider/labels"
        best = steps.node("TopK", [batched(scores), one], "best", "outrider/best", labels, axis=2)
        scores = steps.node("Sigmoid", [best], "scores")
    else:
        column = steps.constant("column", np.array([1, -1, 1], np.int64))
        scores = steps.node("Reshape", [scores, column], "scores")
        labels = steps.node("Reshape", [labels, column], "labels")
    real = steps.node("Cast", [labels], "classes", to=TensorProto.FLOAT)
    steps.node("Concat", [boxes, scores, real], "rows", rows.output, axis=2)
