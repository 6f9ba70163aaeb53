#!/usr/bin/env python3
"""Makes a bundle (bundle.py) for a named Python and machine, on one that has internet.

It packs wheels only, in the pinned versions; for aarch64 also PyCUDA's source and what builds it,
since that is compiled on the Jetson. TensorRT is never packed: it stays JetPack's.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipapp
import zipfile
from email import message_from_bytes
from pathlib import Path

from bundle import ABOUT, SUMS, WHEELS, sums_of
from packages import PROJECT, Checkout, pins_of
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

MACHINES = ("x86_64", "aarch64")
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
GLIBC_MINORS = range(17, 36)
"""Tags of wheels, newest last: glibc 2.35 is that of Ubuntu 22.04 and so of JetPack 6."""
CARRIED = ("constraints", "LICENSE", "NOTICE", ".ci/system_packages.py")
JETSON = ("pytools", "platformdirs", "mako", "setuptools", "wheel")
"""What PyCUDA 2026.1 asks for, and what builds it; NumPy is there anyway."""
MAIN = '''"""Installs what this file holds: sudo python3 FILE [--dry-run] [--rollback] ..."""
import os
import sys

FILE = os.path.abspath(sys.path[0])
if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    sys.exit("%s is for Python {python}, this is %d.%d" % ((FILE,) + sys.version_info[:2]))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(FILE, "systemd"))
if os.path.exists("/etc/nv_tegra_release"):
    from install_jetson import main
else:
    from install import main
sys.exit(main(["--from", FILE] + sys.argv[1:]))
'''


class Failed(Exception):
    """The bundle cannot be made; the message says what to do."""


def make(python: str, machine: str, out: Path) -> Path:
    """Make ``out/outrider-VERSION-pyXY-MACHINE.pyz``, whole or not at all; returns its path.

    Raises:
        Failed: pip could not build or fetch something; what it said is printed.
    """
    version = Checkout().version
    out.mkdir(parents=True, exist_ok=True)
    made = out / f"outrider-{version}-py{python.replace('.', '')}-{machine}.pyz"
    with tempfile.TemporaryDirectory(dir=out, prefix=".bundle-") as scratch:
        tree = Path(scratch, "tree")
        wheels = tree / WHEELS
        Checkout().copy(Path(scratch, "source"))
        _pip("wheel", "--no-deps", "-w", str(wheels), str(Path(scratch, "source")))
        fetch([f"outrider[export,web]=={version}", "pip"], wheels, python, machine)
        if machine == "aarch64":
            fetch(list(JETSON), wheels, python, machine)
            pins = ("-c", str(PROJECT / "constraints/jetson.txt"))
            _pip("download", "--no-deps", "--no-binary=pycuda", "-d", str(wheels), *pins, "pycuda")
        packed = Path(scratch, "packed")
        pack(tree, packed, version, python, machine)
        os.replace(packed, made)
    return made


def pack(tree: Path, packed: Path, version: str, python: str, machine: str) -> None:
    """Put the installer and the checksums beside the wheels in ``tree``, and all into one file."""
    for part in CARRIED:
        target = tree / part
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (PROJECT / part).is_dir() else shutil.copy
        copy(PROJECT / part, target)
    (tree / "systemd").mkdir()
    for script in (PROJECT / "systemd").glob("*.py"):
        shutil.copy(script, tree / "systemd")
    about = {"version": version, "python": python, "machine": machine}
    (tree / ABOUT).write_text(json.dumps(about) + "\n")
    (tree / "__main__.py").write_text(MAIN.replace("{python}", python))
    (tree / SUMS).write_text(sums_of(tree))
    zipapp.create_archive(tree, packed)  # stored: wheels are compressed
    packed.chmod(0o644)


def fetch(wanted: list[str], wheels: Path, python: str, machine: str) -> None:
    """Download wheels for ``wanted`` and all that they ask for on such a machine.

    pip evaluates markers for the interpreter that runs it, whatever ``--python-version`` says, so
    here it only fetches by name, and what a wheel asks for is read from its own metadata.
    """
    pins = PROJECT / "constraints" / pins_of((3, int(python.split(".")[1])))
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC_MINORS]
    words = ["--no-deps", "--only-binary=:all:", "--python-version", python, "-d", str(wheels)]
    words += [word for name in [*platforms, f"manylinux2014_{machine}"]
              for word in ("--platform", name)]  # fmt: skip
    words += ["-c", str(pins), "-c", str(PROJECT / "constraints/jetson.txt")]
    environment = environment_of(python, machine)
    queue, seen = [Requirement(text) for text in wanted], set[tuple[str, str]]()
    while queue:
        there = _wheels(wheels)
        lacking = {canonicalize_name(one.name) for one in queue} - set(there)
        if lacking:
            _pip("download", *words, *sorted(lacking))
            there = _wheels(wheels)
        asked = {(canonicalize_name(one.name), extra) for one in queue for extra in one.extras}
        asked |= {(canonicalize_name(one.name), "") for one in queue}
        queue = [
            needed
            for name, extra in sorted(asked - seen)
            for needed in needs(there[name], environment | {"extra": extra})
        ]
        seen |= asked


def environment_of(python: str, machine: str) -> dict[str, str]:
    """What markers are judged by on such a machine."""
    return {
        **{key: str(value) for key, value in default_environment().items()},
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": machine,
        "platform_release": "",
    }


def needs(wheel: Path, environment: dict[str, str]) -> list[Requirement]:
    """What a wheel asks for on a machine and with an extra."""
    with zipfile.ZipFile(wheel) as archive:
        ends = ".dist-info/METADATA"  # at the top: setuptools carries those of others, too
        (name,) = [n for n in archive.namelist() if n.endswith(ends) and n.count("/") == 1]
        texts = message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    needed = [Requirement(text) for text in texts]
    return [one for one in needed if one.marker is None or one.marker.evaluate(environment)]


def _wheels(folder: Path) -> dict[str, Path]:
    return {parse_wheel_filename(path.name)[0]: path for path in folder.glob("*.whl")}


def _pip(command: str, *words: str) -> None:
    line = [sys.executable, "-m", "pip", command, "-q", "--disable-pip-version-check", *words]
    if subprocess.run(line, check=False).returncode != 0:
        raise Failed(f"pip {command} failed, see above; is the package index in reach?")


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 failed."""
    parser = argparse.ArgumentParser(description="Make one file to install from, offline.")
    here = platform.machine(), ".".join(platform.python_version_tuple()[:2])
    parser.add_argument("--python-version", choices=PYTHONS, default=here[1])
    parser.add_argument("--machine", choices=MACHINES, default=here[0])
    parser.add_argument("--out", type=Path, default=PROJECT / "out")
    given = parser.parse_args(arguments)
    try:
        made = make(given.python_version, given.machine, given.out.absolute())
    except (Failed, OSError) as exc:
        print(f"bundle: {exc}", file=sys.stderr)
        return 1
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    print(f"{made}: {made.stat().st_size / 2**20:.0f} MiB, sha256 {digest}")
    print(f"on the vehicle, which needs nothing else: sudo python3 {made.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
