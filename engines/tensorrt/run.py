"""One run in flight: a context with its stream, buffers and marks; it owns no device and no plan.

Everything is made in ``open``; a run allocates nothing. All calls need the device's context
current, on one thread. No call keeps the stream in a variable of its own: the traceback of an error
would keep it alive beyond its context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.base import Array
from engines.cuda.graph import Graph, capture
from engines.cuda.memory import Buffer, Marks, new_stream
from engines.spec import ModelSpec, TensorSpec
from engines.tensorrt.library import Library

if TYPE_CHECKING:
    import tensorrt
    from pycuda import driver

    from engines.cuda.letterbox import DeviceLetterbox

_BEGUN, _UPLOADED, _READY, _INFERRED, _DONE = range(5)
"""Marks of a run: input asked for, host memory read, input complete, outputs made, outputs here."""


class Run:
    """Input and output buffers of one execution context, and its runs."""

    def __init__(self, trt: Library, context: tensorrt.IExecutionContext, *, mapped: bool) -> None:
        self.mapped = mapped
        """Whether device and host share the buffers, so that nothing is copied."""
        self.on_device = False
        """Whether the input is made by ``letterbox`` rather than written by the host."""
        self.gpu_ns: dict[str, int] = {}
        self.outputs: dict[str, Array] = {}
        self.frame: Buffer | None = None
        self._trt = trt
        self._context: tensorrt.IExecutionContext | None = context
        self._graph: Graph | None = None
        self._buffers: list[Buffer] = []
        """Of the input, then of each output."""
        self._stream: driver.Stream = None
        self._marks = Marks()

    def open(self, spec: ModelSpec) -> None:
        """Set the addresses once, run once, and capture that run where it can be.

        Raises:
            EngineError: TensorRT refuses; ``close`` is to be called all the same.
        """
        self._stream = new_stream()
        self._marks.make(_DONE + 1)
        self._bind(spec.input.tensor)
        self.outputs = {tensor.name: self._bind(tensor).host for tensor in spec.outputs}
        self.submit()
        self.wait()
        self._graph = capture(self._stream.handle, self._enqueue)
        self._trt.forget()  # why a run could not be captured is no later error's cause

    def _bind(self, tensor: TensorSpec) -> Buffer:
        context = self._context
        assert context is not None
        made = Buffer(tensor.shape, tensor.dtype, mapped=self.mapped)
        self._buffers.append(made)
        self._trt.checked(
            "set_tensor_address", lambda: context.set_tensor_address(tensor.name, made.address)
        )
        return made

    @property
    def input(self) -> Buffer:
        """Where the network reads its image."""
        return self._buffers[0]

    @property
    def captured(self) -> bool:
        """Whether runs are launched as a CUDA graph."""
        return self._graph is not None

    def submit(self) -> None:
        """Enqueue one run: the upload unless ``letterbox`` did it, the network, the download."""
        if not self.on_device:
            self._upload()
        if self._graph is not None:
            self._graph.launch()
        else:
            self._enqueue()
        self._marks.record(_INFERRED, self._stream)
        for result in self._buffers[1:]:
            result.download(self._stream)
        self._marks.record(_DONE, self._stream)

    def wait(self) -> None:
        """Block until the run is done, and read its times."""
        self._marks.wait()
        between, times = self._marks.between_ns, self.gpu_ns
        times["upload"] = between(_BEGUN, _UPLOADED)
        if self.on_device:
            times["letterbox"] = between(_UPLOADED, _READY)
            self.on_device = False
        times["infer"] = between(_READY, _INFERRED)
        times["download"] = between(_INFERRED, _DONE)

    def make_frame(self, height: int, width: int) -> None:
        """A buffer for frames of this size, in the place of the last one."""
        frame, self.frame = self.frame, None
        if frame is not None:
            self._stream.synchronize()
            frame.free()
        self.frame = Buffer((height, width, 3), "uint8", mapped=self.mapped)

    def letterbox(
        self,
        kernel: DeviceLetterbox,
        *,
        size_wh: tuple[int, int],
        pad_xy: tuple[int, int],
        pad_value: int,
    ) -> None:
        """Enqueue the frame's upload and the kernel that makes the input from it."""
        assert self.frame is not None
        height, width, channels = self.frame.host.shape
        _, out_h, out_w, _ = self.input.host.shape
        self._marks.record(_BEGUN, self._stream)
        self.frame.upload(self._stream)
        self._marks.record(_UPLOADED, self._stream)
        kernel.launch(
            self.frame.address,
            (width, height),
            width * channels,
            self.input.address,
            (out_w, out_h),
            size_wh=size_wh,
            pad_xy=pad_xy,
            pad_value=pad_value,
            stream=self._stream,
        )
        self._marks.record(_READY, self._stream)
        self.on_device = True

    def settle_input(self) -> None:
        """Block until the input lies on the device, uploading it if the host wrote it."""
        if not self.on_device:
            self._upload()
        self._stream.synchronize()

    def close(self) -> None:
        """Let the stream run dry, then free everything; safe to call twice."""
        if self._stream is not None:
            self._stream.synchronize()
        if self._graph is not None:
            self._graph.free()
        for buffer in (self.frame, *self._buffers):
            if buffer is not None:
                buffer.free()
        self._marks.free()
        self._context = self._graph = self._stream = None
        self.frame = None
        self._buffers, self.outputs = [], {}

    def _upload(self) -> None:
        self._marks.record(_BEGUN, self._stream)
        self.input.upload(self._stream)
        self._marks.record(_UPLOADED, self._stream)
        self._marks.record(_READY, self._stream)

    def _enqueue(self) -> None:
        assert self._context is not None
        if not self._context.execute_async_v3(self._stream.handle):
            raise self._trt.error("execute_async_v3", "returned False")
