"""``edge service``: installs, removes and shows the app as a service of systemd."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import click

from edge.say import answer

NAME = click.option(
    "--name",
    default="outrider",
    metavar="NAME",
    show_default=True,
    help="The instance: /etc/outrider/NAME.toml; one a camera.",
)
DRY_RUN = click.option(
    "--dry-run", is_flag=True, help="Only tell what would be written and run; needs no root."
)
ROOT = click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default="/",
    help="Install into an image's files below this folder; nothing is started.",
)


@click.group()
def service() -> None:
    """Run the app as a service that starts at boot and is watched."""


@service.command()
@NAME
@DRY_RUN
@ROOT
@click.option("--no-start", is_flag=True, help="Start at the next boot, not now.")
def install(name: str, dry_run: bool, root: Path, no_start: bool) -> None:
    """Put units, user and folders in place, open what the settings need, and start it.

    Without /etc/outrider/NAME.toml an example is put there, to be edited, and nothing starts.
    Run it again after a change of the source's or the sinks' kind.
    """
    from edge.units.host import check_interpreter, check_machine, systemd_version
    from edge.units.steps import perform
    from edge.units.units import Place, install_steps, unit_of
    from engines.errors import SettingsError

    place = Place(root.resolve())
    against = _refusals(check_machine, check_interpreter) if place.running else []
    if against and not dry_run:
        raise SettingsError("\n".join(against))
    version = systemd_version() if place.running else None
    steps, has_settings = install_steps(name, place, start=not no_start, systemd=version)
    if dry_run:
        _tell([f"# not yet: {line}" for line in against] + [step.tell() for step in steps])
        return
    perform(steps, answer)
    if not has_settings:
        answer(
            f"\nNow edit {place.root / 'etc/outrider' / f'{name}.toml'}, then run this again: "
            "it opens what they need and starts the service."
        )
    elif place.running and not no_start:
        answer(f"\n{unit_of(name)} runs, and starts at every boot.")


@service.command()
@DRY_RUN
@ROOT
def refresh(dry_run: bool, root: Path) -> None:
    """Bring what is installed to this version; nothing is started. An upgrade does it."""
    from edge.units.host import check_machine, systemd_version
    from edge.units.steps import perform
    from edge.units.units import Place, refresh_steps
    from engines.errors import SettingsError

    place = Place(root.resolve())
    if place.running and not dry_run:
        check_machine()
    version = systemd_version() if place.running else None
    steps, refused = refresh_steps(place, systemd=version)
    if dry_run:
        _tell([f"# not yet: {line}" for line in refused] + [step.tell() for step in steps])
        return
    perform(steps, answer)
    if refused:
        raise SettingsError("\n".join(refused))


@service.command()
@NAME
@DRY_RUN
@ROOT
@click.option(
    "--purge", is_flag=True, help="Its settings, too; of the last also recordings, engines, user."
)
def uninstall(name: str, dry_run: bool, root: Path, purge: bool) -> None:
    """Stop it and take away what install wrote; settings and state stay."""
    from edge.units.host import check_machine
    from edge.units.steps import perform
    from edge.units.uninstall import uninstall_steps
    from edge.units.units import Place

    place = Place(root.resolve())
    if place.running and not dry_run:
        check_machine()
    steps = uninstall_steps(name, place, purge=purge)
    if dry_run:
        _tell([step.tell() for step in steps])
        return
    perform(steps, answer)


@service.command()
@click.option("--name", metavar="NAME", help="One instance; else all that are installed.")
@click.pass_context
def status(context: click.Context, name: str | None) -> None:
    """Say how it is; exits with 5 where one does not run."""
    from edge.units.host import systemd_version
    from edge.units.state import state_of
    from edge.units.units import Place, command, installed, unit_of
    from engines.errors import SettingsError

    place = Place()
    names = installed(place)
    if systemd_version() is None or not names:
        raise SettingsError(f"no instance is installed here: sudo {command('install')}")
    if name is not None and name not in names:
        raise SettingsError(
            f"{unit_of(name)}: is not installed here; installed: {', '.join(names)}"
        )
    states = [state_of(one, place) for one in ([name] if name else names)]
    answer("\n\n".join("\n".join(state.lines) for state in states))
    context.exit(0 if all(state.runs for state in states) else 5)


@service.command()
@NAME
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged from now.")
@click.option("-n", "--lines", type=click.IntRange(min=1), default=100, show_default=True)
def logs(name: str, follow: bool, lines: int) -> None:
    """Show the last lines of the journal, those of its engines' builds among them."""
    from edge.units.units import unit_of
    from engines.errors import SettingsError

    words = ["journalctl", "--no-hostname", "-n", str(lines), *(["-f"] if follow else [])]
    words += ["-u", unit_of(name), "-u", f"outrider-build@{name}.service"]
    if shutil.which(words[0]) is None:
        raise SettingsError("there is no journalctl here, and no systemd whose journal it shows")
    os.execvp(words[0], words)


def _refusals(*checks: Callable[[], None]) -> list[str]:
    """What speaks against going on, all at once."""
    from engines.errors import SettingsError

    found = []
    for check in checks:
        try:
            check()
        except SettingsError as exc:
            found.append(str(exc))
    return found


def _tell(steps: list[str]) -> None:
    from edge.stdout import print_whole

    print_whole("\n\n".join(steps) + "\n")
