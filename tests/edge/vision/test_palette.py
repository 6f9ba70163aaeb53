"""Tests of edge.vision.palette: a class has one colour wherever it comes from."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from edge.vision.palette import colour_map, colour_of, colours_of, text_on
from tests.tiny_models import MASK_CLASSES


def test_synonyms_share_a_colour_and_other_classes_do_not() -> None:
    assert colour_of("person") == colour_of("pedestrian") == colour_of("Pedestrian")
    assert colour_of("drivable_area") == colour_of("drivable")
    street = MASK_CLASSES
    assert len(set(colours_of(street))) == len(street) == 11


def test_an_unknown_class_has_the_same_colour_in_every_process() -> None:
    code = "from edge.vision.palette import colour_of; print(colour_of('zebra'))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert printed.strip() == str(colour_of("zebra"))


@pytest.mark.parametrize("name", ["road", "sign", "car", "zebra", ""])
def test_text_is_black_or_white_and_differs_from_its_ground(name: str) -> None:
    colour = colour_of(name)
    text = text_on(colour)
    assert text in ((0, 0, 0), (255, 255, 255))
    # Luma, ITU-R BT.601: at least a third of the range apart.
    luma = 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2]
    assert abs(luma - text[0]) > 85


def test_labels_beyond_the_classes_are_black() -> None:
    table = colour_map([(1, 2, 3)])
    assert table.shape == (256, 1, 3)
    assert table[0, 0].tolist() == [1, 2, 3]
    assert not np.any(table[1:])
    assert not np.any(colour_map([]))
