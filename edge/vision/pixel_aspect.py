"""Pixels that are not square: which shapes are believed, and pictures for eyes alone."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from edge.vision.types import SQUARE, Image

_MOST = 4
"""Twice that of anamorphic films (2:1); what says more is damaged."""


def believed(aspect: Fraction | None) -> Fraction:
    """The width of a pixel by its height as a source says it; square where it says none."""
    if not aspect or not Fraction(1, _MOST) <= aspect <= _MOST:
        return SQUARE
    return aspect.limit_denominator(1000)


def squared(image: Image, aspect: Fraction) -> Image:
    """The picture (H, W, 3) wider or taller, so that its pixels are square; as it is if they are.

    It is for eyes alone: boxes and masks count the pixels of the frame.
    """
    if aspect == SQUARE:
        return image
    import cv2  # not above: kinds of sources ask for believed before any is opened

    height, width = image.shape[:2]
    size = round(width * max(aspect, SQUARE)), round(height / min(aspect, SQUARE))
    wider: Image = np.empty((size[1], size[0], 3), np.uint8)
    cv2.resize(image, size, dst=wider, interpolation=cv2.INTER_LINEAR)
    return wider
