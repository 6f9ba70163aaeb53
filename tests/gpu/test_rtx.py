"""TensorRT for RTX on the card that is there: what is built for it, runs, and is proven."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from edge.settings.settings import SHIPPED_MODEL
from engines import open_engine
from engines.cuda.context import CudaDevice
from engines.tensorrt.identity import read_sidecar
from engines.tensorrt.library import open_library
from export.tensorrt.build.build import Request, build_file
from export.tensorrt.build.targets import known_targets
from tests.rtx_here import needs_rtx

pytestmark = [needs_rtx, pytest.mark.hardware]
RUNS = 200


@pytest.fixture
def engine(device: CudaDevice, tmp_path: Path) -> Path:
    """An engine of the shipped network, through the gate that runs it on this card."""
    trt = open_library("rtx")
    here = device.facts(trt.version)
    if here.compute_capability not in known_targets(trt):
        pytest.skip(
            f"{here.gpu} has compute capability {here.compute_capability}, TensorRT for RTX "
            f"{trt.version} builds for {', '.join(known_targets(trt))}"
        )
    made = tmp_path / "street.engine"
    sm = here.compute_capability.replace(".", "")
    build_file(SHIPPED_MODEL, made, request=Request(flavour="rtx", sm=sm), say=print)
    return made


def test_what_is_built_for_this_card_is_proven_on_it(engine: Path, device: CudaDevice) -> None:
    proof = read_sidecar(engine).proof
    assert proof["passed"] is True
    assert proof["on"]["gpu"] == device.facts("").gpu


def test_the_second_start_takes_what_the_first_one_compiled(
    engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Prints the two starts and a run, which BENCHMARKS.md takes up."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    outputs = []
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            opened = open_engine(engine, engine="rtx")
            image = rng.integers(0, 256, opened.inputs(0)["image"].shape, np.uint8)
            runs = []
            for _ in range(RUNS):
                opened.inputs(0)["image"][:] = image
                opened.submit(0)
                made = opened.wait(0)
                runs.append(opened.gpu_ns(0)["infer"] / 1e6)  # type: ignore[attr-defined]
            outputs.append({name: array.copy() for name, array in made.items()})
            opened.close()
            print(f"a run takes {np.median(runs):.2f} ms on the card")
            rng = np.random.default_rng(0)
    kept = list((tmp_path / "cache" / "outrider" / "rtx").glob("*.cache"))
    assert len(kept) == 1
    for name, array in outputs[0].items():
        np.testing.assert_array_equal(array, outputs[1][name])
    first, second = (r.getMessage() for r in caplog.records if "ready in" in r.getMessage())
    assert "kernels compiled for this card" in first
    assert "kernels kept from an earlier start" in second
    print(first, second, sep="\n")
