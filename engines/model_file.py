"""ONNX files on disk: reads and writes their spec, refuses broken or unsafe ones; runs nothing.

``onnx`` is imported inside the functions that need it, so that reading settings stays fast.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import ModelError
from engines.files import write_whole
from engines.model_checks import check_structure
from engines.model_graph import (
    check_external_data,
    check_functions,
    external,
    names,
    nodes,
    tensors,
    weights_file,
)
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
        locations = sorted({location for _, location in external(self.model)})
        return tuple(filter(None, (weights_file(self.path, place) for place in locations)))

    def for_runtime(self) -> Path | bytes:
        """What a runtime opens: the file, or all of it where links lead to its weights.

        Of the links that are followed here each runtime refuses others.

        Raises:
            ModelError: the weights cannot be read, or are too large to be given in one piece.
        """
        folder = os.path.realpath(self.path.parent)
        places = {location for _, location in external(self.model)}
        plain = {os.path.normpath(os.path.join(folder, place)) for place in places}
        if {os.path.realpath(file) for file in self.weights} == plain:
            return self.path
        model = type(self.model)()
        model.CopyFrom(self.model)
        load_weights(model, self.path)
        data: bytes = model.SerializeToString()
        return data

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
            lie outside the file's folder, or the graph contradicts itself.
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
    if any(isinstance(text, bytes) for text in names(model)):
        raise ModelError(f"{path}: has a name that is not UTF-8: {again}")
    check_functions(model, path)
    check_external_data(model, path)
    check_structure(model, path)
    return model


def load_weights(model: onnx.ModelProto, path: Path) -> None:
    """Read the weights that lie beside ``path`` into the model that ``load_model`` gave for it.

    Raises:
        ModelError: they are cut short, lie where they must not, or are too large.
    """
    import onnx

    outside = [t for t in tensors(model) if t.data_location == onnx.TensorProto.EXTERNAL]
    size = path.stat().st_size + sum(_bytes_of(tensor) for tensor in outside)
    if size > _LARGEST:
        raise ModelError(
            f"{path}: is {size / 2**30:.1f} GiB with its weights, wanted less than 2: ONNX's "
            "format ends there, and this works on the model in one piece. The app runs the file as "
            "it is, with its weights as plain files beside it; for this, export a smaller network."
        )
    for tensor in outside:
        tensor.raw_data = _read_weights(tensor, path)
        tensor.ClearField("data_location")
        del tensor.external_data[:]


def _bytes_of(tensor: onnx.TensorProto) -> int:
    from onnx import helper

    kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return int(math.prod(tensor.dims) * kind.itemsize)


def _read_weights(tensor: onnx.TensorProto, path: Path) -> bytes:
    """The bytes of a tensor that lies in another file."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    file = weights_file(path, said.get("location", ""))
    places = [said.get("offset", "0"), said.get("length", str(_bytes_of(tensor)))]
    reason = f"offset and length are {places[0][:40]!r} and {places[1][:40]!r}, wanted numbers"
    try:
        if file is None:
            raise FileNotFoundError(2, "No such file or directory")
        if all(re.fullmatch(r"[0-9]{1,18}", place) for place in places):
            offset, length = map(int, places)
            with file.open("rb") as opened:
                held = os.fstat(opened.fileno()).st_size
                opened.seek(offset)
                if offset + length <= held:
                    return opened.read(length)
            reason = f"{length} bytes from byte {offset} on are beyond its end at {held}"
    except OSError as exc:
        reason = exc.strerror or str(exc)
    raise ModelError(
        f"{path}: its external weights {tensor.name!r} cannot be read from "
        f"{said.get('location', '')[:200]!r}: {reason}. Copy model and weights again, or export "
        "the model as one file."
    )


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


def rounds_in_pairs(model: onnx.ModelProto) -> bool:
    """Whether its integers are those of QuantizeLinear and DequantizeLinear alone: QDQ."""
    integer = {k for k in _op_types(model) if "Quantize" in k or k.startswith("QLinear")}
    integer |= {k for k in _op_types(model) if k.endswith("Integer")}
    return bool(integer) and integer <= {"QuantizeLinear", "DequantizeLinear"}


def _op_types(model: onnx.ModelProto) -> frozenset[str]:
    return frozenset(node.op_type for node in nodes(model))
