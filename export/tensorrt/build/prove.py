"""An engine proven by running it: does it do what the FP32 file does that it was made from?"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from engines import open_engine
from engines.cuda.context import Device, device_names, open_device
from engines.errors import DeviceError, EngineError, EngineMismatch, ExportError, SettingsError
from engines.model_file import ModelFile, sha256_of
from engines.tensorrt.identity import (
    Sidecar,
    check_identity,
    read_sidecar,
    sidecar_path,
    sidecar_text,
)
from engines.tensorrt.library import Library, build_command, open_library
from export.compare.differences import SAME, Limits
from export.data.frames import read_frames
from export.fp16.convert import compare_with_fp32
from export.tensorrt.build.place import building, write_durably

Say = Callable[[str], None]
GATE = replace(SAME, iou=0.98, score=0.02, unmatched=0.01, mask=0.99)
"""Twice what a conversion to FP16 may differ by.

A device adds in another order and fuses, which no proof on a CPU shows. Chosen, not measured: no
engine was run where this was written."""


def device_here(trt: Library) -> tuple[Device | None, str]:
    """This machine's device, None and why where there is none and TensorRT for RTX needs none.

    Raises:
        EngineError: there is none, and the native builder works on it.
        DeviceError: there is one, but it is lost or busy: what was proven before is not replaced.
    """
    if trt.flavour == "rtx" and not device_names():
        return None, "no NVIDIA device opens here"
    try:
        device = open_device()
    except EngineError as exc:
        if isinstance(exc, DeviceError) or trt.flavour == "tensorrt":
            raise
        return None, str(exc)
    try:
        return device.facts(trt.version), ""
    finally:
        device.close()


def prove(
    made: Path,
    reference: Path,
    *,
    frames: str | None,
    limits: Limits,
    stays: str,
    on: Device,
    say: Say,
) -> dict[str, Any]:
    """What the engine ``made``, run as the app runs it, differs by from FP32 on frames.

    ``stays`` says in messages what remains as it was.

    Raises:
        ExportError: too much, or nothing is proven.
        SourceError: the frames cannot be read.
        EngineError, DeviceError: it does not run.
    """
    read = read_frames(frames)
    say(f"gate         {read.described}, against {reference.name} in FP32")
    parity = compare_with_fp32(
        reference,
        lambda: open_engine(made, trust=[sha256_of(made)]),
        read.images,
        limits=limits,
        say=lambda line: say(f"gate         {line}"),
    )
    if parity.failures:
        raise ExportError(
            f"{made.name}: refused, the engine does not do what {reference.name} does: "
            f"{'; '.join(parity.failures)}. {stays} Where boxes that differ a little will do, say "
            "how much with --iou; leave nodes in FP32 with --keep NODE."
        )
    if parity.doubts:
        raise ExportError(
            f"{made.name}: not proven: {'; '.join(parity.doubts)}. {stays} Give frames that show "
            "what the model detects: --frames SOURCE."
        )
    frames_of = read.described.partition(";")[0]
    where = {"gpu": on.gpu, "driver": on.driver}
    return {"frames_of": frames_of, "on": where, "limits": asdict(limits), **parity.to_dict()}


def verify_engine(engine: Path, against: Path, *, frames: str | None, say: Say) -> dict[str, Any]:
    """Prove a built engine on this machine's device and write that into its sidecar.

    The limits are those that it was built with; ``against`` is the file of ``made_from``. Returns
    the proof.

    Raises:
        EngineMismatch: the engine does not fit this machine.
        ExportError: it is refused or not proven; the sidecar is as it was.
        EngineError, DeviceError: there is no device, or it does not run.
    """
    sidecar = read_sidecar(engine)
    limits = limits_of(engine, sidecar)
    trt = open_library(sidecar.identity.flavour)
    device = open_device()
    try:
        here = device.facts(trt.version)
    finally:
        device.close()
    for warning in check_identity(sidecar, engine, here, onnx=against):
        say(f"note         {warning}")
    with building(engine):  # no build may exchange it meanwhile
        proof = prove(
            engine, against, frames=frames, limits=limits,
            stays="Its sidecar is as it was.", on=here, say=say,
        )  # fmt: skip
        if read_sidecar(engine) != sidecar:
            raise EngineMismatch(f"{engine}: was exchanged while it was proven. Start again.")
        proven = sidecar_text(replace(sidecar, proof=proof))
        write_durably(sidecar_path(engine), proven.encode())
    say(f"proven       {engine} on {here.gpu}; {sidecar_path(engine).name} says so")
    return proof


def limits_of(engine: Path, sidecar: Sidecar) -> Limits:
    """What the engine was built to be proven by.

    Raises:
        EngineMismatch: the sidecar's are none.
    """
    held = sidecar.proof.get("limits", asdict(GATE))
    try:
        Limits(**held)  # which wants known names, the next the types
        return TypeAdapter(Limits).validate_json(json.dumps(held), strict=True)
    except (TypeError, ValidationError) as exc:
        again = build_command(sidecar.identity.onnx_name or "MODEL.onnx", sidecar.identity.flavour)
        raise EngineMismatch(
            f"{sidecar_path(engine)}: got limits to prove by of {held}, wanted those of this "
            f"version of Outrider: {', '.join(asdict(GATE))}. Build the engine again: {again}"
        ) from exc


def made_from(engine: Path, named: Path | None) -> Path:
    """The FP32 file that an engine was made from: ``named``, or one that is looked for.

    It is looked for beside the engine, where the command runs, and among the shipped models.

    Raises:
        SettingsError: ``named`` is another file, or none is found.
        EngineMismatch: the engine has no sidecar that is whole.
    """
    sidecar = read_sidecar(engine)
    wanted, name = sidecar.identity.onnx_sha256, sidecar.identity.onnx_name or "MODEL.onnx"
    for path in _places(engine, name) if named is None else (named,):
        if ModelFile(path).sha256 == wanted:
            return path
    raise SettingsError(
        f"{engine}: was made from {name} with SHA-256 {wanted[:12]}…, "
        + (f"and {named} is another file." if named else "which is not beside it.")
        + f" Name that file: edge-export verify {engine} --reference {name}"
    )


def _places(engine: Path, name: str) -> Iterator[Path]:
    shipped = Path(__file__).resolve().parents[3] / "engines" / "models"
    for folder in (engine.parent, Path(os.curdir), shipped):
        if (folder / name).is_file():
            yield folder / name
