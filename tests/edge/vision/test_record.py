"""What the record of a frame says of its masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.vision.letterbox import Letterbox
from edge.vision.record import share_by_class
from edge.vision.types import Mask
from engines.spec import InputSpec

# A 64x48 frame in a 64x64 input: scale 1, 8 rows of padding above and below.
BOX = Letterbox.fit((64, 48), InputSpec("image", 64, 64))


def _mask(labels: NDArray[np.uint8]) -> Mask:
    return Mask("street", ("sky", "road"), (), labels, BOX)


def test_padding_does_not_count_for_the_share() -> None:
    labels = np.ones((64, 64), np.uint8)
    labels[8:56] = 0  # all of the frame, and none of the padding
    assert share_by_class(_mask(labels)) == {"sky": 1.0, "road": 0.0}


def test_labels_without_a_name_count_for_no_class() -> None:
    labels = np.full((64, 64), 11, np.uint8)
    labels[:, :16] = 1
    assert share_by_class(_mask(labels)) == {"sky": 0.0, "road": 0.25}
