"""Metrics: rates and percentiles that can be checked by hand, and their file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.metrics.ledger import Counts
from edge.metrics.metrics import (
    STAGES,
    Metrics,
    Rendered,
    check_writable,
    peak_rss_bytes,
    remove_report,
    write_report,
)
from edge.metrics.table import frame_time_table
from engines.errors import SettingsError, SinkError
from engines.model_file import write_atomically

NO_FRAMES = Counts(0, 0, 0, 0, 0, 0, 0)
MS = 1_000_000


def rendered(at_ms: int, *, cpu_ms: int = 0, detections: int = 0) -> Rendered:
    stages = {name: 2 * MS for name in STAGES if name != "overlay"}
    return Rendered(stages, 30 * MS, detections, at_ms * MS, cpu_ms * MS)


def test_rate_and_cpu_count_the_intervals_from_first_to_last_frame() -> None:
    metrics = Metrics()
    # Frames end at 1000, 1100 and 1250 ms: 2 intervals in 0.25 s are 8 fps; 30 ms CPU are 15 each.
    metrics.record(rendered(1000, cpu_ms=500, detections=1))
    metrics.record(rendered(1100, cpu_ms=510, detections=0))
    metrics.record(rendered(1250, cpu_ms=530, detections=4))
    counts = Counts(5, 3, 1, 1, 0, 0, 0, source_gaps=2)
    report = metrics.report(counts, engine="openvino", precision="bf16", model="street.onnx")
    assert (report["fps"], report["seconds"], report["cpu_ms_per_frame"]) == (8.0, 0.25, 15.0)
    assert report["detections_total"] == 5
    assert report["frames"] == {
        "captured": 5,
        "rendered": 3,
        "dropped_overwritten": 1,
        "dropped_stale": 1,
        "failed": 0,
        "discarded_at_stop": 0,
        "in_flight": 0,
        "source_gaps": 2,
    }
    assert tuple(report["stages"]) == STAGES
    assert report["stages"]["overlay"]["count"] == 0
    assert report["stages"]["infer"] == {"count": 3} | dict.fromkeys(
        ("mean_ms", "p50_ms", "p90_ms", "p99_ms", "max_ms"), 2.0
    )
    assert report["frame_age_ms"]["p99_ms"] == 30.0
    assert (report["engine"], report["precision"], report["model"]) == (
        "openvino",
        "bf16",
        "street.onnx",
    )
    assert metrics.live_fps == 8.0


@pytest.mark.parametrize("frames", [0, 1])
def test_without_two_frames_there_is_no_rate(frames: int) -> None:
    metrics = Metrics()
    for _ in range(frames):
        metrics.record(rendered(1000))
    report = metrics.report(NO_FRAMES, engine=None, precision=None, model="m.onnx")
    assert (report["fps"], report["seconds"], report["cpu_ms_per_frame"]) == (None, 0.0, None)
    assert report["stages"]["infer"]["count"] == frames
    assert metrics.live_fps is None


def test_the_live_rate_forgets_old_frames() -> None:
    metrics = Metrics()
    for i in range(50):
        metrics.record(rendered(i * 1000))  # 1 fps at first
    for i in range(31):
        metrics.record(rendered(50_000 + i * 10))  # then 100
    assert metrics.live_fps == 100.0


def test_peak_memory_is_this_process_and_not_its_parent() -> None:
    code = "from edge.metrics.metrics import peak_rss_bytes; print(peak_rss_bytes())"
    ballast = np.ones(400_000_000, np.uint8)  # this process is larger than the child ever gets
    child = int(
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    )
    assert 5e6 < child < ballast.nbytes < peak_rss_bytes()


def test_the_report_is_written_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text("old")
    report = Metrics().report(NO_FRAMES, engine=None, precision=None, model="m.onnx")
    write_report(report, path)
    assert json.loads(path.read_text()) == report
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_report_is_open_to_whom_the_umask_lets_in(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_report({"fps": 1.0}, tmp_path / "metrics.json")
        write_atomically(b"x", tmp_path / "a.onnx")
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {0o666 & ~umask}


def test_a_report_that_cannot_be_written_says_so_and_leaves_no_scrap(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.mkdir()  # os.replace onto a folder fails after the temporary file was written
    with pytest.raises(SinkError, match=r"metrics .*metrics\.json: cannot be written"):
        write_report({"fps": 1.0}, path)
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_a_place_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    check_writable(tmp_path / "metrics.json")
    with pytest.raises(SettingsError, match="no folder"):
        check_writable(tmp_path / "absent" / "metrics.json")
    with pytest.raises(SettingsError, match="cannot be written"):
        check_writable(tmp_path)
    with pytest.raises(SettingsError, match="cannot be written: File name too long"):
        check_writable(tmp_path / ("x" * 300))
    check_writable(tmp_path / ("x" * 255))
    write_report({}, tmp_path / ("x" * 255))


def test_the_report_of_an_earlier_run_is_removed_but_no_pipe(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("{}")
    os.mkfifo(tmp_path / "pipe")
    for name in ("old.json", "pipe", "none.json"):
        remove_report(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_the_table_is_aligned_and_balances_in_words() -> None:
    metrics = Metrics()
    metrics.record(rendered(1000))
    report = metrics.report(
        Counts(4, 1, 2, 1, 0, 0, 0), engine="openvino", precision="bf16", model="street.onnx",
        opened_s=0.25,
    )  # fmt: skip
    lines = frame_time_table(report).splitlines()
    head, rows = lines[0], lines[1 : len(STAGES) + 2]
    assert [row.split()[0] for row in rows] == [*STAGES, "frame_age"]
    assert len({len(row) for row in rows} | {len(head.removesuffix("  ms"))}) == 1
    assert lines[3].split() == ["infer", "1", *["2.00"] * 5]
    assert lines[5].split() == ["overlay", "0", *["-"] * 5]
    assert "4 captured = 1 rendered + 2 overwritten + 1 stale + 0 failed" in lines[-3]
    assert lines[-1] == "model: street.onnx on openvino at bf16, opened in 0.25 s"


def test_the_delay_of_a_source_in_bursts_is_told_below_the_age() -> None:
    metrics = Metrics()
    for delay_ms in (0, 2000):
        metrics.record(replace(rendered(1000), delay_ns=delay_ms * MS))
    report = metrics.report(NO_FRAMES, engine=None, precision=None, model="street.onnx")
    assert report["source_delay_ms"]["mean_ms"] == 1000
    lines = frame_time_table(report).splitlines()
    assert lines[len(STAGES) + 2].split()[:3] == ["source_delay", "2", "1000.00"]


def test_times_of_a_gpu_stand_apart_from_wall_times() -> None:
    metrics = Metrics()
    wall = dict.fromkeys(STAGES, 2 * MS)
    for gpu_ms in (3, 5):
        stages = {**wall, "gpu_upload": MS, "gpu_infer": gpu_ms * MS}
        metrics.record(Rendered(stages, 30 * MS, 0, gpu_ms * MS, 0))
    counts = Counts(2, 2, 0, 0, 0, 0, 0)
    report = metrics.report(counts, engine="tensorrt", precision="f16", model="street.onnx")
    assert tuple(report["stages"]) == STAGES
    assert {name: times["mean_ms"] for name, times in report["gpu"].items()} == {
        "upload": 1.0,
        "infer": 4.0,  # of 3 and 5
    }
    lines = frame_time_table(report).splitlines()
    assert [line.split()[:3] for line in lines if line.startswith("gpu")] == [
        ["gpu", "upload", "2"],
        ["gpu", "infer", "2"],
    ]
    assert len({len(line) for line in lines[1 : len(STAGES) + 4]}) == 1


def test_without_a_gpu_the_report_has_no_times_of_one() -> None:
    metrics = Metrics()
    metrics.record(rendered(1000))
    counts = Counts(1, 1, 0, 0, 0, 0, 0)
    report = metrics.report(counts, engine="openvino", precision="bf16", model="street.onnx")
    assert "gpu" not in report
