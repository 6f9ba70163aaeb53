"""One thing that the doctor looked at, and how it asks the machine's own commands."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "missing", "none"]
Ask = Callable[[list[str]], str | None]
"""Runs a command of the machine; None where it is not there or fails."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: 'missing' is worth getting here and ``hint`` says how; 'none' is not."""

    section: str
    name: str
    status: Status
    text: str
    hint: str = ""


def ask(command: list[str]) -> str | None:
    """What a command prints, None where it is not there or fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
