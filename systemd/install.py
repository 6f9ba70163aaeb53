#!/usr/bin/env python3
"""Installs Outrider on a Linux machine beside the version that runs there, and rolls back.

It uses the Python that runs it, looks before it writes, changes no system package, and points
``current`` at the new version only after that has run here. A Jetson's GPU is install_jetson.py's.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import command
import versions
from packages import QUIET, Origin, missing_of_the_system
from versions import Disk, Plan, Step

PYTHONS = ((3, 10), (3, 13))
NEEDED_DISK = 2 << 30
"""Measured: 0.7 GB of packages; pip's cache, a copy of the largest while it unpacks, and air."""
HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))
"""What a service with ProtectHome=yes and PrivateTmp=yes does not see, systemd.exec(5)."""


@dataclass(frozen=True)
class Facts:
    """What a machine is, as far as an installation depends on it."""

    python: Path
    """The interpreter itself, no link."""
    version: tuple[int, int]
    machine: str
    missing: tuple[str, ...]
    """Debian packages."""
    disk: Disk

    def __str__(self) -> str:
        python = ".".join(map(str, self.version))
        free = f"{self.disk.free_bytes / 2**30:.1f} GiB free"
        return f"{self.machine}, Python {python} ({self.python}), {free}"


def read_facts(base: Path, executable: str = sys.executable) -> Facts:
    """Look at this machine and the Python that runs this."""
    version = (sys.version_info[0], sys.version_info[1])
    supported = PYTHONS[0] <= version <= PYTHONS[1]
    return Facts(
        python=Path(os.path.realpath(executable)),
        version=version,
        machine=os.uname().machine,
        missing=tuple(missing_of_the_system()) if supported else (),
        disk=Disk.below(base),
    )


def reasons_against(facts: Facts) -> list[str]:
    """Why this machine cannot take an installation, each with its next step."""
    found = []
    if not PYTHONS[0] <= facts.version <= PYTHONS[1]:
        found.append(
            f"{facts.python} is Python {facts.version[0]}.{facts.version[1]}, wanted 3.10 to 3.13; "
            "make install PYTHON=/usr/bin/python3.12"
        )
    if any(hidden in facts.python.parents for hidden in HIDDEN):
        found.append(
            f"{facts.python} lies where a service cannot see it (ProtectHome=, PrivateTmp=); "
            "take the system's: make install PYTHON=/usr/bin/python3"
        )
    if facts.missing:
        found.append(f"packages are missing; sudo apt install -y {' '.join(facts.missing)}")
    return found + facts.disk.reasons_against(NEEDED_DISK, "make install")


def steps(facts: Facts, folder: Path, origin: Origin) -> list[Step]:
    """All that makes a version in ``folder`` before it becomes the current one."""
    bin_, source = folder / "venv/bin", folder / "source"
    pip = [str(bin_ / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check",
           "--only-binary=:all:", *origin.pip(source, facts.version)]  # fmt: skip
    # Root's own cache would be filled by what is only a proof.
    proof = {**QUIET, "XDG_CACHE_HOME": str(folder / "cache")}
    run = ["run", "--source", "synthetic", "--engine", "openvino", "--sink", "null"]
    return [
        origin.put(source),
        Step("a venv of its own", [str(facts.python), "-m", "venv", str(folder / "venv")], QUIET),
        Step("pip in the tested version", [*pip, "pip"], QUIET),
        Step(
            "Outrider and its packages in exact versions, wheels only",
            [*pip, origin.project_of(source, "[web]")],
            QUIET,
        ),
        *origin.tidy(source),
        Step("what this machine has and lacks", [str(bin_ / "edge"), "doctor"], proof),
        Step(
            "a run with the shipped network on the CPU",
            [str(bin_ / "edge"), *run, "--frames", "200"],
            proof,
        ),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 refused or failed, 130 interrupted."""
    given = command.options("Install Outrider on a Linux machine, or roll back.").parse_args(
        arguments
    )

    def prepare() -> Plan:
        base = versions.base_below(given.root)
        facts = read_facts(base)
        print(facts)
        origin = command.origin_of(given)
        return Plan(
            origin.version,
            lambda name: steps(facts, base / name, origin),
            {"python": list(facts.version), "machine": facts.machine},
            reasons_against(facts) + origin.reasons_against(facts.version, facts.machine),
        )

    return command.run("install", given, prepare)


if __name__ == "__main__":
    sys.exit(main())
