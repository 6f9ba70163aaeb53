"""Tests of edge.vision.decode.semantic: the labels leave the engine's memory."""

from __future__ import annotations

import numpy as np
import pytest

from edge.vision.decode.semantic import decode_mask
from edge.vision.letterbox import Letterbox
from engines.errors import ModelError
from engines.spec import InputSpec, MaskHead

HEAD = MaskHead("street", "labels", ("sky", "road"), background=("sky",))
LETTERBOX = Letterbox.fit((96, 64), InputSpec("image", 64, 96))


def test_the_mask_outlives_the_engines_buffer() -> None:
    buffer = np.ones((1, 16, 24), np.uint8)
    mask = decode_mask(HEAD, {"labels": buffer}, LETTERBOX)
    buffer[...] = 0
    assert mask.labels.shape == (16, 24)
    assert (mask.labels == 1).all()
    assert (mask.name, mask.classes, mask.background) == ("street", ("sky", "road"), ("sky",))
    assert mask.letterbox is LETTERBOX


def test_more_than_one_image_of_labels_is_refused() -> None:
    with pytest.raises(ModelError, match="'labels'"):
        decode_mask(HEAD, {"labels": np.zeros((2, 16, 24), np.uint8)}, LETTERBOX)
