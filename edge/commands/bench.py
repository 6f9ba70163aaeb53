"""``edge bench``: runs the measurements of edge.machine.bench and prints them as one table."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import statistics
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge.commands.figures import JSON, check_figures, write_figures
from edge.credential import first_text
from edge.say import answer
from edge.settings.grid import TILES
from engines.errors import SettingsError

if TYPE_CHECKING:
    from edge.machine.bench import Bench
    from edge.machine.bench_parts import Cost

OVERLOAD = 2.0
"""Frames come this many times faster than the machine infers."""
OVERLOAD_FRAMES = 2_000
BESIDE_TIMEOUT_S = 600


@click.command()
@click.option("--source", default="synthetic:960x540@30", show_default=True)
@click.option("--source-file", metavar="FILE", help="File whose first line is the source.")
@click.option("--model", type=click.Path(path_type=Path), help="Default: the shipped network.")
@click.option("--engine", default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Threads of the engine.")
@click.option(
    "--slots",
    type=click.IntRange(1, 4),
    default=1,
    show_default=True,
    help="Frames that the pipeline keeps in the engine at once.",
)
@TILES
@click.option("--frames", type=click.IntRange(20), default=300, show_default=True)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Another ONNX file to time bare in the same run; may be given several times.",
)
@click.option(
    "--beside",
    metavar="COMMAND",
    help="Another program to run in turn with the pipeline; it prints 'N ms/frame'.",
)
@click.option("--soak", type=click.IntRange(2000), help="Watch memory over so many frames, too.")
@JSON
def bench(
    source: str, source_file: str | None, model: Path | None, engine: str, threads: int | None,
    slots: int, tiles: str, frames: int, peers: tuple[Path, ...], beside: str | None,
    soak: int | None, json_file: Path | None,
) -> None:  # fmt: skip
    """Measure stages, the bare engine and the whole pipeline on this machine."""
    from edge.settings.settings import SHIPPED_MODEL

    model = model or SHIPPED_MODEL
    if source_file is not None:
        source = first_text(source_file, key="--source-file", what="a source")
    # Mistakes show before the minutes of measuring.
    program = None if beside is None else _program(beside)
    to_stdout = check_figures(json_file, source=source, models=[model, *peers])

    from edge.machine.bench import Bench

    b = Bench(source, model, engine, threads, slots, frames, tiles)
    with contextlib.redirect_stdout(sys.stderr) if to_stdout else contextlib.nullcontext():
        figures = _measure(b, peers=peers, program=program, soak_frames=soak)
    if json_file is not None:
        write_figures(figures, json_file)


def _measure(
    b: Bench, *, peers: tuple[Path, ...], program: list[str] | None, soak_frames: int | None
) -> dict[str, Any]:
    """All figures, each printed as it comes."""
    import cv2

    from edge.machine.bench import machine, scheduling_bound_ms, soak
    from edge.proven.adopt_cache import runnable
    from edge.proven.fastest import fastest
    from engines.redact import redact

    file = runnable(b.model, b.source)
    cv2.setNumThreads(1)  # as the app does
    choice = fastest(
        file, b.engine, b.source, named=b.model, slots=b.slots, threads=b.threads, anew=True
    )
    if choice.opened is not None:
        choice.opened.close()
    b = replace(b, model=choice.file.path, engine=choice.engine, plain=file.path)
    shown = redact(b.source)
    figures: dict[str, Any] = {"machine": machine(), "model": str(b.model), "source": shown}
    if b.passes > 1:
        figures["tiles"] = b.tiles
    answer(f"{figures['machine']}\nmodel {b.model.name}, source {shown}\n")

    for row in choice.timed:
        name, taken = f"{row.engine} at {row.precision}, in turn", ", taken" if row.chosen else ""
        answer(f"{name:<34} {row.ms:8.2f} ms wall, {row.model}{taken}")
    figures["timed"] = [asdict(row) for row in choice.timed]
    images, reading = b.read_frames()
    _row("source, reading alone", reading)
    bare = b.bare(images, peers)
    for name, cost in bare.items():
        what = f"{name} precision" if name in ("default", "f32") else Path(name).name
        _row(f"engine, bare, {what}", cost)
    for name, cost in b.stages(images).items():
        _row(f"{name}, alone", cost)
        figures[name] = asdict(cost)
    figures["bare"] = {name: asdict(cost) for name, cost in bare.items()}
    figures["reading"] = asdict(reading)
    figures["own_cpu_ms"] = b.own_cpu(images)["cpu_ms_per_frame"]
    answer(f"\nthe app's own CPU, overlay drawn   {figures['own_cpu_ms']:8.2f} ms a frame")

    ratios, walls = [], []
    for _ in range(3):
        # bound and pipeline in turn: a machine that slows down slows both
        bound = scheduling_bound_ms(b.bare(images, ())["default"].times(b.passes), reading)
        run = b.pipeline(overlay=False)
        walls.append(1e3 / run["fps"])
        ratios.append(walls[-1] / bound)
    frame_ms, ratio = statistics.median(walls), statistics.median(ratios)
    figures["pipeline"] = {"frame_ms": frame_ms, "ratio_to_bound": ratio}
    figures["pipeline"] |= {key: run[key] for key in ("engine", "precision")}
    answer(
        f"pipeline, as fast as possible      {frame_ms:8.2f} ms a frame, "
        f"{ratio:.3f} x the bound (median of {len(ratios)})"
    )
    if program is not None:
        figures["beside"] = _beside(b, program)
    figures["camera"] = _camera(b, images, fps=30.0, frames=min(b.frames, 300))
    fps = OVERLOAD * 1e3 / (b.passes * bare["default"].wall_ms)
    figures["overload"] = _camera(b, images, fps=fps, frames=OVERLOAD_FRAMES)
    if soak_frames:
        figures["soak"] = soak(b, frames=soak_frames)
        growth_mb = figures["soak"]["growth_mb"]
        answer(f"memory over {soak_frames} frames: {growth_mb:+.2f} MB after 1,000")
    return figures


def _program(command: str) -> list[str]:
    """The words of a command whose program is there."""
    try:
        words = shlex.split(command)
    except ValueError as exc:
        raise SettingsError(f"--beside: got {command!r}, a quote in it is not closed") from exc
    if not words or shutil.which(words[0]) is None:
        raise SettingsError(f"--beside: got {command!r}, wanted a program that is installed here")
    return words


def _row(name: str, cost: Cost) -> None:
    answer(f"{name:<34} {cost.wall_ms:8.2f} ms wall {cost.cpu_ms:8.2f} ms CPU")


def _camera(b: Bench, images: Any, *, fps: float, frames: int) -> dict[str, Any]:
    """One run at camera pace; prints ages against the inference time of the same run."""
    report, ages = b.camera(images, fps=fps, frames=frames)
    infer = report["stages"]["infer"]["p50_ms"]
    age, n, half = report["frame_age_ms"], report["frames"], len(ages) // 2
    growth = statistics.median(ages[half:]) - statistics.median(ages[:half])
    over_infer = age["p99_ms"] / infer
    answer(
        f"camera pace, {fps:5.1f} fps             age p50 {age['p50_ms']:.1f} "
        f"p99 {age['p99_ms']:.1f} ms = {over_infer:.2f} x infer {infer:.1f} ms; "
        f"{n['rendered']} rendered, {n['dropped_overwritten']} dropped; later half {growth:+.2f} ms"
    )
    return {
        "fps": fps, "infer_p50_ms": infer, "age_p50_ms": age["p50_ms"], "age_p99_ms": age["p99_ms"],
        "age_p99_over_infer": over_infer, "age_growth_ms": growth, "frames": n,
    }  # fmt: skip


def _ms_a_frame(program: list[str]) -> float:
    """Run another program to its end and take the figure that it prints."""
    try:
        done = subprocess.run(
            program, capture_output=True, text=True, errors="replace", check=False,
            timeout=BESIDE_TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise SettingsError(f"--beside: {program[0]} ran longer than {exc.timeout:g} s") from exc
    except OSError as exc:
        raise SettingsError(f"--beside: {program[0]} cannot be started: {exc.strerror}") from exc
    figure = re.search(r"(\d+(?:\.\d+)?) ms/frame", done.stdout)
    if done.returncode or figure is None:
        said = " ".join((done.stderr or done.stdout).split())[-200:]
        raise SettingsError(
            f"--beside: {program[0]} ended with {done.returncode}, wanted 0 and a line with "
            f"'N ms/frame'; it said: {said or 'nothing'}"
        )
    return float(figure[1])


def _beside(b: Bench, program: list[str]) -> dict[str, float]:
    """Run the pipeline with its picture drawn, and another program, three times in turn."""
    pairs = [(1e3 / b.pipeline(overlay=True)["fps"], _ms_a_frame(program)) for _ in range(3)]
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    answer(
        f"pipeline, overlay drawn            {ours:8.2f} ms a frame; beside it "
        f"{theirs:.2f} ms (medians of 3, in turn)"
    )
    return {"ours_ms": ours, "theirs_ms": theirs}
