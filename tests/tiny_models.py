"""Small generated ONNX models whose boxes and masks can be computed by hand; shipped by none.

Every model takes the app's own input, ``image`` uint8 (1, H, W, 3) BGR, H and W multiples of 32,
and sees the same things in it:

- **A saturated cell is a box.** A grid cell (8x8, 16x16 or 32x32 pixels, aligned) that is wholly
  pure blue, green or red gives one box, exactly the cell, of class 0, 1 or 2, with a score of
  sigmoid(10)² = 0.9999. In general: m = mean of each channel over the cell, objectness logit
  = 20·((max m − min m)/255 − 0.5), logit of class c = 20·(m_c/255 − 0.5), class 3 ('sign') never.
  Grey gives no boxes. A pure 16x16 block is 4 boxes at stride 8 and 1 at stride 16.
- **A grey level is a label.** The mask at a quarter of the input: label = round(g / 25), at most
  10, where g is the mean of all channels over the 4x4 pixels. Grey 25·k gives label k; pure blue
  (mean 85) label 3.

So ``grey(75)`` with a blue 32x32 block has road (3) everywhere and cars in known places.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.model_file import save_model, write_spec
from engines.spec import DetectionHead, InputSpec, MaskHead, ModelSpec, TensorSpec

BOX_CLASSES = ("car", "pedestrian", "bicyclist", "sign")
BOX_COLOURS_BGR = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
"""Pure colours of classes 0, 1 and 2."""
MASK_CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
STRIDES = (8, 16, 32)
GREY_STEP = 25
SCORE = float((1 / (1 + np.exp(-10.0))) ** 2)
"""Score of a wholly saturated cell: objectness and class logit are both 10."""

_OPSET = 17
_ANCHORS_A_CELL = 3


class _Graph:
    """Collects nodes and constants; ``op`` returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def const(self, values: NDArray[np.generic]) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def f32(self, *values: float) -> str:
        return self.const(np.asarray(values, np.float32))

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        name = out or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name


def tiny_street(
    path: Path,
    height: int = 64,
    width: int = 96,
    *,
    quantize: bool = False,
    spec: ModelSpec | None = None,
) -> ModelSpec:
    """Boxes (yolo-anchors at strides 8, 16, 32) and the mask ``street``, like the shipped model.

    ``quantize`` puts a DynamicQuantizeLinear into the graph; ``spec`` overrides the true spec.
    """
    graph, blob = _blob(quantize)
    outputs = [_anchor_head(graph, blob, stride, height, width) for stride in STRIDES]
    outputs.append(_mask(graph, blob, "labels", height, width))
    detection = DetectionHead(
        family="yolo-anchors",
        outputs=tuple(t.name for t in outputs[:-1]),
        classes=BOX_CLASSES,
        strides=STRIDES,
        anchors=tuple(((float(s), float(s)),) * _ANCHORS_A_CELL for s in STRIDES),
        box_code="yolov5",
    )
    true = ModelSpec(
        name="tiny-street",
        input=InputSpec("image", height, width),
        outputs=tuple(outputs),
        detection=detection,
        masks=(_mask_head(),),
    )
    return _save(graph, path, true, spec)


def tiny_yolov8(
    path: Path, height: int = 64, width: int = 96, *, spec: ModelSpec | None = None
) -> ModelSpec:
    """One (1, 4 + 4, N) tensor of all three strides: cx, cy, w, h in input pixels, scores 0..1."""
    graph, blob = _blob(False)
    rows = []
    for s in STRIDES:
        objectness, classes = _cell_logits(graph, blob, s)
        score = graph.op("Mul", graph.op("Sigmoid", objectness), graph.op("Sigmoid", classes))
        box = graph.const(_grid_boxes(s, height, width).T[None])  # (1, 4, n)
        flat = _flat(graph, score, 4)
        rows.append(graph.op("Concat", box, flat, axis=1))  # (1, 8, n)
    graph.op("Concat", *rows, axis=2, out="output0")
    head = DetectionHead("yolov8", ("output0",), BOX_CLASSES, STRIDES)
    tensor = TensorSpec("output0", (1, 8, _cells(height, width)), "float32")
    true = ModelSpec("tiny-yolov8", InputSpec("image", height, width), (tensor,), head)
    return _save(graph, path, true, spec)


def tiny_yolox(path: Path, height: int = 64, width: int = 96) -> ModelSpec:
    """One raw (1, N, 5 + 4) grid tensor: xy = (0.5 + cell)·s, wh = exp(0)·s, scores 0..1."""
    graph, blob = _blob(False)
    rows = []
    for s in STRIDES:
        objectness, classes = _cell_logits(graph, blob, s)
        scores = graph.op("Sigmoid", graph.op("Concat", objectness, classes, axis=1))
        flat = _flat(graph, scores, 5)
        cells = (height // s) * (width // s)
        box = np.tile(np.array([0.5, 0.5, 0, 0], np.float32)[None, :, None], (1, 1, cells))
        rows.append(graph.op("Concat", graph.const(box), flat, axis=1))  # (1, 9, n)
    joined = graph.op("Concat", *rows, axis=2)
    graph.op("Transpose", joined, perm=[0, 2, 1], out="output")
    head = DetectionHead("yolox", ("output",), BOX_CLASSES, STRIDES)
    tensor = TensorSpec("output", (1, _cells(height, width), 9), "float32")
    geometry = InputSpec("image", height, width, resize="letterbox_topleft")
    return _save(graph, path, ModelSpec("tiny-yolox", geometry, (tensor,), head), None)


def tiny_yolov5(path: Path, height: int = 64, width: int = 96) -> ModelSpec:
    """One (1, N, 5 + 4) tensor: cx, cy, w, h in input pixels, objectness and classes 0..1."""
    graph, blob = _blob(False)
    rows = []
    for s in STRIDES:
        scores = graph.op("Sigmoid", graph.op("Concat", *_cell_logits(graph, blob, s), axis=1))
        box = graph.const(_grid_boxes(s, height, width).T[None])  # (1, 4, n)
        rows.append(graph.op("Concat", box, _flat(graph, scores, 5), axis=1))  # (1, 9, n)
    graph.op("Transpose", graph.op("Concat", *rows, axis=2), perm=[0, 2, 1], out="output0")
    head = DetectionHead("yolov5", ("output0",), BOX_CLASSES, STRIDES)
    tensor = TensorSpec("output0", (1, _cells(height, width), 9), "float32")
    spec = ModelSpec("tiny-yolov5", InputSpec("image", height, width), (tensor,), head)
    return _save(graph, path, spec, None)


def tiny_nanodet(path: Path, height: int = 64, width: int = 96) -> ModelSpec:
    """Classes (1, n, 4) and distances (1, n, 4·4) a stride: half of bin 0 and half of bin 1."""
    graph, blob = _blob(False)
    tensors = []
    for s in STRIDES:
        cells = (height // s) * (width // s)
        objectness, classes = _cell_logits(graph, blob, s)
        score = graph.op("Mul", graph.op("Sigmoid", objectness), graph.op("Sigmoid", classes))
        flat = _flat(graph, score, 4)
        graph.op("Transpose", flat, perm=[0, 2, 1], out=f"classes_{s}")
        tensors.append(TensorSpec(f"classes_{s}", (1, cells, 4), "float32"))
    for s in STRIDES:
        cells = (height // s) * (width // s)
        # ½·0 + ½·1 strides to each side: the box is the cell.
        logits = np.tile(np.array([0, 0, -80, -80], np.float32), (1, cells, 4))
        zero = graph.op("Mul", graph.op("ReduceMax", f"classes_{s}", keepdims=1), graph.f32(0.0))
        graph.op("Add", graph.const(logits), zero, out=f"distances_{s}")
        tensors.append(TensorSpec(f"distances_{s}", (1, cells, 16), "float32"))
    head = DetectionHead("nanodet", tuple(t.name for t in tensors), BOX_CLASSES, STRIDES)
    geometry = InputSpec("image", height, width, pad_value=0)
    return _save(graph, path, ModelSpec("tiny-nanodet", geometry, tuple(tensors), head), None)


def tiny_end2end(path: Path, height: int = 64, width: int = 96) -> ModelSpec:
    """The 20 best boxes (1, 20, 6) of all strides: x0, y0, x1, y1, score, class."""
    graph, blob = _blob(False)
    rows, corners = [], []
    for s in STRIDES:
        objectness, classes = _cell_logits(graph, blob, s)
        score = graph.op("Mul", graph.op("Sigmoid", objectness), graph.op("Sigmoid", classes))
        rows.append(_flat(graph, score, 4))
        boxes = _grid_boxes(s, height, width)
        half = boxes[:, 2:] / 2
        corners.append(np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1))
    scores = graph.op("Transpose", graph.op("Concat", *rows, axis=2), perm=[0, 2, 1])  # (1, N, 4)
    one, keep = (graph.const(np.array([k], np.int64)) for k in (1, 20))
    graph.nodes.append(helper.make_node("TopK", [scores, one], ["best", "class"], axis=2))
    graph.nodes.append(helper.make_node("TopK", ["best", keep], ["score", "place"], axis=1))
    label = graph.op("Cast", graph.op("GatherElements", "class", "place", axis=1), to=1)
    flat = graph.op("Reshape", "place", graph.const(np.array([-1], np.int64)))
    table = graph.const(np.concatenate(corners)[None])  # (1, N, 4)
    graph.op(
        "Concat", graph.op("Gather", table, flat, axis=1), "score", label, axis=2, out="output0"
    )
    head = DetectionHead("end2end", ("output0",), BOX_CLASSES, nms_iou=None)
    tensor = TensorSpec("output0", (1, 20, 6), "float32")
    spec = ModelSpec("tiny-end2end", InputSpec("image", height, width), (tensor,), head)
    return _save(graph, path, spec, None)


def tiny_mask(path: Path, height: int = 64, width: int = 96) -> ModelSpec:
    """The mask ``street`` alone, no boxes."""
    graph, blob = _blob(False)
    tensor = _mask(graph, blob, "labels", height, width)
    geometry = InputSpec("image", height, width)
    spec = ModelSpec("tiny-mask", geometry, (tensor,), masks=(_mask_head(),))
    return _save(graph, path, spec, None)


TINY_MODELS = {
    "yolo-anchors": tiny_street,
    "yolov8": tiny_yolov8,
    "yolox": tiny_yolox,
    "yolov5": tiny_yolov5,
    "nanodet": tiny_nanodet,
    "end2end": tiny_end2end,
    "semantic": tiny_mask,
}
"""One builder a family: ``TINY_MODELS[family](path) -> ModelSpec``."""


def grey(level: int, *, height: int = 64, width: int = 96) -> NDArray[np.uint8]:
    """A grey image (H, W, 3): label round(level / 25) everywhere, no boxes."""
    return np.full((height, width, 3), level, np.uint8)


def paint(image: NDArray[np.uint8], xyxy: Sequence[int], class_id: int) -> NDArray[np.uint8]:
    """Fill a rectangle with the pure colour of a class; align it to 8 pixels to get whole cells."""
    x0, y0, x1, y1 = xyxy
    image[y0:y1, x0:x1] = BOX_COLOURS_BGR[class_id]
    return image


def _blob(quantize: bool) -> tuple[_Graph, str]:
    graph = _Graph()
    value = graph.op("Cast", "image", to=TensorProto.FLOAT)  # (1, H, W, 3)
    if quantize:
        quantized = ["q", "q_scale", "q_zero"]
        graph.nodes.append(helper.make_node("DynamicQuantizeLinear", [value], quantized))
        value = graph.op("DequantizeLinear", *quantized)
    return graph, graph.op("Transpose", value, perm=[0, 3, 1, 2])  # (1, 3, H, W)


def _cell_logits(graph: _Graph, blob: str, stride: int) -> tuple[str, str]:
    """Objectness (1, 1, h, w) and class (1, 4, h, w) logits of every cell."""
    mean = graph.op("AveragePool", blob, kernel_shape=[stride] * 2, strides=[stride] * 2)
    top = graph.op("ReduceMax", mean, axes=[1], keepdims=1)
    low = graph.op("ReduceMin", mean, axes=[1], keepdims=1)
    gain, half = graph.f32(20.0 / 255.0), graph.f32(10.0)
    objectness = graph.op("Sub", graph.op("Mul", graph.op("Sub", top, low), gain), half)
    classes = graph.op("Sub", graph.op("Mul", mean, gain), half)  # (1, 3, h, w)
    never = graph.op("Sub", graph.op("Mul", top, graph.f32(0.0)), half)  # (1, 1, h, w), -10
    return objectness, graph.op("Concat", classes, never, axis=1)


def _flat(graph: _Graph, value: str, channels: int) -> str:
    """(1, C, h, w) → (1, C, h·w)."""
    return graph.op("Reshape", value, graph.const(np.array([1, channels, -1], np.int64)))


def _anchor_head(graph: _Graph, blob: str, stride: int, height: int, width: int) -> TensorSpec:
    """(1, 3·9, H/s, W/s): anchor 0 sees the cell, anchors 1 and 2 stay silent at logit −30."""
    objectness, classes = _cell_logits(graph, blob, stride)
    zero = graph.op("Mul", objectness, graph.f32(0.0))  # tx = ty = tw = th = 0: the cell's centre
    silent = graph.op("Sub", zero, graph.f32(30.0))
    live = [zero, zero, zero, zero, objectness, classes]
    dead = [zero, zero, zero, zero, silent, classes]
    name = f"boxes_{stride}"
    graph.op("Concat", *live, *dead, *dead, axis=1, out=name)
    channels = _ANCHORS_A_CELL * (5 + len(BOX_CLASSES))
    return TensorSpec(name, (1, channels, height // stride, width // stride), "float32")


def _mask(graph: _Graph, blob: str, name: str, height: int, width: int) -> TensorSpec:
    """ArgMax of 2·g·v − v² with v = 25·k: the k whose grey level is nearest to g."""
    pooled = graph.op("AveragePool", blob, kernel_shape=[4, 4], strides=[4, 4])
    mean = graph.op("ReduceMean", pooled, axes=[1], keepdims=1)  # (1, 1, h, w)
    # In units of 25 the numbers stay small: bf16 then still tells the levels apart.
    level = graph.op("Mul", mean, graph.f32(1.0 / GREY_STEP))
    k = np.arange(len(MASK_CLASSES), dtype=np.float32)[None, :, None, None]
    slope, offset = graph.const(2 * k), graph.const(k * k)
    logits = graph.op("Sub", graph.op("Mul", level, slope), offset)  # (1, 11, h, w)
    best = graph.op("ArgMax", logits, axis=1, keepdims=0)  # (1, h, w)
    # Through float: TensorRT converts to uint8 from float only.
    graph.op("Cast", graph.op("Cast", best, to=TensorProto.FLOAT), to=TensorProto.UINT8, out=name)
    return TensorSpec(name, (1, height // 4, width // 4), "uint8")


def _mask_head() -> MaskHead:
    return MaskHead("street", "labels", MASK_CLASSES, background=("sky",))


def _grid_boxes(stride: int, height: int, width: int) -> NDArray[np.float32]:
    """(n, 4) cx, cy, w, h of every cell, row by row."""
    ys, xs = np.mgrid[0 : height // stride, 0 : width // stride]
    centres = (np.stack([xs, ys], axis=-1).reshape(-1, 2) + 0.5) * stride
    return np.concatenate([centres, np.full_like(centres, stride)], axis=1).astype(np.float32)


def _cells(height: int, width: int) -> int:
    return sum((height // s) * (width // s) for s in STRIDES)


def _save(graph: _Graph, path: Path, true: ModelSpec, spec: ModelSpec | None) -> ModelSpec:
    """Write the graph with its true tensors and ``spec`` (or the true one) in the metadata."""
    kinds = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT}
    tensor = true.input.tensor
    inputs = [helper.make_tensor_value_info(tensor.name, kinds[tensor.dtype], tensor.shape)]
    outputs = [helper.make_tensor_value_info(t.name, kinds[t.dtype], t.shape) for t in true.outputs]
    made = helper.make_graph(graph.nodes, true.name, inputs, outputs, graph.constants)
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(
        made, opset_imports=[opset], ir_version=8, producer_name="tiny_models"
    )
    write_spec(model, spec or true)
    save_model(model, path)
    return spec or true
