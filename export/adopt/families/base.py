"""What a family of foreign models says about a net of its own, and the names of its classes.

A new family is one file with a ``Family`` in it and one line in the folder's ``__init__.py``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engines.errors import ExportError, SettingsError
from engines.redact import plain
from engines.spec import DetectionHead, InputSpec, MaskHead, Resize
from export.adopt.foreign import Float, ForeignNet, Outputs

COCO_NAMES = tuple(Path(__file__).with_name("coco_names.txt").read_text().splitlines())
"""COCO 2017's classes in the order of its detectors: its 91 category ids closed up to 0..79."""
Triple = tuple[float, float, float]
Anchors = tuple[tuple[float, float], ...]
Colour = Literal["RGB", "BGR"]
MaskForm = Literal["scores", "switch", "labels"]


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How the net wants its image: blob = (pixel − mean) / std, pixel 0..255, planes in ``colour``.

    ``mean`` and ``std`` are in grey levels 0..255 and in the order of ``colour``.
    """

    colour: Colour
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (255.0, 255.0, 255.0)
    resize: Resize = "letterbox_center"
    pad_value: int = 114


@dataclass(frozen=True, slots=True)
class MaskHint:
    """``--mask OUTPUT[:NAME]=CLASS,CLASS,…``; without a name ``output`` may still hold it."""

    output: str
    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hints:
    """The options of the command; None or empty where one is not given."""

    family: str | None = None
    names: tuple[str, ...] | None = None
    masks: tuple[MaskHint, ...] = ()
    anchors: Mapping[int, Anchors] | None = None
    """stride → (width, height) of each anchor in input pixels."""
    centre_scale: Mapping[int, float] | float | None = None
    """Darknet's scale_x_y, by stride or for all of them."""
    colour: Colour | None = None
    mean: Triple | None = None
    std: Triple | None = None
    resize: Resize | None = None

    def apply(self, default: Preprocess) -> Preprocess:
        """The family's preprocessing, but for what an option says."""
        return Preprocess(
            self.colour or default.colour,
            self.mean or default.mean,
            self.std or default.std,
            self.resize or default.resize,
            default.pad_value,
        )


@dataclass(frozen=True, slots=True)
class MaskPlan:
    """One semantic head: the foreign tensor ``raw`` and the mask ``head`` made of it.

    Forms: 'scores' (1, C, h, w), the highest is the class; 'switch' (1, 1, h, w), class 1 above
    ``threshold``, else 0; 'labels' (1, h, w) or (1, 1, h, w), the classes as integers.
    """

    raw: str
    head: MaskHead
    shape: tuple[int, ...]
    """(1, h, w) of the mask."""
    form: MaskForm = "scores"
    threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class RowsPlan:
    """The outputs of a DETR, of which the adopted file makes one ``end2end`` output.

    Forms: 'labels', corners ``boxes`` (1, K, 4) in input pixels, ``scores`` (1, K) 0..1, ``labels``
    (1, K). 'logits', ``boxes`` (1, K, 4) as cx, cy, w, h in shares of the input, ``scores``
    (1, K, C) before sigmoid. 'shares', all in ``boxes`` (1, K, 6): cx, cy, w, h in shares, score,
    class.
    """

    output: str
    boxes: str
    scores: str = ""
    labels: str = ""
    form: Literal["labels", "logits", "shares"] = "labels"


@dataclass(frozen=True, slots=True)
class Plan:
    """What adoption decided about one file; ``lines`` tell it to the user."""

    family: str
    preprocess: Preprocess
    detection: DetectionHead | None = None
    masks: tuple[MaskPlan, ...] = ()
    lines: tuple[str, ...] = ()
    notice: str = ""
    rows: RowsPlan | None = None
    split: Mapping[str, str] = field(default_factory=dict)
    """Output of the adopted file (1, A·(5 + C), h, w) → grid (1, A, h, w, 5 + C) it is made of."""

    @property
    def boxes(self) -> DetectionHead:
        """The detection head of a plan that has one."""
        assert self.detection is not None
        return self.detection

    @property
    def heads(self) -> tuple[str, ...]:
        """The foreign outputs to compare; classes alone are none, as they may never change."""
        boxes = self.detection.outputs if self.detection else ()
        boxes = tuple(self.split.get(name, name) for name in boxes)
        if self.rows is not None:
            boxes = tuple(filter(None, (self.rows.boxes, self.rows.scores)))
        return (*boxes, *(m.raw for m in self.masks))

    def input_spec(self, net: ForeignNet) -> InputSpec:
        """The input of the adopted file."""
        p = self.preprocess
        return InputSpec(
            net.fresh("image"), net.height, net.width, resize=p.resize, pad_value=p.pad_value
        )


@dataclass(frozen=True, slots=True)
class Family:
    """One family of foreign models.

    ``recognise`` returns None for a net of another family, and raises ExportError where a net of
    this one contradicts itself, SettingsError where an option must say what is missing.
    ``doubt`` returns why the numbers of a real run cannot be this family's, or None: shapes and
    names alone are never trusted.
    ``decode`` is the proof's reference, independent of the app's decoders: every candidate as
    (boxes (N, 4) x0, y0, x1, y1 in input pixels, scores (N, C)); None for nets without boxes.
    """

    summary: str
    recognise: Callable[[ForeignNet, Hints], Plan | None]
    doubt: Callable[[Plan, Outputs], str | None]
    decode: Callable[[ForeignNet, Plan, Outputs], tuple[Float, Float]] | None = None


def class_names(net: ForeignNet, hints: Hints, channels: int | None) -> tuple[tuple[str, ...], str]:
    """Names of the net's classes and where they come from.

    ``channels`` is how many there are, None where no shape says it.

    Raises:
        ExportError: there are more or fewer names than channels.
        SettingsError: neither the file nor an option has names.
    """
    if hints.names is not None:
        names, origin = hints.names, "--names"
    elif (found := net.literal("names")) is not None:
        names, origin = _as_names(net, found), "the metadata"
    elif channels == len(COCO_NAMES):
        return COCO_NAMES, "COCO, assumed because there are 80 and the file names none"
    else:
        count = f"has {channels} classes" if channels is not None else "gives labels"
        raise SettingsError(
            f"{net.path}: the net {count} and the file does not name them. "
            "Give a text file with one name a line: --names FILE."
        )
    if channels is not None and len(names) != channels:
        raise ExportError(
            f"{net.path}: {origin} has {len(names)} class names, but the graph has {channels} "
            "class channels. Give the names that belong to this net: --names FILE."
        )
    return distinct(tuple(map(plain, names))), origin


def distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, those that come again with a number: COCO's tables have 'N/A' ten times."""
    made: list[str] = []
    for name in names:
        numbered = (f"{name} {n}" for n in itertools.count(2))
        free = (n for n in numbered if n not in (*names, *made))
        made.append(next(free) if name in made else name)
    return tuple(made)


def _as_names(net: ForeignNet, found: object) -> tuple[str, ...]:
    values: list[object] = []
    if isinstance(found, dict):
        # int() itself refuses a text of thousands of digits
        keys = sorted(int(k) for k in found if re.fullmatch(r"[0-9]{1,6}", str(k)))
        if len(keys) == len(found) and keys == list(range(len(keys))):
            by_id = {int(k): v for k, v in found.items()}
            values = [by_id[k] for k in keys]
    elif isinstance(found, list | tuple):
        values = list(found)
    if not values:
        raise ExportError(
            f"{net.path}: its metadata entry 'names' is neither a list nor a table with the keys "
            "0, 1, 2, …. Give the names with --names FILE."
        )
    # YAML makes numbers and truths of names such as 7 and off
    if not all(isinstance(v, str | int | float) and str(v).strip() for v in values):
        raise ExportError(
            f"{net.path}: the metadata has an empty class name, or one that is no text. Give the "
            "names with --names FILE."
        )
    return tuple(map(str, values))
