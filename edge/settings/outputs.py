"""Refuses outputs that would be written over an input or over each other; it writes nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge.sinks.record.names import number_of
from edge.sources import source_files
from engines.errors import ModelError, SettingsError


def refuse_overwriting(
    outputs: Sequence[str | Path],
    *,
    folders: Sequence[str] = (),
    models: Sequence[Path],
    source: str,
    settings: Path | None = None,
) -> None:
    """Compare the files that are written with those that are read, whatever their names.

    ``folders`` are those in which films make room for others.

    Raises:
        SettingsError: an output is the file of an input or of another output, or may remove it.
    """
    taken: dict[object, str | Path] = {}
    _refuse_removing(folders, source)
    for output in (*folders, *outputs):
        if _identity(output) in taken:
            raise _refusal(output, "another output")
        taken[_identity(output)] = output
    if not taken:
        return
    read = [("the source", file) for file in source_files(source)]
    read += [("the model", file) for file in _files_of(models, outputs)]
    read += [("the settings", settings)] if settings is not None else []
    for what, file in read:
        if _identity(file) in taken:
            raise _refusal(taken[_identity(file)], what)


def _refuse_removing(folders: Sequence[str], source: str) -> None:
    recorded = {_identity(folder): folder for folder in folders}
    for file in source_files(source) if recorded else ():
        folder = recorded.get(_identity(file.parent))
        if folder is not None and number_of(file.name) is not None:
            raise SettingsError(
                f"{file}: is one of the films in {folder}, which may go to make room while it is "
                "played; move it, or record to another folder"
            )


def _files_of(models: Sequence[Path], outputs: Sequence[str | Path]) -> Iterator[Path]:
    """The models' files, a plan's sidecar and external weights among them."""
    for model in models:
        yield model
        if model.suffix == ".engine":
            from engines.tensorrt.identity import sidecar_path

            yield sidecar_path(model)
        elif any(_may_be_weights(output, model) for output in outputs):
            from engines.model_file import ModelFile

            with contextlib.suppress(ModelError):  # reported when it is opened
                yield from ModelFile(model).weights


def _may_be_weights(output: str | Path, model: Path) -> bool:
    """Whether the model is worth the 0.2 s of a look: weights lie in its folder or below."""
    try:
        several_names = Path(output).stat().st_nlink > 1
    except (OSError, ValueError):
        return False
    folders = [os.path.realpath(model.parent), os.path.dirname(os.path.realpath(model))]
    true = Path(os.path.realpath(output))
    return several_names or any(true.is_relative_to(folder) for folder in folders)


def _identity(path: str | Path) -> object:
    """Device and inode of a file that is there, which links share, else its path."""
    path = Path(os.path.expanduser(path))  # without a slash at its end, as sinks open it
    try:
        info = path.stat()
    except OSError:
        return os.path.realpath(path)
    except ValueError:  # a NUL in the name, which no file has
        return path
    return info.st_dev, info.st_ino


def _refusal(output: str | Path, what: str) -> SettingsError:
    return SettingsError(
        f"{output}: would be written over {what}; give each file a name of its own"
    )
