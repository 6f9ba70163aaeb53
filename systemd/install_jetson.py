#!/usr/bin/env python3
"""Installs Outrider on a Jetson beside the version that runs there, and rolls back.

It looks before it writes, changes no system package, and points ``current`` at the new version
only after that has built its engine and run with it. Plain standard library, for the Python of
JetPack 6 (3.10) and 7 (3.12); docs/JETSON.md says how it is used.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jetson_facts import Facts, Place, read, read_facts, reasons_against

PROJECT = Path(__file__).resolve().parent.parent
SOURCE = ("edge", "engines", "export", "systemd", "constraints", "pyproject.toml", "README.md",
          "LICENSE", "NOTICE")  # fmt: skip
"""What is copied: pip builds in place, and a checkout is not root's to litter."""
MARKER = "installed.json"
"""Written when a version has passed everything; a folder without it is a failed attempt."""


@dataclass(frozen=True)
class Step:
    """One thing to do and why: a command, or an action that ``words`` describe."""

    reason: str
    words: list[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    action: Callable[[], None] | None = None

    def __str__(self) -> str:
        environ = "".join(f"{key}={shlex.quote(value)} " for key, value in self.environ.items())
        return f"# {self.reason}\n{environ}{shlex.join(self.words)}"


class Refused(Exception):
    """The installation cannot begin or go on; the message has one line for each reason."""


def steps(place: Place, name: str, facts: Facts, *, jetpack_opencv: bool) -> list[Step]:
    """All that makes version ``name`` in ``place`` before it becomes the current one."""
    folder = place.base / name
    bin_, source = folder / "venv/bin", folder / "source"
    python = ".".join(map(str, facts.python))
    pins = source / "constraints" / ("py310.txt" if facts.python < (3, 11) else "py311.txt")
    quiet = {"PYTHONNOUSERSITE": "1"}  # what root once installed for itself is not the system's
    pip = [str(bin_ / "python"), "-m", "pip"]
    install = [*pip, "install", "-q", "--disable-pip-version-check", "--only-binary=:all:"]
    tools = f"{place.cuda / 'bin'}:{os.environ.get('PATH', os.defpath)}"
    cuda = {**quiet, "CUDA_ROOT": str(place.cuda), "PATH": tools}
    model = folder / f"venv/lib/python{python}/site-packages/engines/models/street.onnx"
    needs = ["CUDA", "tensorrt", "pycuda", "built engine"]
    made = [
        Step(
            "the project's own files, so that the checkout stays as it is",
            ["cp", "-r", *(str(PROJECT / part) for part in SOURCE), str(source)],
            action=lambda: _copy_source(source),
        ),
        Step(
            "a venv that sees the system's packages: TensorRT and GStreamer's bindings",
            [str(place.python), "-m", "venv", "--system-site-packages", str(folder / "venv")],
        ),
        Step("pip in the tested version", [*install, "-c", str(pins), "pip"], quiet),
        Step(
            "Outrider and its packages in exact versions; TensorRT stays JetPack's",
            [*install, "-c", str(pins), f"{source}[export]"],
            quiet,
        ),
        Step(
            "PyCUDA, compiled against JetPack's CUDA (about two minutes)",
            [*install, "--no-binary=pycuda", "-c", str(pins),
             "-c", str(source / "constraints/jetson.txt"), "pycuda"],
            cuda,
        ),
    ]  # fmt: skip
    if jetpack_opencv:
        made += [
            Step("JetPack's OpenCV instead of the wheel", [*pip, "uninstall", "-y", "-q",
                 "opencv-python"], quiet),
            Step("it was compiled for NumPy 1", [*install, "numpy>=1.26,<2"], quiet),
            Step("JetPack's OpenCV is there and works", [str(bin_ / "python"), "-c",
                 "import cv2, numpy; cv2.resize(numpy.zeros((4, 4, 3), 'uint8'), (2, 2))"], quiet),
        ]  # fmt: skip
    return [
        *made,
        Step(
            "the shipped model's engine for this device, proven against FP32 (some minutes)",
            [str(bin_ / "edge-export"), "build", str(model)],
            cuda,
        ),
        Step(
            "nothing that the engine needs is missing",
            [str(bin_ / "edge"), "doctor", *(word for need in needs for word in ("--need", need))],
            cuda,
        ),
        Step(
            "a run with that engine",
            [str(bin_ / "edge"), "run", "--source", "synthetic", "--engine", "tensorrt",
             "--sink", "null", "--frames", "200"],
            cuda,
        ),
    ]  # fmt: skip


def perform(step: Step, folder: Path) -> None:
    """Do one step.

    Raises:
        Refused: it failed.
    """
    print(f"\n{step}", flush=True)
    try:
        if step.action is not None:
            step.action()
            return
        # Neither in the checkout nor with somebody's PYTHONPATH: what is installed is what runs.
        environ = {**os.environ, **step.environ}
        environ.pop("PYTHONPATH", None)
        subprocess.run(step.words, cwd=folder, env=environ, check=True)
    except subprocess.CalledProcessError as exc:
        raise Refused(f"exit code {exc.returncode} of: {shlex.join(step.words)}") from exc
    except OSError as exc:
        raise Refused(f"{step.reason}: {exc}") from exc


def install(place: Place, facts: Facts, plan: Callable[[str], list[Step]], version: str) -> str:
    """Make a version, prove it, make it the current one; returns its name.

    Raises:
        Refused: a step failed or another installation is running; the current version stays.
    """
    base = place.base
    base.mkdir(parents=True, exist_ok=True)
    with (base / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise Refused(f"another installation into {base} is running; wait for it") from exc
        name = free_name(base, version)
        folder = base / name
        shutil.rmtree(folder, ignore_errors=True)  # a failed attempt
        folder.mkdir()
        try:
            for step in plan(name):
                perform(step, folder)
        except Refused as exc:
            stays = f"{_target(base / 'current') or 'nothing'} stays current"
            raise Refused(f"{exc}\n{stays}; what there is of {folder} is for looking at") from exc
        record = {"version": version, "l4t": list(facts.l4t), "tensorrt": facts.tensorrt}
        (folder / MARKER).write_text(json.dumps(record) + "\n")
        os.sync()  # a vehicle's power may go at any time
        switch(base, name)
    return name


def free_name(base: Path, version: str) -> str:
    """``version``, or with the first number behind it that no finished installation has."""
    name, count = version, 1
    while (base / name / MARKER).exists():
        count += 1
        name = f"{version}-{count}"
    return name


def switch(base: Path, name: str) -> None:
    """Make ``name`` the current version in one step, and what was current the previous one."""
    was = _target(base / "current")
    if was and was != name:
        _point(base / "previous", was)
    _point(base / "current", name)


def roll_back(base: Path) -> str:
    """Make the previous version current and the other way round; returns its name.

    Raises:
        Refused: there is none.
    """
    was, name = _target(base / "current"), _target(base / "previous")
    # An installation that was cut off between the two links leaves both at the old version.
    if name in ("", was) or not (base / name / MARKER).is_file():
        raise Refused(f"{base} has no earlier version to go back to (current is {was or 'none'})")
    if not os.access(base, os.W_OK, effective_ids=True):
        raise Refused(f"{base} cannot be written by this user; sudo make rollback-jetson")
    _point(base / "current", name)
    if was:
        _point(base / "previous", was)
    return name


def _target(link: Path) -> str:
    return os.readlink(link) if link.is_symlink() else ""


def _point(link: Path, name: str) -> None:
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(name)
    os.replace(fresh, link)  # whoever opens it sees the old one or the new one


def _copy_source(target: Path) -> None:
    skip = shutil.ignore_patterns("__pycache__", "*.engine", "*.engine.json")
    target.mkdir()
    for part in SOURCE:
        if (PROJECT / part).is_dir():
            shutil.copytree(PROJECT / part, target / part, ignore=skip)
        else:
            shutil.copy(PROJECT / part, target / part)


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 refused or failed, 130 interrupted."""
    parser = argparse.ArgumentParser(description="Install Outrider on a Jetson, or roll back.")
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, and why")
    parser.add_argument("--rollback", action="store_true", help="make the previous version current")
    parser.add_argument(
        "--jetpack-opencv", action="store_true", help="use JetPack's OpenCV, not the wheel"
    )
    parser.add_argument("--root", type=Path, default=Path("/"), help="install below this folder")
    given = parser.parse_args(arguments)
    root = given.root.absolute()
    place = Place(root, root / "usr/bin/python3", root / "usr/local/cuda")
    try:
        if given.rollback:
            print(f"current is {roll_back(place.base)} again; restart what runs")
            return 0
        facts = read_facts(place)
        print(facts)
        against = reasons_against(facts)
        if given.dry_run:  # shows the way although it is not open
            against = [reason for reason in against if "cannot be written" not in reason]
        if against:
            raise Refused("\n".join(against))

        def plan(name: str) -> list[Step]:
            return steps(place, name, facts, jetpack_opencv=given.jetpack_opencv)

        text = read(PROJECT / "pyproject.toml")
        version = re.findall(r'^version = "([^"]+)"', text, re.MULTILINE)[0]
        if given.dry_run:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # into head or less
            name = free_name(place.base, version)
            link = shlex.join(["ln", "-sfn", name, str(place.base / "current")])
            for step in plan(name):
                print(f"\n{step}")
            print(f"\n# only now, in one step\n{link}")
            return 0
        name = install(place, facts, plan, version)
    except (Refused, OSError) as exc:
        for line in str(exc).splitlines():
            print(f"install-jetson: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        now = _target(place.base / "current") or "nothing"
        print(f"install-jetson: interrupted; {now} is current", file=sys.stderr)
        return 130
    print(f"\n{name} is current: {place.base}/current/venv/bin/edge; restart what runs")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else what a step runs would go on
    sys.exit(main())
