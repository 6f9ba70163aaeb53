"""``edge-export camvid-boxes``."""

from __future__ import annotations

from pathlib import Path

import click

from export.commands import options
from export.data.camvid_boxes import write_boxes


@click.command()
@click.argument("root", type=options.PATH)
def camvid_boxes(root: Path) -> None:
    """Write boxes_train.json, boxes_val.json and boxes_test.json where ROOT has none."""
    write_boxes(root, say=options.say)
