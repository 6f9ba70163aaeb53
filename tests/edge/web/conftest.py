"""A browser for the tests of the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser without a screen, for the tests of one file; mark them ``slow``."""
    from tests.edge.web.equipment.browser import chromium

    with chromium() as opened:
        yield opened
