"""The TensorRT engine, in either flavour: runs a built plan on an NVIDIA GPU; it builds none.

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
from engines.cuda.context import CudaDevice, Device, cuda_errors, is_lost, open_device
from engines.errors import DeviceError, EngineError
from engines.model_file import ModelFile
from engines.spec import ModelSpec
from engines.tensorrt.identity import check_identity
from engines.tensorrt.library import Flavour, Library, open_library
from engines.tensorrt.plan import Plan, check_plan, read_plan
from engines.tensorrt.run import Run
from engines.tensorrt.runtime_cache import RuntimeCache

if TYPE_CHECKING:
    import tensorrt

    from engines.cuda.letterbox import DeviceLetterbox

_log = logging.getLogger(__name__)

_TRIALS = 10
"""Runs behind the choice between copied and mapped memory; the median of ten is steady enough."""
_PRECISIONS = {"fp32": "f32", "fp16": "f16", "int8": "int8"}


def open_tensorrt(file: ModelFile, options: EngineOptions) -> TensorRtEngine:
    """Load a ``.engine`` file of native TensorRT, or the one that was built from an ONNX file.

    Raises:
        EngineMismatch, EngineError, DeviceError, ModelError: see ``_open``.
    """
    return _open(file, options, "tensorrt")


def open_rtx(file: ModelFile, options: EngineOptions) -> TensorRtEngine:
    """As ``open_tensorrt``, of TensorRT for RTX.

    Raises:
        EngineMismatch, EngineError, DeviceError, ModelError: see ``_open``.
    """
    return _open(file, options, "rtx")


def _open(file: ModelFile, options: EngineOptions, flavour: Flavour) -> TensorRtEngine:
    """Load a plan of one flavour.

    Raises:
        EngineMismatch: there is none, it is of another flavour, machine, file or version, or it was
            never run to prove it.
        EngineError: TensorRT or PyCUDA is missing, or refuses the plan.
        DeviceError: the device is lost or out of memory.
        ModelError: a file cannot be read.
    """
    plan = read_plan(file, flavour, trust=options.trust)
    trt = open_library(flavour)
    device = open_device()
    try:
        here = device.facts(trt.version)
        if plan.sidecar is not None:
            for warning in check_identity(
                plan.sidecar, plan.path, here, onnx=plan.onnx, plan_sha256=plan.sha256
            ):
                _log.warning("%s", warning)
        engine = TensorRtEngine(trt, device, plan.spec, slots=options.slots)
    except BaseException:
        device.close()
        raise
    try:
        engine.load(plan, here)
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

    def __init__(self, trt: Library, device: CudaDevice, spec: ModelSpec, *, slots: int) -> None:
        super().__init__(trt.flavour, spec, precision=_PRECISIONS[spec.precision], slots=slots)
        self._trt = trt
        self._device = device
        self._runs: list[Run] = []
        self._runtime: tensorrt.Runtime | None = None
        self._engine: tensorrt.ICudaEngine | None = None
        self._cache: RuntimeCache | None = None
        self._letterbox: DeviceLetterbox | None = None
        self._lost = False

    def load(self, plan: Plan, here: Device) -> None:
        """Deserialise and make every slot ready on the device ``here``; each runs once.

        Raises:
            EngineError: TensorRT refuses.
            DeviceError: no memory for it.
        """
        trt, began = self._trt, time.monotonic()
        with self._working(f"{plan.path}: cannot be loaded"):
            self._runtime = runtime = trt.checked("Runtime", lambda: trt.Runtime(trt.logger))
            core = -1 if plan.sidecar is None else plan.sidecar.identity.options.get("dla_core", -1)
            if int(core) >= 0:
                runtime.DLA_core = int(core)
            self._engine = trt.checked(
                "deserialize_cuda_engine", lambda: runtime.deserialize_cuda_engine(plan.data)
            )
            check_plan(trt, self._engine, plan)
            if trt.flavour == "rtx":
                self._cache = RuntimeCache(trt, self._engine, plan.sha256, here)
            self._open_run(mapped=False)
            if self._device.integrated and self._device.maps_host_memory:
                self._open_run(mapped=True)
                self._runs.remove(slower := _slower(*self._runs))
                slower.close()
            while len(self._runs) < self.slots:
                self._open_run(mapped=self._runs[0].mapped)
            kernels = "" if self._cache is None else f", {self._cache.keep()}"
        self._inputs = [{self.spec.input.name: run.input.host} for run in self._runs]
        self._outputs = [run.outputs for run in self._runs]
        memory = "mapped" if self._runs[0].mapped else "page-locked"
        runs = "captured" if self._runs[0].captured else "plain"
        took = time.monotonic() - began
        _log.info(
            "%s: ready in %.1f s; %d slots, %s memory, %s runs%s",
            plan.path, took, self.slots, memory, runs, kernels,
        )  # fmt: skip

    def _open_run(self, *, mapped: bool) -> None:
        """Add the buffers of one more run, and run them once."""
        engine, cache = self._engine, self._cache
        assert engine is not None
        make = engine.create_execution_context if cache is None else cache.create_context
        context = self._trt.checked("create_execution_context", lambda: make())
        # Known before it has anything: what it has when the device is lost is kept with the engine.
        self._runs.append(Run(self._trt, context, mapped=mapped))
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
                # In this order, and with the context current.
                self._cache = self._engine = self._runtime = None
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
