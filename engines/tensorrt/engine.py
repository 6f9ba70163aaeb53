"""The TensorRT engine: runs a built plan on an NVIDIA GPU, two frames in flight; it builds none.

What the plan was built for is compared with this machine before the plan is loaded.
"""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from traceback import clear_frames
from typing import TYPE_CHECKING

from engines.base import Array, EngineBase, EngineOptions, Image
from engines.cuda.context import CudaDevice, cuda_errors, is_lost, open_device
from engines.errors import DeviceError, EngineError
from engines.model_file import ModelFile
from engines.spec import ModelSpec
from engines.tensorrt.identity import check_identity
from engines.tensorrt.log import TensorRtLog, import_tensorrt, open_log
from engines.tensorrt.plan import Plan, check_plan, read_plan
from engines.tensorrt.run import Run

if TYPE_CHECKING:
    import tensorrt as trt

    from engines.cuda.letterbox import DeviceLetterbox

_log = logging.getLogger(__name__)

_TRIALS = 10
"""Runs behind the choice between copied and mapped memory; the median of ten is steady enough."""
_PRECISIONS = {"fp32": "f32", "fp16": "f16", "int8": "int8"}


def open_tensorrt(file: ModelFile, options: EngineOptions) -> TensorRtEngine:
    """Load a ``.engine`` file, or the engine that was built from an ONNX file.

    Raises:
        EngineMismatch: there is none, or it is of another machine, file or version.
        EngineError: TensorRT or PyCUDA is missing, or refuses the plan.
        DeviceError: the device is lost or out of memory.
        ModelError: a file cannot be read.
    """
    plan = read_plan(file, trust=options.trust)
    version = import_tensorrt()
    device = open_device()
    try:
        if plan.sidecar is not None:
            here = device.facts(version)
            for warning in check_identity(
                plan.sidecar, plan.path, here, onnx=plan.onnx, plan_sha256=plan.sha256
            ):
                _log.warning("%s", warning)
        engine = TensorRtEngine(device, plan.spec, slots=options.slots)
    except BaseException:
        device.close()
        raise
    try:
        engine.load(plan)
    except BaseException as exc:
        engine.give_up(exc)
        raise
    if options.precision == "f32" and engine.precision != "f32":
        _log.warning("%s: runs at %s, as it was built", plan.path, engine.precision)
    return engine


class TensorRtEngine(EngineBase):
    """One plan on one device; each slot has its own context, stream and buffers.

    It is a ``DeviceEngine`` too: it tells GPU times and can letterbox.
    """

    def __init__(self, device: CudaDevice, spec: ModelSpec, *, slots: int) -> None:
        super().__init__("tensorrt", spec, precision=_PRECISIONS[spec.precision], slots=slots)
        self._device = device
        self._runs: list[Run] = []
        self._runtime: trt.Runtime | None = None
        self._engine: trt.ICudaEngine | None = None
        self._letterbox: DeviceLetterbox | None = None
        self._lost = False

    def load(self, plan: Plan) -> None:
        """Deserialise and make every slot ready; the first run of each is done here.

        Raises:
            EngineError: TensorRT refuses.
            DeviceError: no memory for it.
        """
        import tensorrt as trt

        log = open_log()
        with self._working(f"{plan.path}: cannot be loaded"):
            self._runtime = runtime = log.checked("Runtime", lambda: trt.Runtime(log.logger))
            core = -1 if plan.sidecar is None else plan.sidecar.identity.options.get("dla_core", -1)
            if int(core) >= 0:
                runtime.DLA_core = int(core)
            self._engine = log.checked(
                "deserialize_cuda_engine", lambda: runtime.deserialize_cuda_engine(plan.data)
            )
            check_plan(self._engine, plan)
            self._open_run(log, mapped=False)
            if self._device.integrated and self._device.maps_host_memory:
                self._open_run(log, mapped=True)
                self._runs.remove(slower := _slower(*self._runs))
                slower.close()
            while len(self._runs) < self.slots:
                self._open_run(log, mapped=self._runs[0].mapped)
        self._inputs = [{self.spec.input.name: run.input.host} for run in self._runs]
        self._outputs = [run.outputs for run in self._runs]
        memory = "mapped" if self._runs[0].mapped else "page-locked"
        runs = "captured" if self._runs[0].captured else "plain"
        _log.info("%s: %d slots, %s memory, %s runs", plan.path, self.slots, memory, runs)

    def _open_run(self, log: TensorRtLog, *, mapped: bool) -> None:
        """Add the buffers of one more run, and run them once."""
        engine = self._engine
        assert engine is not None
        context = log.checked("create_execution_context", lambda: engine.create_execution_context())
        # Known before it has anything: what it has when the device is lost is kept with the engine.
        self._runs.append(Run(log, context, mapped=mapped))
        self._runs[-1].open(self.spec)

    def inputs(self, slot: int) -> dict[str, Array]:
        """See ``Engine``; page-locked. What ``letterbox`` made is forgotten."""
        arrays = super().inputs(slot)
        self._runs[slot].on_device = False
        return arrays

    def _start(self, slot: int) -> None:
        """Enqueue upload, run and download on the slot's stream."""
        with self._working("TensorRT cannot start a run"):
            self._runs[slot].submit()

    def _finish(self, slot: int) -> None:
        with self._working("TensorRT failed while running"):
            self._runs[slot].wait()

    def gpu_ns(self, slot: int) -> Mapping[str, int]:
        """See ``DeviceEngine``."""
        return self._runs[slot].gpu_ns

    def load_letterbox(self) -> None:
        """See ``DeviceEngine``."""
        if self._letterbox is not None:
            return
        from engines.cuda.letterbox import DeviceLetterbox

        with self._working("the device cannot letterbox"):
            self._letterbox = DeviceLetterbox()

    def frame_input(self, slot: int, height: int, width: int) -> Image:
        """See ``DeviceEngine``; the array is page-locked."""
        self._check_free(slot)
        run = self._runs[slot]
        if run.frame is None or run.frame.host.shape != (height, width, 3):
            with self._working("no memory for a frame"):
                run.make_frame(height, width)
            assert run.frame is not None
        return run.frame.host

    def letterbox(
        self, slot: int, *, size_wh: tuple[int, int], pad_xy: tuple[int, int], pad_value: int
    ) -> None:
        """See ``DeviceEngine``; returns at once."""
        self._check_free(slot)
        if self._letterbox is None:
            raise EngineError(f"{self.name}: load_letterbox comes before letterbox.")
        try:
            with self._working("the device cannot letterbox"):
                self._runs[slot].letterbox(
                    self._letterbox, size_wh=size_wh, pad_xy=pad_xy, pad_value=pad_value
                )
        except ValueError as exc:
            raise EngineError(f"the device cannot letterbox: {exc}") from exc

    def time_input(self, slot: int, fill: Callable[[], None]) -> int:
        """See ``DeviceEngine``."""
        self._check_free(slot)
        start = time.perf_counter_ns()
        fill()
        with self._working("the device takes no input"):
            self._runs[slot].settle_input()
        return time.perf_counter_ns() - start

    def _release(self) -> None:
        if self._lost:
            _abandon(self)
            return
        try:
            with self._working("TensorRT failed while closing"):
                for run in self._runs:
                    run.close()
                if self._letterbox is not None:
                    self._letterbox.free()
                self._runs, self._letterbox = [], None
                self._engine = self._runtime = None  # in this order, and with the context current
        except DeviceError:
            self._lost = True
            _abandon(self)
            raise
        finally:
            if not self._lost:
                self._device.close()

    def give_up(self, exc: BaseException) -> None:
        """Close after ``exc``, whose message counts."""
        clear_frames(exc.__traceback__)  # what they hold would outlive the context
        try:
            self.close()
        except EngineError as then:
            _log.debug("closing after %s: %s", exc, then)

    def _check_free(self, slot: int) -> None:
        """Refuse a slot whose input the device may be reading."""
        self._check(slot)
        if self._in_flight[slot]:
            raise EngineError(f"{self.name}: slot {slot} is in flight; wait for it first.")

    @contextmanager
    def _working(self, doing: str) -> Iterator[None]:
        """The device's context for the block, and its errors in the project's words."""
        try:
            with cuda_errors(doing), self._device.current():
                yield
        except DeviceError as exc:
            self._lost = self._lost or is_lost(exc)
            if self._lost:
                raise
            with self._device.current():
                free = self._device.free_bytes() >> 20
            raise DeviceError(f"{exc}; {free} MB of the device's memory are free") from exc


def _slower(copied: Run, mapped: Run) -> Run:
    """The one whose runs take more wall time, from input written to output there; run in turn."""
    times: dict[bool, list[int]] = {False: [], True: []}
    for _ in range(_TRIALS):
        for run in (copied, mapped):
            start = time.perf_counter_ns()
            run.submit()
            run.wait()
            times[run.mapped].append(time.perf_counter_ns() - start)
    took = {key: statistics.median(values) / 1e6 for key, values in times.items()}
    _log.info("a run takes %.2f ms with copies, %.2f ms without", took[False], took[True])
    return copied if took[True] < took[False] else mapped


def _abandon(engine: TensorRtEngine) -> None:
    """Keep what belongs to a lost device for ever: it cannot be freed, and PyCUDA would say so."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))
