"""A foreign ONNX file made plain: one float image input, static shapes, metadata, a way to run it.

What the net means is for families to say. Files are refused whose outputs change their shapes, or
that have no (1, 3, H, W) float input to bake the preprocessing onto. A second input is taken if it
holds two numbers: the width and height that DETR exports scale their boxes by.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engines.base import Array
from engines.errors import ExportError
from engines.model_file import ModelFile, load_weights
from engines.redact import plain
from engines.spec import TensorSpec
from export.adopt.inputs import Size, image_and_sizes, kind_of, make_static, pair_shape, static_size
from export.onnx.session import open_session, run_session

if TYPE_CHECKING:
    import onnx
    import onnxruntime

Float = NDArray[np.float32]
Outputs = Mapping[str, Array]


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
    sizes: TensorSpec | None
    """The second input (1, 2) or (2), where the net has one."""
    session: onnxruntime.InferenceSession = field(repr=False)

    @property
    def name(self) -> str:
        """The file's name without its suffix; bytes in it that are no text become '?'."""
        return plain(self.path.stem.encode(errors="replace").decode())

    def run(self, blob: Float, *, sizes: tuple[int, int] | None = None) -> dict[str, Array]:
        """Run the foreign net in ONNX Runtime at f32; ``blob`` (1, 3, H, W).

        ``sizes`` (width, height) are for the second input, those of the first where None.

        Raises:
            ExportError: ONNX Runtime cannot run it.
        """
        feed: dict[str, Array] = {self.input: blob}
        if self.sizes is not None:
            wanted = sizes or (self.width, self.height)
            feed[self.sizes.name] = np.array(wanted, self.sizes.dtype).reshape(self.sizes.shape)
        return run_session(self.session, feed, origin=str(self.path))

    def noise(self) -> Float:
        """A blob of random numbers 0..1, the same at every call."""
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

    ``size`` is for graphs whose height and width are open, else the exporter's ``imgsz`` is taken.

    Raises:
        ModelError: not a readable ONNX file.
        ExportError: the file is adopted already, has no single image input, contradicts ``size``,
            does not run, or its outputs change their shapes.
        SettingsError: the size is open and nothing says it.
    """
    from onnx import helper

    file = ModelFile(path)
    if file.spec is not None:
        raise ExportError(
            f"{path}: has an Outrider spec already, there is nothing to adopt. "
            f"Run it: edge run --model {path}"
        )
    model = file.model
    load_weights(model, path)
    metadata = {_text(p.key): _text(p.value) for p in model.metadata_props}
    helper.set_model_props(model, metadata)
    initialisers = {t.name for t in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in initialisers]
    image, second = image_and_sizes(path, inputs)
    height, width = static_size(path, image, size, metadata)
    make_static(model, image, second, height, width)
    net = ForeignNet(
        path=path,
        model=model,
        input=image.name,
        height=height,
        width=width,
        outputs=(),
        metadata=metadata,
        sizes=TensorSpec(second.name, pair_shape(second), kind_of(second)) if second else None,
        session=open_session(model.SerializeToString(), origin=str(path)),
    )
    made = net.run(np.zeros((1, 3, height, width), np.float32))
    again = net.run(net.noise())
    for name, array in made.items():  # some exports give as many rows as they found boxes
        if array.shape != again[name].shape or 0 in array.shape:
            raise ExportError(
                f"{path}: its output {name} is {list(array.shape)} for a black image and "
                f"{list(again[name].shape)} for noise, wanted one shape that is not empty. Export "
                "the model with a fixed number of boxes, or without NMS inside."
            )
    outputs = tuple(TensorSpec(n, tuple(a.shape), str(a.dtype)) for n, a in made.items())
    return replace(net, outputs=outputs)


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
