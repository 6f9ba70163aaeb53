"""``edge doctor``: prints what the machine can do; fails only for what ``--need`` names."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

from edge.say import answer_styled, shown

if TYPE_CHECKING:
    from edge.machine.finding import Finding

MARKS = {"ok": ("ok", "green"), "missing": ("MISSING", "red"), "none": ("-", "yellow")}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON list of findings, for programs.")
@click.option(
    "--need",
    multiple=True,
    metavar="NAME",
    help="Exit with 4 unless this one ('tensorrt', 'built engine', ...) is ok; repeatable.",
)
def doctor(as_json: bool, need: tuple[str, ...]) -> None:
    """Say what this machine can do, what is missing and how to get it."""
    from edge.machine.doctor import examine

    if not all(need):
        raise click.BadParameter("got an empty name, wanted one of the list", param_hint="--need")
    findings = needing(examine(), dict.fromkeys(need))
    if as_json:
        from edge.stdout import print_whole

        print_whole(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    else:
        answer_styled(as_text(findings))
    have = {found.name for found in findings if found.status == "ok"}
    wanting = [name for name in dict.fromkeys(need) if name not in have]
    if wanting:
        from engines.errors import EngineError

        raise EngineError(f"needed and not ok here: {', '.join(wanting)}; see the list")


def needing(findings: list[Finding], need: Collection[str]) -> list[Finding]:
    """The findings with each of ``need`` missing unless it is ok.

    A name that nothing has is missing, too: a camera is unplugged, or it is mistyped.
    """
    from edge.machine.finding import Finding

    names = {found.name.lower(): found.name for found in findings}
    seen = [
        replace(found, status="missing") if found.status == "none" and found.name in need else found
        for found in findings
    ]
    for name in need:
        if name not in names.values():
            close = get_close_matches(name.lower(), names, n=1)
            meant = "".join(f"; did you mean {names[c]}?" for c in close)
            seen.append(Finding("needed", name, "missing", f"nothing here has that name{meant}"))
    return seen


def as_text(findings: list[Finding]) -> str:
    """The findings as a page: a heading a section, a line a finding, hints below them."""
    lines: list[str] = []
    section = ""
    for found in findings:
        if found.section != section:
            section = found.section
            lines += ["", click.style(section, bold=True)]
        mark, colour = MARKS[found.status]
        lines.append(
            f"  {click.style(f'{mark:<8}', fg=colour)} {shown(found.name):<14} {shown(found.text)}"
        )
        if found.status == "missing" and found.hint:
            lines.append(f"{'':<11}{'':<14} to get it: {shown(found.hint)}")
    wanting = sum(found.status == "missing" for found in findings)
    lines += ["", "Nothing is missing." if not wanting else f"{wanting} missing, see above."]
    return "\n".join(lines).lstrip("\n")
