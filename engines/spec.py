"""What a model file says about itself: tensors, input geometry, heads. Data only, no runtime.

The spec travels as JSON in the ONNX file's ``metadata_props["outrider"]``, so one file is all there
is to copy. Heads name their tensors; nothing depends on the order of a graph's outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import inf
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from engines.errors import ModelError

METADATA_KEY = "outrider"
"""Key of the spec's JSON in an ONNX file's ``metadata_props``."""
LARGEST_SIDE = 8192
"""Longest side of an input, in pixels."""

Resize = Literal["letterbox_center", "letterbox_topleft", "stretch"]
Interpolation = Literal["linear", "area", "nearest"]
DetectionFamily = Literal["yolo-anchors", "yolov5", "yolov8", "yolox", "nanodet", "end2end"]
BoxCode = Literal["darknet", "yolov5"]

_WITH_EXTRA = ("yolov5", "yolov8", "end2end")
_AGAIN = "Make the file again with 'edge-export adopt' or 'edge-export onnx'."

_STRICT = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output tensor: name, static shape, NumPy dtype name ('uint8', 'float32')."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class InputSpec:
    """The image input: always uint8, NHWC, BGR, shape (1, height, width, 3).

    ``resize`` says how a frame is placed in it, ``pad_value`` is the grey level around it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    height: int
    width: int
    resize: Resize = "letterbox_center"
    pad_value: int = 114
    interpolation: Interpolation = "linear"
    layout: Literal["NHWC"] = "NHWC"
    colour: Literal["BGR"] = "BGR"
    dtype: Literal["uint8"] = "uint8"

    @property
    def tensor(self) -> TensorSpec:
        """The tensor that the host fills: uint8 (1, height, width, 3)."""
        return TensorSpec(self.name, (1, self.height, self.width, 3), self.dtype)


@dataclass(frozen=True, slots=True)
class DetectionHead:
    """Where the boxes are and how to decode them.

    Families:
        yolo-anchors: one raw tensor a stride, (1, A·(5+C), H/s, W/s) float32, channels ordered
            anchor by anchor as tx, ty, tw, th, objectness, classes, all before sigmoid.
            ``box_code`` 'darknet': xy = (σ(t) + cell)·s, wh = anchor·exp(t) (YOLOv3, arXiv
            1804.02767); 'yolov5': xy = (2σ(t) − 0.5 + cell)·s, wh = anchor·(2σ(t))²
            (Ultralytics YOLOv5). ``centre_scale[i]``, where it is there, widens σ(t) of xy
            about the cell's middle for ``strides[i]``: s·σ(t) − (s − 1)/2 (darknet's scale_x_y of
            YOLOv4; arXiv 2004.10934, section 3.4, "eliminate grid sensitivity").
        yolov5: one tensor (1, N, 5+C) float32, cx, cy, w, h in input pixels, then objectness and
            classes 0..1 (YOLOv5 and YOLOv7 as they are exported; their raw heads: yolo-anchors).
        yolov8: one tensor (1, 4+C, N) float32, cx, cy, w, h in input pixels, then scores 0..1.
        yolox: one tensor (1, N, 5+C) float32 over all strides in order; xy = (t + cell)·s,
            wh = exp(t)·s; objectness and classes already 0..1 (arXiv 2107.08430).
        nanodet: for every stride a tensor (1, h·w, C) of classes 0..1, then for every stride a
            tensor (1, h·w, 4·B): B logits for each of left, top, right and bottom, whose softmax
            weighs the distances 0, 1, …, B−1 from the cell's centre, in strides (arXiv 2006.04388).
        end2end: one tensor (1, K, 6) float32, x0, y0, x1, y1 in input pixels, score, class; boxes
            are chosen in the graph, so ``nms_iou`` is None (YOLOv10, YOLO26, DETR).

    ``anchors[i]`` are (width, height) in input pixels for ``strides[i]``; ``outputs[i]`` belongs to
    ``strides[i]`` where a family has one tensor a stride. ``extra`` numbers stand behind each box
    of yolov5, yolov8 and end2end and are left alone: a segmenter's mask coefficients.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    family: DetectionFamily
    outputs: tuple[str, ...]
    classes: tuple[str, ...]
    strides: tuple[int, ...] = ()
    anchors: tuple[tuple[tuple[float, float], ...], ...] = ()
    box_code: BoxCode = "yolov5"
    conf: float = 0.25
    """Score threshold that the model's author recommends; settings and ``--conf`` override it."""
    nms_iou: float | None = 0.45
    """IoU above which the lower-scored of two boxes of one class falls; None where none has to."""
    extra: int = 0
    centre_scale: tuple[float, ...] = ()
    """Only of yolo-anchors with ``box_code`` 'darknet'; empty is 1 everywhere."""


@dataclass(frozen=True, slots=True)
class MaskHead:
    """One semantic mask: tensor uint8 (1, h, w) of class indices (ArgMax is inside the graph).

    ``background`` names the classes that the overlay leaves uncoloured.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    output: str
    classes: tuple[str, ...]
    background: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything that the app must know to run one model file."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    input: InputSpec
    outputs: tuple[TensorSpec, ...]
    detection: DetectionHead | None = None
    masks: tuple[MaskHead, ...] = ()
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    source_sha256: str = ""
    """SHA-256 of the file or weights that this model was made from."""
    notice: str = ""
    """Licence and origin of the weights, in one line."""
    gate: str = ""
    """What an int8 file lost against the file it was made from and how that was measured, in one
    line; empty where that was not held against limits."""
    version: Literal[1] = 1

    def to_json(self) -> str:
        """The spec as compact JSON, for the metadata of a model file."""
        return _adapter().dump_json(self).decode()

    @staticmethod
    def from_json(text: str, *, origin: str) -> ModelSpec:
        """Read a spec back; ``origin`` names the file in messages.

        Raises:
            ModelError: the JSON is not a spec, or its parts contradict each other.
        """
        try:
            spec = _adapter().validate_json(text)
        except ValidationError as exc:
            first = exc.errors()[0]
            where = ".".join(str(p) for p in first["loc"]) or "the whole text"
            raise ModelError(
                f"{origin}: its Outrider spec is not valid at {where}: {first['msg']}. {_AGAIN}"
            ) from exc
        spec.check(origin=origin)
        return spec

    def check(self, *, origin: str) -> None:
        """Refuse a spec whose parts contradict each other.

        Raises:
            ModelError: names the part, what was got and what was wanted.
        """
        for problem in self._problems():
            raise ModelError(f"{origin}: its Outrider spec contradicts itself: {problem}. {_AGAIN}")

    def _problems(self) -> Iterator[str]:
        """What contradicts what, in an order in which each takes for granted what came before."""
        # They end up on terminals and pages, where some characters are commands.
        yield from (f"name {n!r} cannot be printed" for n in self._names() if not n.isprintable())
        size = self.input.height, self.input.width
        if not all(0 < side <= LARGEST_SIDE for side in size):
            yield f"input size {size[0]}x{size[1]}, wanted 1 to {LARGEST_SIDE}"
        if not 0 <= self.input.pad_value <= 255:
            yield f"pad_value {self.input.pad_value}, wanted 0 to 255"
        if self.detection is None and not self.masks:
            yield "no detection head and no mask"
        heads = [("the boxes", self.detection.classes)] if self.detection else []
        heads += [(f"mask {m.name!r}", m.classes) for m in self.masks]
        heads.append(("the model", tuple(m.name for m in self.masks)))
        for whose, names in heads:
            twice = next((n for n in names if names.count(n) > 1), None)
            if twice is not None:
                yield f"{whose} have the name {twice!r} twice"
        outputs = {t.name: t for t in self.outputs}
        if self.detection is not None:
            yield from self._box_problems(self.detection, outputs)
        for mask in self.masks:
            if not 1 <= len(mask.classes) <= 256:
                yield f"a mask of {len(mask.classes)} classes, wanted 1 to 256"
            tensor = outputs.get(mask.output)
            if tensor is None:
                yield f"mask tensor {mask.output!r} is not an output"
            elif len(tensor.shape) != 3 or tensor.dtype != "uint8":
                yield (
                    f"mask tensor {mask.output!r} is {tensor.dtype}{list(tensor.shape)}, "
                    "wanted uint8 [1, h, w]"
                )

    def _names(self) -> list[str]:
        """All that others show of it: names of the model, its tensors and classes, its lines."""
        names = [self.name, self.notice, self.gate, self.input.name]
        names += [tensor.name for tensor in self.outputs]
        for mask in self.masks:
            names += [mask.name, *mask.classes, *mask.background]
        return names + list(self.detection.classes if self.detection else ())

    def _box_problems(self, head: DetectionHead, outputs: dict[str, TensorSpec]) -> Iterator[str]:
        if not head.classes:
            yield "a detection head without classes"
        yield from (f"head tensor {n!r} is not an output" for n in head.outputs if n not in outputs)
        tensors = [outputs[n] for n in head.outputs]
        if any(stride < 1 for stride in head.strides):
            yield f"strides {list(head.strides)}, wanted 1 or more"
        if head.family == "yolo-anchors":
            yield from self._anchor_problems(head, tensors)
        elif head.family == "nanodet":
            yield from self._distance_problems(head, tensors)
        elif len(head.outputs) != 1:
            yield f"{len(head.outputs)} tensors for family {head.family}, wanted 1"
        if head.extra < 0 or (head.extra and head.family not in _WITH_EXTRA):
            yield f"extra {head.extra} for family {head.family}"
        if head.centre_scale and not (
            head.family == "yolo-anchors"
            and head.box_code == "darknet"
            and len(head.centre_scale) == len(head.strides)
            and all(1 <= scale <= 2 for scale in head.centre_scale)
        ):
            yield (
                f"centre_scale {list(head.centre_scale)}, wanted 1 to 2 for each of "
                f"{len(head.strides)} strides of Darknet anchors, or none"
            )
        if head.nms_iou is not None and not 0 <= head.nms_iou <= 1:
            yield f"nms_iou {head.nms_iou}, wanted 0 to 1"
        if not 0 <= head.conf <= 1:
            yield f"conf {head.conf}, wanted 0 to 1"
        if not all(0 < side < inf for pairs in head.anchors for wh in pairs for side in wh):
            yield "anchors that are not above 0 and finite"
        for tensor in tensors:
            if tensor.dtype != "float32":
                yield f"head tensor {tensor.name!r} is {tensor.dtype}, wanted float32"

    def _anchor_problems(self, head: DetectionHead, tensors: list[TensorSpec]) -> Iterator[str]:
        if not len(tensors) == len(head.strides) == len(head.anchors) > 0:
            yield (
                f"{len(tensors)} head tensors, {len(head.strides)} strides and "
                f"{len(head.anchors)} anchor sets, wanted as many of each"
            )
        for tensor, stride, anchors in zip(tensors, head.strides, head.anchors, strict=True):
            channels = len(anchors) * (5 + len(head.classes))
            wanted = (1, channels, self.input.height // stride, self.input.width // stride)
            if tensor.shape != wanted:
                yield f"head tensor {tensor.name!r} is {list(tensor.shape)}, wanted {list(wanted)}"

    def _distance_problems(self, head: DetectionHead, tensors: list[TensorSpec]) -> Iterator[str]:
        if not len(tensors) == 2 * len(head.strides) > 0:
            yield (
                f"{len(tensors)} head tensors and {len(head.strides)} strides, wanted "
                "two tensors a stride"
            )
        for i, (tensor, stride) in enumerate(zip(tensors, head.strides * 2, strict=True)):
            cells = (self.input.height // stride) * (self.input.width // stride)
            shape = tensor.shape
            if i < len(head.strides):
                fits, wanted = shape == (1, cells, len(head.classes)), str(len(head.classes))
            else:
                fits = len(shape) == 3 and shape[:2] == (1, cells)
                fits, wanted = fits and shape[2] % 4 == 0 and shape[2] >= 8, "4·B"
            if not fits:
                yield f"head tensor {tensor.name!r} is {list(shape)}, wanted [1, {cells}, {wanted}]"


@cache
def _adapter() -> TypeAdapter[ModelSpec]:
    return TypeAdapter(ModelSpec)
