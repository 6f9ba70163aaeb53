"""Ranges by hand: extremes see every value, the others leave out what hardly ever comes."""

from __future__ import annotations

import numpy as np
import pytest

from engines.errors import ExportError
from export.int8.ranges import METHODS, measure
from tests.export.int8.graphs import dense, network

MODEL = network([("Conv", ["x", "w"], "a"), ("Conv", ["a", "w"], "y")], [1, 1, 128, 128], ["y"],
                w=dense([1.0]))  # fmt: skip


def test_one_value_in_many_widens_only_the_widest_range() -> None:
    """−1 to 1 in two frames of 16384, once 1000: 99.99 leaves out 1.6 of all at each end."""
    x = np.linspace(-1, 1, 16384, dtype=np.float32).reshape(1, 1, 128, 128)
    far = x.copy()
    far[0, 0, 5, 7] = 1000
    found = measure(MODEL, ["a"], [{"x": x}, {"x": far}], origin="a test")
    assert list(found.ranges) == list(METHODS)
    assert found.ranges["min-max"]["a"] == (-1.0, 1000.0)
    low, high = found.ranges["percentile 99.99"]["a"]
    assert low >= -1.0
    assert high < 2.0
    assert found.ranges["entropy"]["a"][1] < 1000
    assert found.peaks["a"].tolist() == [1000.0]


def test_a_tensor_that_is_not_finite_is_named() -> None:
    x = np.full((1, 1, 128, 128), np.inf, np.float32)
    with pytest.raises(ExportError, match="tensor 'a' is not finite in FP32 already"):
        measure(MODEL, ["a"], [{"x": x}], origin="a test")
