"""``edge doctor``: prints what the machine can do; it finds nothing out itself.

It fails only where it was told what is needed here and that is missing.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from difflib import get_close_matches
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edge.finding import Finding

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
    from edge.doctor import examine

    findings = examine()
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        click.echo(as_text(findings, needed=need))
    have = {found.name for found in findings if found.status == "ok"}
    wanting = [name for name in need if name not in have]
    if wanting:
        from engines.errors import EngineError

        names = [found.name for found in findings]
        what = ", ".join(name + _meant(name, names) for name in wanting)
        raise EngineError(f"needed and not ok here: {what}; see the list")


def _meant(name: str, names: list[str]) -> str:
    """What to say of a name that is not in the list; a camera may just be unplugged."""
    if name in names:
        return ""
    close = get_close_matches(name.lower(), {n.lower(): n for n in names}, n=1)
    like = next((n for n in names if close and n.lower() == close[0]), None)
    return f" (not in the list{f'; did you mean {like}?' if like else ''})"


def as_text(findings: list[Finding], *, needed: Collection[str] = ()) -> str:
    """The findings as a page: a heading a section, a line a finding, hints below them.

    What was needed and is not there, though it need not be in general, is missing as well.
    """
    lines: list[str] = []
    section = ""
    for found in findings:
        if found.section != section:
            section = found.section
            lines += ["", click.style(section, bold=True)]
        lacking = found.status == "none" and found.name in needed
        mark, colour = MARKS["missing" if lacking else found.status]
        lines.append(f"  {click.style(f'{mark:<8}', fg=colour)} {found.name:<14} {found.text}")
        if found.status == "missing" and found.hint:
            lines.append(f"{'':<11}{'':<14} to get it: {found.hint}")
    wanting = sum(
        f.status == "missing" or (f.status == "none" and f.name in needed) for f in findings
    )
    wanting += len(set(needed) - {found.name for found in findings})
    lines += ["", "Nothing is missing." if not wanting else f"{wanting} missing, see above."]
    return "\n".join(lines).lstrip("\n")
