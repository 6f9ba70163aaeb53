"""One thing that speaks against a file, and many of them as a short table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

STANDARD = "export the model with standard operators; the project loads no plugin"
_OTHERWISE = "export the model without it, or leave its part of the work to the host"
_QUANTISED = (
    "take the FP32 model that this one was quantised from, and edge-export fp16; else quantise "
    "weights and activations alone, to int8 with zero points of 0"
)
_NAMED = 3
"""Nodes with the same fault that the terminal names; ``--json`` names all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong or doubtful with one node, input or output."""

    level: Literal["error", "warning"]
    rule: str
    """Who says so: 'parser', 'builder', or what of the table: 'operator', 'type' and so on."""
    node: str
    """Its name, ``input NAME``, or ``the file``."""
    operator: str
    problem: str
    way_out: str
    said: str = ""
    """NVIDIA's own text."""


def usual_way_out(operator: str) -> str:
    """What to do without an operator."""
    quantised = re.search("(?i)quantize|integer|qlinear", operator)
    return _QUANTISED if quantised else _OTHERWISE


def table(findings: Iterable[Finding]) -> Iterator[str]:
    """Lines for the terminal: nodes of one operator with one fault are told once."""
    groups: dict[tuple[str, ...], dict[str, None]] = {}
    for f in findings:
        key = (f.level, f.operator, f.problem, f.way_out)
        groups.setdefault(key, {})[f.node] = None
    for (level, operator, problem, way_out), nodes in groups.items():
        names = list(nodes)
        who = ", ".join(names[:_NAMED])
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield f"{level:<13}{f'{len(names)} × {operator}' if operator else who + more}: {problem}"
        if operator:
            yield f"{'':<13}{who}{more}"
        yield f"{'':<13}way out: {way_out}"
