"""A machine with a GPU, as far as tests can have one: the real PyCUDA on the host driver.

TensorRT is a double that computes with ONNX Runtime: what runs says nothing of TensorRT itself.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engines.tensorrt.library import Flavour
from tests.cuda_host.build import HostCuda

ROOT = Path(__file__).resolve().parent.parent.parent
DOUBLE = ROOT / "tests" / "cuda_host" / "tensorrt_double"
DEADLINE_S = 300
ON_CPU = ("openvino", "onnxruntime")
"""What auto takes without a device: the faster one."""
EDGE = ["-c", "from edge.start import main; main()"]

MAKE = """
import hashlib, sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from engines.cuda.context import Device, open_device, system_name
from engines.tensorrt.identity import Identity, Sidecar, sidecar_path, sidecar_text
from engines.model_file import read_spec, sha256_of
from engines.tensorrt.library import open_library
from export.tensorrt.build.builder import BuildOptions, build_plan
from export.tensorrt.build.targets import parse_targets
onnx, engine, flavour = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
trt = open_library(flavour)
targets = parse_targets("86,89", trt) if flavour == "rtx" else ()
options = BuildOptions(dla_core=int(sys.argv[4]) if sys.argv[4:] else None, targets=targets)
plan, _ = build_plan(trt, onnx, options, timings=None, say=lambda text: None)
engine.write_bytes(plan)
if flavour == "rtx":
    facts = Device("", "", 0, system_name(), trt.version)
else:
    device = open_device()
    facts = device.facts(trt.version)
    device.close()
sha = hashlib.sha256(plan).hexdigest(), sha256_of(onnx), sha256_of(onnx)
identity = Identity(*sha, facts, options.recorded(), "as it is", onnx.name, flavour, targets)
spec = replace(read_spec(onnx), precision="fp16")
sidecar_path(engine).write_text(sidecar_text(Sidecar(spec, identity, {})))
"""
"""Builds a plan from a file as it is, and says that it is FP16: no proof, no publishing."""
RTX_CARD: dict[str, Any] = {
    "name": "NVIDIA GeForce RTX 4090",
    "cc": "8.9",
    "sms": 128,
    "integrated": 0,
}
"""The host driver as a card that TensorRT for RTX is for."""


@dataclass(frozen=True, slots=True)
class Jetson:
    """How programs run on that machine; settings are those of the host driver."""

    host: HostCuda
    version: str = "10.3.0"
    card: Mapping[str, object] = field(default_factory=dict)
    """Settings of the host driver on every run, that of an Orin where there are none."""

    def environment(self, **settings: object) -> dict[str, str]:
        """Variables that give a program the driver, PyCUDA and TensorRT."""
        kept = self.host.environment(**{**self.card, **settings})
        return kept | {
            "PYTHONPATH": f"{DOUBLE}:{kept['PYTHONPATH']}",
            "OUTRIDER_DOUBLE_VERSION": self.version,
            "DISPLAY": "",
        }

    def run(
        self, *arguments: str | Path, env: dict[str, str] | None = None, **settings: object
    ) -> subprocess.CompletedProcess[str]:
        """A Python program on it, to its end; ``env`` is added."""
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=self.environment(**settings) | (env or {}),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )

    def edge(
        self, *arguments: str | Path, env: dict[str, str] | None = None, **settings: object
    ) -> subprocess.CompletedProcess[str]:
        """``edge`` with arguments."""
        return self.run(*EDGE, *arguments, env=env, **settings)

    def build(self, onnx: Path, engine: Path, flavour: Flavour = "tensorrt") -> Path:
        """A plan of ``onnx`` with its sidecar at ``engine``."""
        made = self.run("-c", MAKE, onnx, engine, flavour)
        assert made.returncode == 0, made.stderr
        return engine

    def with_tensorrt(self, version: str) -> Jetson:
        """The same machine after another TensorRT was installed."""
        return replace(self, version=version)
