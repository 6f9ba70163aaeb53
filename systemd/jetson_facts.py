"""What a machine is, as an installation on a Jetson sees it, and what speaks against one.

It reads files and writes none; they come from below a root, so a recorded machine can be examined.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from versions import Disk, base_below

OLDEST_L4T = 36  # JetPack 6; 35 was JetPack 5 with Python 3.8 and TensorRT 8
PYTHON_OF_L4T = {36: (3, 10)}  # Ubuntu 22.04; later ones are Ubuntu 24.04
LATER_PYTHON = (3, 12)
TENSORRT = ((10, 3), (12, 0))  # the first that is supported, the first that is not
NEEDED_DISK = 3 << 30
"""Measured: 0.8 GB of packages; pip's cache, a copy of all while it unpacks, engine, and air."""
PACKAGES = (
    "g++",  # PyCUDA is compiled here
    "python3-dev",
    "python3-venv",
    "python3-gi",  # GStreamer: CSI cameras and the hardware's decoders
    "gir1.2-gstreamer-1.0",
    "gir1.2-gst-plugins-base-1.0",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "gstreamer1.0-plugins-bad",
)
"""Ubuntu's packages that an installation uses, beside JetPack's own."""


@dataclass(frozen=True)
class Facts:
    """What a machine is, as far as an installation depends on it; '' and () where unknown."""

    model: str
    l4t: tuple[int, str] | tuple[()]
    packages: Mapping[str, str]
    python: tuple[int, int] | tuple[()]
    nvcc: bool
    disk: Disk

    @property
    def tensorrt(self) -> str:
        """The version of TensorRT's Python bindings, '10.3.0.30'."""
        return self.packages.get("python3-libnvinfer", "").partition("-")[0]

    def __str__(self) -> str:
        l4t = f"L4T {self.l4t[0]}.{self.l4t[1]}" if self.l4t else "no L4T"
        python = ".".join(map(str, self.python)) or "unknown"
        jetpack = self.packages.get("nvidia-jetpack", "unknown")
        return (
            f"{self.model or 'unknown machine'}, {l4t}, JetPack {jetpack}, "
            f"TensorRT {self.tensorrt or 'missing'}, Python {python}, "
            f"{self.disk.free_bytes / 2**30:.1f} GiB free"
        )


@dataclass(frozen=True)
class Place:
    """Where everything lies. ``root`` is '/' but for tests and images."""

    root: Path
    python: Path
    cuda: Path

    @property
    def base(self) -> Path:
        """The folder of all versions."""
        return base_below(self.root)


def read_facts(place: Place) -> Facts:
    """Read the machine's files below ``place.root``; it never fails."""
    root = place.root
    release = re.search(
        r"# R(\d+) \(release\), REVISION: ([\d.]+)", read(root / "etc/nv_tegra_release")
    )
    python = re.search(r"python(\d+)\.(\d+)$", os.path.realpath(place.python))
    return Facts(
        model=read(root / "proc/device-tree/model").strip("\0 \n"),
        l4t=(int(release[1]), release[2]) if release else (),
        packages=_packages(read(root / "var/lib/dpkg/status")),
        python=(int(python[1]), int(python[2])) if python else (),
        nvcc=(place.cuda / "bin/nvcc").exists(),
        disk=Disk.below(place.base),
    )


def reasons_against(facts: Facts) -> list[str]:
    """Why this machine cannot take an installation, each with its next step."""
    if "Jetson" not in facts.model and not facts.l4t:
        return [
            f"this is no Jetson ({facts.model or 'no /proc/device-tree/model'}, no "
            "/etc/nv_tegra_release); elsewhere: make install"
        ]
    found = []
    if not facts.l4t:
        found.append("which L4T this is stays unknown: /etc/nv_tegra_release cannot be read")
    elif facts.l4t[0] < OLDEST_L4T:
        found.append(
            f"L4T {facts.l4t[0]}.{facts.l4t[1]} is older than JetPack 6 (L4T {OLDEST_L4T}), whose "
            "TensorRT is the first that is supported; flash JetPack 6 or 7"
        )
    wanted = PYTHON_OF_L4T.get(facts.l4t[0] if facts.l4t else 0, LATER_PYTHON)
    if facts.l4t and facts.l4t[0] >= OLDEST_L4T and facts.python != wanted:
        got = ".".join(map(str, facts.python)) or "unknown"
        found.append(
            f"/usr/bin/python3 is Python {got}, JetPack's TensorRT is for "
            f"{wanted[0]}.{wanted[1]}; put Ubuntu's own back (readlink /usr/bin/python3)"
        )
    if not facts.tensorrt:
        found.append(
            "TensorRT's Python bindings (python3-libnvinfer) are not installed; "
            "sudo apt update && sudo apt install -y nvidia-jetpack"
        )
    elif not TENSORRT[0] <= _version(facts.tensorrt) < TENSORRT[1]:
        found.append(f"TensorRT {facts.tensorrt} is not supported, wanted 10.3 to 11.x")
    if not facts.nvcc:
        found.append(
            "JetPack's CUDA compiler (/usr/local/cuda/bin/nvcc) is not there, PyCUDA is built "
            "against its headers; sudo apt update && sudo apt install -y nvidia-jetpack"
        )
    lacking = [name for name in PACKAGES if name not in facts.packages]
    if lacking:
        found.append(f"packages are missing; sudo apt install -y {' '.join(lacking)}")
    return found + facts.disk.reasons_against(NEEDED_DISK, "make install-jetson")


def _packages(status: str) -> dict[str, str]:
    """Installed packages and their versions, from dpkg's status file."""
    found = {}
    for entry in status.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version): (.*)$", entry, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            found[fields.get("Package", "")] = fields.get("Version", "")
    return found


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def read(path: Path) -> str:
    """A file's text, empty where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
