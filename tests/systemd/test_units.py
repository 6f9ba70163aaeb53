"""The units as files: made of one another, and of nothing that JetPack 6's systemd 249 lacks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge.units.host import OLDEST
from edge.units.needs import Needs, drop_in
from edge.units.units import RESTARTS, UNITS, WATCHDOG_S, WITH_STEPS
from tests.test_packaging import ROOT

FOLDER = ROOT / "systemd"
APP, PLAIN, BUILD = (
    FOLDER / name for name in ("outrider@.service", "outrider.service", "outrider-build@.service")
)
# Of systemd's NEWS; 1 is for what was there before it said so.
BROUGHT_BY = {
    "After": 1, "Description": 1, "Documentation": 183, "Environment": 1, "EnvironmentFile": 1,
    "ExecReload": 1, "ExecStart": 1, "ExecStartPre": 1, "KillMode": 1, "LimitCORE": 1,
    "NotifyAccess": 1, "Restart": 1, "RestartSec": 1, "SupplementaryGroups": 1,
    "SyslogIdentifier": 1, "Type": 1, "UMask": 1, "User": 1, "WantedBy": 1, "Wants": 1,
    "WatchdogSec": 1, "WorkingDirectory": 1, "CapabilityBoundingSet": 183, "PrivateTmp": 183,
    "RequiresMountsFor": 183, "NoNewPrivileges": 187, "SystemCallFilter": 187,
    "TimeoutStartSec": 188, "TimeoutStopSec": 188, "RestartPreventExitStatus": 189,
    "DeviceAllow": 208, "DevicePolicy": 208, "PrivateDevices": 209, "PrivateNetwork": 209,
    "SystemCallArchitectures": 209, "SystemCallErrorNumber": 209, "RestrictAddressFamilies": 211,
    "RuntimeDirectory": 211, "ProtectHome": 214, "ProtectSystem": 214, "AmbientCapabilities": 229,
    "StartLimitBurst": 229, "StartLimitIntervalSec": 230, "ReadWritePaths": 231,
    "RestrictRealtime": 231, "PrivateUsers": 232, "ProtectControlGroups": 232,
    "ProtectKernelModules": 232, "ProtectKernelTunables": 232, "RemoveIPC": 232,
    "RestrictNamespaces": 233, "CacheDirectory": 235, "CacheDirectoryMode": 235,
    "IPAddressAllow": 235, "IPAddressDeny": 235, "LockPersonality": 235,
    "RuntimeDirectoryPreserve": 235,
    "StateDirectory": 235, "StateDirectoryMode": 235, "ProtectHostname": 242,
    "RestrictSUIDSGID": 242, "ProtectKernelLogs": 244, "ProtectClock": 245, "LoadCredential": 247,
    "ProtectProc": 247, "PrivateIPC": 248, "RestartMaxDelaySec": 254, "RestartSteps": 254,
}  # fmt: skip
EVERYTHING = Needs(
    network="[source] is a stream",
    cameras="a camera",
    argus="a CSI camera",
    folders=("/srv/recordings",),
    credentials=("cam",),
    secrets="[source] password_file",
)
NEAR = Needs(loopback='[output] has "web"')


def directives(text: str) -> list[str]:
    """The lines of a unit that say something."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def names(text: str) -> set[str]:
    return {line.partition("=")[0] for line in directives(text) if not line.startswith("[")}


@pytest.mark.parametrize(
    "file", sorted(FOLDER.glob("*.service")) + sorted(FOLDER.glob("[jn]*.conf"))
)
def test_no_unit_has_a_directive_that_systemd_249_lacks(file: Path) -> None:
    late = {name: BROUGHT_BY[name] for name in names(file.read_text()) if BROUGHT_BY[name] > OLDEST}
    assert late == {}


def test_what_an_installation_makes_has_none_either_but_where_it_is_known() -> None:
    made = names(drop_in(EVERYTHING, "cam")) | names(drop_in(NEAR, "cam"))
    assert {BROUGHT_BY[name] for name in made} <= set(range(OLDEST + 1))
    assert {BROUGHT_BY[name] for name in names(RESTARTS)} == {WITH_STEPS}


def test_no_unit_says_a_word_that_is_newer_than_its_directive() -> None:
    # notify-reload is of 253, the value "disconnected" of 250, RestartMode's words of 254.
    texts = [(FOLDER / unit).read_text() for unit in UNITS]
    assert not any("notify-reload" in line for text in texts for line in directives(text))
    assert "Type=notify" in directives(APP.read_text())


def test_the_plain_unit_is_the_template_for_the_instance_outrider() -> None:
    assert directives(PLAIN.read_text()) == [
        line.replace("%i", "outrider") for line in directives(APP.read_text())
    ]


def test_engines_are_built_in_the_sandbox_of_the_app() -> None:
    def sandbox(file: Path) -> list[str]:
        lines = directives(file.read_text())
        return lines[lines.index("User=outrider") :]

    app = sandbox(APP)
    assert sandbox(BUILD) == app[: app.index("[Install]")]
    kept = [line for line in directives(BUILD.read_text()) if line.startswith("Environment")]
    assert set(kept) <= set(directives(APP.read_text()))


def test_an_installation_knows_the_watchdog_of_the_units() -> None:
    assert all(f"WatchdogSec={WATCHDOG_S}" in directives(unit.read_text()) for unit in (APP, PLAIN))


def test_every_folder_that_the_units_name_is_one_that_tmpfiles_makes() -> None:
    made = re.findall(r"^d (\S+) ", (FOLDER / "outrider.tmpfiles.conf").read_text(), re.MULTILINE)
    text = APP.read_text()
    named = [
        f"/var/lib/{name}" for name in re.findall(r"^StateDirectory=(.*)", text, re.M)[0].split()
    ]
    named += [f"/var/cache/{name}" for name in re.findall(r"^CacheDirectory=(.*)", text, re.M)]
    assert set(named) < set(made)
