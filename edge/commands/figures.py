"""The file of figures that ``--json`` names: refused before the work, written after it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from edge.stdout import check_stdout, is_stdout, print_whole
from engines.errors import SettingsError, SinkError

JSON = click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write the figures; - is stdout."
)


def check_figures(
    path: Path | None,
    *,
    source: str,
    models: Sequence[Path] = (),
    others: Iterable[tuple[str, str | Path]] = (),
) -> bool:
    """Refuse a place that cannot be written or is read, and remove the figures of an earlier run.

    Returns whether it is standard output, which then holds nothing else.

    Raises:
        SettingsError: says why.
    """
    if path is None:
        return False
    if is_stdout(path):
        check_stdout("--json")
        return True
    from edge.metrics.metrics import remove_report
    from edge.settings.outputs import refuse_overwriting
    from edge.sinks.place import check_place

    try:
        check_place(path)
        refuse_overwriting([path], models=models, source=source, others=others)
    except SettingsError as exc:
        raise SettingsError(f"--json {exc}") from exc
    remove_report(path, what="--json")
    return False


def write_figures(figures: Mapping[str, Any], path: Path) -> None:
    """Write them whole.

    Raises:
        SinkError: they cannot be written.
    """
    from edge.metrics.metrics import write_report

    text = json.dumps(figures, indent=2) + "\n"
    if is_stdout(path):
        print_whole(text)
    elif not os.path.exists(path) or os.path.isfile(path):
        write_report(figures, path, what="--json")
    else:
        try:
            path.write_text(text)  # a pipe, which cannot be replaced
        except OSError as exc:
            raise SinkError(f"--json {path}: cannot be written: {exc.strerror}") from exc
