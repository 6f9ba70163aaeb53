"""Files that a command writes: refused before its work, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edge.sources import source_files
from edge.stdout import check_stdout, is_stdout, print_whole
from engines.errors import ExportError, ModelError, SettingsError, SinkError
from engines.files import scratch, write_whole
from engines.overwriting import model_files, refuse_overwriting

if TYPE_CHECKING:
    import onnx


def check_output(path: Path, option: str, *, inputs: Iterable[Path] = ()) -> None:
    """Refuse a place that cannot be written, or is one of ``inputs``; "-" is standard output.

    Raises:
        SettingsError: there is no standard output, or it would be written over an input.
        ExportError: says why, and which option names another.
    """
    if is_stdout(path):
        check_stdout(option)
        return
    refuse_overwriting([(f"{option} {path}", path)], ((str(file), file) for file in inputs))
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        if not _is_special(path):
            with tempfile.TemporaryFile(dir=path.parent):
                pass
    except OSError as exc:
        raise _cannot(path, option, exc) from exc


def check_reports(reports: Mapping[str, Path], inputs: Iterable[Path]) -> None:
    """``check_output`` for each option's; earlier ones go: what lies there then is of this run.

    Raises:
        SettingsError: as ``check_output``.
        ExportError: as ``check_output``.
    """
    taken = list(inputs)
    for option, path in reports.items():
        check_output(path, option, inputs=taken)
        taken.append(path)
    for option, path in reports.items():
        try:
            if not is_stdout(path) and path.is_file():
                os.unlink(os.path.realpath(path))  # a link stays one
        except OSError as exc:
            raise _cannot(path, option, exc) from exc


def write_output(path: Path, text: str, option: str) -> None:
    """Write a text file whole, or to standard output for "-".

    Raises:
        ExportError: says why, and which option names another.
    """
    if is_stdout(path):
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
        with scratch() as folder:
            # Runtimes take no name that is no text.
            unproven = folder / target.name.encode("utf-8", "replace").decode()
            unproven.write_bytes(model.SerializeToString())
            yield unproven
            write_whole(target, unproven.read_bytes())
    except OSError as exc:
        raise ModelError(
            f"{target}: cannot be written ({exc.strerror or exc}). Name a file in a folder that "
            "exists and is writable with -o FILE."
        ) from exc


def check_model_target(target: Path, source: Path, *, frames: str | None = None) -> None:
    """Refuse a name that the app would not take for a model, and the files that are read.

    ``frames`` is the source of the frames to prove on.

    Raises:
        SettingsError: names what is wrong with ``-o``.
        ExportError: it cannot be written there.
    """
    if target.suffix != ".onnx":
        raise SettingsError(f"-o {target}: wanted a name that ends in .onnx.")
    read = [*model_files([source], [target]), *(source_files(frames) if frames else ())]
    check_output(target, "-o", inputs=read)


def _is_special(path: Path) -> bool:
    """Whether it is a pipe or a device, which cannot be replaced: /dev/stdout."""
    return path.exists() and not path.is_file()


def _cannot(path: Path, option: str, exc: OSError) -> ExportError:
    reason = exc.strerror or exc
    return ExportError(f"{path}: cannot be written ({reason}). Name a writable file with {option}.")
