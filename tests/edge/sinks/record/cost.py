"""What recording costs a run: the same run with and without it by turns.

``python -m tests.edge.sinks.record.cost [FRAMES [ROUNDS]]`` prints the table of BENCHMARKS.md.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.edge.door import edge

FPS = 25
"""What a second of the synthetic street is taken for."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run: CPU of all its threads, the main thread's time, and the bytes of a second."""

    cpu_ms: float
    sinks_ms: float
    bytes_s: float


def run(size: str, sink: str, *, overlay: bool, frames: int) -> Cost:
    """One run that waits for every frame."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        text = f'[source]\nuri = "synthetic:{size}@{FPS}"\npolicy = "wait"\n[record]\n'
        (folder / "run.toml").write_text(text + f"overlay = {str(overlay).lower()}\n")
        options = ["--frames", str(frames), "--sink", sink, "--metrics", "m.json"]
        done = edge("run", "run.toml", *options, cwd=folder)
        assert done.returncode == 0, done.stderr
        report = json.loads((folder / "m.json").read_text())
        stage = report["stages"]["sinks"]
        written = sum(path.stat().st_size for path in folder.glob("films/*"))
        return Cost(report["cpu_ms_per_frame"], stage["p50_ms"], written / frames * FPS)


def main(frames: int = 250, rounds: int = 3) -> None:
    """Print the table."""
    kinds = {
        "null": ("null", False),
        "record:DIR": ("record:films", False),
        "record:DIR, overlay = true": ("record:films", True),
    }
    print("| picture | sink | CPU a frame | of null | the run waits | a second of film |")
    print("|---|---|---|---|---|---|")
    for size in ("960x540", "1280x720"):
        costs: dict[str, list[Cost]] = {name: [] for name in kinds}
        for _ in range(rounds):
            for name, (sink, overlay) in kinds.items():
                costs[name].append(run(size, sink, overlay=overlay, frames=frames))
        usual = statistics.median(cost.cpu_ms for cost in costs["null"])
        for name, found in costs.items():
            cpu_ms = statistics.median(cost.cpu_ms for cost in found)
            sinks_ms = statistics.median(cost.sinks_ms for cost in found)
            film = f"{found[0].bytes_s / 1e3:.0f} kB" if found[0].bytes_s else "-"
            print(
                f"| {size} | {name} | {cpu_ms:.1f} ms | {cpu_ms / usual:.2f} | {sinks_ms:.3f} ms | "
                f"{film} |",
                flush=True,
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
