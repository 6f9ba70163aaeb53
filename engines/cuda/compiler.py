"""Turns a CUDA source file into device code, once per source, device and compiler; loads nothing.

``prebuilt`` reads the code that ships beside the source, ``compiled`` asks nvcc and keeps the
result under the cache folder. ``python -m engines.cuda.compiler`` (``make fatbin``) writes the file
that ships: machine code for the devices below, and PTX that any later one's driver translates.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.errors import EngineError
from engines.files import keep, kept, locked, scratch, user_folder, write_whole

log = logging.getLogger(__name__)

TARGETS = (87, 89, 90, 101, 110, 120)
"""Orin, Ada, Hopper, Thor (101 until CUDA 12.9, then 110), Blackwell; those that nvcc knows."""

OLDEST_PTX = 75
"""Turing, the oldest that CUDA 13 compiles for. PTX of it serves every device not named above."""

NVCC_TIMEOUT_S = 300.0
"""A target takes a second, on a Jetson a few; a compiler that hangs must not hang a start."""

ERROR_LINES = 12
"""How much of a compiler's answer a message repeats: the first error is what matters."""

_AGAIN = "Make it anew: python -m engines.cuda.compiler"
_ON_HOST = 'or let the host do this work: [model] letterbox = "host"'


@dataclass(frozen=True, slots=True)
class Toolkit:
    """An nvcc, its version and the compute capabilities that it compiles for."""

    nvcc: Path
    version: str
    known: tuple[int, ...]


def find_toolkit(environ: Mapping[str, str] = os.environ) -> Toolkit | None:
    """The CUDA compiler of this machine: by CUDA_HOME, then PATH, then where NVIDIA installs it.

    Raises:
        EngineError: there is an nvcc, but it does not answer.
    """
    named = environ.get("CUDA_HOME")
    # Where CUDA_HOME is set it decides alone: another toolkit would be a surprise.
    found = (
        shutil.which("nvcc", path=str(Path(named) / "bin"))
        if named
        else shutil.which("nvcc", path=environ.get("PATH", ""))
        or shutil.which("nvcc", path="/usr/local/cuda/bin")
    )
    if found is None:
        return None
    nvcc = Path(found)
    version = re.search(r"\bV(\d+\.\d+\.\d+)", _answer([found, "--version"]))
    known = re.findall(r"compute_(\d+)", _answer([found, "--list-gpu-arch"]))
    if version is None or not known:
        raise EngineError(f"{nvcc}: gives no version or no list of devices; is it NVIDIA's nvcc?")
    return Toolkit(nvcc, version[1], tuple(sorted({int(arch) for arch in known})))


def fatbin_path(source: Path) -> Path:
    """Where the code that ships for ``source`` lies; its record is beside it, ``.fatbin.json``."""
    return source.with_suffix(".fatbin")


def prebuilt(source: Path) -> bytes | None:
    """The code that ships for ``source``; None where there is none, or none of exactly this source.

    Code made from another source would run silently with other arithmetic, so it is left alone,
    with a warning that says how to make it anew.
    """
    path = fatbin_path(source)
    try:
        code = path.read_bytes()
        record = json.loads(_record_path(path).read_text(encoding="utf-8"))
        compared = (
            (source.name, record["source_sha256"], _sha256(source.read_bytes())),
            (path.name, record["fatbin_sha256"], _sha256(code)),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as exc:
        log.warning("%s ignored: its record cannot be read (%s). %s", path, exc, _AGAIN)
        return None
    for what, was, now in compared:
        if was != now:
            message = "%s ignored: made with a %s of sha256 %.12s, but here it is %.12s. %s"
            log.warning(message, path, what, was, now, _AGAIN)
            return None
    return code


def compiled(
    source: Path, capability: tuple[int, int], *, environ: Mapping[str, str] = os.environ
) -> bytes:
    """``source`` as code for a device of ``capability``, compiled now or found in the cache.

    A device newer than the compiler gets PTX, which its driver translates when it loads it.

    Raises:
        EngineError: no compiler, none for this device, or it refuses the source.
    """
    wanted = 10 * capability[0] + capability[1]
    toolkit = find_toolkit(environ)
    if toolkit is None:
        raise EngineError(
            f"{source.name}: no code for this device (sm_{wanted}) ships with it, and there is no "
            "nvcc in CUDA_HOME, PATH or /usr/local/cuda to make some. Install the CUDA toolkit, "
            f"{_ON_HOST}"
        )
    older = [arch for arch in toolkit.known if arch <= wanted]
    if not older:
        raise EngineError(
            f"{source.name}: nvcc {toolkit.version} compiles for sm_{toolkit.known[0]} and later, "
            f"this device is sm_{wanted}. Install the toolkit of this machine's driver, {_ON_HOST}"
        )
    code = f"sm_{wanted}" if older[-1] == wanted else f"compute_{older[-1]}"
    # The line table costs nothing at run time and lets profilers name the source.
    flags = ["-lineinfo", "-gencode", f"arch=compute_{older[-1]},code={code}"]
    parts = [source.read_bytes(), *map(str.encode, [toolkit.version, *flags])]
    key = _sha256(b"\0".join(parts))
    try:
        folder = cache_folder(environ)
        with locked(folder):  # one compiler at a time
            place = folder / f"{source.stem}-{code}-{key[:20]}.fatbin"
            found = kept(place)
            if found is None:
                found = compile_fatbin(source, toolkit, flags)
                keep(place, found)
                log.info("%s: compiled for %s by nvcc %s", source.name, code, toolkit.version)
            return found
    except OSError as exc:
        log.warning("%s: not kept for the next start (%s)", source.name, exc)
    return compile_fatbin(source, toolkit, flags)


def compile_fatbin(source: Path, toolkit: Toolkit, flags: Sequence[str]) -> bytes:
    """What nvcc makes of ``source``.

    Raises:
        EngineError: it refuses; with the first lines of what it says.
    """
    try:
        with scratch() as folder:
            made = folder / "made.fatbin"
            # Started beside the source, so that no absolute path gets into what ships.
            run = subprocess.run(
                [toolkit.nvcc, "-fatbin", "-std=c++14", *flags, "-o", made, source.name],
                cwd=source.parent, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=NVCC_TIMEOUT_S, text=True, errors="replace",
                check=False,
            )  # fmt: skip
            if run.returncode == 0 and made.is_file():
                return made.read_bytes()
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise EngineError(f"{source}: {toolkit.nvcc} cannot compile it ({exc})") from exc
    said = [line for line in run.stdout.splitlines() if line.strip()]
    shown = said[:ERROR_LINES] or [f"nothing, and it ended with {run.returncode}"]
    if len(said) > ERROR_LINES:
        shown.append(f"… and {len(said) - ERROR_LINES} lines more")
    raise EngineError(
        "\n    ".join([f"{source}: nvcc {toolkit.version} refuses it and says:", *shown])
    )


def write_prebuilt(source: Path, environ: Mapping[str, str] = os.environ) -> str:
    """Write the code that ships for ``source`` and its record; returns what is in it.

    Raises:
        EngineError: no nvcc, it refuses the source, or the files cannot be written.
    """
    toolkit = find_toolkit(environ)
    if toolkit is None:
        raise EngineError(
            "no nvcc in CUDA_HOME, PATH or /usr/local/cuda. Install the CUDA toolkit, or say where "
            "it is: CUDA_HOME=/usr/local/cuda-13.0 make fatbin"
        )
    ptx = max(OLDEST_PTX, toolkit.known[0])
    built = [arch for arch in TARGETS if arch in toolkit.known]
    pairs = [f"arch=compute_{arch},code=sm_{arch}" for arch in built]
    pairs.append(f"arch=compute_{ptx},code=compute_{ptx}")
    # Not compressed: drivers before CUDA 12.8 do not read what newer compilers compress.
    code = compile_fatbin(
        source, toolkit, ["-no-compress", *(word for pair in pairs for word in ("-gencode", pair))]
    )
    record = {
        "source_sha256": _sha256(source.read_bytes()),
        "fatbin_sha256": _sha256(code),
        "nvcc": toolkit.version,
        "code": [f"sm_{arch}" for arch in built],
        "ptx": f"compute_{ptx}",
    }
    path = fatbin_path(source)
    try:
        # Record last: were it lost, what it does not fit is ignored rather than trusted.
        write_whole(path, code)
        write_whole(_record_path(path), (json.dumps(record, indent=2) + "\n").encode())
    except OSError as exc:
        raise EngineError(f"{path}: cannot be written ({exc.strerror})") from exc
    return f"{path}: {len(code)} bytes, {' '.join(record['code'])}, PTX {record['ptx']}"


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where compiled code is kept, made where it is missing.

    Raises:
        OSError: there is no such folder, and none can be made.
    """
    folder = user_folder("CACHE", environ) / "cuda"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def main() -> int:
    """Write the shipped code of letterbox.cu; the exit code."""
    try:
        print(write_prebuilt(Path(__file__).with_name("letterbox.cu")))
    except EngineError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    return 0


def _answer(command: list[str]) -> str:
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=NVCC_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise EngineError(f"{command[0]}: does not answer ({exc})") from exc
    return run.stdout


def _record_path(fatbin: Path) -> Path:
    return fatbin.with_name(fatbin.name + ".json")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
