"""Runs ``edge-export adopt`` for a model without a spec and keeps what it makes, by hash.

It imports nothing of ``export``: the command is a process of its own, and its result is a file. It
is found again by the hashes of the file, of weights beside it and of the code that adopts, and is
taken only as the bytes that were proven: what is damaged is made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping
from importlib.util import find_spec as find_module
from pathlib import Path

import engines.spec
from edge.progress import LINES, Line, told
from engines.errors import ModelError, SourceError
from engines.files import remove, scratch, user_folder, write_whole
from engines.model_file import ModelFile, sha256_of
from engines.redact import redact

log = logging.getLogger(__name__)

# The child dies with the app, however that ends (PR_SET_PDEATHSIG, prctl(2); 9 is SIGKILL). Its own
# folder stands first on its path, so that no "export" of the user's folder is taken for ours.
CHILD = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != int(sys.argv.pop(1)):
    sys.exit(1)
from export.start import main
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
        if os.path.lexists(found):
            if (doubt := _kept_doubt(found)) is not None:
                log.info("%s: adopted before, using %s", path, found)
                if doubt:
                    log.warning("%s: %s", path, doubt)
                return found
            log.warning("%s: is not as it was kept; adopting %s anew", found, path)
            remove(found)
        folder.mkdir(parents=True, exist_ok=True)
        with scratch(folder) as making:
            made = making / f"{path.stem}.onnx"
            log.info("%s: has no Outrider spec; adopting it once (edge-export adopt)", path)
            # Not resolved: weights may lie beside a link and not beside what it leads to.
            reason, doubt = _adopt(
                path.absolute(), made, frames, root=export_folder.parent, stop=stop
            )
            if reason is None and made.is_file():
                for taken in (found, _record_of(found)):
                    if taken.is_dir():
                        remove(taken)  # which a file cannot replace
                record = {"sha256": sha256_of(made), "doubt": doubt}
                write_whole(_record_of(found), json.dumps(record).encode(errors="replace"))
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


def _adopt(
    path: Path, made: Path, frames: str | None, *, root: Path, stop: threading.Event | None
) -> tuple[str | None, str]:
    """Run the command: its last word where it did not succeed, and what the proof could not show.

    Of a source that gives not one frame the run itself will tell; the proof then is on others.
    """
    adopt = ["adopt", str(path), "-o", str(made)]
    of_source = frames is not None and not frames.startswith("/dev/")
    if frames is not None and of_source and (os.path.isfile(frames) or os.path.isdir(frames)):
        of_them = [*adopt, "--frames", os.path.realpath(frames)]
        reason, doubt, code = _export(of_them, root, stop)
        if code != SourceError.exit_code:
            return reason, doubt
        log.info("%s: is not to be read; proving on the synthetic street", redact(frames))
    reason, doubt, _ = _export(adopt, root, stop)
    return reason, doubt


def _export(
    words: list[str], root: Path, stop: threading.Event | None
) -> tuple[str | None, str, int]:
    """Run ``edge-export``: its last word where it did not succeed, its warning, its exit code."""
    command = [sys.executable, "-c", CHILD, str(os.getpid()), *words]
    last, doubt, stop = "", "", stop or threading.Event()
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
                        words_, done, total = at
                        progress.show(f"adopting, {words_}", done=done, total=total)
                    continue
                progress.close()
                last = redact(line.strip()) or last
                if line.startswith(DOUBT):
                    doubt = line.removeprefix(DOUBT).strip()
                    log.warning("%s", doubt)
                elif not line.startswith("written "):  # where it is for a moment only
                    log.info("%s", line.strip())
        except BaseException:
            child.kill()
            raise
        finally:
            progress.close()
    code = child.returncode
    if code == 0:
        return None, doubt, code
    if stop.is_set():
        return "the run was stopped", "", code
    return last.removeprefix("edge-export: ") or f"the command ended with {code}", "", code


def _kill_at_stop(child: subprocess.Popen[str], stop: threading.Event) -> None:
    while child.poll() is None:
        if stop.wait(STOP_POLL_S):
            child.kill()
            return


def _record_of(adopted: Path) -> Path:
    """The hash of an adopted file, and what its proof could not show."""
    return adopted.with_suffix(".json")


def _kept_doubt(adopted: Path) -> str | None:
    """What the proof of a kept file could not show; None where the file is not what was kept."""
    try:
        record = json.loads(_record_of(adopted).read_bytes())
        if record["sha256"] == sha256_of(adopted):
            return str(record["doubt"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, ModelError):
        pass
    return None
