"""Refuses outputs of a run that would be written over one of its inputs; it writes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from edge.sinks.record.names import number_of
from edge.sources import source_files
from engines.errors import SettingsError
from engines.overwriting import identity, model_files
from engines.overwriting import refuse_overwriting as refuse_same


def refuse_overwriting(
    outputs: Sequence[str | Path],
    *,
    folders: Sequence[str] = (),
    models: Sequence[Path],
    source: str,
    others: Iterable[tuple[str, str | Path]] = (),
) -> None:
    """Compare the files that are written with those that are read, whatever their names.

    ``folders`` are those in which films make room for others; ``others`` are read as well, each
    with what it is.

    Raises:
        SettingsError: an output is the file of an input or of another output, or may remove it.
    """
    _refuse_removing(folders, source)
    reads = [*(("the source", file) for file in source_files(source))] if outputs else []
    reads += [("the model", file) for file in model_files(models, outputs)]
    refuse_same(((str(output), output) for output in (*folders, *outputs)), [*reads, *others])


def _refuse_removing(folders: Sequence[str], source: str) -> None:
    read = {identity(file): file for file in source_files(source)} if folders else {}
    for folder in folders:
        place = Path(os.path.expanduser(folder))
        for name in os.listdir(place) if place.is_dir() else ():
            file = read.get(identity(place / name)) if number_of(name) is not None else None
            if file is not None:
                raise SettingsError(
                    f"{file}: is one of the films in {folder}, which may go to make room while it "
                    "is played; move it, or record to another folder"
                )
