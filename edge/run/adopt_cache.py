"""Runs ``edge-export adopt`` for a model without a spec and keeps what it makes, by hash.

It imports nothing of ``export``: the command is a process of its own, and its result is a file. It
is found again by the hashes of the file, of weights beside it and of the code that adopts. What a
killed start leaves, the next adoption removes.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from importlib.util import find_spec as find_module
from pathlib import Path

import engines.spec
from edge.progress import LINES, Line, told
from engines.errors import ModelError
from engines.files import locked, user_folder
from engines.model_file import ModelFile
from engines.redact import redact

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
DOUBT = "warning "
"""How the command's line begins that says what its proof could not show."""
STOP_POLL_S = 0.05
"""How late a stop is seen while the other process works."""


def runnable(path: Path, frames: str | None, *, stop: threading.Event | None = None) -> ModelFile:
    """The file that the app runs for ``path``: itself, or what a foreign ONNX is adopted into.

    Raises:
        ModelError: the file is refused, or cannot be adopted.
    """
    file = ModelFile(path)
    if path.suffix != ".onnx" or file.spec is not None:
        return file
    return ModelFile(adopted(file, frames, stop=stop))


def adopted(
    model: Path | ModelFile,
    frames: str | None = None,
    *,
    stop: threading.Event | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Path:
    """The file that the app runs instead of ``model``, made now or found in the cache.

    Args:
        model: an ONNX file without an Outrider spec.
        frames: the source being run; where it is a file or folder, the proof uses its frames, else
            those of the synthetic street.
        stop: once set, the adoption is given up.
        environ: XDG_CACHE_HOME and HOME say where the cache is.

    Raises:
        ModelError: the file cannot be adopted, or not to the end; says why, and the command to run
            by hand.
    """
    file = ModelFile.of(model)
    path = file.path
    by_hand = shlex.join(["edge-export", "adopt", str(path), "-o", f"{path.stem}.outrider.onnx"])
    export = find_module("export")
    if export is None or export.origin is None:
        raise ModelError(
            f"{path}: has no Outrider spec, and the package that adopts models is not installed "
            f"here. Where it is: {by_hand}"
        )
    export_folder = Path(export.origin).parent
    folder = cache_folder(environ)
    try:
        # No stale result: other bytes or another version of the code give another name.
        key = hashlib.sha256(file.sha256.encode())
        for code in [Path(engines.spec.__file__), *sorted(export_folder.rglob("*.py"))]:
            key.update(code.read_bytes())
        found = folder / f"{path.stem}-{key.hexdigest()[:20]}.onnx"
        if found.is_file():
            log.info("%s: adopted before, using %s", path, found)
            with contextlib.suppress(OSError):
                log.warning("%s: %s", path, _doubts_of(found).read_text("utf-8", "replace"))
            return found
        folder.mkdir(parents=True, exist_ok=True)
        with _making(folder) as making:
            made = making / f"{path.stem}.onnx"
            log.info("%s: has no Outrider spec; adopting it once (edge-export adopt)", path)
            reason = _adopt(path.resolve(), made, frames, root=export_folder.parent, stop=stop)
            if reason is None and made.is_file():
                if _doubts_of(made).is_file():
                    os.replace(_doubts_of(made), _doubts_of(found))
                else:  # of a file that was made of other frames and then taken away
                    _doubts_of(found).unlink(missing_ok=True)
                os.replace(made, found)  # atomic: two at once both end with a whole file
                log.info("%s: adopted as %s", path, found)
                return found
    except OSError as exc:
        reason = f"{exc.filename or folder}: {exc.strerror}"
    raise ModelError(
        f"{path}: has no Outrider spec and could not be adopted: "
        f"{reason or 'nothing was written'}. By hand: {by_hand}"
    )


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where adopted files are kept.

    Raises:
        ModelError: neither the environment nor the user database names a folder.
    """
    try:
        return user_folder("CACHE", environ) / "adopted"
    except FileNotFoundError as exc:
        raise ModelError(
            f"no folder for adopted models: {exc}. Say one: export XDG_CACHE_HOME=/var/cache"
        ) from exc


@contextlib.contextmanager
def _making(folder: Path) -> Iterator[Path]:
    """A folder for one adoption, locked while it lives; those of dead processes are removed."""
    with contextlib.ExitStack() as stack:
        with locked(folder) as alone:  # no new folder is taken for a dead one before its lock
            for old in folder.glob(".making-*") if alone else ():
                with contextlib.suppress(OSError), locked(old, wait=False) as dead:
                    if dead:
                        shutil.rmtree(old)
            making = tempfile.TemporaryDirectory(prefix=".making-", dir=folder)
            stack.enter_context(locked(Path(making.name)))
        with making:
            yield Path(making.name)


def _adopt(
    path: Path, made: Path, frames: str | None, *, root: Path, stop: threading.Event | None
) -> str | None:
    """Run the command; None when it succeeded, else its last word."""
    command = [sys.executable, "-c", CHILD, str(os.getpid()), "adopt", str(path), "-o", str(made)]
    if frames is not None and Path(frames).exists() and not frames.startswith("/dev/"):
        command += ["--frames", str(Path(frames).resolve())]
    last, stop = "", stop or threading.Event()
    # A session of its own: Ctrl-C in the terminal is the app's to handle.
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        env=os.environ | {LINES: "1"},
    ) as child:  # fmt: skip
        assert child.stdout is not None
        threading.Thread(
            target=_kill_at_stop, args=(child, stop), name="adopt", daemon=True
        ).start()
        progress = Line()
        try:
            for line in child.stdout:
                if (at := told(line)) is not None:
                    if log.isEnabledFor(logging.INFO):  # not where --quiet was said
                        words, done, total = at
                        progress.show(f"adopting, {words}", done=done, total=total)
                    continue
                progress.close()
                last = redact(line.strip()) or last
                if line.startswith(DOUBT):
                    doubt = line.removeprefix(DOUBT).strip()
                    log.warning("%s", doubt)
                    _doubts_of(made).write_text(doubt, "utf-8", "replace")
                elif not line.startswith("written "):  # where it is for a moment only
                    log.info("%s", line.strip())
        except BaseException:
            child.kill()
            raise
        finally:
            progress.close()
    if child.returncode == 0:
        return None
    if stop.is_set():
        return "the run was stopped"
    return last.removeprefix("edge-export: ") or f"the command ended with {child.returncode}"


def _kill_at_stop(child: subprocess.Popen[str], stop: threading.Event) -> None:
    while child.poll() is None:
        if stop.wait(STOP_POLL_S):
            child.kill()
            return


def _doubts_of(adopted: Path) -> Path:
    """What the proof of an adopted file could not show; there only where there is any doubt."""
    return adopted.with_suffix(".doubts")
