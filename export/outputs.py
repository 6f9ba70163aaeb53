"""Files that a command writes: refused before its work, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edge.stdout import check_stdout, print_whole
from engines.errors import ExportError, ModelError, SettingsError, SinkError
from engines.files import replacing
from engines.model_file import write_atomically

if TYPE_CHECKING:
    import onnx


def check_output(path: Path, option: str) -> None:
    """Refuse a place that cannot be written, before minutes of work; "-" is standard output.

    Raises:
        SettingsError: there is no standard output.
        ExportError: says why, and which option names another.
    """
    if str(path) == "-":
        check_stdout(option)
        return
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        if _is_special(path):
            return
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as exc:
        raise _cannot(path, option, exc.strerror or str(exc)) from exc


def write_output(path: Path, text: str, option: str) -> None:
    """Write a text file, or to standard output for "-".

    Under ``path`` there is the old file or the whole new one.

    Raises:
        ExportError: says why, and which option names another.
    """
    if str(path) == "-":
        try:
            print_whole(text)
        except SinkError as exc:
            raise ExportError(f"{exc}. Name a writable file with {option}.") from exc
        return
    data = text.encode(errors="replace")  # names of files may hold bytes that are no UTF-8
    try:
        if _is_special(path):
            path.write_bytes(data)
        else:
            write_atomically(data, Path(os.path.realpath(path)))
    except ModelError as exc:
        reason = exc.__cause__.strerror if isinstance(exc.__cause__, OSError) else None
        raise _cannot(path, option, reason or str(exc)) from exc
    except OSError as exc:
        raise _cannot(path, option, exc.strerror or str(exc)) from exc


@contextmanager
def published_after(model: onnx.ModelProto, target: Path) -> Iterator[Path]:
    """Write ``model`` to a file beside ``target``; it takes that name if the block ends well.

    So the very file that was proven in the block is the one that is published.

    Raises:
        ModelError: it cannot be written.
    """
    try:
        with replacing(target) as unproven:
            unproven.write_bytes(model.SerializeToString())
            yield unproven
    except OSError as exc:
        raise ModelError(
            f"{target}: cannot be written ({exc.strerror or exc}). Name a file in a folder that "
            "exists and is writable with -o FILE."
        ) from exc


def check_model_target(target: Path, source: Path) -> None:
    """Refuse a name that the app would not take for a model, and the model that is read.

    Raises:
        SettingsError: names what is wrong with ``-o``.
    """
    if target.suffix != ".onnx":
        raise SettingsError(f"-o {target}: wanted a name that ends in .onnx.")
    if target.resolve() == source.resolve():
        raise SettingsError(f"{target}: is the file that is read. Name another with -o FILE.")


def _is_special(path: Path) -> bool:
    """Whether it is a pipe or a device, which cannot be replaced: /dev/stdout."""
    return path.exists() and not path.is_file()


def _cannot(path: Path, option: str, reason: str) -> ExportError:
    return ExportError(f"{path}: cannot be written ({reason}). Name a writable file with {option}.")
