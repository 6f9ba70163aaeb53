"""What an installation of the units consists of, as steps; it refuses machines that cannot have it.

An instance is a name: ``outrider`` is outrider.service, any other NAME is outrider@NAME.service.
Units, user and folders are shared by all and go with the last one; settings and state are kept.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import edge
from edge.settings.settings import load_settings
from edge.sources.password import DIRECTORY
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
OLDEST = 249
"""systemd of Ubuntu 22.04 and so of JetPack 6; a test holds every directive against it."""
WITH_STEPS = 254
"""The first that knows RestartSteps=."""
RESTARTS = (
    "# A service that fails again and again is restarted more slowly, up to this.\n"
    "[Service]\nRestartSteps=4\nRestartMaxDelaySec=15\n"
)
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
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise SettingsError(
            f"--name {name}: wanted letters, digits, '-', '_' and '.': it is part of the names of "
            "a unit and a file"
        )
    return "outrider.service" if name == PLAIN else f"outrider@{name}.service"


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
    settings = place.root / SETTINGS / f"{name}.toml"
    there = os.path.lexists(settings)
    needs = needs_here(name, place) if there else Needs()
    steps: list[Step] = [*_shared_files(place, sources, systemd)]
    if not there:
        example = sources / "outrider.example.toml"
        steps.append(
            Write("settings to begin with: the built-in street", settings, example.read_text(),
                  example, mode=0o640)
        )  # fmt: skip
    environment = place.root / SETTINGS / "outrider.env"
    if not environment.exists():
        source = sources / "outrider.env"
        steps.append(
            Write("environment of all instances", environment, source.read_text(), source, 0o640)
        )
    folder_of = place.root / SYSTEM
    steps.append(
        Write("what these settings need of the closed unit",
              folder_of / f"{unit}.d" / OWN_DROP_INS[0], drop_in(needs, name))
    )  # fmt: skip
    steps += _build_drop_in(folder_of / f"outrider-build@{name}.service.d", needs)
    steps += [
        Command("make the user, if there is none", place.own("systemd-sysusers", "outrider.conf")),
        Command(
            "make the folders; settings are for root and the service to read",
            place.own("systemd-tmpfiles", "--create", "outrider.conf"),
        ),
    ]
    if place.running:
        steps.append(Command("let systemd read the units", ("systemctl", "daemon-reload")))
    if there:
        steps.append(Command("start at every boot", place.own("systemctl", "enable", unit)))
        if place.running and start:
            steps += [
                Command("forget earlier failures", ("systemctl", "reset-failed", unit), True),
                Command("start now, or anew; where an engine is missing, it is built first",
                        ("systemctl", "restart", unit), otherwise=_look(name)),
            ]  # fmt: skip
    return steps, there


def needs_here(name: str, place: Place) -> Needs:
    """What the settings of an instance need.

    Raises:
        SettingsError: they do not load, or a service cannot do what they say.
    """
    # Root reads the credentials where they lie; a display of its own is none of the service's.
    environ = {DIRECTORY: str(place.root / CREDENTIALS.relative_to("/"))}
    try:
        settings = load_settings(place.root / SETTINGS / f"{name}.toml", environ=environ)
    except SettingsError as exc:
        if DIRECTORY not in str(exc):
            raise
        raise SettingsError(
            f"{exc}. For a service ${{{DIRECTORY}}} is {CREDENTIALS}; a file there is root's alone "
            "(chmod 600)"
        ) from exc
    return needs_of(settings, root=place.root)


def uninstall_steps(name: str, place: Place, *, purge: bool) -> list[Step]:
    """All that takes an instance away, and with the last one what they share.

    Raises:
        SettingsError: it is not installed.
    """
    unit, others = unit_of(name), installed(place)
    if name not in others:
        have = f"installed: {', '.join(others)}" if others else "no instance is"
        raise SettingsError(f"{unit}: is not installed here; {have}")
    last, system = others == [name], place.root / SYSTEM
    build = f"outrider-build@{name}.service"
    steps: list[Step] = []
    if place.running:
        steps.append(Command("stop it", ("systemctl", "stop", unit, build), may_fail=True))
    steps.append(Command("no start at boot", place.own("systemctl", "disable", unit)))
    gone = [system / f"{unit}.d" / OWN_DROP_INS[0], system / f"{build}.d" / OWN_DROP_INS[0]]
    steps += [Remove("what its settings needed", path) for path in gone if path.exists()]
    if last:
        shared = [system / u for u in UNITS]
        shared += [system / f"{u}.d" / own for u in UNITS for own in OWN_DROP_INS[1:]]
        shared += [place.root / path for path, _ in CONFIGS.values()]
        steps += [Remove("it was the last one", path) for path in shared if path.exists()]
    if purge:
        steps.append(Remove("its settings", place.root / SETTINGS / f"{name}.toml"))
    if purge and last:
        kept = [SETTINGS, Path("var/lib/outrider"), Path("var/cache/outrider")]
        steps += [Remove("settings, recordings, engines", place.root / path) for path in kept]
    if place.running:
        steps.append(Command("let systemd forget it", ("systemctl", "daemon-reload")))
        reset = ("systemctl", "reset-failed", unit, build)
        steps.append(Command("and how it ended last", reset, may_fail=True))
        if purge and last and _user_exists():
            steps.append(Command("the user", ("userdel", USER)))
    return steps


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


def check_machine() -> None:
    """Refuse machines whose units cannot be changed from here.

    Raises:
        SettingsError: there is none, it is too old, or this is not root.
    """
    version = systemd_version()
    if version is None or not Path("/run/systemd/system").is_dir():
        raise SettingsError(
            "no systemd runs here, and the service is one of systemd's; without it start "
            "'edge run SETTINGS' yourself, or prepare an image's files with --root DIR"
        )
    if version < OLDEST:
        raise SettingsError(
            f"systemd is {version} here, wanted {OLDEST} or later (Ubuntu 22.04, JetPack 6); "
            "install a newer system"
        )
    if os.geteuid() != 0:
        raise SettingsError(
            f"units are root's to change; sudo {os.path.join(sys.prefix, 'bin/edge')} service ..."
        )


def systemd_version() -> int | None:
    """The version of this machine's systemd, None where it has none."""
    program = shutil.which("systemctl")
    if program is None:
        return None
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    match = re.match(r"systemd (\d+)", told.stdout)
    return int(match[1]) if match else None


def check_interpreter() -> None:
    """Refuse to make a service of an app that a service does not see.

    Raises:
        SettingsError: names the part and the folder.
    """
    for path in (sys.prefix, os.path.realpath(sys.executable), edge.__file__):
        if top := hidden(path):
            raise SettingsError(
                f"{path}: this Outrider or its Python is below {top}, which a service does not "
                "see; install it into /opt/outrider with the system's Python first: make install"
            )


def _shared_files(place: Place, sources: Path, systemd: int | None) -> list[Write]:
    system = place.root / SYSTEM
    own = f"{sys.prefix}/bin"
    moved = place.running and not own.startswith("/opt/outrider/") and not hidden(own)
    made = []
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
    return made


def _gpu_drop_in(place: Place) -> str:
    """Which of the GPUs' drop-ins this machine wants, '' for none."""
    if (place.root / "etc/nv_tegra_release").exists():
        return "jetson"
    if place.running and Path("/proc/driver/nvidia").exists():
        return "nvidia"
    return ""


def _build_drop_in(folder: Path, needs: Needs) -> list[Step]:
    lines, path = credential_lines(needs), folder / OWN_DROP_INS[0]
    if lines:
        text = "\n".join(["# As the app's unit.", "[Service]", *lines, ""])
        return [Write("the settings are read there, too", path, text)]
    return [Remove("no credential any more", path)] if path.exists() else []


def _is_build(unit: str) -> bool:
    return unit.startswith("outrider-build@")


def _look(name: str) -> str:
    option = "" if name == PLAIN else f" --name {name}"
    return f". Look at it: edge service status{option}; edge service logs{option}"


def _user_exists() -> bool:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True
