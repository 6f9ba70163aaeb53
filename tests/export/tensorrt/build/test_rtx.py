"""Engines really built: TensorRT for RTX, NVIDIA's parser and builder, on this machine's CPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from edge.settings.settings import SHIPPED_MODEL
from engines import open_engine
from engines.errors import EngineMismatch, ExportError, SettingsError
from engines.model_file import read_spec, save_model, sha256_of
from engines.tensorrt.identity import Sidecar, read_sidecar, sidecar_path
from engines.tensorrt.library import open_library
from export.fp16.convert import convert_file
from export.tensorrt.build.build import Request, build_file
from export.tensorrt.build.builder import BuildOptions, build_plan
from export.tensorrt.build.prove import GATE
from export.tensorrt.build.targets import known_targets
from tests.export.planted import pictures
from tests.rtx_here import needs_rtx
from tests.tiny_models import tiny_street

pytestmark = needs_rtx
RTX = Request(flavour="rtx", sm="89")
"""One architecture: each more costs 0.1 s and half a megabyte."""


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def built_tiny(folder: Path, **how: Any) -> tuple[Sidecar, list[str]]:
    """The engine of a tiny street, at FOLDER/tiny.engine."""
    if not (folder / "tiny.onnx").exists():
        tiny_street(folder / "tiny.onnx")
        pictures(folder / "frames")
    request = replace(RTX, frames=str(folder / "frames"), **how)
    return built(folder / "tiny.onnx", folder / "tiny.engine", request)


def built(model: Path, engine: Path, request: Request = RTX) -> tuple[Sidecar, list[str]]:
    said: list[str] = []
    build_file(model, engine, request=request, say=said.append)
    return read_sidecar(engine), said


COMPUTING = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY")


def convolutions(sidecar: Sidecar) -> list[str]:
    return [precision for _, kind, precision in sidecar.network if kind in COMPUTING]


def computing(model: Path) -> int:
    """How many nodes of a file TensorRT has such layers for."""
    nodes = onnx.load(model).graph.node
    count = sum(node.op_type in ("Conv", "ConvTranspose", "MatMul") for node in nodes)
    assert count > 50
    return count


# What comes out


SHIPPED = sorted(SHIPPED_MODEL.parent.glob("*.onnx"))
"""Every network of the project, so that a new one is built on arrival."""


@pytest.mark.parametrize("model", SHIPPED, ids=lambda path: path.stem)
def test_every_network_of_the_project_is_built_from_ampere_on(tmp_path: Path, model: Path) -> None:
    engine = tmp_path / "its.engine"
    sidecar, said = built(model, engine, Request(flavour="rtx"))
    trt = open_library("rtx")
    identity, spec = sidecar.identity, sidecar.spec
    assert (identity.flavour, identity.device.tensorrt) == ("rtx", trt.version)
    assert identity.targets == tuple(t for t in known_targets(trt) if t != "7.5")
    assert {"8.0", "8.6", "8.9", "12.0"} < set(identity.targets)
    assert identity.plan_sha256 == sha256_of(engine)
    assert identity.onnx_sha256 == sha256_of(model)
    # its weights in FP16, and kernels; for Turing they alone are 65 MB
    assert model.stat().st_size // 2 < engine.stat().st_size < 20_000_000
    assert convolutions(sidecar) == ["fp16"] * computing(model)
    edges = ", ".join(f"{t.name} {t.dtype}" for t in (spec.input.tensor, *spec.outputs))
    assert f"convolutions and matrix products in FP16; {edges}" in "\n".join(said)
    assert sorted(p.name for p in tmp_path.iterdir()) == [engine.name, f"{engine.name}.json"]


@pytest.mark.parametrize("model", SHIPPED, ids=lambda path: path.stem)
def test_its_fp32_file_becomes_a_plan_of_fp32(model: Path) -> None:
    options = BuildOptions(targets=("8.9",))
    plan, network = build_plan(
        open_library("rtx"), model, options, timings=None, say=lambda _: None
    )
    assert len(plan) > model.stat().st_size * 0.9
    kinds = [layer.precision for layer in network.layers if layer.kind in COMPUTING]
    assert kinds == ["fp32"] * computing(model)
    spec = read_spec(model)
    assert network.inputs == (spec.input.tensor,)
    assert set(network.outputs) == set(spec.outputs)


def test_without_a_gpu_the_proof_is_of_the_graph_and_the_engine_waits_for_one(
    tmp_path: Path,
) -> None:
    engine = tmp_path / "tiny.engine"
    sidecar, said = built_tiny(tmp_path)
    assert sidecar.proof["kind"] == "graph only"
    assert sidecar.proof["why"] == "no NVIDIA device opens here"
    assert f"edge-export verify {engine}" in "\n".join(said)
    with pytest.raises(EngineMismatch, match=f"edge-export verify {engine}; or, unproven"):
        open_engine(engine)


@pytest.mark.parametrize(
    ("name", "iou"),
    [
        ("yolox_nano", 0.87),  # its depthwise layers amplify rounding: DECISIONS.md
        ("nanodet_m_416", GATE.iou),
        ("twinlitenet_360x640", GATE.iou),
        ("yolo-fastest-1.1-xl", GATE.iou),
    ],
)
def test_networks_of_others_are_built(shared: Path, tmp_path: Path, name: str, iou: float) -> None:
    model = adopted(shared / "models" / f"{name}.onnx", tmp_path)
    frames = str(shared / "data" / "videos" / "highway.mp4")
    request = replace(RTX, frames=frames, limits=replace(GATE, iou=iou))
    sidecar, _ = built(model, tmp_path / "its.engine", request)
    assert convolutions(sidecar) == ["fp16"] * computing(model)


def test_dynamic_int8_is_refused_by_operator(shared: Path, tmp_path: Path) -> None:
    model = adopted(shared / "models" / "yolov8n_int8.onnx", tmp_path)
    with pytest.raises(ExportError, match=r"images_QuantizeLinear|DynamicQuantizeLinear"):
        built(model, tmp_path / "its.engine")
    assert [p.name for p in tmp_path.iterdir()] == [model.name]


def adopted(foreign: Path, folder: Path) -> Path:
    model = folder / foreign.name
    done = edge_export("adopt", foreign, "-o", model)
    assert done.returncode == 0, done.stderr
    return model


def edge_export(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from export.cli import main; main()", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


# What the plan is made of


def test_what_the_file_keeps_in_fp32_is_fp32_in_the_network(tmp_path: Path) -> None:
    node = "/net/backbone/stem/stem.0/Conv"
    sidecar, said = built(SHIPPED_MODEL, tmp_path / "a.engine", replace(RTX, keep=[node]))
    assert sorted(convolutions(sidecar)) == ["fp16"] * 68 + ["fp32"]
    assert (
        "68 of 69 convolutions and matrix products in FP16, 1 in FP32 as the file says"
        in "\n".join(said)
    )
    assert sidecar.identity.recipe == f"fp16 mixed, fp32: {node}"


def test_a_convolution_that_strayed_into_fp32_is_refused(tmp_path: Path) -> None:
    """A file that somebody's tool converted, all but one node, and says nothing of it."""
    half = tmp_path / "half.onnx"
    node = "/net/backbone/stem/stem.0/Conv"
    convert_file(SHIPPED_MODEL, half, frames=None, keep=[node], say=lambda _: None)
    model = onnx.load(half)
    for entry in model.metadata_props:
        if "fp32" in entry.key:
            entry.value = "{}"
    save_model(model, half)
    said: list[str] = []
    with pytest.raises(ExportError, match=f"1 of 69 .* are not FP16 .* {node}"):
        build_file(
            half, tmp_path / "a.engine", request=replace(RTX, reference=SHIPPED_MODEL),
            say=said.append,
        )  # fmt: skip
    assert not any(line.startswith("building") for line in said)  # before the builder's minutes
    assert not (tmp_path / "a.engine").exists()


# Arguments


@pytest.mark.parametrize(
    ("sm", "said"),
    [
        ("90", "got '90', wanted some of 75, 80, 86, 89, 120"),
        ("8.9,", "got '', wanted"),
        ("89,8.9", "names twice '8.9'"),
        ("", "got ''"),
        ("sm_89", "got 'sm_89'"),
    ],
)
def test_an_architecture_that_it_does_not_know_is_wrong_usage(
    tmp_path: Path, sm: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=f"--sm '{sm}': {said}"):
        built_tiny(tmp_path, sm=sm)


def test_what_the_flavour_has_not_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--dla-core: TensorRT for RTX has no DLA"):
        built_tiny(tmp_path, options=BuildOptions(dla_core=0))


# Ends in the middle


def test_ctrl_c_however_often_ends_a_real_build_at_its_next_step(tmp_path: Path) -> None:
    said = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("building"):  # on a thread of the builder's
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        build_file(SHIPPED_MODEL, tmp_path / "street.engine", request=RTX, say=say)
    assert said.count("stopping     at the builder's next step") == 1
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


DIES = """
import os, sys
from pathlib import Path
from export.tensorrt.build.build import Request, build_file
def say(line):
    if line.startswith(sys.argv[4]):
        os.kill(os.getpid(), 9)
request = Request(flavour="rtx", sm="89", frames=sys.argv[3])
build_file(Path(sys.argv[1]), Path(sys.argv[2]), request=request, say=say)
"""


@pytest.mark.parametrize("at", ["building", "built", "proof        graph"])
def test_a_killed_build_leaves_the_engine_that_was_there(tmp_path: Path, at: str) -> None:
    model, engine = tmp_path / "tiny.onnx", tmp_path / "tiny.engine"
    built_tiny(tmp_path)
    frames, before = tmp_path / "frames", contents(engine, sidecar_path(engine))
    died = subprocess.run(
        [sys.executable, "-c", DIES, model, engine, frames, at], check=False, timeout=120
    )
    assert died.returncode == -signal.SIGKILL
    assert contents(engine, sidecar_path(engine)) == before
    built_tiny(tmp_path)  # clears up what the killed one left
    names = {"tiny.onnx", "frames", engine.name, sidecar_path(engine).name}
    assert {p.name for p in tmp_path.iterdir()} == names


def contents(*files: Path) -> Sequence[bytes]:
    return [path.read_bytes() for path in files]
