"""The backbones of the zoo: features from fine to coarse, their ``strides`` and ``widths``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from export.zoo.trunks.base import Trunk
from export.zoo.trunks.lite0 import Lite0
from export.zoo.trunks.plain import Backbone
from export.zoo.trunks.resnet import ResNet18
from export.zoo.trunks.vgg import Vgg16
from export.zoo.trunks.xception import Xception

TRUNKS: dict[str, Callable[..., Trunk]] = {
    "plain": Backbone,
    "lite0": partial(Lite0, finest=2),
    "vgg16": Vgg16,
    "resnet18": ResNet18,
    "xception": Xception,
}


def trunk(name: str, *, output_stride: int = 32, **of_vgg: bool) -> Trunk:
    """A backbone; ``of_vgg`` are the forms of VGG-16, which the others do without."""
    return TRUNKS[name](output_stride=output_stride, **(of_vgg if name == "vgg16" else {}))
