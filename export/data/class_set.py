"""Which classes a training learns: a choice and a merging of those that its data have.

Written as ``name`` or ``name=member+member``, by commas: ``road,person=pedestrian+bicyclist``. The
member ``*`` stands for all that no other class takes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.errors import SettingsError
from export.data.camvid import BOX_CLASSES, CLASSES
from export.data.labelled import UNLABELLED


@dataclass(frozen=True, slots=True)
class ClassSet:
    """Classes by name, each of which takes in the ``members`` at its place."""

    names: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]
    text: str = ""
    """As it was written; empty for all as they are."""

    @classmethod
    def parse(cls, text: str, *, of: tuple[str, ...], option: str) -> ClassSet:
        """Read a choice of the classes ``of``; empty text takes all as they are.

        Raises:
            SettingsError: a class is unknown, given twice, or has no name; it names ``option``.
        """
        if not text.strip():
            return cls(of, tuple((name,) for name in of))
        names, members = [], []
        for entry in text.split(","):
            name, sign, listed = (part.strip() for part in entry.partition("="))
            if not name:
                raise SettingsError(f"{option} {text}: a class without a name. Write name=member.")
            names.append(name)
            members.append(tuple(m.strip() for m in listed.split("+")) if sign else (name,))
        text = ",".join(
            name if group == (name,) else f"{name}={'+'.join(group)}"
            for name, group in zip(names, members, strict=True)
        )
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

    def within(self, names: Collection[str]) -> ClassSet:
        """Those classes that take in one of ``names``."""
        kept = [i for i, group in enumerate(self.members) if not {*group}.isdisjoint(names)]
        return ClassSet(
            tuple(self.names[i] for i in kept), tuple(self.members[i] for i in kept), self.text
        )


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of boxes and of the mask."""

    boxes: ClassSet
    mask: ClassSet

    @classmethod
    def parse(
        cls,
        boxes: str = "",
        mask: str = "",
        *,
        box_names: tuple[str, ...] = BOX_CLASSES,
        mask_names: tuple[str, ...] = CLASSES,
    ) -> Classes:
        """Read both choices of the names that the data have; empty ones take all as they are.

        Raises:
            SettingsError: see ClassSet.parse; or a mask of a single class, which decides nothing;
                or more classes than a network can have.
        """
        made = cls(
            ClassSet.parse(boxes, of=box_names, option="--box-classes"),
            ClassSet.parse(mask, of=mask_names, option="--mask-classes"),
        )
        if len(mask_names) == 1:
            raise SettingsError(
                f"the mask has the class {mask_names[0]!r} alone, wanted two or more. Add a class "
                "for all the rest to classes.txt and to the label maps."
            )
        if len(made.mask.names) == 1:
            raise SettingsError(
                f"--mask-classes {mask}: a mask of one class, wanted two or more. Add other=*."
            )
        for option, names in (("boxes", made.boxes.names), ("mask", made.mask.names)):
            if len(names) > UNLABELLED:
                raise SettingsError(
                    f"the data have {len(names)} classes of {option}, wanted {UNLABELLED} at most. "
                    f"Choose some with --{option.removesuffix('es')}-classes."
                )
        return made

    def within(self, boxes: Collection[str], mask: Collection[str]) -> Classes:
        """Those classes that a data set with these names has something of."""
        return Classes(self.boxes.within(boxes), self.mask.within(mask))

    def label_table(self, of: tuple[str, ...] = CLASSES) -> NDArray[np.uint8]:
        """Label (256,) of each of the classes ``of``; UNLABELLED for pixels that no class takes."""
        table = np.full(256, UNLABELLED, np.uint8)
        table[: len(of)] = self.mask.table(of, missing=UNLABELLED)
        return table
