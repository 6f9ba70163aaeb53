"""A module ``tensorrt`` for tests on the host driver: ONNX Runtime in the place of a GPU.

It has only names of the real bindings, and shows nothing of what only TensorRT can: no fusion, no
kernels, no speed. A plan is what plans.py makes; a run waits its turn on its stream and goes
through device addresses alone. ``OUTRIDER_DOUBLE_VERSION`` is the release that it claims to be,
``_DLA`` how many DLA cores it has, ``_HALF`` rounds every float16 tensor to real half, ``_FAULT``
plants a fault: ``parser:OPERATOR``, ``build``, ``memory``, ``forever``, ``plan`` (which cannot be
deserialised), or in the engine that is built ``constant``, ``swapped``, ``nan``.
"""

from __future__ import annotations

import ctypes
import json
import os
from enum import IntEnum
from typing import Any

import numpy as np
import onnx
from onnx import helper

from .plans import capability, packed, runner, shape, unpacked, values

__version__ = os.environ.get("OUTRIDER_DOUBLE_VERSION", "10.3.0")
_FAULT = os.environ.get("OUTRIDER_DOUBLE_FAULT", "")
_Severity = IntEnum("_Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE", start=0)
DataType = IntEnum("DataType", "FLOAT HALF INT8 INT32 BOOL UINT8 FP8 BF16 INT64 INT4", start=0)
Dims = list[int]
TensorIOMode = IntEnum("TensorIOMode", "NONE INPUT OUTPUT", start=0)
DeviceType = IntEnum("DeviceType", "GPU DLA", start=0)
ProfilingVerbosity = IntEnum("ProfilingVerbosity", "LAYER_NAMES_ONLY NONE DETAILED", start=0)
LayerInformationFormat = IntEnum("LayerInformationFormat", "ONELINE JSON", start=0)
MemoryPoolType = IntEnum("MemoryPoolType", "WORKSPACE", start=0)
BuilderFlag = IntEnum("BuilderFlag", {"GPU_FALLBACK": 3})
NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 1})
LayerType = IntEnum("LayerType", {"CONVOLUTION": 0, "ACTIVATION": 2, "IDENTITY": 20})
# Of TensorProto, by TensorRT's names.
_KINDS = {1: "FLOAT", 2: "UINT8", 3: "INT8", 6: "INT32", 7: "INT64", 9: "BOOL", 10: "HALF"}
_LAYERS = {"Conv": LayerType["CONVOLUTION"], "Relu": LayerType["ACTIVATION"]}
_WORDS = {**_KINDS, 1: "FP32", 10: "FP16"}
_U64 = ctypes.c_uint64


class _Strict:
    """As pybind11's: sets no attribute that the class lacks, takes no half-made logger."""

    def __init__(self, *held: Any) -> None:
        assert all(h._made for h in held if isinstance(h, ILogger))
        self._held = held

    def __setattr__(self, name: str, value: Any) -> None:
        assert name.startswith("_") or hasattr(type(self), name), name
        object.__setattr__(self, name, value)


class ILogger:
    Severity = _Severity
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = _Severity

    def __init__(self) -> None:
        self._made = True


class IProgressMonitor:
    def __init__(self) -> None:
        self._made = True


class ITimingCache(_Strict):
    def serialize(self) -> memoryview:
        return packed(self._held[0], b"")


class IBuilderConfig(_Strict):
    progress_monitor: Any = None
    profiling_verbosity = ProfilingVerbosity["LAYER_NAMES_ONLY"]
    builder_optimization_level, DLA_core, default_device_type = 3, -1, DeviceType["GPU"]
    _cache, _workspace, _fallback, _targets = None, 0, False, list[int]()
    can_run_on_DLA = lambda self, layer: "Cast" not in layer.name  # noqa: E731, N815

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self._workspace = pool_size * (pool == MemoryPoolType["WORKSPACE"])

    def set_flag(self, flag: Any) -> None:
        self._fallback = flag == BuilderFlag["GPU_FALLBACK"]

    def create_timing_cache(self, serialized_timing_cache: bytes) -> Any:
        fresh = packed({**_here(), "layers": []}, b"")
        try:
            return ITimingCache(unpacked(serialized_timing_cache or fresh)[0])
        except ValueError as exc:
            return _none(self._held[0], f"Failed to read the timing cache: {exc}")

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        self._cache = cache
        fits = _here().items() <= cache._held[0].items() or ignore_mismatch
        return fits or bool(_none(self._held[0], "The timing cache is of another device"))


class ITensor(_Strict):
    name = property(lambda self: self._held[0].name)
    dtype = property(lambda self: DataType[_KINDS[self._held[0].type.tensor_type.elem_type]])
    shape = property(lambda self: shape(self._held[0].type.tensor_type))


class ILayer(_Strict):
    num_outputs = 1
    name = property(lambda self: self._held[0].name)
    type = property(lambda self: _LAYERS.get(self._held[0].op_type, LayerType["IDENTITY"]))
    get_output = lambda self, index: ITensor(self._held[1][self._held[0].output[index]])  # noqa: E731


class INetworkDefinition(_Strict):
    _model = onnx.ModelProto()
    num_inputs = property(lambda self: len(self._model.graph.input))
    num_outputs = property(lambda self: len(self._model.graph.output))
    num_layers = property(lambda self: len(self._model.graph.node))
    get_input = lambda self, index: ITensor(self._model.graph.input[index])  # noqa: E731
    get_output = lambda self, index: ITensor(self._model.graph.output[index])  # noqa: E731

    def get_layer(self, index: int) -> ILayer:
        return ILayer(self._model.graph.node[index], values(self._model))


class ParserError(_Strict):
    desc = lambda self: self._held[0]  # noqa: E731
    node = lambda self: self._held[1]  # noqa: E731
    node_name = lambda self: self._held[2]  # noqa: E731
    node_operator = lambda self: self._held[3]  # noqa: E731
    func = lambda self: "parseNode"  # noqa: E731


class OnnxParser(_Strict):
    num_errors = property(lambda self: len(self._errors))
    get_error = lambda self, index: self._errors[index]  # noqa: E731
    _errors: tuple[ParserError, ...] = ()

    def parse_from_file(self, model: str) -> bool:
        return self._parse(onnx.load(model))

    def parse(self, model: bytes) -> bool:
        return self._parse(onnx.load_model_from_string(model))

    def _parse(self, loaded: onnx.ModelProto) -> bool:
        self._held[0]._model = loaded
        self._errors = tuple(
            ParserError("planted", i, node.name, node.op_type)
            for i, node in enumerate(loaded.graph.node)
            if f"parser:{node.op_type}" == _FAULT
        )
        return not self._errors


class Builder(_Strict):
    num_DLA_cores = int(os.environ.get("OUTRIDER_DOUBLE_DLA", "0"))  # noqa: N815
    create_builder_config = lambda self: IBuilderConfig(self._held[0])  # noqa: E731

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        assert flags == 1 << NetworkDefinitionCreationFlag["STRONGLY_TYPED"]
        return INetworkDefinition()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> Any:
        logger, monitor = self._held[0], config.progress_monitor
        logger.log(ILogger.WARNING, "a double, which builds nothing")
        assert monitor._made
        layers = [n.name for n in network._model.graph.node]
        monitor.phase_start("Building", None, len(layers))
        for i, name in enumerate(layers):
            monitor.phase_start(name, "Building", 2)
            while monitor.step_complete(name, 0) and _FAULT == "forever":
                pass
            monitor.phase_finish(name)
            if not monitor.step_complete("Building", i):
                return _none(logger, "Cancelled by the progress monitor")
        monitor.phase_finish("Building")
        if _FAULT in ("build", "memory"):
            planted = "allocate: out of memory" if _FAULT == "memory" else "implement node planted"
            return _none(logger, f"Could not {planted}")
        if config._cache is not None:
            config._cache._held[0]["layers"] = layers
        core = config.DLA_core if config.default_device_type and config._fallback else -1
        head = {**_here(), "fault": _FAULT, "told": int(config.profiling_verbosity), "dla": core}
        head |= {"level": config.builder_optimization_level, "workspace": config._workspace}
        head["targets"] = config._targets
        return packed(head, network._model.SerializeToString())


class ICudaEngine(_Strict):
    num_io_tensors = property(lambda self: len(self._ports))
    get_tensor_name = lambda self, index: list(self._ports)[index]  # noqa: E731
    get_tensor_mode = lambda self, name: TensorIOMode(1 + (name != self._image))  # noqa: E731
    get_tensor_dtype = lambda self, name: DataType[_KINDS[self._ports[name].elem_type]]  # noqa: E731
    create_execution_context = lambda self: IExecutionContext(self)  # noqa: E731
    create_engine_inspector = lambda self: EngineInspector(self)  # noqa: E731

    def __init__(self, head: dict[str, Any], data: bytes, logger: Any) -> None:
        self._head, self._model, self._logger = head, onnx.load_model_from_string(data), logger
        graph = self._model.graph
        self._ports = {v.name: v.type.tensor_type for v in (*graph.input, *graph.output)}
        self._image = graph.input[0].name  # the one input, and the first port
        kinds = {n: helper.tensor_dtype_to_np_dtype(p.elem_type) for n, p in self._ports.items()}
        self._sizes = {n: int(np.prod(self.get_tensor_shape(n))) * kinds[n].itemsize for n in kinds}
        self._kinds = kinds
        self._run = runner(self._model, [v.name for v in graph.output])

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return shape(self._ports[name])

    def _array(self, name: str, address: int) -> Any:
        """The device memory of a tensor, for the length of one run."""
        opened = ctypes.CDLL("libcuda.so.1").host_cuda_open
        opened.restype = ctypes.c_void_p
        at = opened(_U64(address), _U64(self._sizes[name]))
        flat = np.ctypeslib.as_array((ctypes.c_uint8 * self._sizes[name]).from_address(at))
        return flat.view(self._kinds[name]).reshape(self.get_tensor_shape(name))

    def _compute(self, at: dict[str, int]) -> None:
        image, fault = self._array(self._image, at[self._image]).copy(), self._head["fault"]
        image = np.ascontiguousarray(image[..., ::-1]) if fault == "swapped" else image
        image *= fault != "constant"
        for name, made in self._run({self._image: image}).items():
            broken = fault == "nan" and made.dtype.kind == "f"
            self._array(name, at[name])[...] = np.nan if broken else made


class Runtime(_Strict):
    DLA_core = -1

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        try:
            head, data = unpacked(serialized_engine)
        except ValueError as exc:
            return _none(self._held[0], f"Serialization assertion failed: {exc}")
        if _FAULT == "plan" or not {**_here(), "dla": self.DLA_core}.items() <= head.items():
            return _none(self._held[0], f"The plan is not for {_here()}, DLA core {self.DLA_core}")
        return ICudaEngine(head, data, self._held[0])


class IExecutionContext(_Strict):
    def __init__(self, engine: ICudaEngine) -> None:
        waiting = self._waiting = list[dict[str, int]]()
        self._engine, self._at = engine, dict[str, int]()
        turn = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
        self._turn = turn(lambda _: engine._compute(waiting.pop(0)))  # on the stream's own thread

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._at[name] = int(memory)
        known = name in self._engine._ports
        return known or bool(_none(self._engine._logger, f"There is no tensor {name}"))

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine, ports = self._engine, list(self._engine._ports)
        if missing := [p for p in ports if not self._at.get(p)]:
            return bool(_none(engine._logger, f"Address is not set for tensor {missing[0]}"))
        self._waiting.append(dict(self._at))
        many = _U64 * len(ports)
        at, sizes = (self._at[p] for p in ports), (engine._sizes[p] for p in ports)
        modes = b"r" + b"w" * (len(ports) - 1)
        enqueue, stream = ctypes.CDLL("libcuda.so.1").host_cuda_enqueue, _U64(stream_handle)
        return not enqueue(stream, self._turn, None, len(ports), many(*at), many(*sizes), modes)


class EngineInspector(_Strict):
    def get_engine_information(self, format: Any) -> str:
        assert format == LayerInformationFormat["JSON"]
        engine = self._held[0]
        made = values(engine._model)
        layers: list[Any] = []
        for node in engine._model.graph.node:
            kind = made[node.output[0]].type.tensor_type
            word = f"Row major linear {_WORDS[kind.elem_type]} format"
            outputs = [{"Name": node.output[0], "Format/Datatype": word}]
            layers.append({"Name": node.name, "LayerType": node.op_type, "Outputs": outputs})
        names = [layer["Name"] for layer in layers]
        return json.dumps({"Layers": (names, [], layers)[engine._head["told"]], "Bindings": []})


def _none(logger: Any, why: str) -> Any:
    logger.log(ILogger.ERROR, why)


def _here() -> dict[str, str]:
    """What a plan and a timing cache are for."""
    return {"version": __version__, "capability": capability()}
