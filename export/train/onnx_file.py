"""From a checkpoint to the ONNX file that the app runs: preprocessing, ArgMax and spec inside."""

from __future__ import annotations

import io
import warnings
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from engines.errors import SettingsError
from engines.model_file import save_model, sha256_of, write_spec
from engines.spec import LARGEST_SIDE, DetectionHead, InputSpec, MaskHead, ModelSpec, TensorSpec
from export.outputs import check_model_target
from export.train.checkpoint import class_weights, load_checkpoint, network_from, terms_of
from export.train.net.nets import Network, stride_of
from export.train.net.street import STRIDES, StreetNet
from export.zoo.boxes.box_net import BoxNet
from export.zoo.layers import upsample
from export.zoo.mask_net import MaskNet, sizes_that_fit

OPSET = 17
"""Taken by TensorRT 8.6 and later, OpenVINO and ONNX Runtime alike."""
TERMS = {
    "camvid": "the Cambridge-driving Labeled Video Database (CamVid)",
    "cityscapes": "the Cityscapes Dataset",
}
"""Data sets that are offered for research, as the notice of a file names them."""
UNWEIGH = 0.5
"""Share of the class weights of training that the exported mask takes back from its logits.

Weighted training makes rare classes too likely; subtracting log(weight) would undo all of that
(logit adjustment, arXiv 2007.07314), but IoU likes rare classes a little too likely. Chosen on val
with train-only weights: mIoU 0.617 at 0, 0.627 at 0.35, 0.626 at 0.7, 0.615 at 1.
"""
CONF, NMS_IOU = 0.2, 0.5
"""Thresholds that the spec recommends: on the synthetic street, car recall 0.81 and precision 0.61,
against 0.77 and 0.73 at 0.25 and 0.45. A missed car is worse than a second box on one.
"""
BOX_OUTPUTS = tuple(f"boxes_{s}" for s in STRIDES)


class Deployed(nn.Module):
    """The network as the app meets it: camera bytes in; box logits and a label map out."""

    def __init__(self, net: Network, *, mask_stride: int) -> None:
        super().__init__()
        self.net = net
        self.mask_stride = mask_stride
        self.turned = isinstance(net, StreetNet)
        if not isinstance(net, StreetNet):
            return
        stem = net.backbone.stem[0]
        assert isinstance(stem, nn.Conv2d)
        # the network was trained on RGB: turning the first filters round costs nothing at run time
        stem.weight = nn.Parameter(stem.weight.detach().flip(1).contiguous())

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(1, H, W, 3) uint8 BGR → three box tensors float32 and labels (1, H/s, W/s) uint8.

        Boxes or labels are left out where the network has no classes of them.
        """
        x = image.float().permute(0, 3, 1, 2) * (1 / 255)  # (1, 3, H, W)
        if not self.turned:
            x = x[:, [2, 1, 0]]  # RGB
        if isinstance(self.net, BoxNet):
            return (self.net(x),)  # (1, 4+C, P)
        outputs = self.net(x)
        boxes = outputs.boxes if self.net.box_classes else ()
        if not self.net.mask_classes:
            return boxes
        logits = outputs.mask
        if self.turned and self.mask_stride == 2:
            logits = upsample(logits)
        # to float first: TensorRT converts to uint8 only from float
        return (*boxes, logits.argmax(1).float().to(torch.uint8))


def spec_for(
    net: Network, *, name: str, height: int, width: int, mask_stride: int, source_sha256: str,
    notice: str = "",
) -> ModelSpec:  # fmt: skip
    """The spec of the exported file."""
    if isinstance(net, BoxNet):
        with torch.device("meta"):  # how many boxes it gives is all that is asked
            rows = deepcopy(net).to("meta")(torch.zeros(1, 3, height, width))
        return ModelSpec(
            name=name,
            input=InputSpec("image", height, width),
            outputs=(TensorSpec("boxes", tuple(rows.shape), "float32"),),
            detection=DetectionHead(
                family="yolov8", outputs=("boxes",), classes=net.box_classes, conf=CONF,
                nms_iou=net.nms_iou,
            ),
            source_sha256=source_sha256,
            notice=notice,
        )  # fmt: skip
    channels = [len(a) * (5 + len(net.box_classes)) for a in net.anchors]
    boxes = [
        TensorSpec(n, (1, c, height // s, width // s), "float32")
        for n, c, s in zip(BOX_OUTPUTS, channels, STRIDES, strict=False)  # or no anchors at all
    ]
    labels = TensorSpec("labels", (1, height // mask_stride, width // mask_stride), "uint8")
    return ModelSpec(
        name=name,
        input=InputSpec("image", height, width),
        outputs=(*(boxes if net.box_classes else ()), *((labels,) if net.mask_classes else ())),
        detection=DetectionHead(
            family="yolo-anchors", outputs=BOX_OUTPUTS, classes=net.box_classes,
            strides=STRIDES, anchors=net.anchors, box_code="yolov5",
            conf=CONF,
            nms_iou=NMS_IOU,
        )
        if net.box_classes
        else None,
        masks=(MaskHead("street", "labels", net.mask_classes),) if net.mask_classes else (),
        source_sha256=source_sha256,
        notice=notice,
    )  # fmt: skip


def notice_of(terms: frozenset[str]) -> str:
    """What a file says of the data with terms that its weights learnt from; empty without any."""
    if not terms:
        return ""
    named = " and ".join(TERMS.get(name, name) for name in sorted(terms))
    return f"Weights trained on {named}: for research and demonstration."


def trained_network(checkpoint: Path) -> Network:
    """The averaged network, a share of the class weights taken back from the mask's logits.

    Raises:
        ExportError: the checkpoint cannot be read, or is not one of this network.
    """
    return _network_of(load_checkpoint(checkpoint), origin=checkpoint)


def _network_of(state: dict[str, Any], *, origin: Path) -> Network:
    net = network_from(state, origin=origin)
    if "mask_weights" in state and not isinstance(net, BoxNet) and net.mask_classes:
        assert net.mask_out.bias is not None
        with torch.no_grad():
            net.mask_out.bias -= UNWEIGH * torch.tensor(class_weights(state, origin=origin)).log()
    return net


def export_onnx(
    checkpoint: Path,
    out: Path,
    *,
    height: int = 384,
    width: int = 640,
    mask_stride: int | None = None,
    conf: float | None = None,
) -> ModelSpec:
    """Write ``out`` atomically from the averaged weights of ``checkpoint``.

    Args:
        checkpoint: of a training.
        out: the ONNX file.
        height: of the input, px.
        width: likewise.
        mask_stride: None for what the checkpoint says.
        conf: the score from which boxes are shown, as the file recommends it; None for ``CONF``.

    Raises:
        SettingsError: the size does not fit the network, or a stride or score is asked for that it
            lacks.
        ExportError: the checkpoint cannot be read, or is not one of this network.
        ModelError: the file cannot be written.
    """
    check_model_target(out, checkpoint)
    state = load_checkpoint(checkpoint)
    net = _network_of(state, origin=checkpoint)
    multiple = max(STRIDES) if isinstance(net, StreetNet) else net.multiple
    for side, n in (("height", height), ("width", width)):
        if n % multiple or not 0 < n <= LARGEST_SIDE:
            raise SettingsError(
                f"--size: {side} {n}, wanted {sizes_that_fit(n, multiple)}, up to {LARGEST_SIDE}."
            )
    name = "street" if isinstance(net, StreetNet) else net.shape.net
    stride = mask_stride or stride_of(net)
    if isinstance(net, BoxNet) and (mask_stride or min(height, width) < net.least):
        raise SettingsError(
            f"--mask-stride {mask_stride}: {name} gives no mask. Leave it out."
            if mask_stride
            else f"--size {height}x{width}: wanted sides of {net.least} or more for {name}."
        )
    if isinstance(net, MaskNet) and stride != net.stride:
        raise SettingsError(
            f"--mask-stride {stride}: {name} gives its mask at stride {net.stride}. Leave it out."
        )
    spec = spec_for(
        net, name=name, height=height, width=width, mask_stride=stride,
        source_sha256=sha256_of(checkpoint), notice=notice_of(terms_of(state)),
    )  # fmt: skip
    if conf is not None:
        if spec.detection is None:
            raise SettingsError(f"--conf {conf:g}: {name} gives no boxes. Leave it out.")
        spec = replace(spec, detection=replace(spec.detection, conf=conf))
    spec.check(origin=str(checkpoint))  # the app would refuse the file
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # the tracing exporter folds batch norm and needs no further package; it warns of its age
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Deployed(net, mask_stride=stride).eval(),
            (torch.zeros(1, height, width, 3, dtype=torch.uint8),),
            buffer,  # type: ignore[arg-type]  # the tracing exporter takes open files
            opset_version=OPSET,
            dynamo=False,
            input_names=["image"],
            output_names=[tensor.name for tensor in spec.outputs],
        )
    model = onnx.load_from_string(buffer.getvalue())
    # the trace names the label map's sizes after operators; the spec knows them
    for value in model.graph.output:
        wanted = next(t for t in spec.outputs if t.name == value.name)
        dims = value.type.tensor_type.shape.dim
        del dims[:]
        for n in wanted.shape:
            dims.add().dim_value = n
    write_spec(model, spec)
    save_model(model, out)
    return spec
