"""NVIDIA's own verdict on a file, from the best TensorRT that there is on this machine."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from engines.errors import DeviceError, EngineError
from engines.tensorrt.library import FLAVOURS, Library, installed, open_library
from export.tensorrt.build.builder import BuildOptions, build_parsed, on_a_thread
from export.tensorrt.build.network import Network, read_network
from export.tensorrt.check.findings import Finding
from export.tensorrt.check.profiles import Profile
from export.tensorrt.check.refusals import of_builder, of_parser
from export.tensorrt.parse import device_of, make_builder, parse

TARGET = "8.9"
"""The compute capability that the builder of TensorRT for RTX is asked for: one costs a second."""


def _silent(_line: str) -> None:
    """A check shows no progress."""


class Judge(NamedTuple):
    """Who judges a file; its builder is asked too where ``builds``."""

    trt: Library
    builds: bool

    @property
    def asked(self) -> str:
        """What of it judges."""
        return f"parser and builder for compute capability {TARGET}" if self.builds else "parser"

    def __str__(self) -> str:
        beyond = (
            "native TensorRT's kernels, memory or speed"
            if self.trt.flavour == "rtx"
            else "the builder, which takes minutes: edge-export build"
        )
        return (
            f"{self.trt.name} {self.trt.version}, {self.asked}: says nothing of {beyond}, nor that "
            "results are right"
        )


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


def ask(judge: Judge, onnx: Path, profiles: Mapping[str, Profile], *, build: bool) -> Verdict:
    """What a judge says of a file; ``build`` False leaves its builder out.

    Raises:
        EngineError: the library fails before it looks at the file.
        DeviceError: there is no memory.
        KeyboardInterrupt: it was asked to stop.
    """
    stop = threading.Event()

    def work() -> Verdict:
        with device_of(judge.trt):
            return _asked(judge, onnx, profiles, build=build, stop=stop)

    return on_a_thread(work, stop, _silent)


def _asked(
    judge: Judge,
    onnx: Path,
    profiles: Mapping[str, Profile],
    *,
    build: bool,
    stop: threading.Event,
) -> Verdict:
    """TensorRT's objects end with this call, before the device is closed."""
    trt = judge.trt
    parsed = parse(trt, onnx)
    if not parsed.taken:
        return Verdict(of_parser(parsed.parser, trt.name), None)
    network = read_network(parsed.network)
    if judge.builds and build:
        try:
            build_parsed(
                trt, parsed, BuildOptions(targets=(TARGET,)), what=onnx.name, profiles=profiles,
                stop=stop, say=_silent,
            )  # fmt: skip
        except DeviceError:
            raise
        except EngineError:
            layers = ((layer.name, layer.kind) for layer in network.layers)
            return Verdict(of_builder(trt.said(), layers, trt.name), network)
    return Verdict([], network)
