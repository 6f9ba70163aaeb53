"""What both installers do with their words: look, show or do; an error is told line by line."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import services
from bundle import open_bundle
from packages import Checkout, Origin
from versions import (
    Plan,
    Refused,
    base_below,
    current,
    free_name,
    install,
    perform,
    roll_back,
)

TRIAL_S = 120.0
"""Four times the watchdog's 30 s: a stage that hangs after the first pictures is bitten in it."""
LONGEST_TRIAL_S = 86400.0


def options(description: str) -> argparse.ArgumentParser:
    """The options that every installer has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, and why")
    parser.add_argument("--rollback", action="store_true", help="make the previous version current")
    parser.add_argument(
        "--from",
        dest="bundle",
        type=Path,
        metavar="FILE",
        help="install from a file of make bundle, without the package index",
    )
    parser.add_argument(
        "--trial-s",
        type=_seconds,
        default=TRIAL_S,
        metavar="S",
        help="how long services that run are tried with a new version, from when they are ready",
    )
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("/"),
        help="install below this folder, and leave the services alone",
    )
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= LONGEST_TRIAL_S:
        raise argparse.ArgumentTypeError(f"{text}: wanted 0 to {LONGEST_TRIAL_S:g} seconds")
    return seconds


def origin_of(given: argparse.Namespace) -> Origin:
    """What to install from.

    Raises:
        Refused: the bundle is damaged.
    """
    return open_bundle(given.bundle.absolute()) if given.bundle else Checkout()


def run(goal: str, given: argparse.Namespace, prepare: Callable[[], Plan]) -> int:
    """Do what ``given`` asks for, as ``make`` calls it; ``goal`` begins each line of an error.

    ``prepare`` looks at the machine.

    Returns:
        the exit code: 0 done, 1 refused or failed, 130 interrupted.
    """
    base = base_below(given.root)
    here = given.root.absolute() == Path("/")
    for number in (signal.SIGTERM, signal.SIGHUP):  # else what a step runs would go on
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)

    def trial(base: Path, name: str) -> contextlib.AbstractContextManager[None]:
        return services.trial(base, name, seconds=given.trial_s)

    try:
        if given.rollback:
            name = roll_back(base)
            print(f"current is {name} again")
            if here:
                _bring_along(base, start_anew=True)
            print("restart what else runs")
            return 0
        plan = prepare()
        # A dry run shows the way although it is not open.
        closed = [r for r in plan.against if not (given.dry_run and "cannot be written" in r)]
        if closed:
            raise Refused("\n".join(closed))
        if given.dry_run:
            _show(base, plan, given.trial_s if here else None)
            return 0
        name = install(base, plan, trial if here else None)
        if here:
            _bring_along(base, start_anew=False)
        print(f"\n{name} is current: {base}/current/venv/bin/edge; restart what else runs")
    except (Refused, OSError) as exc:
        for line in str(exc).splitlines():
            print(f"{goal}: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{goal}: interrupted; {current(base) or 'nothing'} is current", file=sys.stderr)
        return 130
    return 0


def _bring_along(base: Path, *, start_anew: bool) -> None:
    """Put the current version's units in place, and where asked start the services with it.

    Raises:
        Refused: not all of that went well; the version is current nevertheless.
    """
    failed = []
    for step in services.refreshing(base):
        try:
            perform(step, base)
        except Refused as exc:
            failed.append(str(exc))
    if start_anew:
        try:
            units = services.restart_all()
        except Refused as exc:
            failed.append(str(exc))
        else:
            print("\n".join(f"{unit} runs on it" for unit in units))
    if failed:
        raise Refused("\n".join([*failed, f"{current(base)} is current nevertheless"]))


def _show(base: Path, plan: Plan, trial_s: float | None) -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # into head or less
    name = free_name(base, plan.version)
    for step in plan.steps(name):
        print(f"\n{step}")
    units = services.running() if trial_s is not None else []
    if units:
        print(
            f"\n# what runs is tried with it: ready, then {trial_s:g} s; else back to the old one"
        )
        print(shlex.join(["systemctl", "restart", *units]))
    print(f"\n# only now, in one step\n{shlex.join(['ln', '-sfn', name, str(base / 'current')])}")
    for step in services.refreshing(base) if trial_s is not None else []:
        print(f"\n{step}")
