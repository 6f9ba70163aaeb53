"""Checks the grid of tiles as settings and options write it; where tiles lie is told elsewhere."""

from __future__ import annotations

from typing import Any

import click
from pydantic_core import PydanticCustomError

from edge.vision.tiles.grid import read_tiles
from engines.errors import SettingsError


def check_grid(text: str) -> str:
    """``text``, where it is columns and rows of tiles.

    Raises:
        PydanticCustomError: what is wanted instead.
    """
    try:
        read_tiles(text)
    except ValueError as exc:
        raise PydanticCustomError("grid", "{words}", {"words": str(exc)}) from exc
    return text


def _check_option(_context: Any, _option: Any, text: str) -> str:
    """The same for the option of a command, before anything is opened.

    Raises:
        SettingsError: it is no grid.
    """
    try:
        read_tiles(text)
    except ValueError as exc:
        raise SettingsError(f'--tiles: got "{text}", wanted {exc}') from exc
    return text


TILES = click.option(
    "--tiles",
    metavar="CxR",
    default="1x1",
    show_default=True,
    callback=_check_option,
    help="Columns and rows of tiles that each frame is also seen in.",
)
"""For commands that have no settings."""
