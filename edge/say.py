"""The one way to a person at the terminal: plain text without credentials; it decides no words.

Logs have their own way (``edge.logs``), and so have lines that change in place (``edge.progress``).
"""

from __future__ import annotations

import click

from edge.progress import above
from engines.redact import plain_lines, redact


def say(text: str) -> None:
    """Print one or more lines on stderr: a report, an error."""
    with above():
        click.echo(shown(text), err=True)


def answer(text: str) -> None:
    """Print one or more lines on stdout: what was asked for, for a person to read."""
    click.echo(shown(text))


def answer_styled(text: str) -> None:
    """As ``answer``, for text with click's styles, whose foreign parts went through ``shown``."""
    click.echo(text)


def shown(text: str) -> str:
    """What a person may see of a text: lines that are plain, without credentials."""
    return plain_lines(redact(text))
