"""Fixtures shared by all tests; tests that need the data beside the project skip without it."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

SKIPPED_FOR_SHARED = pytest.StashKey[list[str]]()
NEEDS_SHARED = "needs ../shared or OUTRIDER_SHARED"


def shared_root() -> Path | None:
    """The folder with data and foreign models, or None where this machine lacks it."""
    path = Path(os.environ.get("OUTRIDER_SHARED", ROOT.parent / "shared"))
    return path if path.is_dir() else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data folder; the test skips, saying so, where it is absent."""
    path = shared_root()
    if path is None:
        pytest.skip(NEEDS_SHARED)
    return path


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches of the app and of its libraries go to a folder that ends with the session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MPLBACKEND", "agg")
        yield


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SKIPPED_FOR_SHARED] = []
    # A shell that starts the tests in the background has them ignore Ctrl-C, and every program
    # that they start inherits it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and NEEDS_SHARED in report.longrepr[2]:
        item.config.stash[SKIPPED_FOR_SHARED].append(item.nodeid)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where CI finds the shared folder, a test that skips for want of it hides something."""
    if session.config.stash[SKIPPED_FOR_SHARED] and os.environ.get("CI") and shared_root():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    skipped = config.stash[SKIPPED_FOR_SHARED]
    if not skipped:
        return
    terminalreporter.write_line(f"{len(skipped)} tests skipped: {NEEDS_SHARED}")
    if os.environ.get("CI") and shared_root():
        terminalreporter.write_line("CI found that folder, so these skips count as failures:")
        for nodeid in skipped:
            terminalreporter.write_line(f"    {nodeid}")
