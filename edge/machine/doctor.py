"""Finds out what this machine can do for Outrider; it changes nothing and never raises.

Files are read below ``root``, so a recorded machine can be examined; libraries and devices are
those of the running process.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from importlib.util import find_spec as find_module
from pathlib import Path
from typing import Literal

from edge.machine.finding import Ask, Finding, ask
from edge.machine.gstreamer import gstreamer
from edge.machine.nvidia import (
    built_engine,
    cuda_devices,
    gpu,
    jetson,
    l4t_of,
    pycuda,
    rtx,
    tensorrt,
)
from edge.settings.settings import SHIPPED_MODEL
from edge.sinks.display import display_answers
from edge.version import VERSION
from edge.web.address import Address
from engines.files import text_of

CPU_FLAGS = (
    "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8",
    "asimd", "asimdhp", "asimddp", "bf16", "i8mm", "sve",
)  # fmt: skip
"""Instruction sets that inference uses: x86 first, then Arm."""
PACKAGES = {
    "numpy": ("numpy",),
    "cv2": ("opencv-python", "opencv-contrib-python", "opencv-python-headless"),
    "av": ("av",),
    "onnx": ("onnx",),
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
}
"""Modules that the app uses, and the distributions that bring them."""
PAGE = ("starlette", "uvicorn", "websockets", "prometheus_client")
"""Modules that serve a run's page."""
DECODERS = ("h264", "hevc", "mjpeg", "mpeg4", "vp9", "av1")


def examine(
    root: Path = Path("/"),
    *,
    environ: Mapping[str, str] = os.environ,
    ask: Ask = ask,
) -> list[Finding]:
    """All findings in the order of their sections.

    Args:
        root: where /proc, /sys, /etc and /dev are.
        environ: decides about the display.
        ask: runs a command of the machine.
    """
    findings: list[Finding] = []
    cuda = cuda_devices()
    probes: list[tuple[str, str, Callable[[], Iterator[Finding]]]] = [
        ("machine", "CPU", lambda: machine(root)),
        ("Jetson", "model", lambda: jetson(root, ask)),
        ("versions", "packages", versions),
        ("engines", "openvino", _openvino),
        ("engines", "onnxruntime", _onnxruntime),
        ("engines", "tensorrt", lambda: tensorrt(cuda)),
        ("engines", "rtx", lambda: rtx(jetson=l4t_of(root) is not None)),
        ("engines", "pycuda", lambda: pycuda(cuda)),
        ("engines", "model", _shipped_model),
        ("engines", "built engine", lambda: built_engine(cuda, SHIPPED_MODEL)),
        ("GPU", "CUDA", lambda: gpu(cuda, ask)),
        ("video", "av", _video),
        ("GStreamer", "bindings", lambda: gstreamer(jetson=l4t_of(root) is not None)),
        ("cameras", "V4L2", lambda: _cameras(root)),
        ("display", "X11", lambda: _display(environ)),
        ("display", "page", _page),
    ]
    for section, name, probe in probes:
        try:
            findings += probe()
        except Exception as exc:  # a broken library must not hide the rest
            text = f"is there but broken: {type(exc).__name__}: {exc}".splitlines()[0]
            hint = f"pip install --force-reinstall {name}" if find_module(name) else ""
            findings.append(Finding(section, name, "missing", text, hint))
    return findings


def machine(root: Path) -> Iterator[Finding]:
    """Processor, memory and system."""
    text = text_of(root / "proc/cpuinfo")
    fields = dict(re.findall(r"^([^\t:\n]+?)\s*:[ \t]*(.*)$", text, flags=re.MULTILINE))
    model = fields.get("model name") or fields.get("Model") or platform.machine()
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    cores = len(os.sched_getaffinity(0))
    useful = ", ".join(f for f in CPU_FLAGS if f in flags) or "none of the known ones"
    yield Finding("machine", "CPU", "ok", f"{model}, {cores} usable cores")
    yield Finding("machine", "instructions", "ok", useful)
    memory = re.search(r"^MemTotal:\s+(\d+) kB", text_of(root / "proc/meminfo"), re.MULTILINE)
    if memory:
        yield Finding("machine", "memory", "ok", f"{int(memory.group(1)) / 2**20:.1f} GiB")
    system = re.search(r'^PRETTY_NAME="?([^"\n]*)', text_of(root / "etc/os-release"), re.MULTILINE)
    name = system.group(1) if system else platform.system()
    yield Finding("machine", "system", "ok", f"{name}, {platform.machine()}")


def versions() -> Iterator[Finding]:
    """Of the project, of Python and of the PACKAGES."""
    outrider = VERSION or "not installed, run in place"
    yield Finding("versions", "Outrider", "ok", outrider)
    yield Finding("versions", "Python", "ok", f"{platform.python_version()} ({sys.executable})")
    for module, distributions in PACKAGES.items():
        found = [f"{v} ({d})" for d in distributions if (v := _version(d)) is not None]
        if found:
            yield Finding("versions", module, "ok", ", ".join(found))
        elif find_module(module):
            yield Finding("versions", module, "ok", "of the system, version unknown")
        else:
            hint = f"pip install {distributions[0]}"
            yield Finding("versions", module, "missing", "not installed", hint)


def _openvino() -> Iterator[Finding]:
    if find_module("openvino"):
        from engines.openvino import import_openvino

        core = import_openvino().Core()
        # The type's own name ('bf16'), as the app's metrics give it.
        hint = core.get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()
        text = f"default precision {hint} on CPU; has {', '.join(core.available_devices)}"
        yield Finding("engines", "openvino", "ok", text)


def _onnxruntime() -> Iterator[Finding]:
    if find_module("onnxruntime"):
        from engines.onnxruntime import import_onnxruntime

        providers = [
            p.removesuffix("ExecutionProvider")
            for p in import_onnxruntime().get_available_providers()
            if p != "AzureExecutionProvider"  # asks a service, runs nothing here
        ]
        text = f"default precision f32; has {', '.join(providers)}"
        yield Finding("engines", "onnxruntime", "ok", text)


def _shipped_model() -> Iterator[Finding]:
    if SHIPPED_MODEL.is_file():
        yield Finding("engines", "model", "ok", str(SHIPPED_MODEL))
    else:
        hint = "get the whole project again, or name a model with --model"
        yield Finding("engines", "model", "missing", f"{SHIPPED_MODEL} is not there", hint)


def _video() -> Iterator[Finding]:
    from edge.sources.video.media import av

    have = av.codecs_available
    usable = [name for name in DECODERS if _codec(name, "r", have)]
    lacking = [name for name in DECODERS if name not in usable]
    text = ", ".join(usable) + (f"; not {', '.join(lacking)}" if lacking else "")
    yield Finding("video", "decoders", "ok" if "h264" in usable else "missing", text, _AV_HINT)
    if _codec("libx264", "w", have):
        yield Finding("video", "mp4 encoder", "ok", "libx264")
    else:
        yield Finding("video", "mp4 encoder", "missing", "libx264 is not in this PyAV", _AV_HINT)


_AV_HINT = "pip install --force-reinstall av (its wheels bring FFmpeg)"


def _codec(name: str, mode: Literal["r", "w"], have: set[str]) -> bool:
    from edge.sources.video.media import av

    try:
        return name in have and bool(av.Codec(name, mode))
    except (ValueError, OSError):  # listed for the other direction only
        return False


def _cameras(root: Path) -> Iterator[Finding]:
    from edge.sources.camera import list_cameras

    cameras = list_cameras(root)
    for camera in cameras:
        device = camera.device
        if root == Path("/") and not os.access(device, os.R_OK | os.W_OK):
            hint = "sudo usermod -aG video $USER, then log in again"
            yield Finding("cameras", device.name, "missing", f"{camera}: no permission", hint)
        else:
            yield Finding("cameras", device.name, "ok", f"--source {camera}")
    if not cameras:
        yield Finding("cameras", "V4L2", "none", "no camera is connected")


def _page() -> Iterator[Finding]:
    lacking = [name for name in PAGE if not find_module(name)]
    if lacking:
        hint = "in the project's folder: pip install -e '.[web]'"
        yield Finding("display", "page", "missing", f"lacks {', '.join(lacking)}", hint)
    else:
        yield Finding("display", "page", "ok", f"--sink web, at {Address().url()}")


def _display(environ: Mapping[str, str]) -> Iterator[Finding]:
    name = environ.get("DISPLAY", "")
    if display_answers(environ):
        yield Finding("display", "X11", "ok", f"{name} answers; --sink window works")
    elif name:
        hint = "log in at the desktop, or ssh -X; without one: --sink out.mp4"
        yield Finding("display", "X11", "missing", f"{name} does not answer", hint)
    elif environ.get("WAYLAND_DISPLAY"):
        text = "Wayland without XWayland (DISPLAY is not set)"
        yield Finding("display", "X11", "missing", text, "apt install xwayland")
    else:
        yield Finding("display", "X11", "none", "no display; --sink out.mp4 or null")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
