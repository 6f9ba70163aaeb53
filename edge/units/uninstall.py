"""What takes an instance away, as steps; what is another's it refuses to take."""

from __future__ import annotations

import pwd
import re
from pathlib import Path

from edge.units.needs import CREDENTIALS, STATE
from edge.units.steps import Command, Remove, Step
from edge.units.units import (
    CONFIGS,
    OWN_DROP_INS,
    SETTINGS,
    SYSTEM,
    UNITS,
    USER,
    Place,
    check_seen,
    installed,
    unit_of,
)
from engines.errors import SettingsError


def uninstall_steps(name: str, place: Place, *, purge: bool) -> list[Step]:
    """All that takes an instance away, and with the last one what they share.

    Raises:
        SettingsError: it is not installed, or this user may not look into the settings' folder.
    """
    unit, others = unit_of(name), installed(place)
    if name not in others:
        have = f"installed: {', '.join(others)}" if others else "no instance is"
        raise SettingsError(f"{unit}: is not installed here; {have}")
    check_seen(place)
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
    settings = place.root / SETTINGS
    others_settings = [path for path in settings.glob("*.toml") if path.stem != name]
    alone = last and not others_settings
    if purge:
        steps.append(Remove("its settings", settings / f"{name}.toml"))
        named = [path.read_text(errors="replace") for path in others_settings if path.is_file()]
        steps += [
            Remove("its password", credential)
            for credential in _credentials_of(unit, place)
            if not any(credential.name in text for text in named)
        ]
    if purge and alone:
        steps.append(Remove("environment of all", settings / "outrider.env"))
        kept = ["var/lib/outrider", "var/cache/outrider"]
        steps += [Remove("recordings, engines", place.root / path) for path in kept]
        folders = [place.root / CREDENTIALS.relative_to("/"), settings]
        steps += [Remove("where nothing else is in it", path, if_empty=True) for path in folders]
    if place.running:
        steps.append(Command("let systemd forget it", ("systemctl", "daemon-reload")))
        reset = ("systemctl", "reset-failed", unit, build)
        steps.append(Command("and how it ended last", reset, may_fail=True))
        if purge and alone and _user_is_ours():
            steps.append(Command("the user", ("userdel", USER)))
    return steps


def _credentials_of(unit: str, place: Place) -> list[Path]:
    """The files that an instance's drop-in hands over, there or not."""
    try:
        text = (place.root / SYSTEM / f"{unit}.d" / OWN_DROP_INS[0]).read_text()
    except OSError:
        return []
    names = re.findall(rf"^LoadCredential=([\w.-]+):{CREDENTIALS}/", text, re.MULTILINE)
    return [place.root / CREDENTIALS.relative_to("/") / name for name in names]


def _user_is_ours() -> bool:
    """Whether the user is as sysusers makes it; another one of that name is a person's."""
    try:
        user = pwd.getpwnam(USER)
    except KeyError:
        return False
    return user.pw_dir == str(STATE) and user.pw_shell.endswith("/nologin")
