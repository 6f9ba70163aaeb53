"""What families with boxes share: grids, tables of boxes, doubts of their numbers.

All of it is for recognition and the reference decode; the app's decoders have no part in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engines.base import Array
from engines.spec import TensorSpec
from export.adopt.foreign import Float, ForeignNet
from export.onnx.graph import constant_tensor

P5, P6 = (8, 16, 32), (8, 16, 32, 64)
"""Strides of a net's grids."""


def grid_cells(net: ForeignNet, strides: tuple[int, ...]) -> int:
    """Cells of the grids of ``strides`` together; 0 where a side is no multiple of one."""
    if any(net.height % s or net.width % s for s in strides):
        return 0
    return sum((net.height // s) * (net.width // s) for s in strides)


@dataclass(frozen=True, slots=True)
class BoxTable:
    """The output with a row or column for each box."""

    tensor: TensorSpec
    extra: int
    """Mask coefficients behind each box's numbers, as many as the net has prototypes."""
    lines: tuple[str, ...]
    """What is left out, for the user."""


def box_table(net: ForeignNet) -> BoxTable | None:
    """The net's table of boxes, None where it has other outputs than can be left out.

    Left out are the prototypes (1, M, H/4, W/4) of a segmenter, and the raw grids
    (1, anchors, h, w, 5 + C) of older YOLOv5 and YOLOv7 exports.
    """
    tables = [t for t in net.outputs if len(t.shape) == 3 and t.shape[0] == 1]
    if len(tables) != 1 or tables[0].dtype != "float32":
        return None
    extra = 0
    lines = []
    for tensor in net.outputs:
        if tensor is tables[0]:
            continue
        text = f"{tensor.name} {tensor.dtype}{list(tensor.shape)}"
        quarter = (net.height // 4, net.width // 4)
        if len(tensor.shape) == 4 and tensor.shape[2:] == quarter and not extra:
            extra = tensor.shape[1]
            lines.append(f"left out     {text}: prototypes of object masks; boxes only")
        elif len(tensor.shape) == 5:
            lines.append(f"left out     {text}: the same boxes, raw")
        else:
            return None
    return BoxTable(tables[0], extra, tuple(lines))


def is_end_to_end(net: ForeignNet, table: BoxTable) -> bool:
    """Whether the table is (1, K, 6) and no grid, as YOLOX and YOLOv5 of one class have."""
    _, rows, columns = table.tensor.shape
    grids = [grid_cells(net, s) for s in (P5, P6)]
    return columns == 6 + table.extra and rows not in (*grids, *(3 * n for n in grids))


def one_hot(labels: Float, scores: Float, classes: int) -> Float:
    """Scores (N, C) of boxes of one class each; labels beyond the classes score nowhere."""
    table = np.zeros((len(labels), classes), np.float32)
    for i, (label, score) in enumerate(zip(labels, scores, strict=True)):
        if 0 <= label < classes:
            table[i, int(label)] = score
    return table


def only_output(net: ForeignNet, dimensions: int) -> TensorSpec | None:
    """The net's only output, None where there are more or it is not float32 of batch 1."""
    if len(net.outputs) != 1:
        return None
    (tensor,) = net.outputs
    fits = len(tensor.shape) == dimensions and tensor.shape[0] == 1 and tensor.dtype == "float32"
    return tensor if fits else None


def corners(centre: Float, size: Float) -> Float:
    """x0, y0, x1, y1 of centres and sizes, both (N, 2)."""
    return np.hstack([centre - size / 2, centre + size / 2])


def no_shares(what: str, values: Array, more: str = "") -> str | None:
    """Why ``values`` are no scores: they do not lie in 0 to 1; None where they do."""
    low, high = values.min(), values.max()
    if low < 0 or high > 1:
        return f"{what} lie in {low:.3g} to {high:.3g}, wanted 0 to 1{more}"
    return None


def no_pixels(coordinates: Array) -> str | None:
    """Why ``coordinates`` are no input pixels: all are small; None where they are."""
    last = coordinates.max()
    return f"box coordinates end at {last:.3g}, wanted input pixels" if last <= 2 else None


def classes_in_graph(
    net: ForeignNet, output: str, operators: tuple[str, ...] = ("Div", "Mod")
) -> int | None:
    """How many classes the graph of ``output`` tells apart, None where it does not say so.

    One TopK takes the best of all boxes and classes. Between it and the labels the place in that
    list is divided by the number of classes; the labels are the remainder.
    """
    from onnx import numpy_helper

    graph = net.model.graph
    makers = {name: node for node in graph.node for name in node.output}
    known = {t.name: t for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and (held := constant_tensor(node)) is not None:
            known[node.output[0]] = held
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
