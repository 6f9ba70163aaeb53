"""Checks names of classes that settings give against those of the models; it keeps none."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from engines.errors import SettingsError


def check_names(classes: Sequence[str] | None, known: Sequence[str], *, asked: str = "") -> None:
    """Look whether there are boxes of these classes, of the ``known`` of all models.

    ``asked`` is the setting, where the error is to name it.

    Raises:
        SettingsError: a name is no box class of any of the models.
    """
    place = f"{asked}: " if asked else ""
    for name in classes or ():
        if name in known:
            continue
        if not known:
            raise SettingsError(
                f"{place}class {name!r} was asked for, but the model gives masks only, no boxes. "
                f"Leave {asked or '--classes'} out."
            )
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        raise SettingsError(
            f"{place}class {name!r} is not one of the model's box classes; "
            f"the nearest is {near[0]!r}. It knows: {', '.join(dict.fromkeys(known))}."
        )
