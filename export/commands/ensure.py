"""``edge-export ensure``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edge.settings.load import load_settings
from export.commands import options
from export.tensorrt.build.ensure import ensure_engines


@click.command()
@click.argument("settings", type=options.PATH)
def ensure(settings: Path) -> None:
    """Build the TensorRT engines that SETTINGS want and that are missing or do not fit.

    What the service runs before the app, at each start: at once where nothing is to be done, as on
    a machine without a GPU. An engine is built as 'edge-export build' builds it, with the options
    of the one that it replaces. Refusals exit with 4 and, in the service, are not tried again
    before the next boot.
    """
    # systemd's folder for the unit, which ends with the boot.
    notes = os.environ.get("RUNTIME_DIRECTORY")
    ensure_engines(load_settings(settings), say=options.say, notes=Path(notes) if notes else None)
