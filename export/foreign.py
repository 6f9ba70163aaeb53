"""A foreign ONNX file made plain: one float image input, static shapes, metadata, a way to run it.

It decides nothing about what the net means; families do. It refuses files without exactly one
(1, 3, H, W) float input, since there is no image to bake the preprocessing onto. A second input is
taken if it holds two numbers: the width and height that DETR exports scale their boxes by.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engines.base import Array
from engines.errors import ExportError, ModelError, SettingsError
from engines.model_file import is_quantized, load_model, sha256_of, spec_of
from engines.spec import TensorSpec

if TYPE_CHECKING:
    import onnx
    import onnxruntime

Float = NDArray[np.float32]
Outputs = Mapping[str, Array]
Size = tuple[int, int]
"""(height, width) in input pixels, in the order of ``--size HxW`` and of ONNX shapes."""
LARGEST = 8192
"""Longest side of an input, as in ``ModelSpec.check``."""


@dataclass(frozen=True, slots=True)
class ForeignNet:
    """A foreign model with a static (1, 3, height, width) float32 image input.

    ``model`` has that shape written into it and lists no initialiser as an input. ``outputs`` are
    the shapes of a real run, not what the file claims.
    """

    path: Path
    model: onnx.ModelProto = field(repr=False)
    input: str
    height: int
    width: int
    outputs: tuple[TensorSpec, ...]
    metadata: Mapping[str, str] = field(repr=False)
    sha256: str
    int8: bool
    sizes: TensorSpec | None
    """The second input (1, 2), where the net has one."""
    open_size: bool
    """Whether the file leaves height or width open, so that it runs at other sizes too."""
    session: onnxruntime.InferenceSession = field(repr=False)

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem

    def run(self, blob: Float, *, sizes: tuple[int, int] | None = None) -> dict[str, Array]:
        """Run the net as its author made it, in ONNX Runtime at f32; ``blob`` (1, 3, H, W).

        ``sizes`` are for the second input, (width, height) of the network's input where None.

        Raises:
            ExportError: ONNX Runtime cannot run it.
        """
        feed: dict[str, Array] = {self.input: blob}
        if self.sizes is not None:
            wanted = sizes or (self.width, self.height)
            feed[self.sizes.name] = np.array([wanted], self.sizes.dtype)
        return run_session(self.session, feed, origin=str(self.path))

    def noise(self) -> Float:
        """A blob of random numbers 0..1, the same at every call, that shows nothing."""
        rng = np.random.default_rng(0)
        return rng.random((1, 3, self.height, self.width), np.float32)

    def literal(self, key: str) -> Any:
        """A metadata entry as a Python value (exporters write JSON or Python), None without it.

        Raises:
            ExportError: the entry is neither.
        """
        text = self.metadata.get(key)
        if text is None:
            return None
        for parse in (json.loads, ast.literal_eval):
            try:
                return parse(text)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                continue
        raise ExportError(
            f"{self.path}: its metadata entry {key!r} is {text[:60]!r}, wanted JSON or a Python "
            "literal. Export the model again."
        )

    def fresh(self, name: str) -> str:
        """``name``, or with a number behind it where the graph has a value of that name."""
        taken = set(_value_names(self.model.graph))
        numbered = (f"{name}_{i}" for i in count(2))
        return next(n for n in chain([name], numbered) if n not in taken)

    def shapes(self) -> str:
        """The outputs in one line, for messages."""
        return ", ".join(f"{t.name} {t.dtype}{list(t.shape)}" for t in self.outputs)


def open_foreign(path: Path, *, size: Size | None = None) -> ForeignNet:
    """Load a foreign model and fix its input at a static size.

    ``size`` is for graphs whose height and width are open; without it the exporter's ``imgsz``
    is taken.

    Raises:
        ModelError: not a readable ONNX file.
        ExportError: the file is adopted already, has no single image input, contradicts ``size``,
            or does not run.
        SettingsError: the size is open and nothing says it.
    """
    from onnx import helper

    model = load_model(path)
    if spec_of(model, origin=str(path)) is not None:
        raise ExportError(
            f"{path}: has an Outrider spec already, there is nothing to adopt. "
            f"Run it: edge run --model {path}"
        )
    _load_weights(path, model)
    metadata = {_text(p.key): _text(p.value) for p in model.metadata_props}
    helper.set_model_props(model, metadata)
    initialisers = {t.name for t in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in initialisers]
    image, second = _inputs(path, inputs)
    open_size = not all(_declared(image))
    height, width = _static_size(path, image, size, metadata)
    _make_static(model, image, second, height, width)
    session = open_session(model.SerializeToString(), origin=str(path))
    feed: dict[str, Array] = {image.name: np.zeros((1, 3, height, width), np.float32)}
    sizes = None
    if second is not None:
        sizes = TensorSpec(second.name, (1, 2), _kind(second))
        feed[sizes.name] = np.array([(width, height)], sizes.dtype)
    made = run_session(session, feed, origin=str(path))
    outputs = tuple(TensorSpec(n, tuple(a.shape), str(a.dtype)) for n, a in made.items())
    return ForeignNet(
        path=path,
        model=model,
        input=image.name,
        height=height,
        width=width,
        outputs=outputs,
        metadata=metadata,
        sha256=sha256_of(path),
        int8=is_quantized(model),
        sizes=sizes,
        open_size=open_size,
        session=session,
    )


def open_session(model: bytes | str, *, origin: str) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU at f32.

    Raises:
        ExportError: ONNX Runtime refuses the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: its warnings are about its own optimiser
    # A count of its own keeps it from pinning threads, which fails in containers.
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # its exception types have no common root but Exception
        raise ExportError(f"{origin}: ONNX Runtime cannot open it: {first_line(exc)}") from exc


def run_session(
    session: onnxruntime.InferenceSession, feed: dict[str, Array], *, origin: str
) -> dict[str, Array]:
    """One run: {output name: array}.

    Raises:
        ExportError: the run failed, or an output is not a tensor.
    """
    try:
        arrays = session.run(None, feed)
    except Exception as exc:  # as above
        shapes = ", ".join(f"{n} {list(a.shape)}" for n, a in feed.items())
        raise ExportError(
            f"{origin}: ONNX Runtime cannot run it with {shapes}: {first_line(exc)}. "
            "If the graph fits another size only, give it with --size HxW."
        ) from exc
    names = [o.name for o in session.get_outputs()]
    made = dict(zip(names, arrays, strict=True))
    for name, array in made.items():
        if not isinstance(array, np.ndarray):
            raise ExportError(f"{origin}: output {name!r} is a {type(array).__name__}, no tensor.")
    return made


def first_line(exc: BaseException) -> str:
    """The first line of a foreign exception, short enough for a message."""
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0][:300].rstrip(".")


def _kind(value: onnx.ValueInfoProto) -> str:
    """The NumPy name of an input's type; half and unknown types by ONNX's own."""
    from onnx import TensorProto

    kinds = {number: name.lower() for name, number in TensorProto.DataType.items()}
    kind = kinds.get(value.type.tensor_type.elem_type, "unknown type")
    return "float32" if kind == "float" else kind


def _inputs(
    path: Path, inputs: list[onnx.ValueInfoProto]
) -> tuple[onnx.ValueInfoProto, onnx.ValueInfoProto | None]:
    """The image and, where there is one, the pair of sizes."""

    def dims(value: onnx.ValueInfoProto) -> list[int | str]:
        return [d.dim_value or d.dim_param or "?" for d in value.type.tensor_type.shape.dim]

    def is_pair(value: onnx.ValueInfoProto) -> bool:
        shape = value.type.tensor_type.shape.dim
        kind = _kind(value)
        few = len(shape) == 2 and shape[0].dim_value in (-1, 0, 1) and shape[1].dim_value == 2
        return few and kind in ("int64", "int32", "float32")

    def told(value: onnx.ValueInfoProto) -> str:
        return f"{value.name} {_kind(value)}{dims(value)}"

    listed = ", ".join(map(told, inputs)) or "none"
    pairs = [i for i in inputs if is_pair(i)]
    images = [i for i in inputs if i not in pairs]
    if len(images) != 1 or len(pairs) > 1:
        raise ExportError(
            f"{path}: has {len(inputs)} inputs ({listed}), wanted one image, beside it at most "
            "the original size of a DETR [1, 2]. Export the model so."
        )
    (image,) = images
    shape = image.type.tensor_type.shape.dim
    if _kind(image) != "float32" or len(shape) != 4:
        raise ExportError(f"{path}: its input is {listed}, wanted float32 [1, 3, H, W].")
    if shape[0].dim_value not in (-1, 0, 1) or shape[1].dim_value not in (-1, 0, 3):
        raise ExportError(
            f"{path}: its input is {listed}, wanted float32 [1, 3, H, W]: one image a run, "
            "colour planes first. Export it so."
        )
    return image, pairs[0] if pairs else None


def _static_size(
    path: Path,
    image: onnx.ValueInfoProto,
    wanted: Size | None,
    metadata: Mapping[str, str],
) -> Size:
    declared = _declared(image)
    if wanted is not None:
        if any(d not in (0, w) for d, w in zip(declared, wanted, strict=True)):
            raise ExportError(
                f"{path}: --size {wanted[0]}x{wanted[1]} contradicts the graph, whose input is "
                f"fixed at {declared[0] or 'any'}x{declared[1] or 'any'} (height x width). "
                "Leave --size out, or export the model at that size."
            )
        return wanted
    numbers = [int(n) for n in re.findall(r"\d+", metadata.get("imgsz", ""))]
    said = (numbers * 2)[:2] if numbers else [0, 0]
    height, width = (d or s for d, s in zip(declared, said, strict=True))
    if not height or not width:
        raise SettingsError(
            f"{path}: the input's height and width are open and its metadata has no imgsz. "
            "Say the size to run at: --size HxW, for example --size 384x640."
        )
    if max(height, width) > LARGEST:
        raise ExportError(
            f"{path}: its input is {height}x{width} (height x width), wanted at most {LARGEST} a "
            "side. Export the model at another size."
        )
    return height, width


def _declared(image: onnx.ValueInfoProto) -> Size:
    """Height and width in the graph, 0 where they are open; some exporters write -1 for that."""
    height, width = (max(d.dim_value, 0) for d in image.type.tensor_type.shape.dim[2:])
    return height, width


def _load_weights(path: Path, model: onnx.ModelProto) -> None:
    """Read weights that lie in files beside the model into it.

    Raises:
        ModelError: they are cut short, or lie where they must not.
    """
    from onnx import checker, external_data_helper

    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, checker.ValidationError) as exc:
        raise ModelError(
            f"{path}: its external weights cannot be read: {first_line(exc)}. Copy model and "
            "weights again, as plain files in one folder, or export the model as one file."
        ) from exc


def _text(value: str | bytes) -> str:
    """Protobuf hands over bytes where a file has text that is not UTF-8."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _value_names(graph: onnx.GraphProto) -> Iterator[str]:
    """Every name that a value of the graph or of a graph nested in it has."""
    for value in (*graph.input, *graph.output, *graph.initializer):
        yield value.name
    for node in graph.node:
        yield from (*node.input, *node.output)
        for attribute in node.attribute:
            for nested in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _value_names(nested)


def _make_static(
    model: onnx.ModelProto,
    image: onnx.ValueInfoProto,
    second: onnx.ValueInfoProto | None,
    height: int,
    width: int,
) -> None:
    """Write the inputs' shapes, forget every shape derived from others, free the initialisers."""
    shapes: dict[str, tuple[int, ...]] = {image.name: (1, 3, height, width)}
    if second is not None:
        shapes[second.name] = (1, 2)
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
