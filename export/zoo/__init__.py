"""The networks that the project's sources teach, by name; each is one file, on any backbone."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial

from engines.errors import SettingsError
from export.zoo.boxes.box_net import BoxNet
from export.zoo.boxes.localise import Localise
from export.zoo.boxes.overfeat import OverFeat
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
"""Each takes the name of its backbone and the number of classes of its mask."""
BOX_NETS: dict[str, Callable[[str, int], BoxNet]] = {
    "localise": Localise,
    "overfeat": OverFeat,
}
"""The same of those with boxes."""
OWN_ENCODER = ("strided", "overfeat")
"""They stand over no other, which is called plain, too."""
STREET = "street"
"""The shipped network, which has boxes too and is not built here."""


def build(net: str, backbone: str, mask_classes: tuple[str, ...]) -> MaskNet:
    """A network with a mask and random weights.

    Raises:
        SettingsError: as ``check``, or it has no mask.
    """
    check(net, backbone)
    if net not in NETS:
        raise SettingsError(f"--net {net}: gives boxes alone, no mask.")
    made = NETS[net](backbone, len(mask_classes))
    made.shape, made.mask_classes = Plan(net, backbone), mask_classes
    return made


def build_boxes(net: str, backbone: str, box_classes: tuple[str, ...]) -> BoxNet:
    """A network of BOX_NETS with random weights.

    Raises:
        SettingsError: as ``check``.
    """
    check(net, backbone)
    made = BOX_NETS[net](backbone, len(box_classes))
    made.shape, made.box_classes = Plan(net, backbone), box_classes
    return made


def check(net: str, backbone: str) -> None:
    """Refuse names that are not of the zoo.

    Raises:
        SettingsError: there is no such network or backbone, or the two do not go together.
    """
    if net not in (*NETS, *BOX_NETS):
        known = (STREET, *NETS, *BOX_NETS)
        near = get_close_matches(net.lower(), known, n=1, cutoff=0.0)
        raise SettingsError(
            f"--net {net:.60}: there is none; the nearest is {near[0]!r}. Wanted one of "
            f"{', '.join(known)}."
        )
    if backbone not in TRUNKS:
        raise SettingsError(f"--backbone {backbone:.60}: wanted one of {', '.join(TRUNKS)}.")
    if net in OWN_ENCODER and backbone != "plain":
        raise SettingsError(
            f"--backbone {backbone}: --net {net} has an encoder of its own. Leave it out."
        )
