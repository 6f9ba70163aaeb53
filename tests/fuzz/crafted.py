"""Inputs made by hand, one a fault that was met: what no mutator comes upon.

Each is small and says in its name what is wrong with it.
"""

from __future__ import annotations

import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from onnx import TensorProto

from tests.export.labelled_files import coco_dict
from tests.foreign_models import FOREIGN
from tests.fuzz.kinds import (
    Case,
    checkpoints,
    run_adopt,
    run_checkpoint,
    run_coco,
    run_model,
    run_settings,
    run_source,
    run_tensorrt,
    saved,
    tiny,
)

RNG = random.Random(0)
Crafted = Callable[[], Case]


def _settings(data: str | bytes, *codes: int) -> Crafted:
    def case() -> Case:
        made = run_settings(RNG, "a.toml", data if isinstance(data, bytes) else data.encode())
        made.allowed = codes or (2,)
        return made

    return case


def _onnx(change: Callable[[onnx.ModelProto], object], *codes: int) -> Crafted:
    """A foreign network with a change, at adoption."""

    def case() -> Case:
        model = FOREIGN["ultralytics"](64, 96)
        change(model)
        made = run_adopt(RNG, "ultralytics.onnx", model.SerializeToString())
        made.allowed = codes or (4,)
        return made

    return case


def _checked(change: Callable[[onnx.ModelProto], object]) -> Crafted:
    """The same before TensorRT's parser."""

    def case() -> Case:
        model = FOREIGN["ultralytics"](64, 96)
        change(model)
        return run_tensorrt(RNG, "a.onnx", model.SerializeToString())

    return case


def _coco(change: Callable[[dict[str, Any]], object], *codes: int) -> Crafted:
    def case() -> Case:
        truth = coco_dict([{"bbox": [40, 16, 8, 8]}])
        change(truth)
        made = run_coco(RNG, "truth.json", json.dumps(truth).encode())
        made.allowed = codes or (0,)
        return made

    return case


def _roboflow(truth: dict[str, Any]) -> None:
    """Its exporter puts a category above all others, here with the name of one of them."""
    for category in truth["categories"]:
        category["supercategory"] = "auto"
    truth["categories"].insert(0, {"id": 0, "name": "auto", "supercategory": "none"})


def _coco_text(text: str | bytes) -> Crafted:
    data = text if isinstance(text, bytes) else text.encode()
    return lambda: run_coco(RNG, "truth.json", data)


def _checkpoint(change: Callable[[dict[str, Any]], object]) -> Crafted:
    def case() -> Case:
        (data,) = checkpoints(Path()).values()
        state = torch.load(io.BytesIO(data), weights_only=True)
        change(state)
        made = run_checkpoint(RNG, "a.pt", saved(state))
        made.allowed = (4,)
        return made

    return case


def _source(name: str, data: Callable[[], bytes], *codes: int) -> Crafted:
    def case() -> Case:
        files = {"tiny.onnx": tiny(), name: data()}
        made = run_source(random.Random(2), name, b"")
        made.files = files
        made.argv[made.argv.index("--source") + 1] = name
        made.allowed = codes or (3,)
        return made

    return case


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int) -> bytes:
    """A grey PNG of any size, of which the pixels compress to almost nothing."""
    begin = b"\x89PNG\r\n\x1a\n" + _chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    )
    coder = zlib.compressobj(9)
    row = bytes(width + 1)
    data = b"".join(coder.compress(row) for _ in range(height)) + coder.flush()
    return begin + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def jpeg_that_says(width: int, height: int) -> bytes:
    """A small JPEG whose header claims another size."""
    data = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp_that_says(width: int, height: int) -> bytes:
    """A BMP header of a size without its pixels."""
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 16, 0, 0, 54) + head + bytes(16)


def _external(location: str) -> Callable[[onnx.ModelProto], object]:
    """Have the first weights lie in another file."""

    def change(model: onnx.ModelProto) -> None:
        weights = model.graph.initializer[0]
        weights.ClearField("raw_data")
        weights.ClearField("float_data")
        weights.data_location = TensorProto.EXTERNAL
        entry = weights.external_data.add()
        entry.key, entry.value = "location", location

    return change


def _metadata(change: Callable[[str], str]) -> Callable[[onnx.ModelProto], object]:
    """Change all that the exporter said of its network."""

    def change_all(model: onnx.ModelProto) -> None:
        for entry in model.metadata_props:
            entry.value = change(entry.value)

    return change_all


def _cycle(model: onnx.ModelProto) -> None:
    first, last = model.graph.node[0], model.graph.node[-1]
    first.input[0] = last.output[0]


def _deep(levels: int) -> bytes:
    """A network with an If in an If …; protobuf's own writer refuses more than some thirty."""
    graph = b""
    for _ in range(levels):
        attribute = _field(1, b"then_branch") + _field(6, graph) + b"\xa0\x01\x05"
        graph = _field(1, _field(2, b"o") + _field(4, b"If") + _field(5, attribute))
    model: bytes = FOREIGN["ultralytics"](64, 96).SerializeToString()
    return model + _field(7, graph)  # merged into the graph that is there


def _field(number: int, data: bytes) -> bytes:
    """A length-delimited field of protobuf."""
    length, size = b"", len(data)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def _deep_case(levels: int) -> Case:
    made = run_adopt(RNG, "ultralytics.onnx", _deep(levels))
    made.allowed = (4,)
    return made


def _bad_op_type() -> Case:
    """The name of an operator that is no UTF-8."""
    data = FOREIGN["ultralytics"](64, 96).SerializeToString()
    name = b"\x22\x04Conv"
    assert name in data
    made = run_adopt(RNG, "ultralytics.onnx", data.replace(name, b"\x22\x04C\xff\xfev"))
    made.allowed = (4,)
    return made


def _no_model(data: bytes) -> Crafted:
    def case() -> Case:
        made = run_model(RNG, "a.onnx", data)
        made.allowed = (4,)
        return made

    return case


CRAFTED: dict[str, dict[str, Crafted]] = {
    "settings": {
        "byte-order-mark": _settings(b'\xef\xbb\xbf[source]\nuri = "a.png"\n', 0),
        "crlf": _settings(b'[source]\r\nuri = "a.png"\r\n', 0),
        "utf-16": _settings('[source]\nuri = "a.png"\n'.encode("utf-16")),
        "not-utf-8": _settings(b'[source]\nuri = "\xff.png"\n'),
        "nested-arrays": _settings("a = " + "[" * 100_000),
        "nested-tables": _settings("[" + ".".join(["a"] * 100_000) + "]\n"),
        "nested-inline": _settings("a = " + "{b=" * 50_000),
        "digits": _settings("[source]\nimages_fps = " + "9" * 5_000),
        "digits-of-a-float": _settings("[source]\nimages_fps = 0." + "9" * 50_000 + "e99999"),
        "nul": _settings('[source]\nuri = "a\\u0000b.png"\n', 2, 3),
        "nul-in-a-sink": _settings('[source]\nuri="a.png"\n[output]\nsinks = ["a\\u0000.mp4"]\n'),
        "nul-in-a-model": _settings('[source]\nuri="a.png"\n[model]\nfiles = ["\\u0000"]\n', 2, 4),
        "escape": _settings('[source]\nuri = "\\u001b[2J.png"\n', 2, 3),
        "wrong-keys": _settings("[source]\n" + "".join(f"uri{i} = 1\n" for i in range(8_000))),
        "wrong-tables": _settings("".join(f"[t{i}]\na = 1\n" for i in range(8_000))),
        "long-key": _settings("[source]\n" + "k" * 1_000_000 + " = 1\n"),
        "long-path": _settings(f'[source]\nuri = "{"p" * 100_000}.png"\n', 2, 3),
        "many-sinks": _settings("[output]\nsinks = [" + '"null",' * 50_000 + "]\n", 0, 2),
        "empty": _settings("", 0, 2, 3),
        "date": _settings("[source]\nuri = 1979-05-27T07:32:00Z\n"),
    },
    "adopt": {
        "external-nul": _onnx(_external("a\x00b")),
        "external-long": _onnx(_external("a" * 100_000)),
        "external-up": _onnx(_external("../../../nowhere/weights")),
        "external-absolute": _onnx(_external("/dev/zero")),
        "external-itself": _onnx(_external("a.onnx"), 0, 4),
        "external-folder": _onnx(_external(".")),
        "external-empty": _onnx(_external("")),
        "op-type-escape": _onnx(lambda m: setattr(m.graph.node[0], "op_type", "\x1b[31mConv")),
        "op-type-not-utf-8": _bad_op_type,
        "element-type": _onnx(lambda m: setattr(m.graph.initializer[0], "data_type", 99)),
        "input-type": _onnx(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 77)),
        "opset": _onnx(lambda m: setattr(m.opset_import[0], "version", 1_000_000_000)),
        "opset-negative": _onnx(lambda m: setattr(m.opset_import[0], "version", -1)),
        "ir-version": _onnx(lambda m: setattr(m, "ir_version", 2**62)),
        "cycle": _onnx(_cycle),
        "huge-weights": _onnx(lambda m: m.graph.initializer[0].dims.__setitem__(0, 2**62)),
        "negative-size": _onnx(
            lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", -64),
            *(0, 4),
        ),
        "huge-size": _onnx(
            lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[2], "dim_value", 2**40)
        ),
        "no-nodes": _onnx(lambda m: m.graph.ClearField("node")),
        "no-outputs": _onnx(lambda m: m.graph.ClearField("output")),
        "deep": lambda: _deep_case(20),
        "too-deep": lambda: _deep_case(10_000),
        "names-escape": _onnx(_metadata(lambda value: value.replace("red", "\x1b[31mred")), 0, 4),
        "metadata-nested": _onnx(_metadata(lambda value: "{" * 50_000), 0, 2, 4),
    },
    "tensorrt": {
        "opset": _checked(lambda m: setattr(m.opset_import[0], "version", 1_000_000_000)),
        "cycle": _checked(_cycle),
        "element-type": _checked(lambda m: setattr(m.graph.initializer[0], "data_type", 99)),
        "external-nul": _checked(_external("a\x00b")),
        "too-deep": lambda: run_tensorrt(RNG, "a.onnx", _deep(10_000)),
    },
    "model": {
        "empty": _no_model(b""),
        "text": _no_model(b"hello\n" * 1_000),
        "zeros": _no_model(bytes(100_000)),
        "field-lengths": _no_model(b"\x3a\xff\xff\xff\xff\x0f" * 100),
    },
    "coco": {
        "byte-order-mark": _coco_text(b"\xef\xbb\xbf" + json.dumps(coco_dict([{}])).encode()),
        "nested": _coco_text("[" * 100_000),
        "digits": _coco_text('{"images": ' + "9" * 10_000 + "}"),
        "boxes-50000": _coco(
            lambda t: t["annotations"].extend(
                {"id": i, "image_id": 1, "category_id": 10, "bbox": [i % 90, i % 60, 4, 4]}
                for i in range(1, 50_000)
            )
        ),
        "file-name-up": _coco(lambda t: t["images"][0].update(file_name="../1.png"), 2, 4),
        "file-name-absolute": _coco(lambda t: t["images"][0].update(file_name="/dev/zero"), 2, 4),
        "file-name-nul": _coco(lambda t: t["images"][0].update(file_name="a\x00.png"), 2, 4),
        "file-name-escape": _coco(lambda t: t["images"][0].update(file_name="\x1b[2J.png"), 2, 4),
        "root-category": _coco(_roboflow),
        "category-escape": _coco(lambda t: t["categories"][1].update(name="\x1b[31mwalker"), 4),
        "box-outside": _coco(
            lambda t: t["annotations"].append(
                {"id": 9, "image_id": 1, "category_id": 10, "bbox": [90, 60, 50, 50]}
            )
        ),
        "box-nan": _coco(
            lambda t: t["annotations"].append(
                {"id": 9, "image_id": 1, "category_id": 10, "bbox": [float("nan"), 0, 5, 5]}
            ),
            0,
            2,
            4,
        ),
        "box-negative": _coco(
            lambda t: t["annotations"].append(
                {"id": 9, "image_id": 1, "category_id": 10, "bbox": [5, 5, -5, -5]}
            ),
            0,
            2,
            4,
        ),
        "box-huge": _coco(
            lambda t: t["annotations"].append(
                {"id": 9, "image_id": 1, "category_id": 10, "bbox": [0, 0, 1e308, 1e308]}
            ),
            0,
            2,
            4,
        ),
    },
    "checkpoint": {
        "mask-stride-0": _checkpoint(lambda s: s["shape"].update(mask_stride=0)),
        "mask-stride-3": _checkpoint(lambda s: s["shape"].update(mask_stride=3)),
        "mask-stride-nan": _checkpoint(lambda s: s["shape"].update(mask_stride=float("nan"))),
        "mask-stride-text": _checkpoint(lambda s: s["shape"].update(mask_stride="4")),
        "mask-stride-huge": _checkpoint(lambda s: s["shape"].update(mask_stride=2**62)),
        "anchors-nan": _checkpoint(lambda s: s["anchors"][0].__setitem__(0, [float("nan"), 4.0])),
        "anchors-none": _checkpoint(lambda s: s.update(anchors=[])),
        "names-twice": _checkpoint(lambda s: s.update(mask_classes=["road", "road"])),
        "names-escape": _checkpoint(lambda s: s.update(mask_classes=["road", "\x1b[31m"] * 2)),
        "names-empty": _checkpoint(lambda s: s.update(box_classes=[])),
        "weights-nan": _checkpoint(lambda s: next(iter(s["ema"].values())).fill_(float("nan"))),
    },
    "picture": {
        "bomb-png": _source("a.png", lambda: png_of(30_000, 30_000)),
        "bomb-jpeg": _source("a.jpg", lambda: jpeg_that_says(65_500, 65_500)),
        "bomb-bmp": _source("a.bmp", lambda: bmp_that_says(60_000, 60_000)),
        "one-pixel": _source("a.png", lambda: png_of(1, 1), 0, 3),
        "a-row": _source("a.png", lambda: png_of(16_000, 1), 0, 3),
        "empty": _source("a.png", lambda: b""),
        "name-escape": _source("a\x1b[2J\u202e.png", lambda: b"no picture"),
        "name-newline": _source("a\nb.png", lambda: b"no picture"),
    },
    "video": {
        "empty": _source("a.mp4", lambda: b""),
        "text": _source("a.mp4", lambda: b"#!/bin/sh\n" * 100),
        "playlist-of-a-file": _source("a.m3u8", lambda: b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n"),
        "playlist-of-itself": _source("a.m3u8", lambda: b"#EXTM3U\n#EXTINF:1,\na.m3u8\n"),
        "concat": _source("a.ffconcat", lambda: b"ffconcat version 1.0\nfile /etc/hostname\n"),
    },
}
