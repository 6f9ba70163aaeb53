"""Which classes a training learns: a choice and a merging of CamVid's.

Written as ``name`` or ``name=member+member``, by commas: ``road,person=pedestrian+bicyclist``. The
member ``*`` stands for all that no other class takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.errors import SettingsError
from export.data.camvid import BOX_CLASSES, CLASSES, IGNORE


@dataclass(frozen=True, slots=True)
class ClassSet:
    """Classes by name, each of which takes in the ``members`` at its place."""

    names: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]
    text: str = ""
    """As it was written; empty for CamVid's own."""

    @classmethod
    def parse(cls, text: str, *, of: tuple[str, ...], option: str) -> ClassSet:
        """Read a choice of the classes ``of``; empty text takes all as they are.

        Raises:
            SettingsError: a class is unknown, given twice, or has no name; it names ``option``.
        """
        text = "".join(text.split())
        if not text:
            return cls(of, tuple((name,) for name in of))
        names, members = [], []
        for entry in text.split(","):
            name, sign, listed = entry.partition("=")
            if not name:
                raise SettingsError(f"{option} {text}: a class without a name. Write name=member.")
            names.append(name)
            members.append(tuple(listed.split("+")) if sign else (name,))
        taken = [m for group in members for m in group]
        unknown = [m for m in taken if m not in (*of, "*")]
        if unknown:
            raise SettingsError(
                f"{option} {text}: {unknown[0]!r} is none of {', '.join(of)} or * for the rest."
            )
        for kind in (names, taken):
            twice = [n for n in kind if kind.count(n) > 1]
            if twice:
                raise SettingsError(f"{option} {text}: {twice[0]!r} is given twice, wanted once.")
        rest = tuple(n for n in of if n not in taken)
        whole = [tuple(m for g in group for m in (rest if g == "*" else (g,))) for group in members]
        if not all(whole):
            raise SettingsError(f"{option} {text}: no class is left for *. Leave it out.")
        if tuple(names) == of and whole == [(n,) for n in of]:
            text = ""
        return cls(tuple(names), tuple(whole), text)

    def index_of(self, member: str) -> int | None:
        """The class that takes ``member`` in, or None."""
        return next((i for i, group in enumerate(self.members) if member in group), None)

    def table(self, of: tuple[str, ...], *, missing: int) -> NDArray[np.int64]:
        """Class index (len(of),) of each of the classes ``of``; ``missing`` for what none takes."""
        found = [self.index_of(member) for member in of]
        return np.array([missing if i is None else i for i in found], np.int64)


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of boxes and of the mask."""

    boxes: ClassSet
    mask: ClassSet

    @classmethod
    def parse(cls, boxes: str = "", mask: str = "") -> Classes:
        """Read both choices; empty ones are CamVid's four kinds of boxes and eleven classes.

        Raises:
            SettingsError: see ClassSet.parse; or a mask of a single class, which decides nothing.
        """
        made = cls(
            ClassSet.parse(boxes, of=BOX_CLASSES, option="--box-classes"),
            ClassSet.parse(mask, of=CLASSES, option="--mask-classes"),
        )
        if len(made.mask.names) < 2:
            raise SettingsError(
                f"--mask-classes {mask}: a mask of one class, wanted two or more. Add other=*."
            )
        return made

    def label_table(self) -> NDArray[np.uint8]:
        """Label (256,) of each of CamVid's; IGNORE for pixels that no class takes."""
        table = np.full(256, IGNORE, np.uint8)
        table[: len(CLASSES)] = self.mask.table(CLASSES, missing=IGNORE)
        return table
