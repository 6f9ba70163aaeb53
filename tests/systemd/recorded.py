"""Recorded Jetsons: the files below a root that an installation reads, as real devices have them.

Release lines and package versions are those of JetPack 6.2.1 on an Orin Nano, JetPack 7.0 on a Thor
and JetPack 7.2 on an AGX Orin; of dpkg's some thousand entries only those that are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BUILD_TOOLS = (
    "g++",
    "gir1.2-gst-plugins-base-1.0",
    "gir1.2-gstreamer-1.0",
    "gstreamer1.0-plugins-bad",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
    "python3-dev",
    "python3-gi",
    "python3-venv",
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One device."""

    model: str
    release: str
    python: str
    packages: dict[str, str]
    cuda: str

    def write(self, root: Path, *, without: tuple[str, ...] = ()) -> Path:
        """Its files below ``root``, as if ``without`` were not installed."""
        put(root, "proc/device-tree/model", self.model + "\0")
        put(root, "etc/nv_tegra_release", self.release)
        entries = dict.fromkeys(BUILD_TOOLS, "1.0-1") | self.packages
        status = "".join(
            f"Package: {name}\nStatus: {'deinstall ok config-files' if name in without else OK}\n"
            f"Priority: optional\nArchitecture: arm64\nVersion: {version}\nDescription: of {name}\n"
            f" Version: not a field, a line of the description\n\n"
            for name, version in entries.items()
        )
        put(root, "var/lib/dpkg/status", status)
        (root / "usr/bin").mkdir(parents=True)
        (root / "usr/bin/python3").symlink_to(self.python)
        put(root, f"usr/local/cuda-{self.cuda}/bin/nvcc", "")
        (root / "usr/local/cuda").symlink_to(f"cuda-{self.cuda}")
        return root


OK = "install ok installed"


def put(root: Path, path: str, text: str) -> None:
    """Write a file and the folders above it."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


ORIN_NANO_6 = Recorded(
    model="NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
    release="# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, EABI: aarch64, "
    "DATE: Thu Sep 18 22:54:44 UTC 2025\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
    "TARGET_USERSPACE_LIB_DIR_PATH=usr/lib/aarch64-linux-gnu/nvidia\n",
    python="python3.10",
    packages={
        "cuda-nvcc-12-6": "12.6.68-1",
        "cuda-toolkit-12-6": "12.6.11-1",
        "libnvinfer10": "10.3.0.30-1+cuda12.5",
        "libnvonnxparsers10": "10.3.0.30-1+cuda12.5",
        "nvidia-jetpack": "6.2.1+b38",
        "nvidia-l4t-core": "36.4.7-20250918154033",
        "python3-libnvinfer": "10.3.0.30-1+cuda12.5",
        "tensorrt": "10.3.0.30-1+cuda12.5",
    },
    cuda="12.6",
)
THOR_7 = Recorded(
    model="NVIDIA Jetson AGX Thor Developer Kit",
    release="# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, EABI: aarch64, "
    "DATE: Fri Aug 22 00:55:42 UTC 2025\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n",
    python="python3.12",
    packages={
        "libnvinfer10": "10.13.3.9-1+cuda13.0",
        "python3-libnvinfer": "10.13.3.9-1+cuda13.0",
        "tensorrt": "10.13.3.9-1+cuda13.0",
    },
    cuda="13.0",
)
ORIN_7 = Recorded(
    model="NVIDIA Jetson AGX Orin Developer Kit",
    release="# R39 (release), REVISION: 2.0, GCID: 45755727, BOARD: generic, EABI: aarch64, "
    "DATE: Mon Jun  1 09:28:48 PM UTC 2026\n# KERNEL_VARIANT: oot\n",
    python="python3.12",
    packages={
        "libnvinfer10": "10.16.2.10-1+cuda13.2",
        "nvidia-jetpack": "7.2-b187",
        "nvidia-l4t-core": "39.2.0-20260601141651",
        "python3-libnvinfer": "10.16.2.10-1+cuda13.2",
        "tensorrt": "10.16.2.10-1+cuda13.2",
    },
    cuda="13.2",
)
ORIN_5 = Recorded(
    model="NVIDIA Orin Nano Developer Kit",
    release="# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64, "
    "DATE: Tue Aug  1 19:57:35 UTC 2023\n",
    python="python3.8",
    packages={
        "libnvinfer8": "8.5.2-1+cuda11.4",
        "nvidia-jetpack": "5.1.2-b104",
        "python3-libnvinfer": "8.5.2-1+cuda11.4",
    },
    cuda="11.4",
)
