"""An FP32 model file becomes a TensorRT engine that was proven on this GPU.

Check, convert, build, prove, publish: under the engine's name lies the old one until the new one
has passed. TensorRT for RTX builds without a GPU, too; then what was built is compared with the
file alone, and its sidecar says that it never ran.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from engines.cuda.context import Device
from engines.errors import EngineMismatch, ExportError, ExportNotNow, ModelError, SettingsError
from engines.files import user_folder
from engines.model_file import ModelFile, is_quantized, load_model, read_spec, sha256_of
from engines.runtimes import check_tensors
from engines.tensorrt.identity import (
    GRAPH_ONLY,
    Identity,
    Sidecar,
    built_folder,
    built_path,
    has_sidecar,
    read_sidecar,
    sidecar_path,
    sidecar_text,
)
from engines.tensorrt.library import Flavour, Library
from export.compare.differences import SAME, Limits
from export.fp16.convert import convert_file
from export.fp16.typed import kept_nodes
from export.onnx.graph import uses_float16
from export.score.scores import check_ap
from export.tensorrt.build.builder import BuildOptions, build_plan, timings_file
from export.tensorrt.build.network import Network, check_half
from export.tensorrt.build.place import building, publish, write_durably
from export.tensorrt.build.preflight import open_builder, preflight
from export.tensorrt.build.prove import GATE, device_here, prove
from export.tensorrt.build.targets import known_targets, parse_targets, usual_targets
from export.tensorrt.check.check import check_file, report_lines
from export.tensorrt.check.judge import Judge

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """How to build and prove, as the command's options say."""

    reference: Path | None = None
    frames: str | None = None
    keep: Sequence[str] = ()
    limits: Limits = GATE
    options: BuildOptions = field(default_factory=BuildOptions)
    timing_cache: bool = True
    flavour: Flavour = "tensorrt"
    sm: str | None = None
    """Architectures for TensorRT for RTX, such as '89,120'; None is those of ``usual_targets``."""


def build_file(model: Path, target: Path | None, *, request: Request, say: Say) -> None:
    """Build, prove and publish one engine; ``say`` takes the report line by line.

    Raises:
        SettingsError: the arguments contradict each other or the files.
        ModelError: a file cannot be read or has no spec.
        ExportError: TensorRT does not take the graph, a proof failed, or nothing can be written.
        EngineError: there is no TensorRT or no device, or it builds nothing.
        DeviceError: the device is lost or lacks memory.
        SourceError: the frames cannot be read.
    """
    reference, half = _reference(model, request)
    if target is not None and target.suffix != ".engine":
        raise SettingsError(f"-o {target}: an engine's file ends in .engine, as the app wants it.")
    trt = open_builder(request.flavour)
    engine = target or built_path(_made_folder(), model, request.flavour)
    here, why_not = device_here(trt)
    options = _options(request, trt, here)
    if here is not None and options.targets and here.compute_capability not in options.targets:
        why_not = f"{here.gpu} has compute capability {here.compute_capability}"
        if here.compute_capability not in known_targets(trt):
            why_not += f", for which {trt.name} {trt.version} has no code; native TensorRT has"
        here = None
    device = preflight(trt, model, engine, options, half=half)
    if device.gpu:
        say(f"device       {device.gpu}, compute capability {device.compute_capability}, "
            f"{device.sm_count} SMs, {trt.name} {trt.version}")  # fmt: skip
    else:
        targets = ", ".join(options.targets)
        say(f"for          compute capability {targets}; {trt.name} {trt.version}")
    made_from = read_spec(model).source_sha256
    if half and made_from not in ("", ModelFile(reference).sha256):
        say(f"note         {model.name} says it was made from another file than {reference.name}")
    _check(trt, model, say)
    if here is None:
        _keep_proven(engine, reference, trt, why_not)
    with building(engine) as folder:
        source = model
        if not half:
            source = folder / f"{model.stem}.fp16.onnx"
            # who allows the engine more than the gate does allows the conversion as much
            iou = request.limits.iou if request.limits.iou < GATE.iou else SAME.iou
            convert_file(
                model, source, frames=request.frames, keep=request.keep,
                limits=replace(SAME, iou=iou), say=_but_written(say),
            )  # fmt: skip
        began = time.monotonic()
        timings = _timings(device, say) if request.timing_cache and device.gpu else None
        plan, network = build_plan(
            trt, source, options, timings=timings, say=say,
            check=lambda network: _check_network(network, source, say),
        )  # fmt: skip
        say(f"built        {len(plan) / 1e6:.1f} MB in {time.monotonic() - began:.1f} s")
        made = folder / engine.name
        write_durably(made, plan)
        identity = _identity(made, model, reference, source, device, options)
        identity = replace(identity, flavour=trt.flavour, targets=options.targets)
        sidecar = Sidecar(read_spec(source), identity, proof={}, network=network.layers)
        write_durably(sidecar_path(made), sidecar_text(sidecar).encode())
        if here is None:
            say(f"proof        graph only: {why_not}. On its device: edge-export verify {engine}")
            limits = asdict(request.limits)
            proof: dict[str, Any] = {"kind": GRAPH_ONLY, "why": why_not, "limits": limits}
        else:
            stays = f"{engine} is as it was." if engine.exists() else "Nothing was published."
            proof = prove(
                made, reference, frames=request.frames, limits=request.limits,
                stays=stays, on=here, say=say,
            )  # fmt: skip
        sidecar = replace(sidecar, proof=proof)
        write_durably(sidecar_path(made), sidecar_text(sidecar).encode())
        publish(made, engine)
    say(f"published    {engine} and {sidecar_path(engine).name}")


def _options(request: Request, trt: Library, here: Device | None) -> BuildOptions:
    """The builder's options, with what there is to build for."""
    if trt.flavour == "tensorrt":
        if request.sm is not None:
            raise SettingsError(
                f"--sm {request.sm}: goes with --for rtx; TensorRT builds for this machine's GPU."
            )
        return request.options
    if request.options.dla_core is not None:
        raise SettingsError("--dla-core: TensorRT for RTX has no DLA. Leave it out.")
    if request.sm is not None:
        return replace(request.options, targets=parse_targets(request.sm, trt))
    own = here.compute_capability if here is not None else ""
    return replace(request.options, targets=usual_targets(trt, own))


def _keep_proven(engine: Path, reference: Path, trt: Library, why_not: str) -> None:
    """Refuse to put an engine that cannot be proven here over one of the same file that was.

    Raises:
        ExportError: says where else to build.
    """
    try:
        old = read_sidecar(engine) if has_sidecar(engine) else None
    except EngineMismatch:  # damaged: nothing runs it
        return
    if old is None or not old.ran or old.identity.device.tensorrt != trt.version:
        return
    if old.identity.onnx_sha256 == ModelFile(reference).sha256:
        raise ExportError(
            f"{engine}: was proven on {old.ran_on or 'a device'}, and what "
            f"is built here cannot be: {why_not}. Build into another file with -o FILE.engine, or "
            "remove that one first."
        )


def _check_network(network: Network, source: Path, say: Say) -> None:
    """What the parser made against what the FP16 file says: the convolutions and the edges.

    Raises:
        ExportError: they differ.
    """
    model = load_model(source)
    if is_quantized(model):
        precision = "int8 as the file says"
    else:
        precision = check_half(network.layers, kept_nodes(model), origin=source.name)
    try:
        check_tensors(
            read_spec(source),
            inputs=network.inputs,
            outputs=network.outputs,
            origin=f"{source.name} in TensorRT",
            remake="Make the FP16 file again: edge-export fp16",
        )
    except ModelError as exc:
        raise ExportError(str(exc)) from exc
    edges = ", ".join(f"{t.name} {t.dtype}" for t in (*network.inputs, *network.outputs))
    say(f"network      {precision}; {edges}")


def _reference(model: Path, request: Request) -> tuple[Path, bool]:
    """The file to prove against, and whether ``model`` is FP16 or INT8 already.

    That is the FP32 file, or an INT8 one itself: what it lost against FP32 its own gate has judged.
    """
    if model.suffix != ".onnx":
        step = {
            ".engine": f"It is built already; to look at it: edge-export inspect {model}",
            ".pt": f"Export the checkpoint first: edge-export onnx {model}",
        }.get(model.suffix, "Export the model as NAME.onnx.")
        raise SettingsError(f"{model}: wanted an ONNX file, got '{model.suffix}'. {step}")
    file = ModelFile(model)
    spec = file.required_spec()
    if spec.detection is not None:
        check_ap()  # the proof wants it, at the end of a long build
    if is_quantized(file.model):
        if not spec.gate:
            raise ExportError(
                f"{model}: computes in int8 in parts, and does not say that it held a gate. Make "
                "it from the FP32 file: edge-export int8"
            )
        if request.keep or request.reference is not None:
            raise SettingsError(
                f"{model}: is INT8, proven where it was made and built as it is. Leave --keep and "
                "--reference out."
            )
        return model, True
    if not uses_float16(file.model):
        if request.reference is not None:
            raise SettingsError(
                f"--reference {request.reference}: {model} is no FP16 file, so it is proven "
                "against itself. Leave the option out."
            )
        return model, False
    reference = request.reference
    if reference is None:
        raise SettingsError(
            f"{model}: is FP16 already, so it cannot show what FP16 lost. Name the FP32 file that "
            "it was made from with --reference FP32.onnx, or build from that file."
        )
    if request.keep:
        raise SettingsError(f"--keep: {model} is FP16 already; nodes are kept where it is made.")
    against = ModelFile(reference)
    if uses_float16(against.model) or is_quantized(against.model):
        raise SettingsError(f"--reference {reference}: is no FP32 file itself.")
    other = against.required_spec()
    if (other.input, other.outputs) != (spec.input, spec.outputs):  # the gate would say so, later
        raise SettingsError(
            f"--reference {reference}: has another input or other outputs than {model}. Name the "
            "file that it was made from."
        )
    return reference, True


def _made_folder() -> Path:
    folder = built_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ExportNotNow(
            f"{folder}: cannot be made ({exc.strerror}). Name a place with -o FILE.engine."
        ) from exc
    return folder


def _check(trt: Library, path: Path, say: Say) -> None:
    """What the parser says of the file, before the work of converting it."""
    report = check_file(path, judge=Judge(trt, builds=False), release=None)
    for line in report_lines(report)[1:]:
        say(line)
    if not report.taken:
        worst = report.errors[0]
        raise ExportError(
            f"{path.name}: {report.against} will not take it: {worst.node}: {worst.problem} (way "
            f"out: {worst.way_out}); {len(report.errors)} in all. Nothing was built."
        )


def _but_written(say: Say) -> Say:
    """Leaves out where the FP16 file lies, which is there for a moment only."""
    return lambda line: None if line.startswith("written") else say(line)


def _timings(device: Device, say: Say) -> Path | None:
    try:
        return timings_file(user_folder("CACHE") / "timings", device)
    except FileNotFoundError:
        say("note         no cache folder here (XDG_CACHE_HOME, HOME): timings are not kept")
        return None


def _identity(
    made: Path, model: Path, reference: Path, source: Path, device: Device, options: BuildOptions
) -> Identity:
    source_model = load_model(source)
    kept = kept_nodes(source_model)
    recipe = f"fp16 mixed, fp32: {', '.join(kept)}" if kept else "fp16"
    return Identity(
        plan_sha256=sha256_of(made),
        onnx_sha256=ModelFile(reference).sha256,
        fp16_sha256=ModelFile(source).sha256,
        device=device,
        options=options.recorded(),
        recipe="int8" if is_quantized(source_model) else recipe,
        onnx_name=model.name,
    )
