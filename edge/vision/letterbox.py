"""The one place where frame pixels and network-input pixels meet; it never asks what a box means.

Coordinates are continuous and count pixel edges: pixel i covers [i, i + 1), its centre is i + 0.5.
That is the convention of ``cv2.resize``, and it makes the map linear without a half-pixel term:
``x_in = x * scale_x + pad_x``.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.base import Image
from engines.spec import InputSpec, Interpolation

_CV2_INTERPOLATION: dict[Interpolation, int] = {
    "linear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    # Plain INTER_NEAREST takes the pixel's upper left corner instead of its centre.
    "nearest": cv2.INTER_NEAREST_EXACT,
}


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a frame of ``frame_wh`` lies in a network input of ``input_wh``.

    ``scale_x``, ``scale_y`` are input px per frame px, of the resized size as rounded, so they
    differ slightly from each other; ``pad_x``, ``pad_y`` are whole input px left of and above it.
    """

    scale_x: float
    scale_y: float
    pad_x: int
    pad_y: int
    frame_wh: tuple[int, int]
    input_wh: tuple[int, int]
    pad_value: int = 114
    interpolation: Interpolation = "linear"

    @staticmethod
    def fit(frame_wh: tuple[int, int], spec: InputSpec) -> Letterbox:
        """Place frames of ``frame_wh`` as ``spec.resize`` says.

        'letterbox_center' keeps the shape and halves the padding, as Ultralytics' LetterBox does
        (the odd pixel goes to the right and bottom); 'letterbox_topleft' puts all padding at the
        right and bottom and truncates, as YOLOX's ``preproc`` does; 'stretch' fills the input.
        """
        frame_w, frame_h = frame_wh
        if frame_w < 1 or frame_h < 1:
            raise ValueError(f"frame size {frame_w}x{frame_h}, wanted at least 1x1")
        ratio = min(spec.width / frame_w, spec.height / frame_h)
        pad_x = pad_y = 0
        if spec.resize == "stretch":
            width, height = spec.width, spec.height
        elif spec.resize == "letterbox_topleft":
            # The small term undoes float error: 2160 * (416 / 2160) must truncate to 416.
            width = max(1, int(frame_w * ratio + 1e-6))
            height = max(1, int(frame_h * ratio + 1e-6))
        else:
            width = max(1, round(frame_w * ratio))
            height = max(1, round(frame_h * ratio))
            pad_x, pad_y = (spec.width - width) // 2, (spec.height - height) // 2
        return Letterbox(
            scale_x=width / frame_w,
            scale_y=height / frame_h,
            pad_x=pad_x,
            pad_y=pad_y,
            frame_wh=frame_wh,
            input_wh=(spec.width, spec.height),
            pad_value=spec.pad_value,
            interpolation=spec.interpolation,
        )

    @property
    def resized_wh(self) -> tuple[int, int]:
        """Size of the frame's image inside the input, in input px."""
        frame_w, frame_h = self.frame_wh
        return round(frame_w * self.scale_x), round(frame_h * self.scale_y)

    def apply(self, image: Image, out: Image) -> None:
        """Write ``image`` (H, W, 3) and its padding into ``out``, ([1,] H, W, 3), in place.

        The padding is written every time: an engine's slots may have held a frame of another size,
        and the strips cost a hundredth of the resize.

        Raises:
            ValueError: ``image`` or ``out`` is not of the shape that this letterbox is for.
        """
        frame_w, frame_h = self.frame_wh
        input_w, input_h = self.input_wh
        canvas = out[0] if out.ndim == 4 else out  # (H, W, 3)
        if image.shape != (frame_h, frame_w, 3):
            raise ValueError(f"image is {image.shape}, wanted {(frame_h, frame_w, 3)}")
        if canvas.shape != (input_h, input_w, 3):
            raise ValueError(f"input buffer is {out.shape}, wanted (1, {input_h}, {input_w}, 3)")
        width, height = self.resized_wh
        x0, y0, x1, y1 = self.pad_x, self.pad_y, self.pad_x + width, self.pad_y + height
        cv2.resize(
            image,
            (width, height),
            dst=canvas[y0:y1, x0:x1],
            interpolation=_CV2_INTERPOLATION[self.interpolation],
        )
        canvas[:y0] = self.pad_value
        canvas[y1:] = self.pad_value
        canvas[y0:y1, :x0] = self.pad_value
        canvas[y0:y1, x1:] = self.pad_value

    def to_frame(self, xyxy_in: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (N, 4) from input px to frame px, clipped to the frame."""
        frame_w, frame_h = self.frame_wh
        pad = np.array((self.pad_x, self.pad_y) * 2, np.float32)
        scale = np.array((self.scale_x, self.scale_y) * 2, np.float32)
        limit = np.array((frame_w, frame_h) * 2, np.float32)
        xyxy: NDArray[np.float32] = (xyxy_in - pad) / scale
        return np.clip(xyxy, 0, limit, out=xyxy)

    def to_input(self, xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (N, 4) from frame px to input px."""
        pad = np.array((self.pad_x, self.pad_y) * 2, np.float32)
        scale = np.array((self.scale_x, self.scale_y) * 2, np.float32)
        moved: NDArray[np.float32] = xyxy * scale + pad
        return moved

    def mask_window(self, labels: Image) -> tuple[float, float, float, float]:
        """Where the frame lies in ``labels`` (h, w): x0, y0, x1, y1 in label px, not rounded."""
        h, w = labels.shape
        per_x, per_y = w / self.input_wh[0], h / self.input_wh[1]
        width, height = self.resized_wh
        return (
            self.pad_x * per_x,
            self.pad_y * per_y,
            (self.pad_x + width) * per_x,
            (self.pad_y + height) * per_y,
        )

    def mask_crop(self, labels: Image) -> Image:
        """The part of ``labels`` (h, w) that shows the frame, as a view at the labels' resolution.

        Labels that lie half in the padding are kept where their centre is in the frame; at least
        one row and one column remain.
        """
        x0, y0, x1, y1 = self.mask_window(labels)
        # Label i has its centre at i + 0.5: the first one inside is ceil(x0 - 0.5).
        left, top = int(np.ceil(x0 - 0.5)), int(np.ceil(y0 - 0.5))
        right, bottom = int(np.ceil(x1 - 0.5)), int(np.ceil(y1 - 0.5))
        left, top = min(left, labels.shape[1] - 1), min(top, labels.shape[0] - 1)
        return labels[top : max(bottom, top + 1), left : max(right, left + 1)]

    def mask_to_frame(self, labels: Image) -> Image:
        """``labels`` (h, w) of the whole input as labels (H, W) of the frame, nearest, no padding.

        Exact where padding and label size do not divide: each frame pixel takes the label under its
        own centre. For drawing at speed see ``edge.sinks.overlay.overlay``.
        """
        h, w = labels.shape
        frame_w, frame_h = self.frame_wh
        input_w, input_h = self.input_wh
        x_in = (np.arange(frame_w) + 0.5) * self.scale_x + self.pad_x
        y_in = (np.arange(frame_h) + 0.5) * self.scale_y + self.pad_y
        columns = np.clip((x_in * (w / input_w)).astype(np.intp), 0, w - 1)
        rows = np.clip((y_in * (h / input_h)).astype(np.intp), 0, h - 1)
        placed: Image = labels.take(rows, axis=0).take(columns, axis=1)
        return placed
