"""A file in the hands of TensorRT's parser: a strongly typed network, or why there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import clear_frames
from typing import TYPE_CHECKING, Any, NamedTuple

from engines.cuda.context import open_device
from engines.model_file import ModelFile
from engines.tensorrt.library import Library

if TYPE_CHECKING:
    import tensorrt


class Parsed(NamedTuple):
    """TensorRT's objects of one file; a native one ends before its device does."""

    builder: tensorrt.Builder
    network: tensorrt.INetworkDefinition
    parser: tensorrt.OnnxParser
    taken: bool
    """Whether the parser took the whole file; else ``parser`` holds its errors."""


@contextmanager
def device_of(trt: Library) -> Iterator[None]:
    """The device that the native library works on; TensorRT for RTX needs none.

    Raises:
        EngineError, DeviceError: there is none.
    """
    if trt.flavour == "rtx":
        yield
        return
    device = open_device()
    try:
        with device.current():
            yield
    except BaseException as exc:
        clear_frames(exc.__traceback__)  # what they hold of TensorRT's would outlive the device
        raise
    finally:
        device.close()


def make_builder(trt: Library) -> tensorrt.Builder:
    """The builder, inside ``device_of``.

    Raises:
        EngineError: it does not open.
    """
    return trt.checked("Builder", lambda: trt.Builder(trt.logger), otherwise="see: edge doctor")


def parse(trt: Library, onnx: Path) -> Parsed:
    """Parse a file, its external weights too, inside ``device_of``.

    Raises:
        EngineError: the library fails before it looks at the file.
    """
    builder = make_builder(trt)
    # 10 needs the flag; 11 types every network strongly and ignores it.
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = trt.checked("create_network", lambda: builder.create_network(flags))
    parser = trt.checked("OnnxParser", lambda: trt.OnnxParser(network, trt.logger))
    source = ModelFile(onnx).for_runtime()
    if isinstance(source, bytes):
        return Parsed(builder, network, parser, parser.parse(source))
    name: Any = os.fsencode(onnx)  # the stubs want str, which cannot hold every name of a file
    return Parsed(builder, network, parser, parser.parse_from_file(name))
