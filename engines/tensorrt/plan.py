"""Built plans as files: finds one, reads it with its spec and compares the two; it runs nothing.

A plan is machine code. One without a sidecar, or one that was never run to prove it, is read only
where its SHA-256 is named as trusted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import EngineMismatch, ModelError
from engines.model_file import ModelFile, read_file, read_spec
from engines.runtimes import check_tensors
from engines.spec import ModelSpec, TensorSpec
from engines.tensorrt.identity import (
    Sidecar,
    built_folder,
    find_built,
    has_sidecar,
    read_sidecar,
    sidecar_path,
)
from engines.tensorrt.library import FLAVOURS, Flavour, Library, build_command

if TYPE_CHECKING:
    import tensorrt

_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
}
"""Names of ``tensorrt.DataType`` in all versions → NumPy's; others have none there."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan's bytes and what is known of it."""

    path: Path
    data: bytes
    sha256: str
    spec: ModelSpec
    sidecar: Sidecar | None
    onnx: ModelFile | None
    flavour: Flavour


def read_plan(file: ModelFile, flavour: Flavour, *, trust: Sequence[str] = ()) -> Plan:
    """The plan in a ``.engine`` file, or the one built from an ONNX file, with its spec.

    Raises:
        EngineMismatch: there is none, it is of the other flavour, it was never run and proven, or
            nothing trustworthy says what it is.
        ModelError: a file cannot be read.
    """
    onnx = file if file.path.suffix == ".onnx" else None
    engine = file.path if onnx is None else _built_from(onnx, flavour)
    missing = "no such engine file. Check the path."
    data = read_file(engine, missing=missing, other=", wanted a TensorRT engine.")
    digest = hashlib.sha256(data).hexdigest()
    if has_sidecar(engine):
        sidecar = read_sidecar(engine)
        _check_flavour(engine, sidecar.identity.flavour, flavour)
        if not sidecar.ran and digest not in trust:
            raise EngineMismatch(
                f"{engine}: was built where no device could run it, so nothing shows that it does "
                f"what {sidecar.identity.onnx_name or 'its model'} does. Prove it here: "
                f"edge-export verify {engine}; or, unproven, name it as trusted: --trust {digest}"
            )
        return Plan(engine, data, digest, sidecar.spec, sidecar, onnx, flavour)
    if digest not in trust:
        raise EngineMismatch(
            f"{engine}: has no {sidecar_path(engine).name}, so nothing says what it is and where "
            "it runs, and a plan is code. Put that file beside it, build one here with edge-export "
            f"build MODEL.onnx, or, if it is your own, name it as trusted: --trust {digest}"
        )
    beside = engine.with_suffix(".onnx")
    if not beside.is_file():
        raise EngineMismatch(
            f"{engine}: is trusted, but nothing says what its input and its heads are. Put the "
            f"ONNX file that it was built from beside it, as {beside.name}."
        )
    return Plan(engine, data, digest, read_spec(beside), None, None, flavour)


def _check_flavour(engine: Path, built: Flavour, wanted: Flavour) -> None:
    if built != wanted:
        raise EngineMismatch(
            f"{engine}: is an engine of {FLAVOURS[built]}, which {FLAVOURS[wanted]} cannot run. "
            f"Leave --engine out, or say --engine {built}."
        )


def _built_from(file: ModelFile, flavour: Flavour) -> Path:
    onnx, engine = file.path, find_built(file, flavour=flavour)
    if engine is not None:
        return engine
    older = [
        path
        for path in sorted(built_folder().glob(f"{onnx.stem}-*.engine"))
        if path.name.endswith(".rtx.engine") == (flavour == "rtx")
    ]
    why = f"; {older[-1].name} was built from other content" if older else ""
    raise EngineMismatch(
        f"{onnx}: no {FLAVOURS[flavour]} engine was built from this file{why}. "
        f"Build one here: {build_command(onnx, flavour)}"
    )


def tensor_spec(name: str, dtype: tensorrt.DataType, dims: tensorrt.Dims) -> TensorSpec:
    """A tensor of TensorRT's in the project's terms."""
    shape = tuple(int(dims[axis]) for axis in range(len(dims)))
    return TensorSpec(name, shape, _DTYPES.get(dtype.name, dtype.name))


def check_plan(trt: Library, engine: tensorrt.ICudaEngine, plan: Plan) -> None:
    """Compare the tensors of a loaded engine with the plan's spec.

    Raises:
        EngineMismatch: names the first that differs.
    """
    found: dict[bool, list[TensorSpec]] = {True: [], False: []}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        tensor = tensor_spec(name, engine.get_tensor_dtype(name), engine.get_tensor_shape(name))
        found[engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT].append(tensor)
    try:
        check_tensors(
            plan.spec,
            inputs=found[True],
            outputs=found[False],
            origin=str(plan.path),
            remake=f"Build the engine again: {build_command('MODEL.onnx', plan.flavour)}",
        )
    except ModelError as exc:
        raise EngineMismatch(str(exc)) from exc
