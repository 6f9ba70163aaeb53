"""Faults planted into tiny models, and pictures on which they would show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from engines.model_file import save_model
from tests.tiny_models import grey, paint

Step = tuple[str, list[NDArray[Any]]]
Steps = list[Step]
"""Operators in a row, each with its constants."""


def pictures(folder: Path, count: int = 4) -> Path:
    """Grey streets of several levels with blue, green and red blocks at whole cells."""
    folder.mkdir()
    for i in range(count):
        image = grey(25 * (i + 1))
        image[32:] = 25 * (i + 4)
        for k in range(3):
            x = 32 * ((i + k) % 3)
            y = 32 * ((i + k) % 2)
            paint(image, (x, y, x + 32, y + 32), k)
        cv2.imwrite(str(folder / f"{i}.png"), image)
    return folder


def plant(source: Path, target: Path, *, behind: str, steps: Steps) -> Path:
    """Write ``source`` with ``steps`` behind its first node of the operator ``behind``."""
    model = onnx.load(str(source))
    node = next(n for n in model.graph.node if n.op_type == behind)
    at = list(model.graph.node).index(node) + 1
    value = honest = node.output[0]
    made = []
    for i, (op, constants) in enumerate(steps):
        names = [f"planted_{i}_{k}" for k in range(len(constants))]
        model.graph.initializer.extend(
            numpy_helper.from_array(c, n) for c, n in zip(constants, names, strict=True)
        )
        how: dict[str, Any] = {"axis": 1} if op == "Gather" else {}
        made.append(
            helper.make_node(op, [value, *names], [f"planted_{i}"], f"planted/{op}_{i}", **how)
        )
        value = f"planted_{i}"
    for later in list(model.graph.node)[at:]:
        for k, name in enumerate(later.input):
            if name == honest:
                later.input[k] = value
    for i, new in enumerate(made):
        model.graph.node.insert(at + i, new)
    save_model(model, target)
    return target


def coarse(model: onnx.ModelProto, *, before: str, step: float) -> None:
    """Quantise the inputs of every node of the operator ``before`` to int8 in steps of ``step``."""
    for i in reversed([i for i, n in enumerate(model.graph.node) if n.op_type == before]):
        value = model.graph.node[i].input[0]
        model.graph.node[i].input[0] = f"{value}_coarse_{i}"
        quantised = f"{value}_int8_{i}"
        pair = [
            helper.make_node("QuantizeLinear", [value, "step", "zero"], [quantised]),
            helper.make_node(
                "DequantizeLinear", [quantised, "step", "zero"], [f"{value}_coarse_{i}"]
            ),
        ]
        for k, node in enumerate(pair):
            model.graph.node.insert(i + k, node)
    model.graph.initializer.append(numpy_helper.from_array(np.array(step, np.float32), "step"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), "zero"))


def change(source: Path, target: Path, how: Callable[[onnx.ModelProto], None]) -> Path:
    """Write ``source`` with ``how`` done to its model."""
    model = onnx.load(str(source))
    how(model)
    save_model(model, target)
    return target


def gain(value: float) -> Step:
    """A 1×1 convolution of the three planes that multiplies them by ``value``."""
    weights = (np.eye(3) * value).astype(np.float32).reshape(3, 3, 1, 1)
    return "Conv", [weights]
