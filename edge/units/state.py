"""How an installed instance is, in words: what systemd knows of it, and how it ended last."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edge.units.needs import drop_in
from edge.units.units import OWN_DROP_INS, SETTINGS, SYSTEM, Place, command, needs_here, unit_of
from engines.errors import OutriderError, SettingsError

EXITS = {
    0: "ended in order",
    2: "settings or usage refused (2)",
    3: "the source failed (3)",
    4: "a model or an engine was refused (4)",
    5: "failed while running (5)",
    6: "the device was lost or out of memory (6)",
    # systemd's own, before the app begins: systemd.exec(5).
    200: f"its folder /var/lib/outrider is not there (200): sudo {command('install')} makes it",
    203: "the app is not where its unit says (203): is /opt/outrider/current there?",
    216: f"a group of its user does not exist (216): sudo {command('install')} makes it",
    217: f"its user does not exist (217): sudo {command('install')} makes it",
    226: "its sandbox cannot be made (226): is each folder of recordings there?",
    243: "a credential cannot be read (243): is it in /etc/outrider/credentials?",
}
RESULTS = {
    "watchdog": "the watchdog bit: a stage made no progress for WatchdogSec",
    "timeout": "it took too long to become ready or to stop",
    "oom-kill": "the system ran out of memory",
    "start-limit-hit": "it failed too often too fast and was given up; after a look at the logs: "
    "systemctl reset-failed, then start",
    "resources": "systemd could not start it; see the logs",
}
_OF_SYSTEMD = 200
"""Exit codes from here on are systemd's, for units that it could not begin."""
_ASKED = (
    "ActiveState", "SubState", "StatusText", "ActiveEnterTimestamp", "StateChangeTimestamp",
    "NRestarts", "Result", "ExecMainCode", "ExecMainStatus", "MainPID", "UnitFileState",
    "NeedDaemonReload",
)  # fmt: skip
_KILLED = ("2", "3")
"""CLD_KILLED and CLD_DUMPED, waitid(2)."""


@dataclass(frozen=True, slots=True)
class State:
    """One instance: lines to print, and whether it runs."""

    lines: tuple[str, ...]
    runs: bool


def state_of(name: str, place: Place) -> State:
    """Ask systemd.

    Raises:
        OutriderError: it does not answer.
    """
    unit = unit_of(name)
    facts = _facts(unit)
    runs = facts.get("ActiveState") in ("active", "reloading")
    lines = _lines(name, unit, facts, place, runs)
    build = _facts(f"outrider-build@{name}.service")
    if build.get("ActiveState") in ("activating", "failed"):
        building = build["ActiveState"] == "activating"
        what = "being built" if building else ended(build)
        if not building and int(build["ExecMainStatus"]) < _OF_SYSTEMD:
            what += "; the app starts all the same"
        lines.append(f"  {'engines':<10} {what}")
    return State(tuple(lines), runs)


def _facts(unit: str) -> dict[str, str]:
    words = ["systemctl", "show", unit, *(f"--property={key}" for key in _ASKED)]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    if told.returncode:
        raise OutriderError(f"systemctl show {unit}: {told.stderr.strip()}")
    return dict(line.split("=", 1) for line in told.stdout.splitlines() if "=" in line)


def ended(facts: dict[str, str]) -> str:
    """How the last process ended, '' where none did."""
    result = facts.get("Result", "")
    if result in RESULTS:
        return RESULTS[result]
    status = int(facts.get("ExecMainStatus") or 0)
    if facts.get("ExecMainCode") in _KILLED:
        return f"killed by signal {status}"
    if facts.get("ExecMainCode") == "1":
        return EXITS.get(status, f"exit {status}, which is not the app's; see the logs")
    return ""


def _lines(name: str, unit: str, facts: dict[str, str], place: Place, runs: bool) -> list[str]:
    active, sub = facts.get("ActiveState", ""), facts.get("SubState", "")
    # A reload is a change of state, but no new start.
    since = facts.get("ActiveEnterTimestamp" if runs else "StateChangeTimestamp", "")
    state = active if sub in ("", active, "running", "dead") else f"{active} ({sub})"
    lines = [f"{unit}: {state}{f' since {since}' if since else ''}"]

    def line(label: str, text: str) -> None:
        if text:
            lines.append(f"  {label:<10} {text}")

    line("says", facts.get("StatusText", ""))
    line("restarts", facts.get("NRestarts", "0"))
    if facts.get("MainPID", "0") == "0":
        for_good = facts.get("ExecMainCode") == "1" and facts.get("ExecMainStatus") in ("2", "4")
        until = ": it is not started again until that is right" if for_good else ""
        line("last end", ended(facts) + until)
    line("at boot", "starts" if facts.get("UnitFileState") == "enabled" else "does not start")
    try:
        line("version", os.readlink(place.root / "opt/outrider/current"))
    except OSError:
        line("version", "not of /opt/outrider")
    line("settings", str(place.root / SETTINGS / f"{name}.toml"))
    line("sandbox", _sandbox(name, unit, place))
    if facts.get("NeedDaemonReload") == "yes":
        line("note", "a unit's file has changed: systemctl daemon-reload")
    return lines


def _sandbox(name: str, unit: str, place: Place) -> str:
    """Whether what the unit opens is what the settings need now."""
    path: Path = place.root / SYSTEM / f"{unit}.d" / OWN_DROP_INS[0]
    again = f"sudo {command('install', name)}"
    try:
        wanted = drop_in(needs_here(name, place), name)
        fits = path.read_text() == wanted
    except SettingsError as exc:
        return f"unknown, the settings would be refused: {str(exc).splitlines()[0]}"
    except OSError as exc:
        return f"unknown: {path}: {exc.strerror}; {again}"
    return "fits the settings" if fits else f"does not fit the settings any more: {again}"
