"""Refuses outputs that would be written over an input or over each other; it writes nothing.

Files are compared by device and inode, which all names of a file share, links among them.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from engines.errors import ModelError, SettingsError


def refuse_overwriting(
    outputs: Iterable[tuple[str, str | Path]], reads: Iterable[tuple[str, str | Path]]
) -> None:
    """Compare the files that are written with each other and with those that are read.

    Both are what a message calls the file, and its path; none need be there.

    Raises:
        SettingsError: an output is the file of an input or of another output.
    """
    taken: dict[object, str] = {}
    for name, path in outputs:
        if identity(path) in taken:
            raise _refusal(name, "another output")
        taken[identity(path)] = name
    for what, path in reads if taken else ():
        if identity(path) in taken:
            raise _refusal(taken[identity(path)], what)


def identity(path: str | Path) -> object:
    """Device and inode of a file that is there, which links share, else its path."""
    path = Path(os.path.expanduser(path))  # without a slash at its end, as it is opened
    try:
        info = path.stat()
    except OSError:
        return os.path.realpath(path)
    except ValueError:  # a NUL in the name, which no file has
        return path
    if stat.S_ISCHR(info.st_mode):  # /dev/null holds nothing that could be lost
        return object()
    return info.st_dev, info.st_ino


def model_files(models: Iterable[Path], outputs: Iterable[str | Path]) -> Iterator[Path]:
    """The models' files, a plan's sidecar and external weights among them.

    ``outputs`` are the paths that are written: which weights a model has is a look of 0.2 s, worth
    it only where one of them may be such a file.
    """
    outputs = list(outputs)
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
    """Whether the output is there and may be weights: which lie in the model's folder or below."""
    try:
        several_names = Path(output).stat().st_nlink > 1
    except (OSError, ValueError):
        return False
    # A model may be a link to a file elsewhere, and its weights lie beside either.
    folders = {Path(os.path.realpath(model.parent)), Path(os.path.realpath(model)).parent}
    place = Path(os.path.realpath(output))
    return several_names or any(place.is_relative_to(folder) for folder in folders)


def _refusal(output: str, what: str) -> SettingsError:
    return SettingsError(
        f"{output}: would be written over {what}; give each file a name of its own"
    )
