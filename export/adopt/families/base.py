"""What a family of foreign models says about one of its own: preprocessing, heads, their origin.

Adding a family is one file with a ``Family`` in it and one line in the folder's
``__init__.py``.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engines.errors import ExportError, SettingsError
from engines.spec import DetectionHead, InputSpec, MaskHead, Resize, TensorSpec, printable
from export.adopt.foreign import Float, ForeignNet, Outputs
from export.data.coco_names import COCO_NAMES

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
    """What the user said on the command line; None or empty where nothing was said."""

    family: str | None = None
    names: tuple[str, ...] | None = None
    masks: tuple[MaskHint, ...] = ()
    anchors: Mapping[int, Anchors] | None = None
    """stride → (width, height) of each anchor in input pixels."""
    centre_scale: Mapping[int, float] | float | None = None
    """darknet's scale_x_y, by stride or for all of them."""
    colour: Colour | None = None
    mean: Triple | None = None
    std: Triple | None = None
    resize: Resize | None = None

    def apply(self, default: Preprocess) -> Preprocess:
        """The family's preprocessing with what the user said in its place."""
        return Preprocess(
            self.colour or default.colour,
            self.mean or default.mean,
            self.std or default.std,
            self.resize or default.resize,
            default.pad_value,
        )


@dataclass(frozen=True, slots=True)
class MaskPlan:
    """One semantic head: the foreign tensor ``raw`` and the mask ``head`` that is made of it.

    Forms: 'scores' (1, C, h, w), the highest is the class; 'switch' (1, 1, h, w), class 1 above
    ``threshold`` and 0 elsewhere; 'labels' (1, h, w) or (1, 1, h, w), integers, the classes.
    """

    raw: str
    head: MaskHead
    shape: tuple[int, ...]
    """(1, h, w) of the mask."""
    form: MaskForm = "scores"
    threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class RowsPlan:
    """Boxes that a DETR gives in its way; the adopted file makes one ``end2end`` output of them.

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
    """Everything that adoption decided about one file; ``said`` are lines for the user."""

    family: str
    preprocess: Preprocess
    detection: DetectionHead | None = None
    masks: tuple[MaskPlan, ...] = ()
    said: tuple[str, ...] = ()
    notice: str = ""
    rows: RowsPlan | None = None

    @property
    def heads(self) -> tuple[str, ...]:
        """The foreign outputs whose numbers matter; a class alone may well never change."""
        boxes = self.detection.outputs if self.detection else ()
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

    ``recognise`` returns None for a net of another family and raises where a net of this one
    contradicts itself or lacks something (then naming the option that says it).
    ``doubt`` looks at the numbers of a real run and returns why they cannot be this family's, or
    None: shapes and names alone are never trusted.
    ``decode`` is the reference for the proof, independent of the app's decoders: every candidate as
    (boxes (N, 4) x0, y0, x1, y1 in input pixels, scores (N, C)); None for nets without boxes.
    """

    summary: str
    recognise: Callable[[ForeignNet, Hints], Plan | None]
    doubt: Callable[[Plan, Outputs], str | None]
    decode: Callable[[ForeignNet, Plan, Outputs], tuple[Float, Float]] | None = None


def class_names(net: ForeignNet, hints: Hints, channels: int | None) -> tuple[tuple[str, ...], str]:
    """Names of the net's ``channels`` classes and, in words, where they come from.

    ``channels`` is None where the graph gives labels and no shape says how many there are.

    Raises:
        ExportError: the names given, or those in the metadata, are more or fewer than the channels.
        SettingsError: nobody says the names.
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
    return apart(tuple(map(printable, names))), origin


def classes_in_graph(
    net: ForeignNet, output: str, operators: tuple[str, ...] = ("Div", "Mod")
) -> int | None:
    """How many classes the graph of ``output`` tells apart, where it says so.

    The best of all boxes and classes are taken with one TopK; what lies between it and the labels
    divides the place in that list by the number of classes, and the labels are the remainder.
    """
    from onnx import numpy_helper

    graph = net.model.graph
    makers = {name: node for node in graph.node for name in node.output}
    known = {t.name: t for t in graph.initializer}
    for node in graph.node:
        for a in node.attribute if node.op_type == "Constant" else ():
            if a.name == "value":
                known[node.output[0]] = a.t
            elif a.name in ("value_int", "value_ints"):
                ints = [a.i] if a.name == "value_int" else list(a.ints)
                known[node.output[0]] = numpy_helper.from_array(np.array(ints, np.int64))
    found = set()
    left = [output]
    seen = set(left)
    while left:
        node = makers.get(left.pop())
        if node is None or node.op_type == "TopK":
            continue
        if node.op_type in operators and node.input[1] in known:
            value = numpy_helper.to_array(known[node.input[1]])
            if value.size == 1 and value.dtype.kind == "i":
                found.add(int(value.ravel()[0]))
        fresh = [name for name in node.input if name not in seen]
        left += fresh
        seen.update(fresh)
    return found.pop() if len(found) == 1 else None


def apart(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names with a number behind those that come again: COCO's tables have 'N/A' ten times."""
    made: list[str] = []
    for name in names:
        again = (f"{name} {n}" for n in itertools.count(2))
        new = name not in made
        made.append(name if new else next(a for a in again if a not in (*names, *made)))
    return tuple(made)


def _as_names(net: ForeignNet, found: object) -> tuple[str, ...]:
    values: list[object] = []
    if isinstance(found, dict):
        # beyond a few digits int() itself refuses a text
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


def good_anchors(anchors: Mapping[int, Anchors]) -> bool:
    """Whether there are strides, each with anchors, of finite positive sizes."""
    sizes = [side for boxes in anchors.values() for box in boxes for side in box]
    return all(anchors.values()) and bool(sizes) and all(0 < s < math.inf for s in sizes)


def grid_cells(net: ForeignNet, strides: tuple[int, ...]) -> int:
    """How many cells the grids of ``strides`` have together; 0 where a side is no multiple."""
    if any(net.height % s or net.width % s for s in strides):
        return 0
    return sum((net.height // s) * (net.width // s) for s in strides)


@dataclass(frozen=True, slots=True)
class BoxTable:
    """The one output with a row or column a box, and what its numbers are followed by."""

    tensor: TensorSpec
    extra: int
    """Mask coefficients of each box, as many as the net has prototypes."""
    said: tuple[str, ...]


def box_table(net: ForeignNet) -> BoxTable | None:
    """The net's table of boxes, where all other outputs are known companions that can be left out.

    Those are the prototypes (1, M, H/4, W/4) of a segmenter, and the raw grids
    (1, anchors, h, w, 5 + C) that older YOLOv5 and YOLOv7 exports list behind their boxes.
    """
    tables = [t for t in net.outputs if len(t.shape) == 3 and t.shape[0] == 1]
    if len(tables) != 1 or tables[0].dtype != "float32":
        return None
    extra = 0
    said = []
    for tensor in net.outputs:
        if tensor is tables[0]:
            continue
        told = f"{tensor.name} {tensor.dtype}{list(tensor.shape)}"
        quarter = (net.height // 4, net.width // 4)
        if len(tensor.shape) == 4 and tensor.shape[2:] == quarter and not extra:
            extra = tensor.shape[1]
            said.append(f"left out     {told}: prototypes of object masks; boxes only")
        elif len(tensor.shape) == 5:
            said.append(f"left out     {told}: the same boxes, raw")
        else:
            return None
    return BoxTable(tables[0], extra, tuple(said))


def is_end_to_end(net: ForeignNet, table: BoxTable) -> bool:
    """Whether the table is (1, K, 6): not a box a cell, as YOLOX and YOLOv5 of one class have."""
    _, rows, columns = table.tensor.shape
    grids = [grid_cells(net, s) for s in ((8, 16, 32), (8, 16, 32, 64))]
    return columns == 6 + table.extra and rows not in (*grids, *(3 * n for n in grids))


def one_hot(labels: Float, scores: Float, classes: int) -> Float:
    """Scores (N, C) of boxes that have one class each; labels beyond the classes score nowhere."""
    table = np.zeros((len(labels), classes), np.float32)
    for i, (label, score) in enumerate(zip(labels, scores, strict=True)):
        if 0 <= label < classes:
            table[i, int(label)] = score
    return table


def only_output(net: ForeignNet, dimensions: int) -> TensorSpec | None:
    """The net's output where it has one alone, of float32 and so many dimensions, batch 1."""
    if len(net.outputs) != 1:
        return None
    (tensor,) = net.outputs
    fits = len(tensor.shape) == dimensions and tensor.shape[0] == 1 and tensor.dtype == "float32"
    return tensor if fits else None
