"""The TensorRT engine on the host driver and the double: the same results, and every refusal.

The double stands for TensorRT's interface, not for its work: no kernel of TensorRT runs here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.spec import InputSpec
from engines.tensorrt.identity import Sidecar, built_path, read_sidecar, sidecar_path, sidecar_text
from tests.cuda_host.build import HostCuda
from tests.cuda_host.host_kernel import build_host_kernel
from tests.engines.jetson import MAKE, ON_CPU, ROOT, RTX_CARD, Jetson
from tests.tiny_models import tiny_street

RUN = ("run", "--source", "synthetic:96x64@30", "--policy", "wait", "--sink", "null")

COMPARE = """
import logging, sys
from pathlib import Path
import numpy as np
from pycuda import driver
from engines import open_engine
logging.basicConfig(level=logging.INFO)
engine, reference = (open_engine(Path(p), engine=e) for p, e in zip(sys.argv[1:], ("auto", "onnxruntime")))
name = engine.spec.input.name
assert (engine.name, engine.slots, engine.precision) == ("tensorrt", 2, "f16")
rng, places = np.random.default_rng(0), [engine.inputs(slot)[name].ctypes.data for slot in (0, 1)]
for _ in range(30):
    images = [rng.integers(0, 256, (1, 64, 96, 3)).astype(np.uint8) for _ in (0, 1)]
    for slot in (0, 1):  # both are in flight before either is waited for
        engine.inputs(slot)[name][...] = images[slot]
        engine.submit(slot)
        assert driver.Context.get_current() is None  # current for each piece of work, and no longer
    for slot in (1, 0):
        got = engine.wait(slot)
        reference.inputs(0)[name][...] = images[slot]
        reference.submit(0)
        for output, wanted in reference.wait(0).items():
            np.testing.assert_array_equal(got[output], wanted)
            assert not got[output].flags.writeable
    assert places == [engine.inputs(slot)[name].ctypes.data for slot in (0, 1)]
times = engine.gpu_ns(0)
assert set(times) == {"upload", "infer", "download"} and times["infer"] > 0, times
engine.close()
engine.close()
reference.close()
"""  # noqa: E501


@pytest.fixture(scope="module")
def jetson(host_cuda: HostCuda) -> Jetson:
    return Jetson(host_cuda)


@pytest.fixture(scope="module")
def made(jetson: Jetson, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.onnx, tiny.engine and its sidecar, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    tiny_street(folder / "tiny.onnx")
    jetson.build(folder / "tiny.onnx", folder / "tiny.engine")
    return folder


@pytest.fixture
def engine(made: Path, tmp_path: Path) -> Path:
    """An engine of one's own to spoil."""
    for path in made.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / "tiny.engine"


def crimes(report: Path) -> dict[str, Any]:
    reported: dict[str, Any] = json.loads(report.read_text())
    assert reported["crimes"] == []
    assert reported["bytes_in_use"] == 0
    return reported


@pytest.mark.parametrize("integrated", [0, 1])
def test_two_runs_in_flight_give_what_onnx_runtime_gives(
    jetson: Jetson, engine: Path, tmp_path: Path, integrated: int
) -> None:
    report = tmp_path / "report.json"
    run = jetson.run(
        "-c", COMPARE, engine, engine.with_suffix(".onnx"),
        report=report, integrated=integrated, delay_us=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    reported = crimes(report)
    # Copied or mapped memory is a choice only where both are the same chip's.
    assert ("with copies" in run.stderr) == bool(integrated)
    if not integrated:
        assert reported["copies"] == (30 + 1) * 2 * 5  # a run's image, and its four outputs


LETTERBOX = """
import sys
from pathlib import Path
import numpy as np
from engines import open_engine
from engines.errors import EngineError

def refused(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except EngineError as exc:
        print(exc)
    else:
        sys.exit(f"{call} was not refused")

engine = open_engine(Path(sys.argv[1]))
box = dict(size_wh=(96, 48), pad_xy=(0, 8), pad_value=114)
frame = engine.frame_input(0, 100, 200)
assert frame is engine.frame_input(0, 100, 200)
refused(engine.letterbox, 0, **box)
engine.load_letterbox()
engine.load_letterbox()
frame[...] = 50
engine.letterbox(0, **box)
refused(engine.letterbox, 0, size_wh=(96, 64), pad_xy=(0, 8), pad_value=114)
engine.submit(0)
refused(engine.frame_input, 0, 100, 200)
refused(engine.letterbox, 0, **box)
labels = engine.wait(0)["labels"][0].copy()
assert set(engine.gpu_ns(0)) == {"upload", "letterbox", "infer", "download"}
# Grey 50 is label 2, the padding's 114 label 5 (4.56 rounded): rows of 4 px, 8 px of padding.
assert (labels[2:14] == 2).all() and (labels[:2] == 5).all() and (labels[14:] == 5).all(), labels
engine.inputs(0)["image"][...] = 75  # asking for the inputs takes the letterbox's place again
engine.submit(0)
assert (engine.wait(0)["labels"] == 3).all()
engine.close()
refused(engine.frame_input, 0, 100, 200)
"""


def test_the_devices_letterbox_makes_the_input_and_is_refused_out_of_turn(
    jetson: Jetson, engine: Path, tmp_path: Path
) -> None:
    report, kernels = tmp_path / "report.json", build_host_kernel(tmp_path)
    run = jetson.run("-c", LETTERBOX, engine, report=report, kernels=kernels, delay_us=200)
    assert run.returncode == 0, run.stdout + run.stderr
    crimes(report)
    for said in ("load_letterbox comes before", "leaves the output", "slot 0 is in flight"):
        assert said in run.stdout
    assert "the engine is closed" in run.stdout


GRAPHS = """
from enum import IntEnum
import tensorrt

CUstreamCaptureMode = IntEnum("CUstreamCaptureMode", "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL")
CUstream, real = int, tensorrt.IExecutionContext.execute_async_v3
runs = []

def recorded(context, stream):
    runs.append((context, stream))
    return True

def cuStreamBeginCapture(stream, mode):
    tensorrt.IExecutionContext.execute_async_v3 = recorded
    return (0,)

def cuStreamEndCapture(stream):
    tensorrt.IExecutionContext.execute_async_v3 = real
    return (0, runs.pop())

def cuGraphInstantiate(graph, flags):
    return (0, graph)

def cuGraphLaunch(executable, stream):
    context, captured = executable
    assert stream == captured
    return (0 if real(context, stream) else 999,)

def cuGraphDestroy(graph):
    return (0,)

cuGraphExecDestroy = cuGraphDestroy
"""
"""As much of cuda-python as captures one run: calls are kept, and made by the graph's launch."""


def test_captured_runs_give_the_same(jetson: Jetson, engine: Path, tmp_path: Path) -> None:
    (tmp_path / "cuda" / "bindings").mkdir(parents=True)
    (tmp_path / "cuda" / "bindings" / "driver.py").write_text(GRAPHS)
    for folder in ("cuda", "cuda/bindings"):  # so that an installed cuda-python does not win
        (tmp_path / folder / "__init__.py").touch()
    report = tmp_path / "report.json"
    path = f"{tmp_path}:{jetson.environment()['PYTHONPATH']}"
    run = jetson.run(
        "-c", COMPARE, engine, engine.with_suffix(".onnx"), env={"PYTHONPATH": path},
        report=report, integrated=0, delay_us=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "captured runs" in run.stderr
    crimes(report)


@pytest.mark.parametrize(("flavour", "card"), [("tensorrt", {}), ("rtx", RTX_CARD)])
def test_the_contract_of_all_engines_holds(
    jetson: Jetson, flavour: str, card: dict[str, object]
) -> None:
    run = jetson.run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/engines/test_engines.py",
        "-k", flavour, env={"OUTRIDER_ENGINE_UNDER_TEST": flavour}, **card,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed is not None
    assert int(passed[1]) >= 18


def rewrite(engine: Path, change: Callable[[Sidecar], Sidecar]) -> None:
    """Another sidecar that is whole: as one built elsewhere or otherwise would have it."""
    sidecar_path(engine).write_text(sidecar_text(change(read_sidecar(engine))))


def truncate(engine: Path) -> None:
    engine.write_bytes(engine.read_bytes()[:-100])


def lose_sidecar(engine: Path) -> None:
    sidecar_path(engine).unlink()


def edit_sidecar(engine: Path) -> None:
    path = sidecar_path(engine)
    path.write_text(path.read_text().replace('"sm_count": 8', '"sm_count": 16'))


def halve_sidecar(engine: Path) -> None:
    path = sidecar_path(engine)
    path.write_text(path.read_text()[:300])


def other_gpu(engine: Path) -> None:
    def moved(sidecar: Sidecar) -> Sidecar:
        there = replace(sidecar.identity.device, gpu="NVIDIA L4", sm_count=58, tensorrt="11.4.0")
        return replace(sidecar, identity=replace(sidecar.identity, device=there))

    rewrite(engine, moved)


def other_size(engine: Path) -> None:
    rewrite(
        engine,
        lambda sidecar: replace(
            sidecar,
            spec=replace(
                sidecar.spec, input=InputSpec("image", 64, 128), detection=None
            ),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (truncate, ["the plan is truncated or another one", "edge-export build tiny.onnx"]),
        (lose_sidecar, ["has no tiny.engine.json", "a plan is code", "--trust"]),
        (edit_sidecar, ["was edited or damaged", "edge-export build"]),
        (halve_sidecar, ["not whole JSON", "edge-export build"]),
        (
            other_gpu,
            ["GPU is Orin, built for NVIDIA L4", "SM count is 8, built for 58",
             "TensorRT is 10.3.0, built for 11.4.0", "edge-export build tiny.onnx"],
        ),
        (
            other_size,
            ["input 'image' is uint8[1, 64, 96, 3], but its spec wants uint8[1, 64, 128, 3]",
             "edge-export build"],
        ),
        (Path.unlink, ["no such engine file"]),
    ],
)  # fmt: skip
def test_an_engine_that_does_not_fit_is_refused_in_one_line_with_exit_code_4(
    jetson: Jetson, engine: Path, spoil: Callable[[Path], None], said: list[str]
) -> None:
    spoil(engine)
    run = jetson.edge(*RUN, "--model", engine)
    assert run.returncode == 4, run.stderr
    lines = run.stderr.strip().splitlines()
    assert len(lines) == 1, run.stderr
    for words in said:
        assert words in lines[0]


def test_another_machine_or_tensorrt_is_refused_before_the_plan_is_loaded(
    jetson: Jetson, engine: Path
) -> None:
    moved = jetson.with_tensorrt("10.16.1.11").edge(
        *RUN, "--model", engine, name="Thor", cc="11.0", sms=20
    )
    assert moved.returncode == 4
    for said in ("GPU is Thor", "capability is 11.0", "SM count is 20", "TensorRT is 10.16.1.11"):
        assert said in moved.stderr
    assert "deserialize" not in moved.stderr


def test_another_driver_is_a_warning_and_the_engine_runs(jetson: Jetson, engine: Path) -> None:
    run = jetson.edge(*RUN, "--model", engine, "--frames", "2", driver=12080)
    assert run.returncode == 0, run.stderr
    assert "driver is CUDA 12.8 here, the engine was built under CUDA 12.6" in run.stderr


def test_an_engine_for_a_dla_core_runs_on_that_core(
    jetson: Jetson, made: Path, tmp_path: Path
) -> None:
    """The double takes a plan only where the runtime was given the core that it was built for."""
    engine, two_cores = tmp_path / "dla.engine", {"OUTRIDER_DOUBLE_DLA": "2"}
    built = jetson.run("-c", MAKE, made / "tiny.onnx", engine, "tensorrt", "1", env=two_cores)
    assert built.returncode == 0, built.stderr
    assert read_sidecar(engine).identity.options["dla_core"] == 1
    run = jetson.edge(*RUN, "--model", engine, "--frames", "2", env=two_cores)
    assert run.returncode == 0, run.stderr


FORBIDDEN = """
import os, sys
from pathlib import Path
from engines.cuda.context import open_device
from engines.errors import EngineError
os.access = lambda node, mode: False
try:
    open_device(nodes=Path(sys.argv[1]))
except EngineError as exc:
    print(exc)
    sys.exit(exc.exit_code)
"""


def test_device_files_of_another_group_are_the_cause_that_is_told(
    jetson: Jetson, tmp_path: Path
) -> None:
    (tmp_path / "nvmap").touch()
    run = jetson.run("-c", FORBIDDEN, tmp_path, fail="init:100")
    assert run.returncode == 4, run.stderr
    assert f"CUDA cannot start: no permission to open {tmp_path}/nvmap; add this" in run.stdout


def test_two_engines_share_the_device(jetson: Jetson, engine: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    models = ("--model", engine, "--model", engine)
    run = jetson.edge(*RUN, *models, "--frames", "20", report=report, delay_us=200)
    assert run.returncode == 0, run.stderr
    crimes(report)


def test_a_little_memory_is_told_with_what_is_free(jetson: Jetson, engine: Path) -> None:
    run = jetson.edge(*RUN, "--model", engine, integrated=0, fail="alloc:2:3", memory_mb=512)
    assert run.returncode == 6
    assert "out of memory" in run.stderr
    assert re.search(r"; 51\d MB of the device's memory are free$", run.stderr.strip())


def test_a_built_engine_that_cannot_be_read_leaves_auto_to_the_cpu(
    jetson: Jetson, engine: Path, tmp_path: Path
) -> None:
    onnx, built = engine.with_suffix(".onnx"), tmp_path / "built"
    place = built_path(built, onnx)
    publish(engine, place)
    sidecar_path(place).write_text("{}")
    run = jetson.edge(*RUN, "--model", onnx, "--frames", "2", env={"OUTRIDER_BUILT": str(built)})
    assert used(run) == "openvino"
    assert "has no 'sha256' of its content" in run.stderr


def test_what_tensorrt_logged_stands_in_the_message(jetson: Jetson, engine: Path) -> None:
    run = jetson.edge(*RUN, "--model", engine, env={"OUTRIDER_DOUBLE_FAULT": "plan"})
    assert run.returncode == 4
    assert "TensorRT deserialize_cuda_engine: The plan is not for" in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1, run.stderr


def test_without_tensorrt_the_next_step_is_told(jetson: Jetson, engine: Path) -> None:
    python_path = jetson.host.environment()["PYTHONPATH"]
    run = jetson.edge(*RUN, "--model", engine, env={"PYTHONPATH": python_path})
    assert run.returncode == 4
    assert "TensorRT is not installed here (No module named" in run.stderr
    assert "pip install -e '.[tensorrt]'" in run.stderr


def test_a_plan_without_a_sidecar_runs_once_it_is_trusted_by_its_hash(
    jetson: Jetson, engine: Path, tmp_path: Path
) -> None:
    lose_sidecar(engine)
    digest = hashlib.sha256(engine.read_bytes()).hexdigest()
    run = jetson.edge(*RUN, "--model", engine, "--frames", "2", "--trust", digest)
    assert run.returncode == 0, run.stderr
    wrong = jetson.edge(*RUN, "--model", engine, "--frames", "2", "--trust", "0" * 64)
    assert (wrong.returncode, f"--trust {digest}" in wrong.stderr) == (4, True)
    engine.with_suffix(".onnx").unlink()
    unknown = jetson.edge(*RUN, "--model", engine, "--trust", digest)
    assert unknown.returncode == 4
    assert "nothing says what its input and its heads are" in unknown.stderr


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        ("init:100", "no CUDA-capable device"),
        ("alloc:2", "out of memory"),
        ("alloc:2:7", "out of memory"),
        ("pinned:2", "out of memory"),
        ("retain:46", "busy or unavailable"),
        # whether a run of two in flight or the start of the next one meets it first is not said
        ("launch:719:20", "unspecified launch failure"),
        ("launch:214:20", "ECC"),
        ("launch:700:1", "illegal memory access"),
    ],
)
def test_a_device_that_fails_ends_the_run_in_one_line_with_exit_code_6(
    jetson: Jetson, engine: Path, fail: str, said: str
) -> None:
    run = jetson.edge(*RUN, "--model", engine, "--frames", "60", integrated=0, fail=fail)
    assert run.returncode == 6, run.stderr
    errors = [line for line in run.stderr.splitlines() if " error " in line]
    assert len(errors) == 1, run.stderr
    assert said in errors[0]
    for noise in ("Traceback", "PyCUDA WARNING", "UserWarning", "host cuda"):
        assert noise not in run.stderr


def test_an_onnx_file_without_an_engine_is_refused_for_tensorrt_and_names_the_command(
    jetson: Jetson, engine: Path, tmp_path: Path
) -> None:
    onnx, built = engine.with_suffix(".onnx"), tmp_path / "built"
    env = {"OUTRIDER_BUILT": str(built)}
    command = (*RUN, "--model", onnx, "--engine", "tensorrt", "--frames", "2")
    none = jetson.edge(*command, env=env)
    assert none.returncode == 4
    assert (
        "no TensorRT engine was built from this file. Build one here: "
        f"OUTRIDER_BUILT={built} edge-export build {onnx}" in none.stderr
    )

    publish(engine, built_path(built, onnx))
    found = jetson.edge(*command, env=env)
    assert found.returncode == 0, found.stderr

    tiny_street(onnx, height=32)  # trained again, say
    changed = jetson.edge(*command, env=env)
    assert changed.returncode == 4
    assert re.search(r"tiny-\w{12}\.engine was built from other content", changed.stderr)


def publish(engine: Path, place: Path) -> None:
    place.parent.mkdir(exist_ok=True)
    shutil.copy(engine, place)
    shutil.copy(sidecar_path(engine), sidecar_path(place))


def used(run: subprocess.CompletedProcess[str]) -> str:
    """The engine that the table of a run names."""
    assert run.returncode == 0, run.stderr
    named = re.search(r"^model: .* on (\S+) at", run.stderr, re.MULTILINE)
    assert named is not None, run.stderr
    return named[1]


def test_auto_takes_a_built_engine_and_says_how_to_get_one(
    jetson: Jetson, engine: Path, tmp_path: Path
) -> None:
    onnx, built = engine.with_suffix(".onnx"), tmp_path / "built"
    env = {"OUTRIDER_BUILT": str(built)}
    command = (*RUN, "--model", onnx, "--frames", "2")
    none = jetson.edge(*command, env=env)
    assert used(none) in ON_CPU
    assert "there is a CUDA device (Orin), but no TensorRT engine" in none.stderr
    assert f"edge-export build {onnx}" in none.stderr

    publish(engine, built_path(built, onnx))
    assert used(jetson.edge(*command, env=env)) == "tensorrt"
    assert used(jetson.edge(*command, "--precision", "f32", env=env)) in ON_CPU

    elsewhere = jetson.edge(*command, env=env, name="Thor")
    assert used(elsewhere) == "openvino"
    assert "GPU is Thor, built for Orin" in elsewhere.stderr

    hidden = jetson.edge(*command, env=env, fail="init:100")
    assert used(hidden) in ON_CPU
    assert "no CUDA device opens here" in hidden.stderr

    lost = jetson.edge(*command, env=env, fail="alloc:2")
    assert lost.returncode == 6, lost.stderr


def test_a_machine_without_a_gpu_is_not_told_to_build(tmp_path: Path) -> None:
    """Only where no driver is installed, which is so in CI."""
    from engines.cuda.context import device_names

    if device_names():
        pytest.skip("this machine has a CUDA device")
    tiny_street(tmp_path / "tiny.onnx")
    run = subprocess.run(
        [sys.executable, "-c", "from edge.start import main; main()", *RUN, "--frames", "2",
         "--model", str(tmp_path / "tiny.onnx")],
        cwd=ROOT, env=os.environ | {"DISPLAY": ""}, capture_output=True, text=True, check=True,
        timeout=120,
    )  # fmt: skip
    assert "CUDA" not in run.stderr


def test_gpu_times_stand_beside_wall_times(jetson: Jetson, engine: Path, tmp_path: Path) -> None:
    metrics = tmp_path / "m.json"
    run = jetson.edge(*RUN, "--model", engine, "--frames", "5", "--metrics", metrics)
    assert run.returncode == 0, run.stderr
    reported = json.loads(metrics.read_text())
    assert (reported["engine"], reported["precision"]) == ("tensorrt", "f16")
    assert set(reported["gpu"]) >= {"upload", "infer", "download"}
    assert reported["gpu"]["infer"]["count"] == reported["frames"]["rendered"] == 5
    assert 0 < reported["gpu"]["infer"]["p50_ms"] <= reported["stages"]["infer"]["max_ms"]
    assert re.search(r"^gpu infer +5 ", run.stderr, re.MULTILINE)


def test_an_engine_for_tensorrt_is_refused_by_others(jetson: Jetson, engine: Path) -> None:
    run = jetson.edge(*RUN, "--model", engine, "--engine", "openvino")
    assert run.returncode == 4
    assert "a TensorRT engine, which openvino cannot run" in run.stderr
