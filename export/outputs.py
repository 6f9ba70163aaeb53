"""Files that a command writes: refused before its work, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edge.stdout import check_stdout, print_whole
from engines.errors import ExportError, ModelError, SettingsError, SinkError
from engines.files import scratch, write_whole

if TYPE_CHECKING:
    import onnx


def check_output(path: Path, option: str, *, inputs: Iterable[Path | None] = ()) -> None:
    """Refuse a place that cannot be written, or is one of ``inputs``; "-" is standard output.

    Raises:
        SettingsError: there is no standard output, or it would replace an input.
        ExportError: says why, and which option names another.
    """
    if str(path) == "-":
        check_stdout(option)
        return
    if any(path.resolve() == taken.resolve() for taken in inputs if taken is not None):
        raise SettingsError(f"{option} {path}: is used by this run already. Name another file.")
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        if not _is_special(path):
            with tempfile.TemporaryFile(dir=path.parent):
                pass
    except OSError as exc:
        raise _cannot(path, option, exc) from exc


def write_output(path: Path, text: str, option: str) -> None:
    """Write a text file whole, or to standard output for "-".

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
            write_whole(Path(os.path.realpath(path)), data)
    except OSError as exc:
        raise _cannot(path, option, exc) from exc


@contextmanager
def published_after(model: onnx.ModelProto, target: Path) -> Iterator[Path]:
    """Write ``model`` to a file elsewhere, published as ``target`` if the block ends well.

    So the very bytes that were proven in the block are published, and no unproven file ever lies
    beside the user's.

    Raises:
        ModelError: it cannot be written.
    """
    try:
        with tempfile.TemporaryFile(dir=target.parent):
            pass  # told before the work
        with scratch() as folder:
            unproven = folder / target.name
            unproven.write_bytes(model.SerializeToString())
            yield unproven
            write_whole(target, unproven.read_bytes())
    except OSError as exc:
        raise ModelError(
            f"{target}: cannot be written ({exc.strerror or exc}). Name a file in a folder that "
            "exists and is writable with -o FILE."
        ) from exc


def check_model_target(target: Path, source: Path) -> None:
    """Refuse a name that the app would not take for a model, and the file that is read.

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


def _cannot(path: Path, option: str, exc: OSError) -> ExportError:
    reason = exc.strerror or exc
    return ExportError(f"{path}: cannot be written ({reason}). Name a writable file with {option}.")
