"""Boxes of a teacher on frames of any data set: NanoDet-Plus, taught by COCO, at sizes of choice.

Run it from the project's folder on the file that docs/experiments/ncnn_onnx.py wrote:
``.venv/bin/python -m docs.experiments.teacher NET.onnx FOLDER OUT.json --size 1024x512 ...``. It
writes {"NAME.jpg": [[x0, y0, x1, y1, class, score], ...]} in pixels of the frame itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edge.cli import invoke
from edge.progress import counted
from edge.vision.decode.nms import nms_per_class
from edge.vision.types import Image
from engines.errors import ExportError
from export.commands.options import Finite
from export.data.pairs import read_frame
from export.outputs import check_output, write_output

NAMES = {
    0: "person", 1: "bicycle", 2: "car", 3: "motorcycle", 5: "car", 7: "car", 9: "sign", 11: "sign",
}  # fmt: skip
"""COCO's classes that a street has; bus and truck are cars to CamVid, lights and stops signs."""
CLASSES = tuple(dict.fromkeys(NAMES.values()))
MEAN = np.array([103.53, 116.28, 123.675], np.float32)
STD = np.array([57.375, 57.12, 58.395], np.float32)
"""NanoDet's, BGR: config/nanodet-plus-m_416.yml."""
STRIDES = (8, 16, 32, 64)
COCO, BINS = 80, 8


class Teacher:
    """NanoDet-Plus in ONNX Runtime."""

    def __init__(self, file: Path, *, least: float, iou: float) -> None:
        """Open ``file``; keep boxes of score ``least``, of overlaps above ``iou`` the best.

        Raises:
            ExportError: the file is no net that ONNX Runtime opens.
        """
        try:
            self._session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        except Exception as exc:  # its errors have no base of their own
            raise ExportError(
                f"{file}: ONNX Runtime does not open it: {exc}. Make it anew by "
                "docs/experiments/ncnn_onnx.py."
            ) from exc
        (entry, *_), (out, *_) = self._session.get_inputs(), self._session.get_outputs()
        if entry.type != "tensor(float)" or out.shape[1:2] != [COCO + 4 * BINS]:
            raise ExportError(
                f"{file}: takes {entry.type} and tells {out.shape}, wanted NanoDet-Plus, as "
                "docs/experiments/ncnn_onnx.py writes it."
            )
        self._least, self._iou = least, iou

    def boxes(
        self, frame: Image, sizes: Sequence[tuple[int, int]]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Boxes with scores (N, 5) in px of ``frame`` and classes (N,), of CLASSES, at all sizes.

        The frame is stretched to each size (width, height); overlaps of two sizes are one object.
        """
        found = [self._at(frame, size) for size in sizes]
        boxes = np.concatenate([b for b, _ in found])
        ids = np.concatenate([i for _, i in found])
        kept = nms_per_class(boxes[:, :4], boxes[:, 4], ids, iou=self._iou, limit=1000)
        return boxes[kept], ids[kept]

    def _at(
        self, frame: Image, size: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        seen = (cv2.resize(frame, size).astype(np.float32) - MEAN) / STD
        blob = seen.transpose(2, 0, 1)[None]  # (1, 3, h, w)
        (out,) = self._session.run(None, {self._session.get_inputs()[0].name: blob})
        cells = out[0].T  # (n, 80 + 32)
        scores = np.stack(
            [cells[:, [c for c, n in NAMES.items() if n == name]].max(1) for name in CLASSES], 1
        )
        scores = 1 / (1 + np.exp(-scores))  # (n, classes)
        keep, ids = np.nonzero(scores >= self._least)
        corners, strides = _corners(size)
        bins = np.exp(cells[keep, COCO:].reshape(-1, 4, BINS))  # (k, 4, 8)
        sides = (bins @ np.arange(BINS)) / bins.sum(2) * strides[keep, None]  # l, t, r, b
        xyxy = np.concatenate([corners[keep] - sides[:, :2], corners[keep] + sides[:, 2:]], 1)
        wh = np.array(frame.shape[1::-1], np.float32)
        xyxy = np.clip(xyxy * np.tile(wh / size, 2), 0, np.tile(wh, 2))
        boxes = np.concatenate([xyxy, scores[keep, ids, None]], 1).astype(np.float32)
        return boxes, ids.astype(np.int32)


def _corners(size: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Upper left corners (n, 2) px and strides (n,) of the cells; NanoDet-Plus counts from them."""
    corners, strides = [], []
    for stride in STRIDES:
        w, h = -(-size[0] // stride), -(-size[1] // stride)
        corners.append(
            np.stack(np.meshgrid(np.arange(w), np.arange(h)), -1).reshape(-1, 2) * stride
        )
        strides.append(np.full(w * h, stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.split("x"))
    except ValueError:
        raise ExportError(f"--size: got {text!r}, wanted WIDTHxHEIGHT.") from None
    if width < 64 or height < 64 or width % 64 or height % 64:
        raise ExportError(f"--size: got {text}, wanted multiples of 64.")
    return width, height


@click.command()
@click.argument("net", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--size", "sizes", multiple=True, required=True, help="WIDTHxHEIGHT, more than once.")
@click.option("--least", type=Finite(0, 1), default=0.25, show_default=True, help="Least score.")
@click.option(
    "--iou",
    type=Finite(0, 1),
    default=0.5,
    show_default=True,
    help="Boxes that overlap more are one.",
)
def main(
    net: Path, folder: Path, out: Path, sizes: Sequence[str], least: float, iou: float
) -> None:
    """Write the boxes that NET finds in the pictures of FOLDER as OUT."""
    check_output(out, "OUT")
    teacher = Teacher(net, least=least, iou=iou)
    at = [_size(text) for text in sizes]
    paths = sorted(folder.glob("*.jpg"))
    if not paths:
        raise ExportError(f"{folder}: no .jpg here. Give the folder of the frames.")
    found = {}
    for path in counted(paths, out.stem, total=len(paths)):
        boxes, ids = teacher.boxes(read_frame(path), at)
        found[path.name] = [
            [*(round(float(v), 1) for v in box[:4]), CLASSES[i], round(float(box[4]), 3)]
            for box, i in zip(boxes, ids, strict=True)
        ]
    write_output(out, json.dumps(found), "another OUT")


if __name__ == "__main__":
    invoke(main, "teacher")
