"""The networks that the project's sources teach, by name; each is one file, on any backbone."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial

from engines.errors import SettingsError
from export.zoo.deconvnet import DeconvNet
from export.zoo.deeplab import DeepLab, DeepLabV3, DeepLabV3Plus
from export.zoo.fcn import FCN
from export.zoo.mask_net import MaskNet, Plan
from export.zoo.segnet import SegNet
from export.zoo.strided import Strided
from export.zoo.trunks import TRUNKS
from export.zoo.unet import UNet
from export.zoo.upsample import Naive, Upsample

NETS: dict[str, Callable[[str, int], MaskNet]] = {
    "fcn32s": partial(FCN, finest=32),
    "fcn16s": partial(FCN, finest=16),
    "fcn8s": partial(FCN, finest=8),
    "strided": Strided,
    "naive": Naive,
    "upsample": Upsample,
    "segnet": SegNet,
    "deconvnet": DeconvNet,
    "unet": UNet,
    "unet-transposed": partial(UNet, transposed=True),
    "deeplabv1": partial(DeepLab, rates=(12,)),
    "deeplabv2": partial(DeepLab, rates=(6, 12, 18, 24)),
    "deeplabv3": DeepLabV3,
    "deeplabv3plus": DeepLabV3Plus,
}
"""Each takes the name of its backbone and the number of classes."""
STREET = "street"
"""The shipped network, which has boxes too and is not built here."""


def build(net: str, backbone: str, mask_classes: tuple[str, ...]) -> MaskNet:
    """A network with random weights.

    Raises:
        SettingsError: there is no such network or backbone, or the two do not go together.
    """
    if net not in NETS:
        known = (STREET, *NETS)
        near = get_close_matches(net.lower(), known, n=1, cutoff=0.0)
        raise SettingsError(
            f"--net {net:.60}: there is none; the nearest is {near[0]!r}. Wanted one of "
            f"{', '.join(known)}."
        )
    if backbone not in TRUNKS:
        raise SettingsError(f"--backbone {backbone:.60}: wanted one of {', '.join(TRUNKS)}.")
    if net == "strided" and backbone != "plain":
        raise SettingsError(
            f"--backbone {backbone}: --net strided has an encoder of its own. Leave it out."
        )
    made = NETS[net](backbone, len(mask_classes))
    made.shape, made.mask_classes = Plan(net, backbone), mask_classes
    return made
