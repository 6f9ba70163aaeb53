"""The doctor on a machine with a GPU, which is the host driver and the double of TensorRT here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edge.machine.finding import Finding
from edge.machine.nvidia import l4t_of, rtx
from edge.settings.settings import SHIPPED_MODEL
from engines.tensorrt.identity import (
    GRAPH_ONLY,
    built_path,
    read_sidecar,
    sidecar_path,
    sidecar_text,
)
from engines.tensorrt.library import open_library
from tests.cuda_host.build import HostCuda
from tests.engines.jetson import DOUBLE, EDGE, ROOT, RTX_CARD, Jetson


@pytest.fixture(scope="module")
def jetson(host_cuda: HostCuda) -> Jetson:
    return Jetson(host_cuda)


@pytest.fixture(scope="module")
def built(jetson: Jetson, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an engine of the shipped model."""
    folder = tmp_path_factory.mktemp("built")
    jetson.build(SHIPPED_MODEL, built_path(folder, SHIPPED_MODEL))
    return folder


def findings(run: subprocess.CompletedProcess[str]) -> dict[str, Finding]:
    assert "Traceback" not in run.stderr
    return {item["name"]: Finding(**item) for item in json.loads(run.stdout)}


NEED = ("--need", "CUDA", "--need", "tensorrt", "--need", "pycuda", "--need", "built engine")


def test_a_machine_that_is_ready_says_so_and_has_what_is_needed(
    jetson: Jetson, built: Path
) -> None:
    run = jetson.edge("doctor", "--json", *NEED, env={"OUTRIDER_BUILT": str(built)})
    assert run.returncode == 0, run.stderr
    found = findings(run)
    assert found["tensorrt"] == Finding("engines", "tensorrt", "ok", "10.3.0")
    assert found["pycuda"].text.startswith("2026.1, built against CUDA ")
    engine = built_path(built, SHIPPED_MODEL)
    assert found["built engine"] == Finding("engines", "built engine", "ok", str(engine))


def test_an_engine_of_another_tensorrt_is_told_with_the_way_out(
    jetson: Jetson, built: Path
) -> None:
    upgraded = jetson.with_tensorrt("10.16.2")
    run = upgraded.edge("doctor", "--json", *NEED, env={"OUTRIDER_BUILT": str(built)})
    assert run.returncode == 4
    assert run.stderr.strip() == "edge: needed and not ok here: built engine; see the list"
    found = findings(run)["built engine"]
    assert found.status == "missing"
    assert "TensorRT is 10.16.2, built for 10.3.0" in found.text
    assert found.hint.endswith(f"edge-export build {SHIPPED_MODEL}")


def test_an_engine_whose_sidecar_was_edited_is_not_ok(
    jetson: Jetson, built: Path, tmp_path: Path
) -> None:
    engine = built_path(built, SHIPPED_MODEL)
    (tmp_path / engine.name).write_bytes(engine.read_bytes())
    text = sidecar_path(engine).read_text().replace('"sm_count": ', '"sm_count": 1')
    sidecar_path(tmp_path / engine.name).write_text(text)
    run = jetson.edge("doctor", "--json", env={"OUTRIDER_BUILT": str(tmp_path)})
    assert run.returncode == 0
    assert "was edited or damaged" in findings(run)["built engine"].text


def test_a_gpu_without_an_engine_tensorrt_or_pycuda_says_how_to_get_each(
    jetson: Jetson, tmp_path: Path
) -> None:
    old = jetson.with_tensorrt("8.5.2").edge(
        "doctor", "--json", env={"OUTRIDER_BUILT": str(tmp_path)}
    )
    found = findings(old)
    assert found["tensorrt"].text == "8.5.2, wanted 10.3 to 11.x"
    assert "has no TensorRT engine yet" in found["built engine"].text
    assert found["built engine"].hint.endswith(f"edge-export build {SHIPPED_MODEL}")
    bare = findings(jetson.edge("doctor", "--json", env={"PYTHONPATH": str(ROOT)}))
    assert (bare["tensorrt"].status, bare["pycuda"].status) == ("missing", "missing")
    assert "No module named 'tensorrt'" in bare["tensorrt"].text
    assert "python3-libnvinfer" in bare["tensorrt"].hint
    assert "No module named 'pycuda'" in bare["pycuda"].text
    assert "CUDA_ROOT=/usr/local/cuda" in bare["pycuda"].hint


def test_an_engine_that_cannot_be_compared_is_not_ok(jetson: Jetson, built: Path) -> None:
    run = jetson.edge(
        *("doctor", "--json"), env={"OUTRIDER_BUILT": str(built), "PYTHONPATH": f"{DOUBLE}:{ROOT}"}
    )
    found = findings(run)["built engine"]
    assert found.status == "missing"
    assert "cannot be compared with the device: TensorRT engines need PyCUDA" in found.text


# TensorRT for RTX


@pytest.fixture(scope="module")
def card(host_cuda: HostCuda) -> Jetson:
    return Jetson(host_cuda, card=RTX_CARD)


@pytest.fixture(scope="module")
def built_for_rtx(card: Jetson, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built_for_rtx")
    card.build(SHIPPED_MODEL, built_path(folder, SHIPPED_MODEL, "rtx"), "rtx")
    return folder


def test_an_rtx_card_with_its_engine_is_ready(card: Jetson, built_for_rtx: Path) -> None:
    env = {"OUTRIDER_BUILT": str(built_for_rtx)}
    need = ("--need", "rtx", "--need", "built engine")
    run = card.edge("doctor", "--json", *need, env=env)
    assert run.returncode == 0, run.stderr
    found = findings(run)
    assert found["rtx"].status == "ok"
    assert found["rtx"].text.startswith("1.7.1.116; judges and builds engines here")
    engine = built_path(built_for_rtx, SHIPPED_MODEL, "rtx")
    assert found["built engine"] == Finding("engines", "built engine", "ok", str(engine))

    other = findings(card.edge("doctor", "--json", env=env, cc="9.0"))["built engine"]
    assert other.status == "missing"
    assert "compute capability is 9.0, built for 8.6, 8.9" in other.text
    assert other.hint.endswith(f"edge-export build {SHIPPED_MODEL} --for rtx")


def test_an_engine_that_never_ran_is_not_ok_until_it_is_proven(
    card: Jetson, built_for_rtx: Path, tmp_path: Path
) -> None:
    name = built_path(built_for_rtx, SHIPPED_MODEL, "rtx").name
    engine = tmp_path / name
    engine.write_bytes((built_for_rtx / name).read_bytes())
    sidecar = replace(read_sidecar(built_for_rtx / name), proof={"kind": GRAPH_ONLY})
    sidecar_path(engine).write_text(sidecar_text(sidecar))
    env = {"OUTRIDER_BUILT": str(tmp_path)}
    found = findings(card.edge("doctor", "--json", env=env))["built engine"]
    assert (found.status, found.hint) == ("missing", f"edge-export verify {engine}")
    assert "not proven" in found.text
    found = findings(card.edge("doctor", "--json", env=env, fail="init:100"))["built engine"]
    assert (found.status, found.hint) == ("none", "")
    assert found.text == f"{engine}; needs an NVIDIA GPU, where it is to be proven"


def test_engines_of_both_flavours_are_told(
    card: Jetson, built: Path, built_for_rtx: Path, tmp_path: Path
) -> None:
    for path in (*built.iterdir(), *built_for_rtx.iterdir()):
        (tmp_path / path.name).symlink_to(path)
    env = {"OUTRIDER_BUILT": str(tmp_path)}
    run = card.edge("doctor", "--json", "--need", "built engine", env=env)
    assert run.returncode == 0, run.stderr  # one that runs is enough
    both = [f for f in json.loads(run.stdout) if f["name"] == "built engine"]
    assert [f["status"] for f in both] == ["missing", "ok"]
    assert "GPU is NVIDIA GeForce RTX 4090, built for Orin" in both[0]["text"]


WITHOUT = """
import sys
sys.modules["tensorrt_rtx_bindings"] = sys.modules["tensorrt_rtx"] = None
from edge.start import main
main()
"""


def test_without_tensorrt_for_rtx_its_use_is_told_and_nothing_is_missing(card: Jetson) -> None:
    found = findings(card.run("-c", WITHOUT, "doctor", "--json"))["rtx"]
    assert found.status == "none"
    assert found.text.startswith("not installed; judges and builds engines here")
    assert found.hint.startswith("pip install ")
    needed = card.run("-c", WITHOUT, "doctor", "--json", "--need", "rtx")
    assert (needed.returncode, findings(needed)["rtx"].status) == (4, "missing")


def test_a_jetson_is_not_told_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    open_library.cache_clear()
    for name in ("tensorrt_rtx_bindings", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    assert [found.status for found in rtx(jetson=False)] == ["none"]
    assert list(rtx(jetson=True)) == []


def test_a_library_that_ends_its_process_does_not_end_the_doctor(tmp_path: Path) -> None:
    package = tmp_path / "tensorrt_rtx_bindings"
    package.mkdir()
    (package / "__init__.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGBUS)")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    run = subprocess.run(
        [sys.executable, *EDGE, "doctor", "--json"], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": path, "DISPLAY": ""}, check=True,
    )  # fmt: skip
    found = findings(run)["rtx"]
    assert found.status == "missing"
    assert found.text.endswith("damaged (loading it ends the process by SIGBUS)")
    assert found.hint.startswith("pip install --force-reinstall")


def test_a_jetson_is_known_by_its_release_or_by_its_board(tmp_path: Path) -> None:
    assert l4t_of(tmp_path) is None
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_text("NVIDIA Jetson AGX Thor Developer Kit\0")
    assert l4t_of(tmp_path) == "unknown"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R38 (release), REVISION: 2.0, GCID: 1\n")
    assert l4t_of(tmp_path) == "38.2.0"
