"""The decoders on models that no one here made, run raw: the boxes must lie on the red car."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from edge.vision.decode import build_decoder
from edge.vision.decode.nms import nms_per_class
from edge.vision.letterbox import Letterbox
from engines.spec import DetectionHead, InputSpec

CAR = 2  # COCO
RED_CAR = (73.0, 291.0, 170.0, 350.0)
"""Frame 60 of the highway clip, read off the picture, ±2 px."""
COCO = tuple(f"coco-{i}" for i in range(80))


@dataclass(frozen=True)
class Foreign:
    file: str
    input: InputSpec
    head: DetectionHead
    rgb: bool
    divisor: float | tuple[float, float, float]
    mean: tuple[float, float, float] = (0, 0, 0)


FOREIGN = (
    Foreign(
        "yolov8n_int8.onnx",
        InputSpec("image", 640, 640),
        DetectionHead("yolov8", ("output0",), COCO),
        rgb=True,
        divisor=255,
    ),
    Foreign(
        "yolox_nano.onnx",
        InputSpec("image", 416, 416, resize="letterbox_topleft"),
        DetectionHead("yolox", ("output",), COCO, (8, 16, 32)),
        rgb=False,
        divisor=1,
    ),
    Foreign(
        "nanodet_m_416.onnx",
        InputSpec("image", 416, 416, pad_value=0),
        DetectionHead(
            "nanodet",
            tuple(f"{head}_pred_stride_{s}" for head in ("cls", "dis") for s in (8, 16, 32)),
            COCO,
            (8, 16, 32),
        ),
        rgb=False,
        divisor=(57.375, 57.12, 58.395),
        mean=(103.53, 116.28, 123.675),
    ),
    Foreign(
        "yolo-fastest-1.1-xl.onnx",
        InputSpec("image", 320, 320, resize="stretch"),
        DetectionHead(
            "yolo-anchors",
            ("yolo0", "yolo1"),
            COCO,
            (32, 16),
            # The file's own metadata.
            (((115, 73), (119, 199), (242, 238)), ((12, 18), (37, 49), (52, 132))),
            box_code="darknet",
        ),
        rgb=True,
        divisor=255,
    ),
)


def frame_60(shared: Path) -> NDArray[np.uint8]:
    video = cv2.VideoCapture(str(shared / "data/videos/highway.mp4"))
    try:
        for _ in range(60):
            assert video.grab()
        ok, image = video.read()
        assert ok
        return image.astype(np.uint8, copy=False)
    finally:
        video.release()


def overlap(a: NDArray[np.float32], b: tuple[float, float, float, float]) -> float:
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return float(w * h / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - w * h))


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda f: f.head.family)
def test_the_red_car_of_the_highway_is_found(foreign: Foreign, shared: Path) -> None:
    image = frame_60(shared)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        str(shared / "models" / foreign.file), options, providers=["CPUExecutionProvider"]
    )
    letterbox = Letterbox.fit((image.shape[1], image.shape[0]), foreign.input)
    buffer = np.zeros(foreign.input.tensor.shape, np.uint8)
    letterbox.apply(image, buffer)
    pixels = buffer[..., ::-1] if foreign.rgb else buffer
    mean, divisor = (np.asarray(v, np.float32) for v in (foreign.mean, foreign.divisor))
    values = (pixels.astype(np.float32) - mean) / divisor
    blob = np.ascontiguousarray(values.transpose(0, 3, 1, 2))  # (1, 3, H, W)
    names = list(foreign.head.outputs)
    raw = session.run(names, {session.get_inputs()[0].name: blob})
    decode = build_decoder(foreign.head, foreign.input)
    found = decode(dict(zip(names, raw, strict=True)), 0.3)
    kept = nms_per_class(*found, iou=0.45, limit=300)
    best = kept[0]
    assert found.class_ids[best] == CAR
    # The Darknet-style net is a tiny one at 320 px: it cuts the car's right quarter off.
    wanted = 0.55 if foreign.head.family == "yolo-anchors" else 0.9
    assert overlap(letterbox.to_frame(found.xyxy_in[best : best + 1])[0], RED_CAR) > wanted
    assert (found.class_ids[kept] == CAR).sum() >= 3  # of at least five that can be seen
