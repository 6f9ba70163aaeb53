"""Graph surgery: puts a foreign net's preprocessing and ArgMax into its graph; it decides nothing.

The baked graph takes the letterboxed camera image, uint8 (1, H, W, 3) BGR. TensorRT converts uint8
at the network's edge only and only from and to float, so the first node casts to float and the
last casts from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import ExportError
from engines.spec import ModelSpec, TensorSpec
from export.families.base import Plan, Preprocess
from export.foreign import ForeignNet, first_line

if TYPE_CHECKING:
    import onnx


def bake(net: ForeignNet, plan: Plan) -> tuple[onnx.ModelProto, ModelSpec]:
    """The adopted graph and its spec; ``net.model`` is left as it is.

    Raises:
        ExportError: the ONNX checker refuses the graph.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.ModelProto()
    model.CopyFrom(net.model)
    graph = model.graph
    image = plan.input_spec(net)
    before, constants = _preprocessing(image.name, net.input, plan.preprocess)
    after = [node for mask in plan.masks for node in _labels(mask.logits, mask.head.output)]
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
    boxes = plan.detection.outputs if plan.detection else ()
    masks = ((m.head.output, shapes[m.logits]) for m in plan.masks)
    return (
        *(TensorSpec(name, shapes[name], "float32") for name in boxes),
        *(TensorSpec(name, (1, *shape[2:]), "uint8") for name, shape in masks),
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


def _labels(logits: str, labels: str) -> list[onnx.NodeProto]:
    """ArgMax over the classes as uint8: (1, C, h, w) → (1, h, w)."""
    from onnx import TensorProto, helper

    best, real = f"outrider/{labels}_argmax", f"outrider/{labels}_float"
    return [
        helper.make_node("ArgMax", [logits], [best], best, axis=1, keepdims=0),
        helper.make_node("Cast", [best], [real], real, to=TensorProto.FLOAT),
        helper.make_node("Cast", [real], [labels], f"outrider/{labels}", to=TensorProto.UINT8),
    ]
