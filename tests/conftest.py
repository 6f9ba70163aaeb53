"""Fixtures shared by all tests; those that need the data beside the project or a CUDA toolkit skip.

Both are counted aloud, and where CI has the data a skip is a failure.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cuda_host.build import HostCuda

ROOT = Path(__file__).resolve().parent.parent

NEEDS_SHARED = "needs ../shared or OUTRIDER_SHARED"
NEEDS_CUDA_TOOLKIT = "needs a CUDA toolkit: CUDA_HOME, nvcc on PATH or /usr/local/cuda"
SKIPPED = pytest.StashKey[dict[str, list[str]]]()
"""Tests that skipped, by the need that they named."""


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


@pytest.fixture(scope="session")
def host_cuda() -> HostCuda:
    """A CUDA driver on host memory and the real PyCUDA built against it (a minute, once)."""
    from tests.cuda_host import build as host

    cuda = host.toolkit()
    assert host.NEEDS_CUDA_TOOLKIT == NEEDS_CUDA_TOOLKIT
    if cuda is None:
        pytest.skip(NEEDS_CUDA_TOOLKIT)
    return host.build(cuda, Path(sys.prefix) / "cuda-host")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches of the app and of its libraries go to a folder that ends with the session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("MPLBACKEND", "agg")
        yield


def pytest_configure(config: pytest.Config) -> None:
    counted: dict[str, list[str]] = {NEEDS_SHARED: [], NEEDS_CUDA_TOOLKIT: []}
    config.stash[SKIPPED] = counted
    # A shell that starts the tests in the background has them ignore Ctrl-C, and every program
    # that they start inherits it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple):
        for need, skipped in item.config.stash[SKIPPED].items():
            if need in report.longrepr[2]:
                skipped.append(item.nodeid)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where CI finds the shared folder, a test that skips for want of anything hides something."""
    skipped = any(session.config.stash[SKIPPED].values())
    if skipped and os.environ.get("CI") and shared_root():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for need, skipped in config.stash[SKIPPED].items():
        if not skipped:
            continue
        terminalreporter.write_line(f"{len(skipped)} tests skipped: {need}")
        if os.environ.get("CI") and shared_root():
            terminalreporter.write_line("CI has the shared folder, so these skips are failures:")
            for nodeid in skipped:
                terminalreporter.write_line(f"    {nodeid}")
