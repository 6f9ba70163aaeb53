"""NVIDIA's own parser and builder, asked about a file."""

from __future__ import annotations

from pathlib import Path

from export.tensorrt.check.check import check_file
from export.tensorrt.check.judge import best_judge


def assert_parser_takes(file: Path) -> None:
    """And the table of operators for an older release; nothing is built."""
    judge, reasons = best_judge()
    assert judge is not None, reasons
    asked = judge._replace(builds=False, apart=False)
    report = check_file(file, judge=asked, release="10.3")
    assert report.taken, report.findings


def assert_builder_takes(file: Path) -> None:
    judge, reasons = best_judge()
    assert judge is not None, reasons
    report = check_file(file, judge=judge, release=None)
    assert report.taken, report.findings
