"""A real browser for the tests of the page: Debian's Chromium without a screen, by Playwright."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

COMMAND = "chromium"
DEADLINE_MS = 60_000
"""Of each step on a machine that is busy with something else."""


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser of its own; it ends with the block. The test skips, saying so, where there is none.

    Inside the block this thread has a running event loop: ``asyncio.run`` is for another one.
    """
    found = shutil.which(COMMAND)
    if found is None:
        text = f"needs {COMMAND} (apt install {COMMAND})"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    # Chromium refuses its sandbox to root, and /dev/shm is small in many containers.
    arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def open_page(browser: Browser, *, expected: str = "$^", **context: Any) -> Iterator[Page]:
    """A page without cookies or storage of others; ``context`` as ``Browser.new_context`` has it.

    Such as ``viewport={"width": 390, "height": 844}``, ``color_scheme="dark"``. What the page
    raises or writes to its console as an error, a request that failed too, fails the test, but
    where it is like the regular expression ``expected``.
    """
    errors: list[str] = []
    opened = browser.new_context(**context)
    try:
        page = opened.new_page()
        page.set_default_timeout(DEADLINE_MS)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console",
            lambda message: errors.append(message.text) if message.type == "error" else None,
        )
        yield page
    finally:
        opened.close()
    unexpected = [error for error in errors if not re.search(expected, error)]
    assert not unexpected, "errors of the page: " + "; ".join(unexpected)


def until(page: Page, expression: str, arg: Any = None) -> None:
    """Wait until a JavaScript expression, or function of ``arg``, is true on the page.

    Playwright's own wait is refused by a page that lets nothing be evaluated.
    """
    end_s = time.monotonic() + DEADLINE_MS / 1000
    while not page.evaluate(expression, arg):
        assert time.monotonic() < end_s, f"never true: {expression}"
        page.wait_for_timeout(50)
