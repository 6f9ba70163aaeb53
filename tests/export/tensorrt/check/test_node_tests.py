"""NVIDIA's parser and builder against the table, over the one-node graphs of ONNX's own tests.

``node_tests.json`` lists, by its reason, every graph on which they disagree. Where the table takes
what NVIDIA refuses the reason is NVIDIA's, in our words: an attribute, a shape or a constant, of
which the table knows nothing. Where it refuses what NVIDIA takes, it is of an older release.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from export.tensorrt.check.check import check_file
from export.tensorrt.check.operators import RELEASES, check_operators, release
from tests.export.trt_graphs import rtx_judge
from tests.rtx_here import needs_rtx

pytestmark = needs_rtx
LISTED = Path(__file__).with_name("node_tests.json")
RTX = "1.7.1.116"
"""The release that was listed: another one takes other graphs."""
Disagreements = dict[str, dict[str, list[str]]]
"""Side that refuses, reason, names."""


@cache
def cases() -> dict[str, Any]:
    """The graphs by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case import node

        return {case.name: case.model for case in node.collect_testcases(None)}


def held_against(names: Iterable[str], folder: Path) -> tuple[Disagreements, Counter[str]]:
    """Where they disagree on the graphs of these names, and how often each combination came."""
    judge = rtx_judge()
    latest = release(list(RELEASES)[-1])
    told: Disagreements = {"NVIDIA": {}, "table": {}}
    counts: Counter[str] = Counter()
    for name in names:
        path = folder / "a.onnx"
        path.write_bytes(cases()[name].SerializeToString())
        theirs = check_file(path, judge=judge, release=None).errors
        ours = [f for f in check_operators(cases()[name], latest) if f.level == "error"]
        counts[f"{'refused' if ours else 'taken'} by the table, "
               f"{'refused' if theirs else 'taken'} by NVIDIA"] += 1  # fmt: skip
        if bool(theirs) != bool(ours):
            worst = (theirs or ours)[0]
            reason = f"{worst.operator}: {worst.problem}" if worst.operator else worst.problem
            side = "NVIDIA" if theirs else "table"
            told[side].setdefault(reason, []).append(name)
    return told, counts


def listed(names: Iterable[str]) -> Disagreements:
    """What is listed of these names."""
    held: Disagreements = json.loads(LISTED.read_text(encoding="utf-8"))
    wanted = set(names)
    return {
        side: {r: kept for r, all_ in reasons.items() if (kept := [n for n in all_ if n in wanted])}
        for side, reasons in held.items()
    }


def flat(told: Disagreements) -> set[tuple[str, str, str]]:
    """One entry for each graph, for a readable difference."""
    return {(n, side, r) for side, reasons in told.items() for r in reasons for n in reasons[r]}


def test_they_disagree_as_listed_on_every_twentieth_graph(tmp_path: Path) -> None:
    names = list(cases())[::20]
    told, _ = held_against(names, tmp_path)
    assert flat(told) == flat(listed(names))


@pytest.mark.slow
def test_they_disagree_as_listed_on_every_graph(tmp_path: Path) -> None:
    told, counts = held_against(cases(), tmp_path)
    assert flat(told) == flat(listed(cases()))
    assert counts == {
        "taken by the table, taken by NVIDIA": 820,
        "refused by the table, refused by NVIDIA": 576,
        "taken by the table, refused by NVIDIA": 471,
        "refused by the table, taken by NVIDIA": 17,
    }


def test_the_table_refuses_what_nvidia_takes_for_the_types_of_a_later_release_alone() -> None:
    reasons = listed(cases())["table"]
    assert all("computes with INT8" in r or "computes with UINT8" in r for r in reasons)
    assert sum(map(len, reasons.values())) == 17


def test_the_list_is_of_the_release_that_is_installed() -> None:
    assert rtx_judge().trt.version == RTX, "hold it against the new one and list it anew"
