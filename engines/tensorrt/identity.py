"""What a built engine was built from and for, in its sidecar; it loads no plan and asks no device.

A TensorRT plan is machine code for one GPU and one TensorRT, one of TensorRT for RTX for some
architectures, so what it depends on stands in ``NAME.engine.json`` beside it and is compared before
the plan is touched.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from engines.cuda.context import Device
from engines.errors import EngineMismatch, ModelError
from engines.model_file import ModelFile, read_file, sha256_of
from engines.spec import ModelSpec
from engines.tensorrt.library import FLAVOURS, Flavour, build_command

BUILT = Path(__file__).resolve().parents[1] / "built"
"""Where ``edge-export build`` publishes, unless ``$OUTRIDER_BUILT`` names another folder."""

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
_HASH_CHARS = 12
"""Hexadecimal digits of the ONNX file's SHA-256 in an engine's name: 48 bits, never the proof."""
_NEEDED: dict[Flavour, dict[str, str]] = {
    "tensorrt": {
        "gpu": "GPU",
        "compute_capability": "compute capability",
        "sm_count": "SM count",
        "system": "system",
        "tensorrt": FLAVOURS["tensorrt"],
    },
    "rtx": {"system": "system", "tensorrt": FLAVOURS["rtx"]},
}
"""Facts of a device that a plan depends on, and their names in messages.

TensorRT for RTX compiles for the device when it loads a plan, which only has to have its
architecture among its targets.
"""
_NOTED: dict[str, str] = {"driver": "driver", "l4t": "L4T"}
"""Facts that a plan survives: a difference is worth a warning."""
GRAPH_ONLY = "graph only"
"""The ``kind`` of proof where no device was there to run the engine on."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a plan is: its own hash, its origin, its device and how it was built.

    ``onnx_sha256`` is of the file that the user has, ``fp16_sha256`` of the one that the plan was
    built from (the same where that is the user's), both with weights beside them; ``onnx_name`` the
    user's file without its folder. ``recipe`` says the precision: 'fp16' or 'fp16 mixed, fp32: a
    node, another'.

    A plan of flavour 'rtx' runs on every device whose compute capability is one of ``targets``;
    what ``device`` says of a GPU is then empty.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    plan_sha256: str
    onnx_sha256: str
    fp16_sha256: str
    device: Device
    options: Mapping[str, int | str]
    recipe: str
    onnx_name: str = ""
    flavour: Flavour = "tensorrt"
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sidecar:
    """All of ``NAME.engine.json``; ``proof`` is what the parity gate measured, as JSON values.

    ``network`` is what TensorRT's parser made: name, kind and precision of each layer.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    spec: ModelSpec
    identity: Identity
    proof: Mapping[str, Any]
    network: tuple[tuple[str, str, str], ...] = ()
    version: Literal[1] = 1

    @property
    def ran(self) -> bool:
        """Whether the engine was proven by running it, rather than built where nothing could."""
        return self.proof.get("kind") != GRAPH_ONLY

    @property
    def ran_on(self) -> str:
        """The device of the proof, '' where it does not say."""
        on = self.proof.get("on")
        return str(on.get("gpu", "")) if isinstance(on, Mapping) else ""


def sidecar_path(engine: Path) -> Path:
    """NAME.engine → NAME.engine.json, in the same folder."""
    return engine.with_name(engine.name + ".json")


def has_sidecar(engine: Path) -> bool:
    """Whether there is one; not for a name that no file can have."""
    try:
        return sidecar_path(engine).exists()
    except OSError:
        return False


def sidecar_text(sidecar: Sidecar) -> str:
    """The file's text: JSON for people too, and a hash that shows when somebody edited it."""
    content = _adapter().dump_python(sidecar, mode="json")
    return json.dumps({**content, "sha256": _hash_of(content)}, indent=2, allow_nan=False) + "\n"


def read_sidecar(engine: Path) -> Sidecar:
    """The sidecar of the plan at ``engine``.

    Raises:
        EngineMismatch: it is missing, not whole, was edited, or is of another version of Outrider.
    """
    path = sidecar_path(engine)
    again = "Build the engine again: edge-export build MODEL.onnx"
    missing = (
        f"no such file, so nothing says what {engine.name} is and where it runs; a plan is code "
        "and is not loaded unknown. Copy the file beside it, or build here: edge-export build "
        "MODEL.onnx"
    )
    try:
        content = json.loads(read_file(path, missing=missing, other=f". {again}"))
    except ModelError as exc:
        raise EngineMismatch(str(exc)) from exc
    except (ValueError, RecursionError) as exc:
        raise EngineMismatch(f"{path}: not whole JSON ({exc}). {again}") from exc
    if not isinstance(content, dict) or not isinstance(content.get("sha256"), str):
        raise EngineMismatch(f"{path}: has no 'sha256' of its content, as a sidecar has. {again}")
    recorded = content.pop("sha256")
    if recorded != _hash_of(content):
        raise EngineMismatch(
            f"{path}: was edited or damaged: its content has SHA-256 {_hash_of(content)[:12]}…, "
            f"it records {recorded[:12]}…. Put the original back. {again}"
        )
    try:
        # From JSON, not from Python values: there strict mode wants tuples for lists.
        sidecar = _adapter().validate_json(json.dumps(content))
        sidecar.spec.check(origin=str(path))
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise EngineMismatch(
            f"{path}: not a sidecar of this version of Outrider: {where}: {first['msg']}. {again}"
        ) from exc
    except ModelError as exc:
        raise EngineMismatch(str(exc)) from exc
    return sidecar


def flavour_of(engine: Path) -> Flavour:
    """Which TensorRT the plan at ``engine`` is for; the native one where nothing says.

    Raises:
        EngineMismatch: as ``read_sidecar``.
    """
    return read_sidecar(engine).identity.flavour if has_sidecar(engine) else "tensorrt"


def check_identity(
    sidecar: Sidecar,
    engine: Path,
    here: Device,
    *,
    onnx: Path | ModelFile | None,
    plan_sha256: str | None = None,
) -> list[str]:
    """Compare a sidecar with this machine, the plan and the ONNX file.

    ``onnx`` None skips that comparison; ``plan_sha256`` spares reading ``engine`` again. Returns
    one line for each difference that a plan survives.

    Raises:
        EngineMismatch: one message with every difference and the command that builds a fitting one.
        ModelError: the plan or the ONNX file cannot be read.
    """
    file = None if onnx is None else ModelFile.of(onnx)
    found = list(_differences(sidecar.identity, engine, here, file, plan_sha256))
    if found:
        name = str(file.path if file else sidecar.identity.onnx_name or "MODEL.onnx")
        # named, the builder says whether it has code for it at all
        own = f" --sm {here.compute_capability}" if _other_target(sidecar.identity, here) else ""
        raise EngineMismatch(
            f"{engine}: this engine does not fit: {'; '.join(found)}. "
            f"Build one here: {build_command(name, sidecar.identity.flavour)}{own}"
        )
    built, proven_on = sidecar.identity.device, sidecar.ran_on
    if not built.gpu:  # built for whatever it will be compiled on
        if proven_on in ("", here.gpu):
            return []
        return [
            f"{engine}: was proven on {proven_on}, not on {here.gpu}, for which it is compiled "
            f"anew. Prove it here: edge-export verify {engine}"
        ]
    return [
        f"{engine}: {label} is {getattr(here, field) or 'unknown'} here, the engine was built "
        f"under {getattr(built, field) or 'unknown'}; it runs, but build it again if it misbehaves"
        for field, label in _NOTED.items()
        if getattr(here, field) != getattr(built, field)
    ]


def built_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of built engines: ``$OUTRIDER_BUILT`` or ``BUILT``."""
    named = environ.get("OUTRIDER_BUILT")
    return Path(named) if named else BUILT


def built_path(folder: Path, onnx: Path | ModelFile, flavour: Flavour = "tensorrt") -> Path:
    """Where the engine of an ONNX file lies: FOLDER/STEM-HASH.engine, or .rtx.engine.

    Raises:
        ModelError: the ONNX file cannot be read.
    """
    file = ModelFile.of(onnx)
    return folder / f"{file.path.stem}-{_ending(file, flavour)}"


def _ending(file: ModelFile, flavour: Flavour) -> str:
    return f"{file.sha256[:_HASH_CHARS]}{'' if flavour == 'tensorrt' else '.rtx'}.engine"


def find_built(
    onnx: Path | ModelFile, folder: Path | None = None, flavour: Flavour = "tensorrt"
) -> Path | None:
    """The engine in ``folder`` that was built from a file with this content, None without one.

    A renamed ONNX file finds its engine too. Whether it fits this machine is for
    ``check_identity`` to say.

    Raises:
        ModelError: the ONNX file cannot be read.
    """
    file, folder = ModelFile.of(onnx), folder or built_folder()
    named = built_path(folder, file, flavour)
    if named.is_file():
        return named
    return next(iter(sorted(folder.glob(f"*-{_ending(file, flavour)}"))), None)


def _differences(
    identity: Identity,
    engine: Path,
    here: Device,
    onnx: ModelFile | None,
    plan_sha256: str | None,
) -> Iterator[str]:
    """One phrase for each thing that does not agree: what is here, and what was built for."""
    for field, label in _NEEDED[identity.flavour].items():
        is_, was = getattr(here, field), getattr(identity.device, field)
        if is_ != was:
            yield f"{label} is {is_}, built for {was}"
    if _other_target(identity, here):
        yield (
            f"compute capability is {here.compute_capability}, "
            f"built for {', '.join(identity.targets)}"
        )
    plan = plan_sha256 or sha256_of(engine)
    if plan != identity.plan_sha256:
        yield (
            f"the plan is truncated or another one: SHA-256 {plan[:12]}…, its sidecar wants "
            f"{identity.plan_sha256[:12]}…"
        )
    if onnx is not None:
        digest = onnx.sha256
        if digest not in (identity.onnx_sha256, identity.fp16_sha256):
            yield (
                f"{onnx.path.name} has SHA-256 {digest[:12]}…, "
                f"built from {identity.onnx_sha256[:12]}…"
            )


def _other_target(identity: Identity, here: Device) -> bool:
    """Whether a plan of TensorRT for RTX has nothing for this device."""
    return identity.flavour == "rtx" and here.compute_capability not in identity.targets


def _hash_of(content: Mapping[str, Any]) -> str:
    """SHA-256 of JSON values in one canonical spelling, so that layout does not matter."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def _adapter() -> TypeAdapter[Sidecar]:
    return TypeAdapter(Sidecar)
