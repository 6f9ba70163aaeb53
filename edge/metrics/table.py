"""The frame-time table as plain aligned text, from a metrics report; it measures nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge.metrics.histogram import TIMES
from edge.metrics.metrics import STAGES


def frame_time_table(report: Mapping[str, Any]) -> str:
    """Stages by count and milliseconds, then the ledger, the rates and the verdict, one a line."""
    head = f"{'stage':<14}{'count':>8}" + "".join(f"{name[:-3]:>10}" for name in TIMES) + "  ms"
    rows = [_row(name, report["stages"][name]) for name in STAGES]
    rows += [_row(f"gpu {name}", times) for name, times in report.get("gpu", {}).items()]
    rows.append(_row("frame_age", report["frame_age_ms"]))
    if report["source_delay_ms"]["max_ms"]:
        rows.append(_row("source_delay", report["source_delay_ms"]))
    n = report["frames"]
    ledger = (
        f"frames: {n['captured']} captured = {n['rendered']} rendered"
        f" + {n['dropped_overwritten']} overwritten + {n['dropped_stale']} stale"
        f" + {n['failed']} failed + {n['discarded_at_stop']} discarded at stop"
        f" + {n['in_flight']} in flight; {n['source_gaps']} lost by the source"
    )
    rates = (
        f"rate: {_number(report['fps'], 2)} fps over {report['seconds']:.2f} s, "
        f"{_number(report['cpu_ms_per_frame'], 2)} ms CPU a frame, "
        f"{report['detections_total']} boxes, peak memory {report['peak_rss_mb']:.0f} MB"
    )
    engine = f"model: {report['model']} on {report['engine']} at {report['precision']}"
    if tiles := report.get("tiles"):
        engine += f", in {tiles} tiles and the whole frame"
    if report["opened_s"] is not None:
        engine += f", opened in {_number(report['opened_s'], 2)} s"
    lines = [head, *rows, ledger, rates, engine]
    if signal := report.get("signal"):
        lines.append(
            f"signal: {signal['state']} at the end, {signal['without_s']:.1f} s without, "
            f"{signal['stalls']} stalls, {signal['reconnects']} reconnects in "
            f"{signal['attempts']} attempts"
        )
    if judged := report.get("verdict"):
        lines += [f"verdict: {judged['words']}", *(f"- {help}" for help in judged["helps"])]
    return "\n".join(lines)


def _row(name: str, times: Mapping[str, Any]) -> str:
    values = "".join(f"{_number(times[column], 2):>10}" for column in TIMES)
    return f"{name:<14}{times['count']:>8}{values}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
