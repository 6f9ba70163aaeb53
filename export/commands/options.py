"""Options that several commands share, and ``say`` for the lines of a report."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edge import say as to_terminal
from engines.errors import SettingsError
from engines.redact import plain

PATH = click.Path(path_type=Path)
PATH_OR_DASH = click.Path(path_type=Path, allow_dash=True)
Command = TypeVar("Command", bound=Callable[..., Any])


class Finite(click.FloatRange):
    """A range without nan, which every comparison would pass, and without infinity."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the option's text."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def say(line: str) -> None:
    """Print one line of a report on stderr, even where a name in it has the end of a line."""
    to_terminal.say(plain(line))


def parse_size(text: str, *, example: str) -> tuple[int, int]:
    """'384x640' → (384, 640), height first.

    Raises:
        SettingsError: the text of ``--size`` is no such pair.
    """
    try:
        height, width = (int(n) for n in text.lower().split("x"))
    except ValueError:
        raise SettingsError(f"--size {text}: wanted HxW, such as {example}.") from None
    return height, width


def output(help: str) -> Callable[[Command], Command]:
    """``-o``: the file to write."""
    return click.option("-o", "--output", type=PATH, help=help)


def frames(use: str) -> Callable[[Command], Command]:
    """``--frames``: a source of frames; ``use`` says in the help what they are for."""
    text = f"{use}: anything that 'edge run --source' takes; else the synthetic street."
    return click.option("--frames", metavar="SOURCE", help=text)


def fp16_proof(*, use: str, iou: float, box: str) -> Callable[[Command], Command]:
    """``--frames``, ``--keep`` and ``--iou`` of what converts to FP16 and proves it.

    ``iou`` is the default, ``box`` says in the help which boxes it is asked of.
    """
    options = (
        frames(use),
        click.option(
            "--keep", multiple=True, metavar="NODE", help="Leave this node in FP32; repeatable."
        ),
        click.option(
            "--iou",
            type=Finite(0, 1),
            default=iou,
            show_default=True,
            help=f"Least IoU of {box} with its partner in FP32.",
        ),
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add
