"""ONNX files on disk: reads and writes their spec, refuses broken or unsafe ones; runs nothing.

``onnx`` is imported inside the functions that need it, so that reading settings stays fast.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from engines.errors import ModelError
from engines.files import write_whole
from engines.runtimes import first_line
from engines.spec import METADATA_KEY, ModelSpec

if TYPE_CHECKING:
    import onnx

_LARGEST = 2**31 - 1
"""Bytes of one protobuf message at most."""


@dataclass(frozen=True)
class ModelFile:
    """A model's file; what is asked of it is read once and kept.

    Everything but ``path`` is of ONNX files, and a ``ModelError`` where the file is refused.
    """

    path: Path

    @staticmethod
    def of(model: Path | ModelFile) -> ModelFile:
        """``model`` itself, or the file of that path."""
        return model if isinstance(model, ModelFile) else ModelFile(model)

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The parsed file; external weights stay where they are. Only its one owner changes it."""
        return load_model(self.path)

    @cached_property
    def spec(self) -> ModelSpec | None:
        """The spec in the metadata, None for a valid file that has none."""
        for entry in self.model.metadata_props:
            if entry.key == METADATA_KEY:
                return ModelSpec.from_json(entry.value, origin=str(self.path))
        return None

    def required_spec(self) -> ModelSpec:
        """The spec; a ``ModelError`` where there is none."""
        if self.spec is None:
            raise ModelError(
                f"{self.path}: a valid ONNX file without an Outrider spec in its metadata, so its "
                "input and its heads are unknown. Make one that the app runs with: edge-export "
                f"adopt {self.path}"
            )
        return self.spec

    @cached_property
    def weights(self) -> tuple[Path, ...]:
        """The files beside it that hold its weights, which change without it."""
        locations = {location for _, location in _external(self.model)}
        return tuple(self.path.parent / location for location in sorted(locations))

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes, and of its weights where they lie beside it; in hex."""
        own, *beside = (sha256_of(file) for file in (self.path, *self.weights))
        return hashlib.sha256(" ".join([own, *beside]).encode()).hexdigest() if beside else own

    @cached_property
    def op_types(self) -> frozenset[str]:
        """Every operator type in the model, nested graphs and functions included."""
        return _op_types(self.model)


def load_model(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file, leaving external weights where they are.

    Raises:
        ModelError: missing, unreadable, truncated, not ONNX, or its external weights are missing or
            lie outside the file's folder, or a function calls itself.
    """
    import onnx

    size = 0
    with contextlib.suppress(OSError):  # which reading tells
        size = path.stat().st_size if path.is_file() else 0
    if size > _LARGEST:
        raise ModelError(
            f"{path}: got {size} bytes, and one ONNX file holds 2 GB at most: export the model "
            "again, with its weights in a file beside it."
        )
    data = read_file(
        path, missing="no such model file. Check the path.", other=", wanted an ONNX file."
    )
    again = f"got {len(data)} bytes, wanted a whole ONNX file; copy or export it again."
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(data)
    except MemoryError:
        raise
    except Exception as exc:  # DecodeError of protobuf, which is onnx's dependency and not ours
        raise ModelError(f"{path}: not an ONNX model, or a truncated one: {again}") from exc
    # Random or empty bytes can parse as a message with nothing in it.
    if not model.ir_version or not model.opset_import or not model.graph.node:
        raise ModelError(f"{path}: holds no ONNX graph: {again}")
    if any(isinstance(text, bytes) for text in _names(model)):
        raise ModelError(f"{path}: has a name that is not UTF-8: {again}")
    _check_functions(model, path)
    _check_external_data(model, path)
    return model


def load_whole(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file with its external weights.

    Raises:
        ModelError: as ``load_model``, or the weights cannot be read.
    """
    model = load_model(path)
    load_weights(model, path)
    return model


def load_weights(model: onnx.ModelProto, path: Path) -> None:
    """Read the weights that lie beside ``path`` into the model that ``load_model`` gave for it.

    Raises:
        ModelError: they are cut short, of no type, lie where they must not, or are too large.
    """
    from onnx import checker, external_data_helper, helper

    size = path.stat().st_size
    for tensor in filter(external_data_helper.uses_external_data, _tensors(model)):
        try:
            kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        except KeyError as exc:
            raise ModelError(
                f"{path}: its weight {tensor.name!r} is of type {tensor.data_type}, which ONNX "
                "does not have; copy the file or export it again."
            ) from exc
        size += math.prod(tensor.dims) * kind.itemsize
    if size > _LARGEST:
        raise ModelError(
            f"{path}: is {size / 2**30:.1f} GiB with its weights, wanted less than 2: ONNX's "
            "format ends there, and this works on the model in one piece. The app runs the file as "
            "it is; for this, export a smaller network."
        )
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, checker.ValidationError) as exc:
        raise ModelError(
            f"{path}: its external weights cannot be read: {first_line(exc)}. Copy model and "
            "weights again, as plain files in one folder, or export the model as one file."
        ) from exc


def read_spec(path: Path) -> ModelSpec:
    """The spec in an ONNX file's metadata.

    Raises:
        ModelError: the file is refused, or it has no spec.
    """
    return ModelFile(path).required_spec()


def write_spec(model: onnx.ModelProto, spec: ModelSpec) -> None:
    """Put ``spec`` into the model's metadata, replacing one that is there."""
    kept = [(p.key, p.value) for p in model.metadata_props if p.key != METADATA_KEY]
    del model.metadata_props[:]
    for key, value in [*kept, (METADATA_KEY, spec.to_json())]:
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Check a model and write it atomically: a reader sees the old file or the whole new one.

    Raises:
        ModelError: the checker refuses the graph, or the file cannot be written.
    """
    import onnx

    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as exc:
        raise ModelError(f"{path}: not written, the ONNX checker refuses the graph: {exc}") from exc
    write_atomically(model.SerializeToString(), path)


def write_atomically(data: bytes, path: Path) -> None:
    """Put ``data`` under the name ``path`` in one step.

    Raises:
        ModelError: the folder is missing or not writable, or the disk is full.
    """
    try:
        write_whole(path, data)
    except OSError as exc:
        raise ModelError(f"{path}: cannot be written ({exc.strerror or exc}).") from exc


def read_file(path: Path, *, missing: str, other: str) -> bytes:
    """All bytes of a file; ``missing`` ends the message where there is none, ``other`` for a pipe.

    Raises:
        ModelError: missing, unreadable, or a pipe or a device, which might never end.
    """
    try:
        _check_regular(path, other)
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise ModelError(f"{path}: {missing}") from exc
    except OSError as exc:
        raise _unreadable(path, exc) from exc


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex.

    Raises:
        ModelError: the file cannot be read, or is a pipe or a device, which might never end.
    """
    digest = hashlib.sha256()
    try:
        _check_regular(path, ". Check the path.")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    return digest.hexdigest()


def _check_regular(path: Path, other: str) -> None:
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ModelError(f"{path}: not a regular file{other}")


def _unreadable(path: Path, exc: OSError) -> ModelError:
    return ModelError(
        f"{path}: cannot be read ({exc.strerror or exc}). Check the path and its permissions."
    )


def any_sha256(path: Path) -> str:
    """SHA-256 of a model of any kind, in hex: of an ONNX file with the weights beside it.

    Raises:
        ModelError: it cannot be read.
    """
    return ModelFile(path).sha256 if path.suffix == ".onnx" else sha256_of(path)


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether any part of the graph computes in integers."""
    return any("Quantize" in kind or kind.endswith("Integer") for kind in _op_types(model))


def _op_types(model: onnx.ModelProto) -> frozenset[str]:
    return frozenset(node.op_type for node in _nodes(model))


def _attributes(model: onnx.ModelProto) -> Iterator[onnx.AttributeProto]:
    """Every attribute, those of nested graphs and functions too; branches and loop bodies are."""
    left = [a for f in model.functions for a in f.attribute_proto]
    for holder in (model.graph, *model.functions):
        left.extend(a for node in holder.node for a in node.attribute)
    while left:
        attribute = left.pop()
        yield attribute
        for graph in (attribute.g, *attribute.graphs):
            left.extend(a for node in graph.node for a in node.attribute)


def _graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The graph, and those nested in attributes."""
    yield model.graph
    for attribute in _attributes(model):
        yield from (attribute.g, *attribute.graphs)


def _names(model: onnx.ModelProto) -> Iterator[object]:
    """Every name that something reads; bytes where protobuf cannot read one as text."""
    for graph in _graphs(model):
        yield from (t.name for t in graph.initializer)
        for info in (*graph.input, *graph.output, *graph.value_info):
            yield info.name
            yield from (d.dim_param for d in info.type.tensor_type.shape.dim)
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output)
    for node in _nodes(model):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
    for tensor in _tensors(model):
        yield from (text for e in tensor.external_data for text in (e.key, e.value))


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for holder in (*_graphs(model), *model.functions):
        yield from holder.node


def _check_functions(model: onnx.ModelProto, path: Path) -> None:
    """Refuse functions that call themselves, which end a runtime's process by its stack."""
    import onnx

    calls = {
        (f.domain, f.name): {(n.domain, n.op_type) for n in _nodes(onnx.ModelProto(functions=[f]))}
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


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor: weights and constants, sparse ones in their two parts."""
    for graph in _graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for attribute in _attributes(model):
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)


def _external(model: onnx.ModelProto) -> Iterator[tuple[str, str]]:
    """Name and location of every tensor whose values lie in another file."""
    import onnx

    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            location = (e.value for e in tensor.external_data if e.key == "location")
            yield tensor.name, next(location, "")


def _check_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Refuse weights outside the model's folder: a model file must not read arbitrary files."""
    folder = path.parent.resolve()
    for name, location in _external(model):
        parts = PurePosixPath(location)
        target = (folder / parts).resolve()
        if not location or parts.is_absolute() or not target.is_relative_to(folder):
            raise ModelError(
                f"{path}: the weights of {name!r} lie at {location!r}, outside the model's "
                "folder. Refused: put the data file beside the model, or export it as one file."
            )
        if not target.is_file():
            raise ModelError(
                f"{path}: the weights of {name!r} lie in {location!r}, which is missing. "
                "Copy that file beside the model, or export the model as one file."
            )
