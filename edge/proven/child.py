"""Runs a command of ``edge-export`` as a process of its own; it imports nothing of ``export``."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec as find_module
from pathlib import Path

import engines.spec
from edge.progress import LINES, Line, told
from engines.errors import SourceError
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
from export.start import main
main()
"""
DOUBT = "warning "
"""How the command's line begins that says what its proof could not show."""
STOP_POLL_S = 0.05
"""How late a stop is seen while the other process works."""


@dataclass(frozen=True, slots=True)
class Done:
    """How the command ended: its code, its last line, and what its proof could not show."""

    code: int
    last: str
    doubt: str


def export_folder() -> Path | None:
    """Where the package ``export`` lies, None where it is not installed."""
    export = find_module("export")
    return None if export is None or export.origin is None else Path(export.origin).parent


def key_of(file: ModelFile, *more: str) -> str:
    """Names a proof of ``file``: other bytes or another version of the code give another name."""
    return hashlib.sha256(" ".join([file.sha256, *more, _code()]).encode()).hexdigest()[:20]


@cache
def _code() -> str:
    """The hash of the code that proves."""
    code = hashlib.sha256()
    folder = export_folder()
    for file in [Path(engines.spec.__file__), *(sorted(folder.rglob("*.py")) if folder else ())]:
        code.update(file.read_bytes())
    return code.hexdigest()


def on_disk(source: str) -> bool:
    """Whether a source is a file or a folder, which a proof may read as well."""
    known = os.path.isfile(source) or os.path.isdir(source)
    return known and not source.startswith("/dev/")


def proof(
    words: list[str],
    frames: str | None,
    *,
    doing: str,
    stop: threading.Event | None,
    level: int = logging.INFO,
) -> Done:
    """Run a command whose proof takes ``--frames``: those of the source where it lies on a disk.

    Of a source that gives not one frame the run itself will tell; the proof then is on others.
    ``doing`` is said beside its progress, its own lines are logged at ``level``; once ``stop`` is
    set it is given up.

    Raises:
        OSError: it cannot be started.
    """
    if frames is not None and on_disk(frames):
        done = _run([*words, "--frames", os.path.realpath(frames)], doing, stop, level)
        if done.code != SourceError.exit_code:
            return done
        log.info("%s: is not to be read; proving on the synthetic street", redact(frames))
    return _run(words, doing, stop, level)


def _run(words: list[str], doing: str, stop: threading.Event | None, level: int) -> Done:
    command = [sys.executable, "-c", CHILD, str(os.getpid()), *words]
    folder = export_folder()
    last, doubt, stop = "", "", stop or threading.Event()
    # A session of its own: Ctrl-C in the terminal is the app's to handle.
    with subprocess.Popen(
        command, cwd=None if folder is None else folder.parent, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True, env=os.environ | {LINES: "1"},
    ) as child:  # fmt: skip
        assert child.stdout is not None
        threading.Thread(
            target=_kill_at_stop, args=(child, stop), name="proof", daemon=True
        ).start()
        progress = Line()
        try:
            for line in child.stdout:
                if (at := told(line)) is not None:
                    if log.isEnabledFor(logging.INFO):  # not where --quiet was said
                        step, done, total = at
                        progress.show(f"{doing}, {step}", done=done, total=total)
                    continue
                progress.close()
                last = redact(line.strip()) or last
                if line.startswith(DOUBT):
                    doubt = line.removeprefix(DOUBT).strip()  # which the caller tells
                elif not line.startswith("written "):  # where it is for a moment only
                    log.log(level, "%s", line.strip())
        except BaseException:
            child.kill()
            raise
        finally:
            progress.close()
    if stop.is_set():
        last = "the run was stopped"
    last = last.removeprefix("edge-export: ") or f"the command ended with {child.returncode}"
    return Done(child.returncode, last, doubt)


def _kill_at_stop(child: subprocess.Popen[str], stop: threading.Event) -> None:
    while child.poll() is None:
        if stop.wait(STOP_POLL_S):
            child.kill()
            return
