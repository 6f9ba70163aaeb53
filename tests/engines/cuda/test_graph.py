"""Captured runs: what is asked of cuda-python, and that whatever it refuses only costs the graph.

No driver of the tests knows CUDA graphs, so a script stands for cuda-python here.
"""

from __future__ import annotations

import sys
from enum import IntEnum
from types import ModuleType
from typing import Any

import pytest

from engines.cuda.graph import capture
from engines.errors import DeviceError

STREAM = 0x5EED


class CUresult(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_ILLEGAL_ADDRESS = 700
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900


class Mode(IntEnum):
    CU_STREAM_CAPTURE_MODE_GLOBAL = 0
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1


class Script(ModuleType):
    """The calls in order; those named in ``refused`` answer with that code."""

    CUstreamCaptureMode = Mode
    CUstream = int

    def __init__(self, **refused: CUresult) -> None:
        super().__init__("cuda.bindings.driver")
        self.calls: list[tuple[Any, ...]] = []
        self.refused = refused

    def _answer(self, name: str, *arguments: Any, value: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        self.calls.append((name, *arguments))
        code = self.refused.get(name, CUresult.CUDA_SUCCESS)
        return (code, *((None,) * len(value) if code else value))

    def cuStreamBeginCapture(self, stream: int, mode: Mode) -> tuple[Any, ...]:  # noqa: N802
        return self._answer("begin", stream, mode)

    def cuStreamEndCapture(self, stream: int) -> tuple[Any, ...]:  # noqa: N802
        return self._answer("end", stream, value=("graph",))

    def cuGraphInstantiate(self, graph: str, flags: int) -> tuple[Any, ...]:  # noqa: N802
        return self._answer("instantiate", graph, flags, value=("executable",))

    def cuGraphLaunch(self, executable: str, stream: int) -> tuple[Any, ...]:  # noqa: N802
        return self._answer("launch", executable, stream)

    def cuGraphDestroy(self, graph: str) -> tuple[Any, ...]:  # noqa: N802
        return self._answer("destroy", graph)

    def cuGraphExecDestroy(self, executable: str) -> tuple[Any, ...]:  # noqa: N802
        return self._answer("exec destroy", executable)

    def cuGetErrorString(self, code: CUresult) -> tuple[CUresult, bytes]:  # noqa: N802
        return CUresult.CUDA_SUCCESS, b"an illegal memory access was encountered"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(**refused: CUresult) -> Script:
        script = Script(**refused)
        monkeypatch.setitem(sys.modules, "cuda.bindings.driver", script)
        return script

    return install


def test_a_run_is_captured_once_launched_and_destroyed(installed: Any) -> None:
    script = installed()
    graph = capture(STREAM, lambda: script.calls.append(("enqueue",)))
    assert graph is not None
    graph.launch()
    graph.launch()
    graph.free()
    graph.free()
    assert script.calls == [
        ("begin", STREAM, Mode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
        ("enqueue",),
        ("end", STREAM),
        ("instantiate", "graph", 0),
        ("destroy", "graph"),
        ("launch", "executable", STREAM),
        ("launch", "executable", STREAM),
        ("exec destroy", "executable"),
    ]


@pytest.mark.parametrize(
    ("refused", "left"),
    [
        ("begin", ["begin"]),
        ("end", ["begin", "enqueue", "end"]),
        ("instantiate", ["begin", "enqueue", "end", "instantiate", "destroy"]),
    ],
)
def test_a_refused_capture_is_no_graph_and_leaves_nothing(
    installed: Any, refused: str, left: list[str]
) -> None:
    script = installed(**{refused: CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED})
    assert capture(STREAM, lambda: script.calls.append(("enqueue",))) is None
    assert [name for name, *_ in script.calls] == left


def test_a_run_that_fails_while_captured_frees_the_stream(installed: Any) -> None:
    script = installed()

    def refuse() -> None:
        raise RuntimeError("cannot be captured")

    assert capture(STREAM, refuse) is None
    assert [name for name, *_ in script.calls] == ["begin", "end"]


def test_without_cuda_python_there_is_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cuda.bindings.driver", "cuda.cuda"):
        monkeypatch.setitem(sys.modules, name, None)
    ran: list[int] = []
    assert capture(STREAM, lambda: ran.append(1)) is None
    assert ran == []


def test_a_launch_that_the_device_fails_is_a_device_error(installed: Any) -> None:
    installed(launch=CUresult.CUDA_ERROR_ILLEGAL_ADDRESS)
    graph = capture(STREAM, lambda: None)
    assert graph is not None
    with pytest.raises(DeviceError, match="illegal memory access"):
        graph.launch()
