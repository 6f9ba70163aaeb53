"""Everything that an ONNX model holds, nested graphs and functions too; refuses what is unsafe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from engines.errors import ModelError

if TYPE_CHECKING:
    import onnx


def attributes(model: onnx.ModelProto) -> Iterator[onnx.AttributeProto]:
    """Every attribute, those of nested graphs (branches, loop bodies) and of functions too."""
    left = [a for f in model.functions for a in f.attribute_proto]
    for holder in (model.graph, *model.functions):
        left.extend(a for node in holder.node for a in node.attribute)
    while left:
        attribute = left.pop()
        yield attribute
        for graph in _graphs_of(attribute):
            left.extend(a for node in graph.node for a in node.attribute)


def _graphs_of(attribute: onnx.AttributeProto) -> tuple[onnx.GraphProto, ...]:
    """Asked first: protobuf makes an empty graph for each attribute that has none."""
    own = (attribute.g,) if attribute.HasField("g") else ()
    return (*own, *attribute.graphs)


def graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The graph, and those nested in attributes."""
    yield model.graph
    for attribute in attributes(model):
        yield from _graphs_of(attribute)


def names(model: onnx.ModelProto) -> Iterator[object]:
    """Every name that something reads; bytes where protobuf cannot read one as text."""
    for graph in graphs(model):
        yield from (t.name for t in graph.initializer)
        for info in (*graph.input, *graph.output, *graph.value_info):
            yield info.name
            yield from (d.dim_param for d in info.type.tensor_type.shape.dim)
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output)
    for node in nodes(model):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
    for tensor in tensors(model):
        yield from (text for e in tensor.external_data for text in (e.key, e.value))


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of functions too."""
    for holder in (*graphs(model), *model.functions):
        yield from holder.node


def check_functions(model: onnx.ModelProto, path: Path) -> None:
    """Refuse functions that call themselves, which end a runtime's process by its stack."""
    import onnx

    calls = {
        (f.domain, f.name): {(n.domain, n.op_type) for n in nodes(onnx.ModelProto(functions=[f]))}
        for f in model.functions
    }
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as exc:
        (_, name), *_ = exc.args[1]
        raise ModelError(
            f"{path}: its function {name!r} calls itself, which ONNX forbids. Export the model "
            "again, without functions."
        ) from exc


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor: weights and constants, sparse ones in their two parts."""
    for graph in graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for attribute in attributes(model):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        if attribute.HasField("sparse_tensor"):
            yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
        for sparse in attribute.sparse_tensors:
            yield from (sparse.values, sparse.indices)


def external(model: onnx.ModelProto) -> Iterator[tuple[str, str]]:
    """Name and location of every tensor whose values lie in another file."""
    import onnx

    for tensor in tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            location = (e.value for e in tensor.external_data if e.key == "location")
            yield tensor.name, next(location, "")


def check_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Refuse weights outside the model's folder: a model file must not read arbitrary files.

    The folder is that of the name ``path`` or that of the file it links to, and what counts is
    where the weights truly lie. So a hub's cache works, where both names link into one folder, and
    a link to a model that has its weights beside it; a link out of both folders does not.
    """
    folders = {os.path.realpath(folder) for folder in _folders(path)}
    for location, name in {location: name for name, location in external(model)}.items():
        found = weights_file(path, location)
        true = os.path.realpath(found or path)
        inside = any(Path(true).is_relative_to(folder) for folder in folders)
        if not _is_inner(location) or not inside:
            raise ModelError(
                f"{path}: the weights of {name!r} lie at {location[:200]!r}, outside the model's "
                "folder. Refused: put the data file beside the model, or export it as one file."
            )
        if found is None:
            raise ModelError(
                f"{path}: the weights of {name!r} lie in {location[:200]!r}, which is missing. "
                "Copy that file beside the model, or export the model as one file."
            )


def weights_file(path: Path, location: str) -> Path | None:
    """The file that a model's tensors name as their place, None where there is none.

    Looked for beside the model as it is named, then beside the file that it links to.
    """
    beside = [folder / location for folder in _folders(path) if "\0" not in location]
    return next((file for file in beside if os.path.isfile(file)), None)


def _folders(path: Path) -> list[Path]:
    return [path.parent, Path(os.path.realpath(path)).parent]


def _is_inner(location: str) -> bool:
    """Whether it is the name of a file in a folder or below it, by its text alone."""
    parts = PurePosixPath(os.path.normpath(location or ".")).parts
    return bool(parts) and parts[0] not in ("/", "//", "..") and "\0" not in location
