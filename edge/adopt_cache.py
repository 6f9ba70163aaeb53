"""Starts ``edge-export adopt`` for a model without a spec and keeps what it makes, by hash.

It imports nothing of ``export``: the command is a process of its own, and its result is a file.
What was adopted once is found again by the hashes of the file and of the code that adopts.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec as find_module
from pathlib import Path

import engines.spec
from edge.sources.redact import redact
from engines.errors import ModelError

log = logging.getLogger(__name__)

# The child dies with the app, however that ends (PR_SET_PDEATHSIG, prctl(2); 9 is SIGKILL). Its own
# folder stands first on its path, so that no "export" of the user's folder is taken for ours.
CHILD = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv.pop(1)):
    sys.exit(1)
from export.cli import main
main()
"""


def adopted(
    path: Path, frames: str | None = None, *, environ: Mapping[str, str] = os.environ
) -> Path:
    """The file that the app runs instead of ``path``, made now or found in the cache.

    Args:
        path: an ONNX file without an Outrider spec.
        frames: the source being run; where it is a file or folder, the proof uses its frames, else
            those of the synthetic street.
        environ: XDG_CACHE_HOME and HOME say where the cache is.

    Raises:
        ModelError: the file cannot be adopted; says why, and the command to run by hand.
    """
    by_hand = ["edge-export", "adopt", str(path), "-o", f"{path.stem}.outrider.onnx"]
    export = find_module("export")
    if export is None or export.origin is None:
        raise ModelError(
            f"{path}: has no Outrider spec, and the package that adopts models is not installed "
            f"here. Where it is: {shlex.join(by_hand)}"
        )
    export_folder = Path(export.origin).parent
    folder = cache_folder(environ)
    try:
        # No stale result: other bytes or another version of the code give another name.
        key = _digest([path, Path(engines.spec.__file__), *sorted(export_folder.rglob("*.py"))])
        found = folder / f"{path.stem}-{key[:20]}.onnx"
        if found.is_file():
            log.info("%s: adopted before, using %s", path, found)
            return found
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".making-", dir=folder) as making:
            made = Path(making) / f"{path.stem}.onnx"
            log.info("%s: has no Outrider spec; adopting it once (edge-export adopt)", path)
            reason = _adopt(path.resolve(), made, frames, root=export_folder.parent)
            if reason is None and made.is_file():
                os.replace(made, found)  # atomic: two at once both end with a whole file
                return found
    except OSError as exc:
        reason = f"{exc.filename or folder}: {exc.strerror}"
    raise ModelError(
        f"{path}: has no Outrider spec and could not be adopted: "
        f"{reason or 'nothing was written'}. By hand: {shlex.join(by_hand)}"
    )


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where adopted files are kept (XDG base directories)."""
    base = environ.get("XDG_CACHE_HOME", "")
    # The XDG specification wants relative values ignored.
    root = Path(base) if Path(base).is_absolute() else Path(environ.get("HOME", "~")).expanduser()
    return (root if Path(base).is_absolute() else root / ".cache") / "outrider" / "adopted"


def _adopt(path: Path, made: Path, frames: str | None, *, root: Path) -> str | None:
    """Run the command; None when it succeeded, else its last word."""
    command = [sys.executable, "-c", CHILD, str(os.getpid())]
    command += ["adopt", str(path), "-o", str(made)]
    if frames is not None and Path(frames).exists() and not frames.startswith("/dev/"):
        command += ["--frames", str(Path(frames).resolve())]
    last = ""
    # A session of its own: Ctrl-C in the terminal is the app's to handle.
    with subprocess.Popen(
        command,
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                last = redact(line.strip()) or last
                log.info("%s", line.strip())
        except BaseException:
            child.kill()
            raise
    if child.returncode == 0:
        return None
    return last.removeprefix("edge-export: ") or f"the command ended with {child.returncode}"


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()
