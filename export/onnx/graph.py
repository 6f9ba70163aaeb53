"""ONNX graphs made plain for typing: names, tensor types, constants folded; it converts nothing.

It refuses graphs whose types cannot be known node by node: nested graphs, functions, unknown ops.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.base import Array
from engines.errors import ExportError
from engines.model_file import ModelFile, load_weights
from engines.runtimes import first_line
from engines.spec import ModelSpec

FLOAT, FLOAT16 = TensorProto.FLOAT, TensorProto.FLOAT16
_LARGEST_FOLD = 1 << 24
"""Bytes: a constant beyond this is left to be computed, rather than make the file larger."""
_RANDOM = ("Random", "Multinomial", "Bernoulli", "Dropout")


def load_checked(path: Path) -> tuple[onnx.ModelProto, ModelSpec]:
    """A model with all its weights, and its spec.

    Raises:
        ModelError: the file is refused, or has no spec.
        ExportError: weights are broken.
    """
    file = ModelFile(path)
    spec = file.required_spec()
    load_weights(file.model, path)
    check_weights(file.model, origin=str(path))
    return file.model, spec


def check_weights(model: onnx.ModelProto, *, origin: str) -> None:
    """Refuse initialisers whose bytes are not what their type and shape say.

    Raises:
        ExportError: names the first.
    """
    for tensor in model.graph.initializer:
        try:
            numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as exc:
            raise ExportError(
                f"{origin}: its weights {tensor.name!r} are broken: {first_line(exc)}. Export the "
                "model again."
            ) from exc


def opset_of(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operator set."""
    return max(
        (int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1
    )


def constant_tensor(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """What a ``Constant`` holds, None for text and sparse tensors."""
    for a in node.attribute:
        if a.name == "value":
            value: onnx.TensorProto = a.t
            return value
        kind = {"value_int": np.int64, "value_float": np.float32}.get(a.name.removesuffix("s"))
        if kind is not None:
            return numpy_helper.from_array(np.asarray(helper.get_attribute_value(a), kind))
    return None


def tensor_types(model: onnx.ModelProto, *, origin: str) -> dict[str, int]:
    """Element type of every tensor by name, from strict inference and not from the file's claims.

    Raises:
        ExportError: the graph is nested, contradicts itself, or has a tensor of unknown type.
    """
    return {name: t.elem_type for name, t in _tensor_infos(model, origin=origin).items()}


def _tensor_infos(model: onnx.ModelProto, *, origin: str) -> dict[str, Any]:
    graph = model.graph
    if model.functions or any(
        a.HasField("g") or a.graphs for node in graph.node for a in node.attribute
    ):
        raise ExportError(
            f"{origin}: has nested graphs or functions (If, Loop, Scan), whose types cannot be "
            "followed here. Export the model without control flow."
        )
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    try:
        inferred = onnx.shape_inference.infer_shapes(
            bare, check_type=True, strict_mode=True, data_prop=True
        ).graph
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, ValueError) as exc:
        raise ExportError(
            f"{origin}: the types of its graph contradict each other or are unknown: "
            f"{first_line(exc)}. "
            "Export the model again."
        ) from exc
    found: dict[str, Any] = {
        v.name: v.type.tensor_type
        for v in (*inferred.input, *inferred.output, *inferred.value_info)
    }
    for tensor in graph.initializer:
        info = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        found[tensor.name] = info.tensor_type
    for node in graph.node:
        for name in node.output:
            if name and (name not in found or not found[name].elem_type):
                raise ExportError(
                    f"{origin}: the type of tensor {name!r} is unknown: node {node.name!r} is "
                    f"{node.domain or 'ai.onnx'}:{node.op_type}, which ONNX does not define at "
                    f"opset {opset_of(model)}. Export the model with standard operators."
                )
    return found


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a name of its own, so that one can be kept and named."""
    taken: set[str] = set()
    for i, node in enumerate(model.graph.node):
        name = node.name or f"{node.op_type}_{i}"
        while name in taken:
            name += "_"
        node.name = name
        taken.add(name)


def fold_constants(model: onnx.ModelProto, *, origin: str) -> None:
    """Compute what does not depend on the input: shape arithmetic would lose digits in half.

    ``Constant`` nodes become initialisers too. A shape that is found may make the next one
    constant (a Resize by computed scales), so it goes on until nothing folds any more.

    Raises:
        ExportError: the graph's types cannot be known.
    """
    before = -1
    while len(model.graph.node) != before:
        before = len(model.graph.node)
        _fold_once(model, origin=origin)


def _fold_once(model: onnx.ModelProto, *, origin: str) -> None:
    infos = _tensor_infos(model, origin=origin)
    graph = model.graph
    known = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    kept = []
    for node in graph.node:
        made = _constant(node, known, infos, model)
        if made is None:
            kept.append(node)
        else:
            known.update(zip(node.output, made, strict=True))
    # An initialiser that is listed as an input could be replaced by the caller: not for us.
    inputs = [i for i in graph.input if i.name not in known]
    needed = {name for node in kept for name in node.input} | {o.name for o in graph.output}
    nodes = [_copied(node) for node in kept]
    del graph.node[:], graph.initializer[:], graph.input[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.input.extend(inputs)
    graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(a).reshape(a.shape), n)
        for n, a in known.items()
        if n in needed
    )
    model.ir_version = max(model.ir_version, 4)  # IR 3 wants every initialiser among the inputs


def _copied(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _constant(
    node: onnx.NodeProto,
    known: Mapping[str, Array],
    infos: Mapping[str, Any],
    model: onnx.ModelProto,
) -> list[Array] | None:
    """The node's outputs where they are the same for every input, else None."""
    if node.op_type == "Shape" and node.input[0] in infos:
        shape = infos[node.input[0]].shape.dim
        if all(d.HasField("dim_value") for d in shape):
            slice_ = {a.name: a.i for a in node.attribute}
            dims = [d.dim_value for d in shape][slice_.get("start", 0) : slice_.get("end")]
            return [np.asarray(dims, np.int64)]
        return None
    fixed = all(name in known for name in node.input if name)
    if not fixed or not (node.input or node.op_type == "Constant"):
        return None
    if node.op_type.startswith(_RANDOM) or not all(node.output):
        return None
    from onnx.reference import ReferenceEvaluator

    feed = {name: known[name] for name in node.input if name}
    alone = helper.make_graph(
        [node],
        "constant",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in feed.items()
        ],
        [helper.make_tensor_value_info(n, infos[n].elem_type, None) for n in node.output],
    )
    lone = helper.make_model(alone, opset_imports=model.opset_import, ir_version=model.ir_version)
    try:
        made = [np.asarray(a) for a in ReferenceEvaluator(lone).run(None, feed)]
    except Exception:  # an operator that onnx's reference lacks is left as it is
        return None
    return made if sum(a.nbytes for a in made) <= _LARGEST_FOLD else None


def float16_attributes(node: onnx.NodeProto, *, to: int) -> None:
    """Turn the float attributes that decide a node's output type, Cast's and ConstantOfShape's."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i in (FLOAT, FLOAT16):
            attribute.i = to
        elif attribute.name == "value" and attribute.t.data_type in (FLOAT, FLOAT16):
            value = numpy_helper.to_array(attribute.t).astype(
                np.float16 if to == FLOAT16 else np.float32
            )
            attribute.t.CopyFrom(numpy_helper.from_array(value))


def float_types(node: onnx.NodeProto, model: onnx.ModelProto) -> tuple[list[bool], list[bool]]:
    """Which inputs and outputs of a node ONNX lets be float16, position by position."""
    schema = onnx.defs.get_schema(node.op_type, opset_of(model), node.domain)
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}

    def each(formal: Any, count: int) -> Iterator[bool]:
        for i in range(count):
            kind = formal[min(i, len(formal) - 1)].type_str  # the last one may be variadic
            yield "tensor(float16)" in allowed.get(kind, [kind])

    return (
        list(each(schema.inputs, len(node.input))),
        list(each(schema.outputs, len(node.output))),
    )


def uses_float16(model: onnx.ModelProto) -> bool:
    """Whether any tensor of the graph is float16."""
    graph = model.graph
    return any(t.data_type == FLOAT16 for t in graph.initializer) or any(
        (a.name == "to" and a.i == FLOAT16 and node.op_type == "Cast") or a.t.data_type == FLOAT16
        for node in graph.node
        for a in node.attribute
    )
