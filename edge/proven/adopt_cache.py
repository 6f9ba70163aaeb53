"""Runs ``edge-export adopt`` for a model without a spec and keeps what it makes, by hash.

It imports nothing of ``export``: the command is a process of its own, and its result is a file. It
is found again by the hashes of the file, of weights beside it and of the code that adopts, and is
taken only as the bytes that were proven: what is damaged is made anew.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import threading
from collections.abc import Mapping
from pathlib import Path

from edge.proven.child import export_folder, key_of, on_disk, proof
from engines.errors import ExportError, ModelError, SettingsError
from engines.files import keep, kept, remove, scratch, user_folder
from engines.model_file import ModelFile, sha256_of

log = logging.getLogger(__name__)


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
    advice = f" By hand: {_by_hand(path, frames)}"
    if export_folder() is None:
        raise ModelError(
            f"{path}: has no Outrider spec, and the package that adopts models is not installed "
            f"here. Where it is: {_by_hand(path, frames)}"
        )
    folder = cache_folder(environ)
    try:
        found = folder / f"{path.stem}-{key_of(file)}.onnx"
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
            command = ["adopt", str(path.absolute()), "-o", str(made)]
            done = proof(command, frames, doing="adopting", stop=stop)
            reason, doubt = done.last, done.doubt
            if done.code == SettingsError.exit_code:
                advice = _with_options(path, frames, reason)
            elif done.code == ExportError.exit_code:
                advice = ""  # typed, it would be refused again
            if done.code == 0 and made.is_file():
                record = f"{sha256_of(made)} {doubt}"
                keep(_record_of(found), record.encode(errors="replace"))
                os.replace(made, found)  # atomic: two at once both end with a whole file
                log.info("%s: adopted as %s", path, found)
                if doubt:
                    log.warning("%s: %s", path, doubt)
                return found
    except OSError as exc:
        reason = f"{exc.filename or folder}: {exc.strerror}"
    raise ModelError(
        f"{path}: has no Outrider spec and could not be adopted: {reason.rstrip('.')}.{advice}"
    )


def _by_hand(path: Path, frames: str | None, options: str = "") -> str:
    """The command that adopts a file on the frames of the run, and the one that then runs it."""
    model, made = shlex.quote(str(path)), shlex.quote(f"{path.stem}.outrider.onnx")
    proven = f"--frames {shlex.quote(frames)}" if frames and on_disk(frames) else ""
    words = " ".join(filter(None, ("edge-export adopt", model, options, proven, "-o", made)))
    return f"{words} && edge run --model {made}"


def _with_options(path: Path, frames: str | None, asked: str) -> str:
    """The command with all options that it asked for; what follows an If is for other nets."""
    if "edge-export adopt" in asked:  # it says commands itself
        return ""
    missing = asked.partition(". If ")[0]
    found = re.findall(r"--[a-z-]+ (?:'[^']*'|[^\s;]+[^\s;,.])", missing)
    return f" Then: {_by_hand(path, frames, ' '.join(dict.fromkeys(found)))}"


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


def _record_of(adopted: Path) -> Path:
    """The hash of an adopted file, and what its proof could not show."""
    return adopted.with_suffix(".proof")


def _kept_doubt(adopted: Path) -> str | None:
    """What the proof of a kept file could not show; None where the file is not what was kept."""
    sha256, _, doubt = (kept(_record_of(adopted)) or b"").decode().partition(" ")
    with contextlib.suppress(OSError, ModelError):
        if sha256 == sha256_of(adopted):
            return doubt
    return None
