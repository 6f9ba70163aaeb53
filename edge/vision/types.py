"""The values that travel through the pipeline: frozen, small, without behaviour of their own.

Plain ``xyxy`` is frame pixels, ``_in`` network-input pixels, ``_norm`` 0..1; only
``edge.vision.letterbox.Letterbox`` crosses between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from engines.base import Image as Image

if TYPE_CHECKING:  # it imports OpenCV
    from edge.vision.letterbox import Letterbox

Clock = Literal["driver", "stream", "read"]
SQUARE = Fraction(1)
"""The aspect of most pixels."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One camera frame: ``image`` (H, W, 3) uint8 BGR, read-only, in memory of its own.

    ``id`` counts up from 0 by one a frame of the source; ``t_capture_ns`` is CLOCK_MONOTONIC, and
    ``t_read_ns`` is the moment at which ``read()`` returned it, on the same clock. ``clock`` says
    where ``t_capture_ns`` comes from. ``source`` is the source's name with credentials removed.
    ``media_ns`` is its time in the file or the scene, always later than that of the frame before;
    None where frames arrive at their own pace.
    ``pixel_aspect`` is how wide its pixels are to be shown, by their height. Boxes and masks count
    pixels, whatever their shape.
    ``delay_ns`` is how long the frames of a source in bursts are held back, to come at their pace.
    """

    image: Image
    id: int
    t_capture_ns: int
    t_read_ns: int
    clock: Clock
    source: str
    media_ns: int | None = None
    pixel_aspect: Fraction = SQUARE
    delay_ns: int = 0

    @property
    def wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.shape[1], self.image.shape[0]


@dataclass(frozen=True, slots=True)
class Detections:
    """N boxes as arrays: empty is N = 0, never None.

    ``xyxy`` (N, 4) float32 frame px; ``scores`` (N,) float32 0..1; ``class_ids`` (N,) int32;
    ``track_ids`` (N,) int32, −1 for none. Sorted by falling score.
    """

    xyxy: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    track_ids: NDArray[np.int32]

    def __len__(self) -> int:
        return int(self.xyxy.shape[0])

    @staticmethod
    def empty() -> Detections:
        """No boxes."""
        return Detections(
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int32),
            np.zeros(0, np.int32),
        )


@dataclass(frozen=True, slots=True)
class Mask:
    """One semantic mask: ``labels`` (h, w) uint8 class indices in memory of its own.

    ``labels`` cover the whole network input at a resolution of their own; ``letterbox`` places them
    on the frame (padding included in ``labels``, removed by ``letterbox.mask_to_frame``).
    ``background`` names the classes that the overlay leaves uncoloured.
    """

    name: str
    classes: tuple[str, ...]
    background: tuple[str, ...]
    labels: Image
    letterbox: Letterbox


@dataclass(frozen=True, slots=True)
class Result:
    """What inference made of one frame.

    ``classes`` are the names of ``detections.class_ids``; ``stage_ns`` maps 'capture', 'letterbox',
    'infer', 'decode' to durations; ``t_begin_ns`` is CLOCK_MONOTONIC when 'letterbox' began, and
    ``engine_ns`` the part of 'infer' in which the engine had no older frame to work on. ``dropped``
    counts the frames dropped since the last result. ``to_blur`` (N, 4), frame px, is what pictures
    must not show; None where nothing has to be hidden. ``waited_ns`` is how long the infer thread
    did nothing but wait for this frame's run.
    """

    frame: Frame
    detections: Detections
    classes: tuple[str, ...]
    masks: tuple[Mask, ...]
    stage_ns: Mapping[str, int]
    t_begin_ns: int
    engine_ns: int
    dropped: int
    to_blur: NDArray[np.float32] | None = None
    waited_ns: int = 0
