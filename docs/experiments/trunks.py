"""Trunks that others trained, cut out of their nets, and what each costs; nothing learns here.

Run it from the project's folder: ``.venv/bin/python -m docs.experiments.trunks NAME=FILE...``
prints sizes, and times as ratios to the first. FILE is that of export.train.pretrained for lite0,
NanoDet-Plus's .param with its .bin beside it for nanodet, YOLOX-nano's .onnx for yolox, and - for
what has learnt nothing: plain, the network's own trunk, and random, a Lite0.
"""

from __future__ import annotations

import io
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from docs.experiments.ncnn_onnx import convert
from docs.experiments.teacher import MEAN, STD
from edge.cli import invoke
from engines.errors import ExportError
from engines.model_file import load_model
from export.train.net.street import SHAPES
from export.train.onnx_file import OPSET
from export.train.pretrained import imagenet_weights
from export.zoo.trunks.lite0 import Lite0
from export.zoo.trunks.plain import Backbone

APP_HW = (384, 640)
TAPS = {"nanodet": ("2", "32", "91", "122"), "yolox": ("721", "781", "841", "886")}
"""Tensors at strides 4, 8, 16 and 32, behind the last layer of each."""
NAMES = ("lite0", "random", "plain", *TAPS)
Run = Callable[[NDArray[np.float32]], Sequence[NDArray[np.float32]]]


def trunk(
    name: str, file: Path, size_hw: tuple[int, int], settle: Tensor | None = None
) -> onnx.ModelProto:
    """A trunk for one image (1, 3, H, W), norms folded: features at strides 4, 8, 16 and 32.

    The norms of one that has learnt nothing take the statistics of the images ``settle``.

    Raises:
        ExportError, ModelError: the file is not what the name wants.
    """
    if name in TAPS:
        try:
            model = (
                convert(file.read_text(), file.with_suffix(".bin").read_bytes())
                if name == "nanodet"
                else load_model(file)
            )
            return cut(model, TAPS[name], size_hw)
        except (OSError, LookupError, ValueError) as exc:
            raise ExportError(f"{file}: not the net of {name}: {exc!r}") from exc
    net = own(name, file)
    if name != "lite0" and settle is not None:
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            net(settle)
    return exported(net, torch.zeros(1, 3, *size_hw))


def own(name: str, file: Path) -> Lite0 | Backbone:
    """A trunk that is written in torch here: lite0 with the file's weights, random or plain.

    Raises:
        ExportError: the file is not what the name wants.
    """
    if name == "plain":
        shape = SHAPES[name]
        return Backbone(shape.stem, shape.widths, shape.depths, shape.expand)
    net = Lite0()
    if name == "lite0":
        net.load_state_dict(imagenet_weights(file, "lite0", net))
    return net


def exported(net: nn.Module, image: Tensor) -> onnx.ModelProto:
    """A network as it is, for images such as ``image``; norms are folded."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracing exporter's age; it folds the norms
        torch.onnx.export(
            net.eval(),
            (image,),
            buffer,  # type: ignore[arg-type]  # the tracing exporter takes open files
            opset_version=OPSET,
            dynamo=False,
        )
    return onnx.load_from_string(buffer.getvalue())


def cut(model: onnx.ModelProto, taps: Sequence[str], size_hw: tuple[int, int]) -> onnx.ModelProto:
    """The part of a graph that leads from its image, made of that size, to ``taps``.

    Raises:
        ValueError: there is no such tensor.
    """
    entry = model.graph.input[0]
    for dim, n in zip(entry.type.tensor_type.shape.dim, (1, 3, *size_hw), strict=True):
        dim.dim_value = n
    del model.graph.value_info[:]  # of another size
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    whole = onnx.shape_inference.infer_shapes(model)
    return onnx.utils.Extractor(whole).extract_model([entry.name], list(taps))


def cost_of(model: onnx.ModelProto) -> tuple[int, int, int]:
    """Parameters of its convolutions, their multiply-adds, and how many numbers they write."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*graph.value_info, *graph.output)
    } | {t.name: list(t.dims) for t in graph.initializer}
    parameters = macs = written = 0
    for node in graph.node:
        if node.op_type == "Conv":
            numbers = int(np.prod(shapes[node.output[0]]))
            parameters += sum(int(np.prod(shapes[name])) for name in node.input[1:])
            macs += numbers * int(np.prod(shapes[node.input[1]][1:]))
            written += numbers
    return parameters, macs, written


def blob_of(name: str, images: Tensor) -> Tensor:
    """What a trunk takes of images (N, 3, H, W) RGB 0..255."""
    if name == "nanodet":
        mean, std = (torch.tensor(by_channel)[:, None, None] for by_channel in (MEAN, STD))
        return (images.flip(1) - mean) / std
    return images.flip(1) if name == "yolox" else images / 255


def in_onnxruntime(model: onnx.ModelProto) -> Run:
    """On one thread; what it returns is the caller's."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})


def in_openvino(model: onnx.ModelProto) -> Run:
    """On one thread, f32; what it returns lasts until the next call."""
    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
    request = compiled.create_infer_request()

    def run(image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        request.infer([image], share_inputs=True)
        return [request.get_output_tensor(i).data for i in range(len(compiled.outputs))]

    return run


def cpu_seconds(runs: Mapping[Any, Callable[[], Any]], rounds: int) -> dict[Any, float]:
    """Median of each run's CPU seconds, in turn: what else runs on the core does not count."""
    took: dict[Any, list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            began = time.process_time()
            run()
            took[key].append(time.process_time() - began)
    return {key: statistics.median(times) for key, times in took.items()}


@click.command()
@click.argument("trunks", nargs=-1, required=True, metavar="NAME=FILE...")
@click.option(
    "--rounds", type=click.IntRange(1), default=40, show_default=True, help="Of one run of each."
)
def main(trunks: Sequence[str], rounds: int) -> None:
    """Print size and time of TRUNKS at the app's input, one thread."""
    torch.set_num_threads(1)
    models = {}
    for given in trunks:
        name, _, file = given.partition("=")
        if name not in NAMES or not file:
            raise ExportError(f"{given}: wanted NAME=FILE, the name one of {', '.join(NAMES)}.")
        models[name] = trunk(name, Path(file), APP_HW)
    engines = (in_openvino, in_onnxruntime)
    runs = {(name, e): e(model) for name, model in models.items() for e in engines}
    image = np.random.default_rng(0).random((1, 3, *APP_HW), np.float32)
    typical = cpu_seconds({key: partial(run, image) for key, run in runs.items()}, rounds)
    first = next(iter(models))
    click.echo("| trunk | M parameters | GMAC | M numbers written | OpenVINO | ONNX Runtime |")
    click.echo("|---|---|---|---|---|---|")
    for name, model in models.items():
        parameters, macs, written = cost_of(model)
        cells = [name, f"{parameters / 1e6:.2f}", f"{macs / 1e9:.2f}", f"{written / 1e6:.1f}"]
        cells += [f"{typical[name, e] / typical[first, e]:.2f}" for e in engines]
        click.echo(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    invoke(main, "trunks")
