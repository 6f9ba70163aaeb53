"""The interface of a box decoder: raw tensors in, boxes in network-input pixels out; no NMS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engines.base import Array
from engines.errors import ModelError
from engines.spec import InputSpec


class RawBoxes(NamedTuple):
    """N boxes before NMS, in no order: finite, with positive width and height."""

    xyxy_in: NDArray[np.float32]
    """(N, 4), network-input px; may reach beyond the input."""
    scores: NDArray[np.float32]
    """(N,), 0..1."""
    class_ids: NDArray[np.int32]
    """(N,)."""


Decoder: TypeAlias = Callable[[Mapping[str, Array], float], RawBoxes]
"""``decoder(outputs by name, conf)`` returns the boxes whose score is at least ``conf``."""

NO_BOXES = RawBoxes(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))


def join_levels(parts: Sequence[RawBoxes]) -> RawBoxes:
    """The boxes of all levels."""
    parts = [part for part in parts if len(part.scores)]
    if len(parts) < 2:
        return parts[0] if parts else NO_BOXES
    return RawBoxes(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def grid(stride: int, spec: InputSpec) -> NDArray[np.float32]:
    """Column and row of every cell (h·w, 2), row by row."""
    rows, columns = np.indices((spec.height // stride, spec.width // stride), np.float32)
    return np.stack((columns.ravel(), rows.ravel()), axis=1)


def confident(
    raw: NDArray[np.float32], conf: float
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.float32]]:
    """Of rows (N, 5+C) of box, objectness and classes those that score ``conf`` or more.

    Returns their indices (k,), themselves (k, 5+C) and their scores (k,), objectness × class.
    """
    keep = np.flatnonzero(raw[:, 4] >= conf)  # the score is at most this; NaN compares False
    if not keep.size:
        return keep, raw[:0], raw[:0, 4]
    rows = raw[keep]  # (k, 5+C)
    scores = rows[:, 4] * rows[:, 5:].max(axis=1)
    sure = scores >= conf
    return keep[sure], rows[sure], scores[sure]


def from_centres(
    cx_cy: NDArray[np.float32],
    w_h: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.intp],
) -> RawBoxes:
    """Boxes from centres (N, 2) and sizes (N, 2); it drops what ``from_corners`` drops."""
    half = w_h * np.float32(0.5)
    return from_corners(np.concatenate((cx_cy - half, cx_cy + half), axis=1), scores, class_ids)


def from_corners(
    xyxy: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.intp] | NDArray[np.float32],
) -> RawBoxes:
    """Boxes from corners (N, 4); those that are not finite or have no area are dropped.

    A network that overflowed gives NaN and inf: an infinite box would cover the whole frame.
    """
    # NaN fails both comparisons; inf - inf is NaN, so infinite centres go, too.
    size = xyxy[:, 2:] - xyxy[:, :2]
    good = ((size > 0) & (size < np.inf)).all(axis=1) & np.isfinite(scores)
    if not good.all():
        xyxy, scores, class_ids = xyxy[good], scores[good], class_ids[good]
    return RawBoxes(xyxy, scores, class_ids.astype(np.int32))


def expect_shape(name: str, raw: Array, wanted: tuple[int, ...]) -> None:
    """Refuse a tensor whose shape contradicts the spec's classes, strides or input size.

    Raises:
        ModelError: names the tensor, its shape and the shape wanted.
    """
    if raw.shape != wanted:
        raise ModelError(
            f"head tensor {name!r} is {list(raw.shape)}, wanted {list(wanted)} for the classes, "
            "strides and input size in the model's spec. Make the file again with "
            "'edge-export adopt' or 'edge-export onnx'."
        )
