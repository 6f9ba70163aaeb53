"""A machine with a GPU, as far as tests can have one: the real PyCUDA on the host driver.

TensorRT is a double that computes with ONNX Runtime: what runs says nothing of TensorRT itself.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from tests.cuda_host.build import HostCuda

ROOT = Path(__file__).resolve().parent.parent.parent
DOUBLE = ROOT / "tests" / "cuda_host" / "tensorrt_double"
DEADLINE_S = 300
EDGE = ["-c", "from edge.start import main; main()"]

MAKE = """
import hashlib, sys
from dataclasses import replace
from pathlib import Path
import tensorrt as trt
from engines.cuda.context import open_device
from engines.tensorrt.identity import Identity, Sidecar, sidecar_path, sidecar_text
from engines.model_file import read_spec, sha256_of
from engines.tensorrt.library import open_library
from export.tensorrt.build.builder import BuildOptions, build_plan
onnx, engine = map(Path, sys.argv[1:3])
options = BuildOptions(dla_core=int(sys.argv[3]) if sys.argv[3:] else None)
plan, _ = build_plan(open_library("tensorrt"), onnx, options, timings=None, say=lambda text: None)
engine.write_bytes(plan)
device = open_device()
facts = device.facts(trt.__version__)
device.close()
sha = hashlib.sha256(plan).hexdigest(), sha256_of(onnx), sha256_of(onnx)
identity = Identity(*sha, facts, options.recorded(), "as it is", onnx.name)
spec = replace(read_spec(onnx), precision="fp16")
sidecar_path(engine).write_text(sidecar_text(Sidecar(spec, identity, {})))
"""
"""Builds a plan from a file as it is, and says that it is FP16: no proof, no publishing."""


@dataclass(frozen=True, slots=True)
class Jetson:
    """How programs run on that machine; settings are those of the host driver."""

    host: HostCuda
    version: str = "10.3.0"

    def environment(self, **settings: object) -> dict[str, str]:
        """Variables that give a program the driver, PyCUDA and TensorRT."""
        kept = self.host.environment(**settings)
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

    def build(self, onnx: Path, engine: Path) -> Path:
        """A plan of ``onnx`` with its sidecar at ``engine``."""
        made = self.run("-c", MAKE, onnx, engine)
        assert made.returncode == 0, made.stderr
        return engine

    def with_tensorrt(self, version: str) -> Jetson:
        """The same machine after another TensorRT was installed."""
        return replace(self, version=version)
