"""Fixtures for all tests, and the rule that only tests marked ``shared`` find the folder ../shared.

Tests that lack that folder or a CUDA toolkit skip. Both are counted aloud, and where CI has the
folder a skip is a failure.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import edge  # noqa: F401  before any OpenCV, whose limit of pixels it sets

if TYPE_CHECKING:
    from tests.cuda_host.build import HostCuda

ROOT = Path(__file__).resolve().parent.parent

# Some tests import ONNX Runtime themselves; it would report to its makers.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

NEEDS_SHARED = "needs ../shared or OUTRIDER_SHARED"
NEEDS_CUDA_TOOLKIT = "needs a CUDA toolkit: CUDA_HOME, nvcc on PATH or /usr/local/cuda"
NEEDS_RTX = "needs TensorRT for RTX: pip install -c constraints/rtx.txt -e '.[rtx]'"


class SharedFolder:
    """The folder with data and foreign models, hidden except from tests marked ``shared``.

    Where it is hidden, ``OUTRIDER_SHARED`` names a folder that does not exist, for this process and
    those it starts, and the test ends when Python opens or lists a file below the real one or hands
    its name to a program. Native code is not watched, but it has to be told where the folder is.
    """

    NOWHERE = "/nowhere/shared"
    WATCHED = frozenset(("open", "os.listdir", "os.scandir", "os.chdir", "subprocess.Popen"))

    def __init__(self) -> None:
        named = Path(os.environ.get("OUTRIDER_SHARED", ROOT.parent / "shared"))
        self.path = named if named.is_dir() else None
        self._names = {str(named.absolute()), str(named.resolve())} if self.path else set()
        self._hidden = False

    def hide(self) -> None:
        """Hide it from now on."""
        os.environ.pop("OUTRIDER_CAMVID", None)
        os.environ["OUTRIDER_SHARED"] = self.NOWHERE
        self._hidden = True
        sys.addaudithook(self._watch)

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Show it for the length of the block."""
        os.environ["OUTRIDER_SHARED"] = str(self.path or self.NOWHERE)
        self._hidden = False
        try:
            yield
        finally:
            os.environ["OUTRIDER_SHARED"] = self.NOWHERE
            self._hidden = True

    def _watch(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._hidden or event not in self.WATCHED:
            return
        if event == "subprocess.Popen":
            words = [arguments[1]] if isinstance(arguments[1], (str, bytes)) else arguments[1]
            named = " ".join(os.fsdecode(word) for word in words)
            looked = any(f"{name}/" in f"{named}/" for name in self._names)
        else:
            file = arguments[0]
            if not isinstance(file, (str, bytes, os.PathLike)):
                return  # an open file's number, or the working folder
            named = os.path.abspath(os.fsdecode(file))
            looked = any(f"{named}/".startswith(f"{name}/") for name in self._names)
        if looked:
            pytest.fail(f"{named}: only tests marked 'shared' may read the shared folder")


FOLDER = pytest.StashKey[SharedFolder]()


@pytest.fixture(scope="session")
def shared(pytestconfig: pytest.Config) -> Path:
    """The shared data folder; the test skips, saying so, where it is absent."""
    path = pytestconfig.stash[FOLDER].path
    if path is None:
        pytest.skip(NEEDS_SHARED)
    return path


@pytest.fixture(scope="session")
def host_cuda() -> HostCuda:
    """A CUDA driver on host memory and the real PyCUDA on it, built once a machine (2 minutes)."""
    from tests.cuda_host import build as host

    cuda = host.toolkit()
    assert host.NEEDS_CUDA_TOOLKIT == NEEDS_CUDA_TOOLKIT
    if cuda is None:
        pytest.skip(NEEDS_CUDA_TOOLKIT)
    return host.build(cuda)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches of the app and of its libraries go to a folder that ends with the session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("MPLBACKEND", "agg")
        yield


def pytest_configure(config: pytest.Config) -> None:
    folder = config.stash[FOLDER] = SharedFolder()
    if config.getoption("dist", "no") == "no":  # not the one that hands the tests to its workers
        folder.hide()
    if hasattr(config, "workerinput"):  # one of several processes: torch on all cores is slower
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    # A shell that starts the tests in the background has them ignore Ctrl-C, and nohup has them
    # ignore a hang-up; every program that they start inherits it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """A run in the tests' own process holds signals back for good, and programs inherit that."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


@pytest.hookimpl(tryfirst=True)  # before -m chooses by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for the folder, itself or through a fixture, is marked.

    Files with slow tests come first: where files run side by side, one that is left to the end
    keeps a core waiting.
    """
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker("shared")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    marked = item.get_closest_marker("shared") is not None
    with item.config.stash[FOLDER].shown() if marked else contextlib.nullcontext():
        return (yield)


def _skipped(config: pytest.Config) -> dict[str, list[str]]:
    """The tests that skipped, whichever worker ran them, by the need that they named."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")  # a worker has none
    reports = reporter.stats.get("skipped", []) if reporter else []
    return {
        need: [report.nodeid for report in reports if need in str(report.longrepr)]
        for need in (NEEDS_SHARED, NEEDS_CUDA_TOOLKIT, NEEDS_RTX)
    }


def _is_failure(config: pytest.Config) -> bool:
    """Where CI has the shared folder, a test that skips for want of anything hides something."""
    return bool(os.environ.get("CI")) and config.stash[FOLDER].path is not None


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if any(_skipped(session.config).values()) and _is_failure(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for need, skipped in _skipped(config).items():
        if not skipped:
            continue
        terminalreporter.write_line(f"{len(skipped)} tests skipped: {need}")
        if _is_failure(config):
            terminalreporter.write_line("CI has the shared folder, so these skips are failures:")
            for nodeid in skipped:
                terminalreporter.write_line(f"    {nodeid}")
