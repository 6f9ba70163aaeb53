#!/usr/bin/env python3
"""Installs Outrider on a Jetson beside the version that runs there, and rolls back.

It looks before it writes, changes no system package, and points ``current`` at the new version
only after that has built its engine and run with it. Plain standard library, for the Python of
JetPack 6 (3.10) and 7 (3.12); docs/JETSON.md says how it is used.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import command
from jetson_facts import Facts, Place, read_facts, reasons_against
from packages import QUIET, Origin
from versions import Plan, Step

STATE = {
    "HOME": "/var/lib/outrider",
    "XDG_CACHE_HOME": "/var/cache/outrider",
    "OUTRIDER_BUILT": "/var/lib/outrider/built",
}
"""As in the units: an engine that the installer builds is the one that the service finds."""


def steps(
    place: Place, name: str, facts: Facts, *, origin: Origin, jetpack_opencv: bool
) -> list[Step]:
    """All that makes version ``name`` in ``place`` before it becomes the current one."""
    folder = place.base / name
    bin_, source = folder / "venv/bin", folder / "source"
    python = ".".join(map(str, facts.python))
    assert facts.python  # reasons_against has refused an unknown one
    pip = [str(bin_ / "python"), "-m", "pip"]
    unpinned = [*pip, "install", "-q", "--disable-pip-version-check", "--only-binary=:all:"]
    install = [*unpinned, *origin.pip(source, facts.python)]
    tools = f"{place.cuda / 'bin'}:{os.environ.get('PATH', os.defpath)}"
    cuda = {**QUIET, "CUDA_ROOT": str(place.cuda), "PATH": tools}
    model = folder / f"venv/lib/python{python}/site-packages/engines/models/street.onnx"
    needs = ["CUDA", "tensorrt", "pycuda", "built engine"]
    # An image's user is not there yet: its first start builds the engine again.
    proven, as_service = cuda, list[str]()
    users = list[Step]()
    if place.root == Path("/"):
        proven = {**cuda, **STATE}
        as_service = ["runuser", "-u", "outrider", "--"]
        configs = source / "systemd"
        users = [
            Step("the service's user",
                 ["systemd-sysusers", str(configs / "outrider.sysusers.conf")]),
            Step("its folders, that of built engines among them",
                 ["systemd-tmpfiles", "--create", str(configs / "outrider.tmpfiles.conf")]),
        ]  # fmt: skip
    made = [
        origin.put(source),
        *users,
        Step(
            "a venv that sees the system's packages: TensorRT and GStreamer's bindings",
            [str(place.python), "-m", "venv", "--system-site-packages", str(folder / "venv")],
        ),
        Step("pip in the tested version", [*install, "pip"], QUIET),
        Step(
            "Outrider and its packages in exact versions; TensorRT stays JetPack's",
            [*install, origin.project_of(source, "[export,web]")],
            QUIET,
        ),
        Step(
            "PyCUDA, compiled against JetPack's CUDA (about two minutes)",
            [*install, "--no-binary=pycuda",
             "-c", str(source / "constraints/jetson.txt"), "pycuda"],
            cuda,
        ),
    ]  # fmt: skip
    if jetpack_opencv:
        made += [
            Step("JetPack's OpenCV instead of the wheel", [*pip, "uninstall", "-y", "-q",
                 "opencv-python"], QUIET),
            Step("it was compiled for NumPy 1", [*unpinned, "numpy>=1.26,<2"], QUIET),
            Step("JetPack's OpenCV is there and works", [str(bin_ / "python"), "-c",
                 "import cv2, numpy; cv2.resize(numpy.zeros((4, 4, 3), 'uint8'), (2, 2))"], QUIET),
        ]  # fmt: skip
    return [
        *made,
        *origin.tidy(source),
        Step(
            "the shipped model's engine for this device, proven against FP32 (some minutes)",
            [*as_service, str(bin_ / "edge-export"), "build", str(model)],
            proven,
        ),
        Step(
            "nothing that the engine needs is missing",
            [*as_service, str(bin_ / "edge"), "doctor",
             *(word for need in needs for word in ("--need", need))],
            proven,
        ),
        Step(
            "a run with that engine",
            [*as_service, str(bin_ / "edge"), "run", "--source", "synthetic",
             "--engine", "tensorrt", "--sink", "null", "--frames", "200"],
            proven,
        ),
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 done, 1 refused or failed, 130 interrupted."""
    parser = command.options("Install Outrider on a Jetson, or roll back.")
    parser.add_argument(
        "--jetpack-opencv", action="store_true", help="use JetPack's OpenCV, not the wheel"
    )
    given = parser.parse_args(arguments)

    def prepare() -> Plan:
        root = given.root.absolute()
        place = Place(root, root / "usr/bin/python3", root / "usr/local/cuda")
        facts = read_facts(place)
        print(facts)
        origin = command.origin_of(given)
        against = reasons_against(facts)
        if facts.python:
            against += origin.reasons_against(facts.python, "aarch64")
        if given.bundle and given.jetpack_opencv:
            against.append("--jetpack-opencv needs the package index: no bundle has its NumPy 1")
        return Plan(
            origin.version,
            lambda name: steps(
                place, name, facts, origin=origin, jetpack_opencv=given.jetpack_opencv
            ),
            {"l4t": list(facts.l4t), "tensorrt": facts.tensorrt},
            against,
        )

    return command.run("install-jetson", given, prepare)


if __name__ == "__main__":
    sys.exit(main())
