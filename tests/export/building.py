"""``edge-export`` in a process of its own, with the TensorRT double on the host driver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cuda_host.build import HostCuda

ROOT = Path(__file__).resolve().parent.parent.parent
DOUBLE = ROOT / "tests" / "cuda_host" / "tensorrt_double"
DEADLINE_S = 120
BUILDING = "a double, which builds nothing"
"""What the double says when its builder starts."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """A folder to build in; the driver's report is read after each run."""

    host: HostCuda
    folder: Path

    @property
    def built(self) -> Path:
        return self.folder / "built"

    @property
    def timings(self) -> list[Path]:
        return sorted((self.folder / "cache" / "outrider" / "timings").glob("*"))

    def run(
        self, *arguments: str | Path, before: str = "", double: dict[str, str] | None = None,
        **driver: object,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run ``edge-export``; ``double`` are settings of the double, ``driver`` of the driver."""
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        done = subprocess.run(
            self._command(arguments, before),
            env=self._environment(double, report=report, **driver),
            cwd=self.folder, capture_output=True, text=True, check=False, timeout=DEADLINE_S,
        )  # fmt: skip
        if report.exists():
            assert json.loads(report.read_text())["crimes"] == [], done.stderr
        return done

    @contextmanager
    def started(
        self, *arguments: str | Path, double: dict[str, str]
    ) -> Iterator[subprocess.Popen[str]]:
        """A run that is left at work; killed at the end where it still is."""
        with subprocess.Popen(
            self._command(arguments, ""), env=self._environment(double), cwd=self.folder,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()

    def left(self) -> list[str]:
        """Names of everything in the folder of built engines."""
        return sorted(path.name for path in self.built.iterdir()) if self.built.exists() else []

    def _command(self, arguments: tuple[str | Path, ...], before: str) -> list[str]:
        code = f"{before}\nfrom export.cli import main\nmain()"
        return [sys.executable, "-c", code, *map(str, arguments)]

    def _environment(self, double: dict[str, str] | None, **driver: object) -> dict[str, str]:
        made = self.host.environment(**driver)
        return made | {
            "PYTHONPATH": os.pathsep.join([str(DOUBLE), made["PYTHONPATH"]]),
            "OUTRIDER_BUILT": str(self.built),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            **{f"OUTRIDER_DOUBLE_{k}": v for k, v in (double or {}).items()},
        }


def until(process: subprocess.Popen[str], text: str) -> None:
    """Read its stderr up to a line with ``text``."""
    assert process.stderr is not None
    seen = []
    for line in process.stderr:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} was not said: {''.join(seen)}")


def sidecar(engine: Path) -> dict[str, Any]:
    return dict(json.loads(engine.with_name(f"{engine.name}.json").read_text()))
