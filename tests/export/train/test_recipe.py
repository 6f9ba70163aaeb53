"""The learning rate that a recipe gives."""

from __future__ import annotations

import pytest

from export.train.recipe import Recipe, learning_rate


def test_the_learning_rate_rises_then_falls_to_a_hundredth() -> None:
    recipe = Recipe(epochs=100, lr=1.0, warmup_epochs=3)
    rates = [learning_rate(recipe, e) for e in (0, 1, 3, 50, 100)]
    assert rates[0] < rates[1] < rates[2] == pytest.approx(1.0)
    assert rates[2] > rates[3] > rates[4] == pytest.approx(0.01)


def test_without_warm_up_the_learning_rate_only_falls() -> None:
    recipe = Recipe(epochs=10, lr=1.0, warmup_epochs=0)
    # half a cosine from 1 down to 0.01: halfway 0.01 + 0.99 / 2
    assert [learning_rate(recipe, e) for e in (0, 5, 10)] == pytest.approx([1.0, 0.505, 0.01])
