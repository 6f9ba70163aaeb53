"""TensorRT's builder: an FP16 ONNX file becomes a plan, or a message; it writes no engine file.

One code path for TensorRT 10.3 to 11.4 and TensorRT for RTX: the network is strongly typed, so
precision is what the ONNX file says. The native one needs the device and times its kernels, kept in
a file for each TensorRT and device; TensorRT for RTX needs neither.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engines.cuda.context import Device
from engines.errors import EngineError, ExportError, ModelError
from engines.model_file import write_atomically
from engines.tensorrt import library
from engines.tensorrt.library import Library
from export.tensorrt.build.network import Network, read_network
from export.tensorrt.build.progress import Progress, monitor
from export.tensorrt.build.signals import on_a_thread
from export.tensorrt.build.targets import set_targets
from export.tensorrt.check.findings import table
from export.tensorrt.check.refusals import of_parser
from export.tensorrt.parse import Parsed, device_of, parse
from export.tensorrt.profiles import Profile

if TYPE_CHECKING:
    import tensorrt

Say = Callable[[str], None]
Check = Callable[[Network], None]
Verbosity = Literal["none", "layer_names_only", "detailed"]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Options of the builder; ``dla_core`` None leaves all layers to the GPU.

    ``targets``, of TensorRT for RTX alone, are compute capabilities such as '8.9'.
    """

    workspace_mb: int = 1024
    optimization_level: int = 3
    profiling_verbosity: Verbosity = "detailed"
    dla_core: int | None = None
    targets: tuple[str, ...] = ()

    def recorded(self) -> dict[str, int | str]:
        """What an engine's sidecar keeps of them; the targets have a place of their own there."""
        held = asdict(self)
        return {k: v for k, v in held.items() if v is not None and k != "targets"}


class _Warnings(logging.Handler):
    """While entered, shows TensorRT's warnings to the person who builds, each once."""

    def __init__(self, say: Say) -> None:
        super().__init__(logging.INFO)
        self._say, self._said = say, set[str]()
        self._source = logging.getLogger(library.__name__)
        self._before = self._source.level

    def __enter__(self) -> None:
        self._source.addHandler(self)
        # The level that warnings have there: when the app starts they are noise.
        self._source.setLevel(logging.INFO)

    def __exit__(self, *_: object) -> None:
        self._source.setLevel(self._before)
        self._source.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Called on threads of TensorRT's."""
        text = record.getMessage().partition(": ")[2]
        if text not in self._said:
            self._said.add(text)
            self._say(f"TensorRT     {text}")


def build_plan(
    trt: Library,
    onnx: Path,
    options: BuildOptions,
    *,
    timings: Path | None,
    say: Say,
    check: Check = lambda _: None,
) -> tuple[bytes, Network]:
    """Build a plan, which may take minutes; Ctrl-C ends it at the builder's next step.

    ``timings`` is the file of kernel timings to use and add to; ``check`` may refuse the network
    before the builder has it. Returns the network too, as the parser made it.

    Raises:
        ExportError: TensorRT's parser refuses the file, or ``check`` what was made of it.
        EngineError: the builder fails, with what TensorRT logged.
        KeyboardInterrupt: it was asked to stop.
    """
    stop = threading.Event()

    def work() -> tuple[bytes, Network]:
        with device_of(trt):
            return _build(trt, onnx, options, timings=timings, stop=stop, say=say, check=check)

    with _Warnings(say):
        return on_a_thread(work, stop)


def _build(
    trt: Library,
    onnx: Path,
    options: BuildOptions,
    *,
    timings: Path | None,
    stop: threading.Event,
    say: Say,
    check: Check,
) -> tuple[bytes, Network]:
    """TensorRT's objects end with this call, before the device is closed."""
    parsed = parse(trt, onnx)
    if not parsed.taken:
        raise _refused(onnx, parsed.parser, trt, say)
    network = read_network(parsed.network)
    check(network)
    plan = build_parsed(trt, parsed, options, what=onnx.name, timings=timings, stop=stop, say=say)
    return plan, network


def build_parsed(
    trt: Library,
    parsed: Parsed,
    options: BuildOptions,
    *,
    what: str,
    profiles: Mapping[str, Profile] | None = None,
    timings: Path | None = None,
    stop: threading.Event,
    say: Say,
) -> bytes:
    """Build a plan of what was parsed; ``what`` names it in messages.

    Raises:
        EngineError: the builder fails; ``trt.said()`` holds why.
        KeyboardInterrupt: ``stop`` was set.
    """
    config: tensorrt.IBuilderConfig = trt.checked(
        "create_builder_config", parsed.builder.create_builder_config
    )
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    config.builder_optimization_level = options.optimization_level
    config.profiling_verbosity = {
        "none": trt.ProfilingVerbosity.NONE,
        "layer_names_only": trt.ProfilingVerbosity.LAYER_NAMES_ONLY,
        "detailed": trt.ProfilingVerbosity.DETAILED,
    }[options.profiling_verbosity]
    if options.dla_core is not None:
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = options.dla_core
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
        say(_of_dla(parsed.network, config))
    set_targets(trt, config, options.targets)
    if profiles:
        _add_profile(trt, parsed.builder, config, profiles)
    cache = _use_timings(config, timings, say)
    progress = Progress(stop=stop, say=say)
    watching = monitor(trt, progress)  # the builder does not keep it alive
    config.progress_monitor = watching
    try:
        plan: tensorrt.IHostMemory = trt.checked(
            f"build_serialized_network of {what}",
            lambda: parsed.builder.build_serialized_network(parsed.network, config),
            otherwise="more memory may help: --workspace MB; or another --optimization-level",
        )
    except EngineError:
        if stop.is_set():  # asked to give up, it did
            raise KeyboardInterrupt from None
        raise
    finally:
        progress.close()
    if cache is not None and timings is not None:
        _keep_timings(cache, timings, say)
    return bytes(plan)


def _add_profile(
    trt: Library,
    builder: tensorrt.Builder,
    config: tensorrt.IBuilderConfig,
    profiles: Mapping[str, Profile],
) -> None:
    made: tensorrt.IOptimizationProfile = trt.checked(
        "create_optimization_profile", builder.create_optimization_profile
    )
    for name, sizes in profiles.items():
        least, usual, largest = (trt.Dims(list(s)) for s in sizes)
        try:
            made.set_shape(name, least, usual, largest)
        except RuntimeError as exc:
            raise trt.error(f"set_shape of {name}", str(exc)) from exc
    trt.checked(
        "add_optimization_profile", lambda: config.add_optimization_profile(made) >= 0 or None
    )


def _of_dla(network: tensorrt.INetworkDefinition, config: tensorrt.IBuilderConfig) -> str:
    """How many layers the DLA takes, by TensorRT's word, and which kinds it leaves to the GPU."""
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    left = Counter(x.type.name for x in layers if not config.can_run_on_DLA(x))
    kinds = ", ".join(f"{count} × {kind}" for kind, count in left.most_common())
    able = len(layers) - left.total()
    return f"dla          takes {able} of {len(layers)} layers" + f"; to the GPU: {kinds}" * bool(
        kinds
    )


def timings_file(folder: Path, device: Device) -> Path:
    """The file of timings of one TensorRT on one device, which no other can use."""
    return folder / f"tensorrt-{device.label}.timings"


def _use_timings(
    config: tensorrt.IBuilderConfig, path: Path | None, say: Say
) -> tensorrt.ITimingCache | None:
    """Give the builder the timings of earlier builds, without which it takes longer."""
    if path is None:
        return None
    try:
        data = path.read_bytes() if path.is_file() else b""
    except OSError as exc:
        say(f"note         {path}: cannot be read ({exc.strerror}); every kernel is timed anew")
        data = b""
    cache = config.create_timing_cache(data)
    if cache is not None and config.set_timing_cache(cache, False):
        return cache
    say(f"note         {path}: TensorRT does not take it; every kernel is timed anew")
    cache = config.create_timing_cache(b"")
    return cache if cache is not None and config.set_timing_cache(cache, False) else None


def _keep_timings(cache: tensorrt.ITimingCache, path: Path, say: Say) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(bytes(cache.serialize()), path)
    except (OSError, ModelError) as exc:
        say(f"note         timings are not kept: {exc}")


def _refused(onnx: Path, parser: tensorrt.OnnxParser, trt: Library, say: Say) -> ExportError:
    """The parser's first error; all of them are told with their nodes."""
    found = of_parser(parser, trt.name)
    for line in table(found):
        say(line)
    return ExportError(
        f"{onnx.name}: {trt.name} {trt.version} does not take it: {found[0].node}: "
        f"{found[0].problem} (way out: {found[0].way_out}); {len(found)} in all. Nothing was built."
    )
