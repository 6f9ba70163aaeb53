"""NVIDIA's own verdict on a file, from the best TensorRT that there is on this machine."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from engines.errors import DeviceError, EngineError
from engines.tensorrt.library import FLAVOURS, Library, ended_by, installed, open_library, run_apart
from export.tensorrt.build.builder import BuildOptions, build_parsed
from export.tensorrt.build.network import Network, read_network
from export.tensorrt.build.signals import on_a_thread
from export.tensorrt.check.findings import Finding
from export.tensorrt.check.refusals import of_builder, of_crash, of_parser
from export.tensorrt.parse import device_of, make_builder, parse
from export.tensorrt.profiles import Profile

TARGET = "8.9"
"""The compute capability that the builder of TensorRT for RTX is asked for: one costs a second."""
_PARSE = """
import sys
from pathlib import Path
from engines.tensorrt.library import open_library
from export.tensorrt.parse import device_of, parse
trt = open_library(sys.argv[1])
with device_of(trt):
    parse(trt, Path(sys.argv[2]))
"""


class Judge(NamedTuple):
    """Who judges a file; its builder is asked too where ``builds``.

    ``apart``: the parser has the file in a process of its own first, since some damaged files, and
    nodes of scalars that want more, end the process.
    """

    trt: Library
    builds: bool
    apart: bool = True

    @property
    def name(self) -> str:
        """Library and version."""
        return f"{self.trt.name} {self.trt.version}"

    @property
    def asked(self) -> str:
        """What of it judges."""
        return f"parser and builder for compute capability {TARGET}" if self.builds else "parser"

    def to_dict(self) -> dict[str, str]:
        """Plain values, for JSON."""
        known = {"flavour": self.trt.flavour, "name": self.trt.name, "version": self.trt.version}
        return {**known, "asked": self.asked}

    def __str__(self) -> str:
        beyond = "native TensorRT's kernels, memory or speed"
        if self.trt.flavour != "rtx":
            beyond = "the builder, which takes minutes: edge-export build"
        return f"{self.name}, {self.asked}: says nothing of {beyond}, nor that results are right"


class Verdict(NamedTuple):
    """What a judge says; ``network`` is what its parser made, where it took the file."""

    findings: list[Finding]
    network: Network | None


def best_judge() -> tuple[Judge | None, list[str]]:
    """Native TensorRT where it opens, else TensorRT for RTX; and why those before do not."""
    reasons = []
    for flavour in FLAVOURS:
        if not installed(flavour):
            continue
        try:
            trt = open_library(flavour)
            with device_of(trt):
                make_builder(trt)
        except EngineError as exc:
            reasons.append(str(exc))
        else:
            return Judge(trt, builds=flavour == "rtx"), reasons
    return None, reasons


def ask(judge: Judge, onnx: Path, profiles: Mapping[str, Profile]) -> Verdict:
    """What a judge says of a file.

    Raises:
        EngineError: the library fails before it looks at the file, or memory is short.
        KeyboardInterrupt: it was asked to stop.
    """
    if judge.apart and (by := ended_by(run_apart(_PARSE, judge.trt.flavour, str(onnx)))):
        return Verdict([of_crash(by)], None)
    stop = threading.Event()

    def work() -> Verdict:
        with device_of(judge.trt):
            return _asked(judge, onnx, profiles, stop)

    return on_a_thread(work, stop)


def _asked(
    judge: Judge, onnx: Path, profiles: Mapping[str, Profile], stop: threading.Event
) -> Verdict:
    """TensorRT's objects end with this call, before the device is closed."""
    trt = judge.trt
    parsed = parse(trt, onnx)
    if not parsed.taken:
        return Verdict(of_parser(parsed.parser, trt.name), None)
    network = read_network(parsed.network)
    if judge.builds:
        options = BuildOptions(targets=(TARGET,))
        try:
            build_parsed(
                trt, parsed, options, what=onnx.name, profiles=profiles, stop=stop, say=_silent
            )
        except DeviceError:
            raise
        except EngineError as exc:
            layers = ((layer.name, layer.kind) for layer in network.layers)
            return Verdict(of_builder(trt.said() or [str(exc)], layers, trt.name), network)
    return Verdict([], network)


def _silent(_line: str) -> None:
    """Without a terminal for the bar, a check tells no progress."""
