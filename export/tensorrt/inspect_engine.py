"""What a built engine is, and its layers with their precisions; it runs none.

Without TensorRT, or on another machine than it was built for, only the sidecar tells.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from traceback import clear_frames
from typing import TYPE_CHECKING, Any

from engines.cuda.context import cuda_errors, open_device
from engines.errors import EngineError, EngineMismatch, SettingsError
from engines.model_file import sha256_of
from engines.tensorrt.identity import GRAPH_ONLY, Identity, Sidecar, check_identity, read_sidecar
from engines.tensorrt.library import FLAVOURS, Library, build_command, open_library

if TYPE_CHECKING:
    import tensorrt

_FORMATS = {"fp16": "FP16|Half", "fp32": "FP32|Float"} | {
    kind: kind for kind in ("int8", "uint8", "int32", "int64", "bool")
}
"""Precisions and how the inspector's "Format/Datatype" of several releases spells them."""


@dataclass(frozen=True, slots=True)
class EngineLayer:
    """One layer; fields are empty where the engine was built to tell less."""

    name: str
    kind: str = ""
    precision: str = ""
    """Of its outputs: 'fp16', or several joined by '+'."""


def inspect_engine(engine: Path) -> tuple[Sidecar, list[EngineLayer] | None, str]:
    """The sidecar of a built engine, its layers, or None and why TensorRT does not tell them here.

    Raises:
        SettingsError: the file is no engine.
        EngineMismatch: the sidecar or the plan is missing or damaged.
        ModelError: the plan cannot be read.
    """
    if engine.suffix != ".engine":
        raise SettingsError(
            f"{engine}: wanted a built engine, NAME.engine, got '{engine.suffix}'. Make one with "
            "'edge-export build MODEL.onnx', which says where it lies."
        )
    digest = sha256_of(engine)
    sidecar = read_sidecar(engine)
    if digest != sidecar.identity.plan_sha256:
        raise EngineMismatch(
            f"{engine}: the plan is truncated or another one: SHA-256 {digest[:12]}…, its sidecar "
            f"wants {sidecar.identity.plan_sha256[:12]}…. Copy both again, or build it again: "
            + build_command(sidecar.identity.onnx_name or "MODEL.onnx", sidecar.identity.flavour)
        )
    try:
        return sidecar, _layers_of(engine, sidecar, plan_sha256=digest), ""
    except EngineError as exc:
        return sidecar, None, str(exc)


def _layers_of(engine: Path, sidecar: Sidecar, *, plan_sha256: str) -> list[EngineLayer]:
    """What TensorRT's inspector says of the layers, once it is known that the plan is for here."""
    trt = open_library(sidecar.identity.flavour)
    device = open_device()
    try:
        with cuda_errors(f"{engine}: cannot be looked into"), device.current():
            here = device.facts(trt.version)
            check_identity(sidecar, engine, here, onnx=None, plan_sha256=plan_sha256)
            return parse_layers(_information(trt, engine, sidecar))
    except EngineError as exc:
        clear_frames(exc.__traceback__)  # what they hold of TensorRT's would outlive the device
        raise
    finally:
        device.close()


def _information(trt: Library, engine: Path, sidecar: Sidecar) -> str:
    """The inspector's JSON; TensorRT's objects end with this call."""
    runtime: tensorrt.Runtime = trt.checked("Runtime", lambda: trt.Runtime(trt.logger))
    core = int(sidecar.identity.options.get("dla_core", -1))
    if core >= 0:
        runtime.DLA_core = core
    data = engine.read_bytes()
    loaded: tensorrt.ICudaEngine = trt.checked(
        "deserialize_cuda_engine", lambda: runtime.deserialize_cuda_engine(data)
    )
    inspector: tensorrt.EngineInspector = trt.checked(
        "create_engine_inspector", loaded.create_engine_inspector
    )
    form = trt.LayerInformationFormat.JSON
    text: str = trt.checked(
        "get_engine_information", lambda: inspector.get_engine_information(form)
    )
    return text


def parse_layers(text: str) -> list[EngineLayer]:
    """Layers in the inspector's JSON, which names them only or tells all, as the engine was built.

    Raises:
        EngineError: it is no JSON of that kind.
    """
    try:
        return [
            EngineLayer(layer)
            if isinstance(layer, str)
            else EngineLayer(layer["Name"], layer.get("LayerType", ""), _precision(layer))
            for layer in json.loads(text)["Layers"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise EngineError(f"TensorRT's inspector said what cannot be read: {text[:200]}") from exc


def _precision(layer: Mapping[str, Any]) -> str:
    found = []
    for output in layer.get("Outputs", []):
        text = output.get("Format/Datatype", "")
        known = (n for n, form in _FORMATS.items() if re.search(rf"\b({form})\b", text, re.I))
        found.append(next(known, text))
    return "+".join(dict.fromkeys(found))


def sidecar_lines(engine: Path, sidecar: Sidecar) -> list[str]:
    """What the sidecar holds, for the terminal."""
    identity, spec = sidecar.identity, sidecar.spec
    options = ", ".join(f"{key} {value}" for key, value in identity.options.items())
    lines = [
        f"engine       {engine}, {engine.stat().st_size / 1e6:.1f} MB",
        f"plan         sha256 {identity.plan_sha256}",
        f"from         {identity.onnx_name or 'an ONNX file'}, FP32 sha256 {identity.onnx_sha256}",
        f"             FP16 sha256 {identity.fp16_sha256}",
        *_device_lines(identity),
        f"options      {options}",
        f"precision    {identity.recipe}",
        f"model        {spec.name}, input {spec.input.height}x{spec.input.width} (height x width)",
    ]
    lines += [f"output       {t.name} {t.dtype}{list(t.shape)}" for t in spec.outputs]
    if spec.detection is not None:
        lines.append(f"boxes        {spec.detection.family}: {', '.join(spec.detection.classes)}")
    lines += [f"mask         {m.name}: {', '.join(m.classes)}" for m in spec.masks]
    try:
        return lines + _proof_lines(sidecar)
    except (KeyError, TypeError, ValueError, AttributeError):
        return [*lines, "proof        of a form that this version of Outrider does not know"]


def _device_lines(identity: Identity) -> list[str]:
    device, release = identity.device, f"{FLAVOURS[identity.flavour]} {identity.device.tensorrt}"
    if not device.gpu:
        wanted = ", ".join(identity.targets)
        return [f"for          compute capability {wanted}, {device.system}, {release}"]
    l4t = f", L4T {device.l4t}" if device.l4t else ""
    return [
        f"for          {device.gpu}, compute capability {device.compute_capability}, "
        f"{device.sm_count} SMs, {device.system}, {release}",
        f"built under  driver {device.driver or 'unknown'}{l4t}",
    ]


def _proof_lines(sidecar: Sidecar) -> list[str]:
    """The gate's figures; a sidecar of a later version may hold others, which are left out."""
    proof = sidecar.proof
    if not proof:
        return ["proof        none is recorded"]
    if proof.get("kind") == GRAPH_ONLY:
        return [f"proof        graph only: {proof.get('why')}. On its device: edge-export verify"]
    where = f" on {sidecar.ran_on}" if sidecar.ran_on else ""
    lines = [f"proof        {proof.get('frames_of', 'frames')}{where}, against FP32"]
    for output in proof.get("outputs", ()):
        lines.append(
            f"             {output['name']}: difference {output['largest']:.3g} at most, "
            f"{output['mean']:.2g} in the mean"
        )
    boxes = proof.get("boxes")
    if boxes:
        lines.append(
            f"             boxes: {boxes['boxes']}, {boxes['unmatched']} without a partner, lowest "
            f"IoU {boxes['min_iou']:.4f}, largest score difference {boxes['max_score']:.4f}"
        )
    for name, share in proof.get("masks", {}).items():
        lines.append(f"             mask {name}: {share:.3%} of labels equal in the worst frame")
    return lines


def network_lines(sidecar: Sidecar) -> list[str]:
    """The layers of the network that the parser made, by kind and precision."""
    counts = Counter((kind.lower(), precision) for _, kind, precision in sidecar.network)
    heads = Counter(kind.lower() for _, kind, _ in sidecar.network)
    lines = [f"network      {len(sidecar.network)} layers as the parser made them"] if heads else []
    for kind, _ in heads.most_common():
        each = (f"{n} {p or 'unknown'}" for (k, p), n in counts.most_common() if k == kind)
        lines.append(f"  {kind:<19}{', '.join(each)}")
    return lines


def layer_lines(layers: list[EngineLayer]) -> list[str]:
    """The layers for the terminal: how many of each precision, then one a line."""
    if not layers:
        return ["layers       the engine was built with --profiling-verbosity none and tells none"]
    if not any(layer.kind for layer in layers):
        count = "names only: built with --profiling-verbosity layer_names_only"
    else:
        counts = Counter(layer.precision or "unknown" for layer in layers)
        count = ", ".join(f"{n} {precision}" for precision, n in counts.most_common())
    lines = [f"layers       {len(layers)}: {count}"]
    for layer in layers:
        kind = f" ({layer.kind})" if layer.kind else ""
        lines.append(f"  {layer.precision:<11}{layer.name}{kind}")
    return lines
