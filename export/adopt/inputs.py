"""The inputs of a foreign graph: which is the image, at what size it runs, and that size fixed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import ExportError, SettingsError
from engines.spec import LARGEST_SIDE

if TYPE_CHECKING:
    import onnx

Size = tuple[int, int]
"""(height, width) in input pixels, in the order of ``--size HxW`` and of ONNX shapes."""


def image_and_sizes(
    path: Path, inputs: list[onnx.ValueInfoProto]
) -> tuple[onnx.ValueInfoProto, onnx.ValueInfoProto | None]:
    """The image and, where there is one, the pair of numbers for the original size.

    Raises:
        ExportError: no image (1, 3, H, W) of float32, or other inputs than such a pair.
    """

    def text(value: onnx.ValueInfoProto) -> str:
        dims = value.type.tensor_type.shape.dim
        return f"{value.name} {kind_of(value)}{[d.dim_value or d.dim_param or '?' for d in dims]}"

    def is_pair(value: onnx.ValueInfoProto) -> bool:
        shape = value.type.tensor_type.shape.dim
        sides = [d.dim_value for d in shape]
        few = len(sides) == 2 and sides[0] in (-1, 0, 1) and sides[1] == 2
        return (few or sides == [2]) and kind_of(value) in ("int64", "int32", "float32")

    listed = ", ".join(map(text, inputs)) or "none"
    pairs = [i for i in inputs if is_pair(i)]
    images = [i for i in inputs if i not in pairs]
    if len(images) != 1 or len(pairs) > 1:
        raise ExportError(
            f"{path}: has {len(inputs)} inputs ({listed}), wanted one image, beside it at most "
            "the original size of a DETR [1, 2]. Export the model so."
        )
    (image,) = images
    shape = image.type.tensor_type.shape.dim
    if kind_of(image) != "float32" or len(shape) != 4:
        half = kind_of(image) == "float16"
        way = " Export it without half; fp16 is a later step." if half else ""
        raise ExportError(f"{path}: its input is {listed}, wanted float32 [1, 3, H, W].{way}")
    if shape[0].dim_value not in (-1, 0, 1) or shape[1].dim_value not in (-1, 0, 3):
        raise ExportError(
            f"{path}: its input is {listed}, wanted float32 [1, 3, H, W]: one image a run, "
            "colour planes first. Export it so."
        )
    return image, pairs[0] if pairs else None


def static_size(
    path: Path, image: onnx.ValueInfoProto, wanted: Size | None, metadata: Mapping[str, str]
) -> Size:
    """The size to run at: ``wanted``, what the graph has fixed, or the metadata's imgsz.

    Raises:
        ExportError: ``wanted`` contradicts the graph, or the size is beyond all memory.
        SettingsError: the size is open and nothing says it.
    """
    # 0 where a side is open; some exporters write -1 for that
    fixed = [max(d.dim_value, 0) for d in image.type.tensor_type.shape.dim[2:]]
    if wanted is not None:
        if any(d not in (0, w) for d, w in zip(fixed, wanted, strict=True)):
            raise ExportError(
                f"{path}: --size {wanted[0]}x{wanted[1]} contradicts the graph, whose input is "
                f"fixed at {fixed[0] or 'any'}x{fixed[1] or 'any'} (height x width). "
                "Leave --size out, or export the model at that size."
            )
        return wanted
    # int() refuses a text of thousands of digits; 20 are too many already
    found = re.findall(r"([0-9]+)(?:\.[0-9]*)?", metadata.get("imgsz", ""))
    numbers = [int(n[:20]) for n in found]
    said = (numbers * 2)[:2] if len(numbers) < 4 else numbers[-2:]  # [1, 3, height, width]
    said = said or [0, 0]
    if numbers and all(fixed) and sorted(fixed) != sorted(said):  # some write the width first
        raise ExportError(
            f"{path}: the metadata says imgsz {said}, but the graph's input is "
            f"{fixed[0]}x{fixed[1]} (height x width). Export it again, or, where the graph is "
            f"right, say so: --size {fixed[0]}x{fixed[1]}."
        )
    height, width = (d or s for d, s in zip(fixed, said, strict=True))
    if not height or not width:
        raise SettingsError(
            f"{path}: the input's height and width are open and its metadata has no imgsz. "
            "Say the size to run at, height first: --size 384x640, for example."
        )
    if max(height, width) > LARGEST_SIDE:
        raise ExportError(
            f"{path}: its input is {height}x{width} (height x width), wanted at most "
            f"{LARGEST_SIDE} a side. Export the model at another size."
        )
    return height, width


def make_static(
    model: onnx.ModelProto,
    image: onnx.ValueInfoProto,
    second: onnx.ValueInfoProto | None,
    height: int,
    width: int,
) -> None:
    """Write the inputs' shapes, forget all shapes derived from others, list no initialisers."""
    shapes: dict[str, tuple[int, ...]] = {image.name: (1, 3, height, width)}
    if second is not None:
        shapes[second.name] = pair_shape(second)
    kept = [i for i in model.graph.input if i.name in shapes]
    for value in kept:
        for dim, side in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            dim.dim_value = side  # also clears dim_param: they are one oneof
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    # An initialiser that is also an input can be overridden, so runtimes would not fold it.
    del model.graph.input[:]
    model.graph.input.extend(kept)
    # IR 3 and older wanted every initialiser among the inputs.
    model.ir_version = max(model.ir_version, 4)


def pair_shape(pair: onnx.ValueInfoProto) -> tuple[int, ...]:
    """(1, 2), or (2) where the pair has no axis of the batch."""
    return (1, 2)[-len(pair.type.tensor_type.shape.dim) :]


def kind_of(value: onnx.ValueInfoProto) -> str:
    """The NumPy name of an input's type; half and unknown types by ONNX's own."""
    from onnx import TensorProto

    kinds = {number: name.lower() for name, number in TensorProto.DataType.items()}
    kind = kinds.get(value.type.tensor_type.elem_type, "unknown type")
    return "float32" if kind == "float" else kind
