"""What an installation of the units consists of, as steps; it refuses machines that cannot have it.

An instance is a name: ``outrider`` is outrider.service, any other NAME is outrider@NAME.service.
Units, user and folders are shared by all and go with the last one; settings and state are kept.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import edge
from edge.credential import DIRECTORY
from edge.settings.load import load_settings
from edge.sources import kind_of, source_kind
from edge.sources.live.waits import check_deadlines
from edge.units.host import EDGE
from edge.units.needs import CREDENTIALS, Needs, credential_lines, drop_in, hidden, needs_of
from edge.units.steps import Command, Remove, Step, Write
from engines.errors import SettingsError

PLAIN = "outrider"
"""The instance of outrider.service."""
USER = "outrider"
UNITS = ("outrider.service", "outrider@.service", "outrider-build@.service")
APPS = UNITS[:2]
CONFIGS = {
    "outrider.sysusers.conf": (Path("etc/sysusers.d/outrider.conf"), "the service's user"),
    "outrider.tmpfiles.conf": (Path("etc/tmpfiles.d/outrider.conf"), "its folders"),
}
SYSTEM = Path("etc/systemd/system")
SETTINGS = Path("etc/outrider")
CURRENT = "/opt/outrider/current/venv/bin"
"""Where the units look for the app."""
WITH_STEPS = 254
"""The first that knows RestartSteps=."""
RESTARTS = (
    "# A service that fails again and again is restarted more slowly, up to this.\n"
    "[Service]\nRestartSteps=4\nRestartMaxDelaySec=15\n"
)
WATCHDOG_S = 30
"""WatchdogSec= of the units."""
OWN_DROP_INS = ("10-settings.conf", "20-jetson.conf", "20-nvidia.conf", "30-restart.conf")


@dataclass(frozen=True, slots=True)
class Place:
    """The machine, or the files of another one below ``root``."""

    root: Path = Path("/")

    @property
    def running(self) -> bool:
        """Whether it is this machine, so that its systemd is told."""
        return self.root == Path("/")

    def own(self, *words: str) -> tuple[str, ...]:
        """A command of systemd's for this place."""
        return words if self.running else (words[0], f"--root={self.root}", *words[1:])


def unit_of(name: str) -> str:
    """The unit of an instance.

    Raises:
        SettingsError: no instance can have that name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{,199}", name):
        raise SettingsError(
            f"--name {name}: wanted letters, digits, '-', '_' and '.', 200 at most: it is part of "
            "the names of a unit and a file"
        )
    return "outrider.service" if name == PLAIN else f"outrider@{name}.service"


def command(verb: str, name: str = PLAIN) -> str:
    """``edge service`` of an instance, as a line to type."""
    return f"{EDGE} service {verb}{'' if name == PLAIN else f' --name {name}'}"


def installed(place: Place) -> list[str]:
    """The names of the instances that are installed, in order."""
    found = sorted((place.root / SYSTEM).glob(f"outrider*.service.d/{OWN_DROP_INS[0]}"))
    units = [path.parent.name.removesuffix(".service.d") for path in found]
    names = [unit.removeprefix("outrider@") for unit in units if not _is_build(unit)]
    return [name for name in names if name]


def install_steps(
    name: str, place: Place, *, start: bool, systemd: int | None = None
) -> tuple[list[Step], bool]:
    """All that installs one instance, and whether it has settings already, so that it starts.

    Args:
        name: the instance.
        place: where.
        start: start it at the end, or only at the next boot.
        systemd: its version, None where that is unknown: then as for ``OLDEST``.

    Raises:
        SettingsError: the settings do not load, or this cannot be a service.
    """
    unit, sources = unit_of(name), shipped()
    check_seen(place)
    _check_unmasked(unit, place)
    settings = place.root / SETTINGS / f"{name}.toml"
    there = os.path.lexists(settings)
    needs = needs_here(name, place) if there else Needs()
    steps = _shared_files(place, sources, systemd)
    if not there:
        example = sources / "outrider.example.toml"
        steps.append(
            Write("settings to begin with: the built-in street", settings, example.read_text(),
                  example, mode=0o640)
        )  # fmt: skip
    steps += [*_own_drop_ins(name, place, needs), *_made(place)]
    if there:
        steps.append(Command("start at every boot", place.own("systemctl", "enable", unit)))
        if place.running and start:
            steps += [
                Command("forget earlier failures", ("systemctl", "reset-failed", unit), True),
                Command("start now, or anew; where an engine is missing, it is built first",
                        ("systemctl", "restart", unit), otherwise=_look(name)),
            ]  # fmt: skip
    return steps, there


def check_seen(place: Place) -> None:
    """Refuse users who may not look into the settings' folder.

    Raises:
        SettingsError: names the folder.
    """
    folder = place.root / SETTINGS
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK, effective_ids=True):
        raise SettingsError(
            f"{folder}: this user cannot look into it, so what would be done cannot be told; "
            f"sudo {EDGE} service ..."
        )


def _check_unmasked(unit: str, place: Place) -> None:
    for masked in (place.root / SYSTEM / unit, place.root / "run/systemd/system" / unit):
        if masked.is_symlink() and os.readlink(masked) == "/dev/null":
            raise SettingsError(
                f"{unit}: is masked ({masked}), so it cannot start; sudo systemctl unmask {unit}"
            )


def refresh_steps(place: Place, *, systemd: int | None = None) -> tuple[list[Step], list[str]]:
    """All that brings what is installed, if only the shared files, to this version.

    It starts nothing. ``place`` and ``systemd`` are as for ``install_steps``.

    Returns:
        the steps, and one text for each instance whose settings are refused: it stays as it is.
    """
    steps, refused = _shared_files(place, shipped(), systemd), []
    for name in installed(place):
        try:
            steps += _own_drop_ins(name, place, needs_here(name, place))
        except SettingsError as exc:
            refused.append(f"{unit_of(name)} opens what it did before: {exc}")
    return [*steps, *_made(place)], refused


def needs_here(name: str, place: Place) -> Needs:
    """What the settings of an instance need.

    Raises:
        SettingsError: they do not load, or a service cannot do what they say.
    """
    path = place.root / SETTINGS / f"{name}.toml"
    real = os.path.realpath(path)
    if top := hidden(real.removeprefix(str(place.root.resolve()).rstrip("/"))):
        raise SettingsError(
            f"{path}: leads to {real}, below {top}, which a service does not see; put the file "
            "itself there"
        )
    # Root reads the credentials where they lie; a display of its own is none of the service's.
    environ = {DIRECTORY: str(place.root / CREDENTIALS.relative_to("/"))}
    try:
        settings = load_settings(path, environ=environ)
    except SettingsError as exc:
        if DIRECTORY not in str(exc):
            raise
        raise SettingsError(
            f"{exc}. For a service ${{{DIRECTORY}}} is {CREDENTIALS}; a file there is root's alone "
            "(chmod 600)"
        ) from exc
    options = settings.source.options(in_service=True)
    if options.reconnect and source_kind(kind_of(settings.source.uri)).may_be_live:
        check_deadlines(options, _watchdog_s(unit_of(name), place))
    return needs_of(settings, root=place.root)


def _watchdog_s(unit: str, place: Place) -> float | None:
    """The unit's watchdog; None where a drop-in of the operator's has another: the app will say."""
    found = [file for u in (unit, APPS[1]) for file in (place.root / SYSTEM).glob(f"{u}.d/*.conf")]
    texts = [file.read_text(errors="replace") for file in found if file.is_file()]
    changed = any("WatchdogSec=" in text for text in texts)
    return None if changed else WATCHDOG_S


def shipped() -> Path:
    """The folder of the units: of the checkout that runs, or of its installation.

    Raises:
        SettingsError: they are not there.
    """
    checkout = Path(edge.__file__).resolve().parents[1] / "systemd"
    places = [checkout, Path(sys.prefix) / "share/outrider/systemd"]
    for folder in places:
        if (folder / UNITS[0]).is_file():
            return folder
    raise SettingsError(
        f"the units are not where they were installed ({places[-1]}); install Outrider again"
    )


def _shared_files(place: Place, sources: Path, systemd: int | None) -> list[Step]:
    system = place.root / SYSTEM
    own = f"{sys.prefix}/bin"
    moved = place.running and not own.startswith("/opt/outrider/") and not hidden(own)
    made: list[Step] = []
    for unit in UNITS:
        text = (sources / unit).read_text()
        if moved:
            made.append(Write("the unit, for this Python", system / unit,
                              text.replace(CURRENT, own)))  # fmt: skip
        else:
            made.append(Write("the unit", system / unit, text, sources / unit))
    gpu = _gpu_drop_in(place)
    for unit in UNITS if gpu else ():
        source = sources / f"{gpu}.conf"
        made.append(
            Write("what the GPU needs of the closed unit",
                  system / f"{unit}.d" / f"20-{gpu}.conf", source.read_text(), source)
        )  # fmt: skip
    for unit in APPS if systemd is not None and systemd >= WITH_STEPS else ():
        path = system / f"{unit}.d" / "30-restart.conf"
        made.append(Write(f"systemd {systemd} can restart more and more slowly", path, RESTARTS))
    for config, (target, reason) in CONFIGS.items():
        source = sources / config
        made.append(Write(reason, place.root / target, source.read_text(), source))
    environment, source = place.root / SETTINGS / "outrider.env", sources / "outrider.env"
    if not environment.exists():
        made.append(
            Write("environment of all instances", environment, source.read_text(), source, 0o640)
        )
    return made


def _gpu_drop_in(place: Place) -> str:
    """Which of the GPUs' drop-ins this machine wants, '' for none."""
    if (place.root / "etc/nv_tegra_release").exists():
        return "jetson"
    if place.running and Path("/proc/driver/nvidia").exists():
        return "nvidia"
    return ""


def _own_drop_ins(name: str, place: Place, needs: Needs) -> list[Step]:
    """What one instance opens, and the unit that builds its engines."""
    app, build = (
        place.root / SYSTEM / f"{unit}.d" / OWN_DROP_INS[0]
        for unit in (unit_of(name), f"outrider-build@{name}.service")
    )
    reason = "what these settings need of the closed unit"
    steps: list[Step] = [Write(reason, app, drop_in(needs, name))]
    if lines := credential_lines(needs):
        text = "\n".join(["# As the app's unit.", "[Service]", *lines, ""])
        steps.append(Write("the settings are read there, too", build, text))
    elif build.exists():
        steps.append(Remove("no credential any more", build))
    return steps


def _made(place: Place) -> list[Step]:
    """What makes of the files that were written a user, folders and units."""
    steps: list[Step] = [
        Command("make the user, if there is none", place.own("systemd-sysusers", "outrider.conf")),
        Command(
            "make the folders; settings are for root and the service to read",
            place.own("systemd-tmpfiles", "--create", "outrider.conf"),
        ),
    ]
    if place.running:
        steps.append(Command("let systemd read the units", ("systemctl", "daemon-reload")))
    return steps


def _is_build(unit: str) -> bool:
    return unit.startswith("outrider-build@")


def _look(name: str) -> str:
    return f". Look at it: {command('status', name)}; {command('logs', name)}"
