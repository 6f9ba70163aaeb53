"""Which network a recipe trains: the street network or one of the zoo."""

from __future__ import annotations

from engines.errors import SettingsError
from export.train.net.street import SHAPES, StreetNet
from export.train.recipe import Recipe
from export.zoo import STREET, build
from export.zoo.mask_net import MaskNet, sizes_that_fit

Network = StreetNet | MaskNet


def mask_stride_of(net: Network) -> int:
    """The stride of the mask of an exported network, where nothing else is asked for."""
    return net.shape.mask_stride if isinstance(net, StreetNet) else net.stride


def network_of(recipe: Recipe) -> Network:
    """The network that a recipe asks for, with random weights.

    Raises:
        SettingsError: there is no such network, or it does not do what is asked of it.
    """
    classes = recipe.classes
    if recipe.net == STREET:
        if recipe.backbone not in SHAPES:
            raise SettingsError(
                f"--backbone {recipe.backbone}: --net street has {' or '.join(SHAPES)}. Choose "
                "one of them, or a network of 'edge-export zoo'."
            )
        return StreetNet(
            SHAPES[recipe.backbone],
            box_classes=classes.boxes.names,
            mask_classes=classes.mask.names,
        )
    for asked, option in ((recipe.box_classes, "--box-classes"), (recipe.min_cells, "--min-cells")):
        if asked:
            raise SettingsError(
                f"{option} {asked}: --net {recipe.net} gives a mask alone, no boxes. Leave it out, "
                "or take --net street."
            )
    if recipe.aux:
        raise SettingsError(
            f"--aux {recipe.aux}: belongs to --net street, not to {recipe.net}. Leave it out."
        )
    if not classes.mask.names:
        raise SettingsError(
            f"--net {recipe.net}: gives a mask alone, and the data have no label maps. Take --net "
            "street, or data with labels."
        )
    net = build(recipe.net, recipe.backbone, classes.mask.names)
    for side in (recipe.height, recipe.width):
        if side % net.multiple:
            raise SettingsError(
                f"--size {recipe.height}x{recipe.width}: {side}, wanted "
                f"{sizes_that_fit(side, net.multiple)} for --net {recipe.net}."
            )
    return net
