"""Which class of a model is which class of the data."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge.vision.types import Image, Mask
from engines.errors import ExportError, SettingsError
from engines.spec import ModelSpec
from export.data.labelled import LabelledData

NAMES_SHOWN = 12
"""Class names in a message: some models have a thousand."""


@dataclass(frozen=True, slots=True)
class ClassMap:
    """``boxes[i]`` is the data's box class of the model's class i, or −1.

    ``masks`` has a table (256,) from label to the data's mask class for each mask that is scored,
    by the mask's name; what the data lacks becomes the number of its classes. ``renamed`` are the
    names that differ; ``lacking`` are classes of the data that the model does not know.
    """

    boxes: tuple[int, ...]
    masks: Mapping[str, Image]
    renamed: Mapping[str, str]
    lacking_boxes: tuple[str, ...]
    lacking_masks: tuple[str, ...]

    @property
    def has_boxes(self) -> bool:
        """Whether model and data share a class of boxes."""
        return any(i >= 0 for i in self.boxes)

    def labels(self, masks: Sequence[Mask]) -> Image | None:
        """What all masks say together, (H, W) of the frame, in the data's mask classes.

        A later mask lies over an earlier one, but its background does not.
        """
        joint: Image | None = None
        for mask in masks:
            table = self.masks.get(mask.name)
            if table is None:
                continue
            placed = mask.letterbox.mask_to_frame(mask.labels)
            labels: Image = table[placed]
            if joint is None:
                joint = labels
            else:
                back = [i for i, name in enumerate(mask.classes) if name in mask.background]
                joint = np.where(np.isin(placed, back), joint, labels)
        return joint


def parse_renames(texts: Sequence[str]) -> dict[str, str]:
    """'MODEL_NAME=DATA_NAME' each → model's name to data's name.

    Raises:
        SettingsError: not of that form, or a model's name twice.
    """
    renames: dict[str, str] = {}
    for text in texts:
        left, _, right = (part.strip() for part in text.partition("="))
        if not left or not right or left in renames:
            raise SettingsError(
                f"--map {text!r}: wanted MODEL_NAME=DATA_NAME, each MODEL_NAME once, such as "
                "person=pedestrian."
            )
        renames[left] = right
    return renames


def class_map(
    spec: ModelSpec, data: LabelledData, renames: Mapping[str, str], *, origin: str
) -> ClassMap:
    """Match the classes by name, after ``renames`` and, where the data lacks a name, its aliases.

    A mask is scored where it shares a class with the data that is not its background, or two.

    Raises:
        SettingsError: a rename names a class that the model or the data does not have.
        ExportError: they share no class; the message names both sides'.
    """
    box_names = spec.detection.classes if spec.detection else ()
    mask_names = [name for mask in spec.masks for name in mask.classes]
    for model_name, data_name in renames.items():
        _check(model_name, [*box_names, *mask_names], "the model")
        _check(data_name, [*data.box_classes, *data.mask_classes], "the data")

    def index(name: str, classes: Sequence[str]) -> int:
        named = renames.get(name, name)
        if named not in classes and name not in renames:
            named = data.aliases.get(name, name)
        return classes.index(named) if named in classes else -1

    boxes = tuple(index(name, data.box_classes) for name in box_names)
    tables: dict[str, Image] = {}
    seen: set[int] = set()
    for mask in spec.masks:
        found = [index(name, data.mask_classes) for name in mask.classes]
        shared = {i for i in found if i >= 0}
        front = {i for i, n in zip(found, mask.classes, strict=True) if n not in mask.background}
        if len(shared) > 1 or front & shared:
            table = np.full(256, len(data.mask_classes), np.uint8)
            table[: len(found)] = [i if i >= 0 else len(data.mask_classes) for i in found]
            tables[mask.name] = table
            seen |= shared
    heads = [(n, data.box_classes) for n in box_names]
    heads += [(n, data.mask_classes) for n in mask_names]
    made = ClassMap(
        boxes=boxes,
        masks=tables,
        renamed={
            name: classes[i]
            for name, classes in heads
            if (i := index(name, classes)) >= 0 and classes[i] != name
        },
        lacking_boxes=tuple(n for i, n in enumerate(data.box_classes) if i not in boxes),
        lacking_masks=tuple(n for i, n in enumerate(data.mask_classes) if i not in seen),
    )
    if not made.has_boxes and not made.masks:
        raise ExportError(
            f"{origin}: its classes are {_listed([*box_names, *mask_names])}; wanted "
            f"{_wanted(data)}. There is nothing to score. If some mean the same, say so: "
            "--map MODEL_NAME=DATA_NAME."
        )
    return made


def _check(name: str, known: Sequence[str], whose: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        hint = f"; the nearest is {near[0]!r}" if near else ""
        raise SettingsError(f"--map: {name!r} is no class of {whose}{hint}.")


def _wanted(data: LabelledData) -> str:
    boxes = [f"one of the boxes {_listed(data.box_classes)}"] if data.box_classes else []
    masks = [f"a mask with some of {_listed(data.mask_classes)}"] if data.mask_classes else []
    return " or ".join(boxes + masks)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMES_SHOWN]) + ", …" * (len(names) > NAMES_SHOWN)
