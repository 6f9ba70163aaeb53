"""What the TensorRT doubles call a plan, a header and an ONNX file, and how its network is run.

Nothing here is TensorRT's.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import onnx
import onnxruntime

_MAGIC = b"double\0"


def capability() -> str:
    from pycuda import driver

    major, minor = driver.Device(0).compute_capability()
    return f"{major}.{minor}"


def values(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {v.name: v for v in (*graph.value_info, *graph.input, *graph.output)}


def shape(tensor: onnx.TypeProto.Tensor) -> tuple[int, ...]:
    return tuple(d.dim_value for d in tensor.shape.dim)


def packed(head: dict[str, Any], data: bytes) -> memoryview:  # as IHostMemory a buffer
    body = _MAGIC + json.dumps(head).encode() + b"\0" + data
    return memoryview(body + hashlib.sha256(body).digest())


def unpacked(plan: bytes | memoryview) -> tuple[dict[str, Any], bytes]:
    body, digest = bytes(plan)[:-32], bytes(plan)[-32:]
    if not body.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
        raise ValueError("Magic tag does not match, or it is truncated")
    head, _, data = body[len(_MAGIC) :].partition(b"\0")
    return json.loads(head), data


def runner(model: onnx.ModelProto, names: list[str]) -> Any:
    if os.environ.get("OUTRIDER_DOUBLE_HALF"):
        from export.onnx.half import HalfNet

        net = HalfNet(model, origin="the double")
        return lambda feed: net.run(feed).outputs
    data, providers = model.SerializeToString(), ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(data, providers=providers)
    return lambda feed: dict(zip(names, session.run(names, feed), strict=True))
