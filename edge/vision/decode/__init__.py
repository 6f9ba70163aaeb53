"""Decoders, one file a family, and the dict that names them; a new one is a file and a line."""

from __future__ import annotations

from collections.abc import Callable

from edge.vision.decode import anchors, end2end, nanodet, yolov5, yolov8, yolox
from edge.vision.decode.base import Decoder, RawBoxes
from engines.errors import ModelError
from engines.spec import DetectionHead, InputSpec

__all__ = ["DECODERS", "Decoder", "RawBoxes", "build_decoder"]

DECODERS: dict[str, Callable[[DetectionHead, InputSpec], Decoder]] = {
    "yolo-anchors": anchors.build,
    "yolov5": yolov5.build,
    "yolov8": yolov8.build,
    "yolox": yolox.build,
    "nanodet": nanodet.build,
    "end2end": end2end.build,
}


def build_decoder(head: DetectionHead, spec: InputSpec) -> Decoder:
    """The decoder of ``head.family``, with its grids laid out for the input's size.

    Raises:
        ModelError: no decoder has that name.
    """
    try:
        build = DECODERS[head.family]
    except KeyError:
        raise ModelError(
            f"detection family {head.family!r} has no decoder here, wanted one of "
            f"{', '.join(DECODERS)}. Update Outrider or adopt the model again."
        ) from None
    return build(head, spec)
