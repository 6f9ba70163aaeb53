"""Refuses outputs that would be written over an input or over each other; it writes nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from engines.errors import ModelError, SettingsError


def refuse_overwriting(outputs: Sequence[str | Path], inputs: Iterable[tuple[str, Path]]) -> None:
    """Compare files, not names: a file may have several, by links of both kinds.

    Args:
        outputs: files that will be written to.
        inputs: files that are read, each after what it is: "the model".

    Raises:
        SettingsError: an output is the file of an input or of another output.
    """
    taken: dict[object, str | Path] = {}
    for output in outputs:
        if _identity(output) in taken:
            raise _refusal(output, "another output")
        taken[_identity(output)] = output
    for what, file in inputs:
        if _identity(file) in taken:
            raise _refusal(taken[_identity(file)], what)


def model_inputs(models: Iterable[Path], outputs: Sequence[str | Path]) -> Iterator[Path]:
    """The files that models are read from: a plan's sidecar and external weights are among them."""
    for model in models:
        yield model
        if model.suffix == ".engine":
            from engines.tensorrt.identity import sidecar_path

            yield sidecar_path(model)
        elif any(_may_be_weights(output, model) for output in outputs):
            from engines.model_file import weight_files

            with contextlib.suppress(ModelError):  # told when it is opened
                yield from weight_files(model)


def _may_be_weights(output: str | Path, model: Path) -> bool:
    """Whether it is worth the 0.2 s to look into the model: weights lie in or below its folder."""
    try:
        several_names = os.stat(output).st_nlink > 1
    except (OSError, ValueError):
        return False
    folder = Path(os.path.realpath(model.parent))
    return several_names or Path(os.path.realpath(output)).is_relative_to(folder)


def _identity(path: str | Path) -> object:
    """Device and inode of a file that is there, else the path without links."""
    path = os.path.expanduser(path)
    try:
        info = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    except ValueError:  # a NUL in the name, which no file has
        return path
    return info.st_dev, info.st_ino


def _refusal(output: str | Path, what: str) -> SettingsError:
    return SettingsError(
        f"{output}: would be written over {what}; give each file a name of its own"
    )
