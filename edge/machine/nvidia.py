"""What the doctor finds about NVIDIA: the Jetson, the driver, TensorRT, PyCUDA, the built engine.

It starts CUDA once to compare the engine with the device, and releases it again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec as find_module
from pathlib import Path
from typing import TYPE_CHECKING

from edge.machine.finding import Ask, Finding
from edge.telemetry.jetson import power_mode
from engines.errors import DeviceError, EngineError, EngineMismatch, ModelError
from engines.files import text_of

if TYPE_CHECKING:
    from engines.tensorrt.identity import Sidecar

TENSORRT = ((10, 3), (12, 0))
"""The first TensorRT that is supported and the first that is not."""
_PYCUDA_HINT = (
    "CUDA_ROOT=/usr/local/cuda PATH=/usr/local/cuda/bin:$PATH pip install pycuda "
    "(on a Jetson: sudo make install-jetson)"
)


def l4t_of(root: Path) -> str | None:
    """The Jetson's L4T ('36.4.7', 'unknown' where only the board shows it), else None."""
    release = re.search(
        r"# R(\d+) \(release\), REVISION: ([\d.]+)", text_of(root / "etc/nv_tegra_release")
    )
    if release:
        return f"{release.group(1)}.{release.group(2)}"
    return "unknown" if "Jetson" in text_of(root / "proc/device-tree/model") else None


def jetson(root: Path, ask: Ask) -> Iterator[Finding]:
    """Board, L4T and power mode, nothing elsewhere."""
    l4t = l4t_of(root)
    if l4t is None:
        return
    model = text_of(root / "proc/device-tree/model").strip("\0 \n")
    yield Finding("Jetson", "model", "ok", model or "unknown")
    yield Finding("Jetson", "L4T", "ok", l4t)
    told = re.search(r"NV Power Mode:\s*(\S+)", ask(["nvpmodel", "-q"]) or "")
    mode = told[1] if told else power_mode(root)
    if mode:
        yield Finding("Jetson", "power mode", "ok", mode)
    else:
        hint = "ask with: sudo nvpmodel -q"
        yield Finding("Jetson", "power mode", "missing", "nvpmodel does not tell", hint)


def cuda_devices() -> list[str] | None:
    """The CUDA devices in words, None without a driver."""
    from engines.cuda.context import seen_devices

    seen = seen_devices()
    if seen is None:
        return None
    return [f"{name}, compute capability {capability}" for name, capability in seen]


def gpu(cuda: list[str] | None, ask: Ask, *, nodes: Path = Path("/dev")) -> Iterator[Finding]:
    """Driver and devices."""
    from engines.cuda.context import forbidden

    if cuda is None:
        text = "no NVIDIA driver (libcuda.so.1); inference is on the CPU"
        yield Finding("GPU", "CUDA", "none", text)
        return
    if not cuda:
        hint = "compare driver and kernel: nvidia-smi; in a container: --gpus all"
        hint = forbidden(nodes) or hint
        yield Finding("GPU", "CUDA", "missing", "a driver is there, but it opens no device", hint)
    for device in cuda:
        yield Finding("GPU", "CUDA", "ok", device)
    driver = ask(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])
    if driver:
        yield Finding("GPU", "driver", "ok", driver.splitlines()[0])


def tensorrt(cuda: list[str] | None) -> Iterator[Finding]:
    """Native TensorRT's Python bindings: there, loadable, of a version that is supported."""
    from engines.tensorrt.library import ask_version

    if not cuda:
        yield _without_gpu("tensorrt")
        return
    try:
        version = ask_version("tensorrt")
    except EngineError as exc:
        yield _unusable("tensorrt", exc)
        return
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if TENSORRT[0] <= numbers < TENSORRT[1]:
        yield Finding("engines", "tensorrt", "ok", version)
    else:
        text = f"{version}, wanted 10.3 to 11.x"
        hint = "JetPack 6 or later brings it; elsewhere, in the project's folder: "
        hint += "pip install -e '.[tensorrt]'"
        yield Finding("engines", "tensorrt", "missing", text, hint)


def rtx(*, jetson: bool) -> Iterator[Finding]:
    """TensorRT for RTX, which parses and builds without a GPU, too; missing only where broken.

    There is none for a Jetson, so nothing is said of it there.
    """
    from engines.tensorrt.library import ask_version, installed

    use = "judges and builds engines here, runs them on GeForce RTX and RTX workstation GPUs"
    try:
        yield Finding("engines", "rtx", "ok", f"{ask_version('rtx')}; {use}")
    except EngineError as exc:
        if installed("rtx"):
            yield _unusable("rtx", exc)
        elif not jetson:
            hint = _unusable("rtx", exc).hint
            text = f"not installed; {use}: {hint}"
            yield Finding("engines", "rtx", "none", text, hint)


def _unusable(name: str, exc: EngineError) -> Finding:
    text, _, hint = str(exc).partition("): ")
    return Finding("engines", name, "missing", text + ")", hint)


def pycuda(cuda: list[str] | None) -> Iterator[Finding]:
    """PyCUDA: there and fit for this driver."""
    if not cuda:
        yield _without_gpu("pycuda")
        return
    from engines.cuda.context import pycuda_version

    try:
        version = pycuda_version()
    except (ImportError, OSError) as exc:
        yield Finding("engines", "pycuda", "missing", f"cannot be used ({exc})", _PYCUDA_HINT)
        return
    yield Finding("engines", "pycuda", "ok", version)


def _without_gpu(module: str) -> Finding:
    there = "installed" if find_module(module) else "not installed"
    return Finding("engines", module, "none", f"{there}; needs an NVIDIA GPU")


def built_engine(cuda: list[str] | None, model: Path) -> Iterator[Finding]:
    """The engines of the shipped model, of either flavour: whether they run on this device."""
    from engines.model_file import ModelFile
    from engines.tensorrt.identity import find_built
    from engines.tensorrt.library import FLAVOURS, build_command, to_build_for

    file, flavours = ModelFile(model), FLAVOURS if model.is_file() else ()
    built = [found for flavour in flavours if (found := find_built(file, flavour=flavour))]
    for engine in built:
        yield _judged(engine, model, cuda)
    if built:
        return
    if cuda:
        text = f"{model.name} has no TensorRT engine yet; it runs on the CPU"
        hint = build_command(model, to_build_for())
        yield Finding("engines", "built engine", "missing", text, hint)
    else:
        yield Finding("engines", "built engine", "none", "none yet; needs an NVIDIA GPU")


def _judged(engine: Path, model: Path, cuda: list[str] | None) -> Finding:
    """One engine; with a GPU it is compared with that."""
    from engines.tensorrt.identity import read_sidecar
    from engines.tensorrt.library import build_command

    hint = build_command(model, "rtx" if engine.name.endswith(".rtx.engine") else "tensorrt")
    try:
        sidecar = read_sidecar(engine)
        if not cuda:
            to_prove = "" if sidecar.ran else ", where it is to be proven"
            text = f"{engine}; needs an NVIDIA GPU{to_prove}"
            return Finding("engines", "built engine", "none", text)
        warnings = _compared(sidecar, engine, model)
    except (EngineMismatch, ModelError) as exc:
        return Finding("engines", "built engine", "missing", str(exc), hint)
    except (EngineError, DeviceError) as exc:
        text = f"{engine} cannot be compared with the device: {exc}"
        hint = "see tensorrt, rtx, pycuda and CUDA"
        return Finding("engines", "built engine", "missing", text, hint)
    if not sidecar.ran:
        text = f"{engine}: was built where no device could run it, so it is not proven"
        return Finding("engines", "built engine", "missing", text, f"edge-export verify {engine}")
    return Finding("engines", "built engine", "ok", "; ".join([str(engine), *warnings]))


def _compared(sidecar: Sidecar, engine: Path, model: Path) -> list[str]:
    """The differences that the engine survives."""
    from engines.cuda.context import open_device
    from engines.tensorrt.identity import check_identity
    from engines.tensorrt.library import ask_version

    version = ask_version(sidecar.identity.flavour)
    device = open_device()
    try:
        here = device.facts(version)
    finally:
        device.close()
    return check_identity(sidecar, engine, here, onnx=model)
