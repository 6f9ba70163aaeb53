"""Of times that are hardly apart the earlier is taken."""

from __future__ import annotations

import pytest

from edge.proven.trial import pick


@pytest.mark.parametrize(
    ("times_ms", "taken"),
    [
        ([10.0], 0),
        ([10.0, 9.0], 1),
        ([10.0, 9.8], 0),  # 2 % faster: not clearly
        ([10.0, 9.69], 1),  # 3.1 %
        ([10.0, 9.8, 9.4], 2),  # which is 4.1 % faster than the second, too
        ([10.0, 9.6, 9.4], 1),  # which the third beats by 2.1 % only
        ([9.0, 10.0, 9.0], 0),
    ],
)
def test_the_usual_order_holds_between_two_that_are_hardly_apart(
    times_ms: list[float], taken: int
) -> None:
    assert pick(times_ms) == taken
