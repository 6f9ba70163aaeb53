"""Which network a recipe trains: the street network or one of the zoo."""

from __future__ import annotations

from engines.errors import SettingsError
from export.train.net.street import SHAPES, StreetNet
from export.train.recipe import Recipe
from export.zoo import BOX_NETS, NETS, STREET, build, build_boxes, check
from export.zoo.boxes.box_net import BoxNet
from export.zoo.mask_net import MaskNet, sizes_that_fit

Network = StreetNet | MaskNet | BoxNet


def stride_of(net: Network) -> int:
    """The stride of the mask of an exported network, where nothing else is asked for.

    Of the map that boxes are read from, where there is no mask.
    """
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
    check(recipe.net, recipe.backbone)
    with_boxes = recipe.net in BOX_NETS
    gives = "boxes alone, no mask" if with_boxes else "a mask alone, no boxes"
    for asked, option in (
        ((recipe.mask_classes, "--mask-classes"), (recipe.lovasz, "--lovasz"))
        if with_boxes
        else ((recipe.box_classes, "--box-classes"),)
    ):
        if asked:
            raise SettingsError(
                f"{option} {asked}: --net {recipe.net} gives {gives}. Leave it out, or take --net "
                f"street or {', '.join(NETS if with_boxes else BOX_NETS)}."
            )
    for asked, option in ((recipe.min_cells, "--min-cells"), (recipe.aux, "--aux")):
        if asked:
            raise SettingsError(
                f"{option} {asked}: belongs to --net street, not to {recipe.net}. Leave it out."
            )
    if not (classes.boxes.names if with_boxes else classes.mask.names):
        lack, wanted = ("boxes", "boxes") if with_boxes else ("label maps", "labels")
        raise SettingsError(
            f"--net {recipe.net}: gives {gives}, and the data have no {lack}. Take --net street, "
            f"or data with {wanted}."
        )
    if with_boxes:
        net = build_boxes(recipe.net, recipe.backbone, classes.boxes.names)
        if min(recipe.height, recipe.width) < net.least:
            raise SettingsError(
                f"--size {recipe.height}x{recipe.width}: wanted sides of {net.least} or more for "
                f"--net {recipe.net}."
            )
        return net
    masked = build(recipe.net, recipe.backbone, classes.mask.names)
    for side in (recipe.height, recipe.width):
        if side % masked.multiple:
            raise SettingsError(
                f"--size {recipe.height}x{recipe.width}: {side}, wanted "
                f"{sizes_that_fit(side, masked.multiple)} for --net {recipe.net}."
            )
    return masked
