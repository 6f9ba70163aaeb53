"""``edge-export zoo``."""

from __future__ import annotations

import math

import click
import torch

from engines.errors import SettingsError
from export.commands import options
from export.train.net.nets import mask_stride_of, network_of
from export.train.recipe import OPTIONS, Recipe
from export.zoo import NETS, STREET
from export.zoo.measure import multiply_adds, parameters, receptive_field

HEIGHT, WIDTH = 384, 640
"""What the app shows a network."""


@click.command()
@click.option(
    "--backbone",
    type=click.Choice(OPTIONS["backbone"].words),
    default="plain",
    show_default=True,
    help="What the networks look with.",
)
def zoo(backbone: str) -> None:
    """List the networks that 'edge-export train --net' knows, over one backbone.

    Parameters; multiply-adds of the convolutions at 384x640; pixels that one of the mask depends
    on, in height; the stride of the mask.
    """
    options.say(f"{'net':<17}{'parameters':>11}{'multiply-adds':>15}{'sees':>7}{'stride':>8}")
    for name in (STREET, *NETS):
        try:
            with torch.device("meta"):  # no memory for weights
                net = network_of(Recipe(net=name, backbone=backbone)).eval()
        except SettingsError:
            options.say(f"{name:<17}{f'not over {backbone}':>26}")
            continue
        seen = receptive_field(net)
        options.say(
            f"{name:<17}{parameters(net) / 1e6:>9.2f} M"
            f"{multiply_adds(net, HEIGHT, WIDTH) / 1e9:>13.2f} G"
            f"{'all' if math.isinf(seen) else f'{seen:.0f}':>7}{mask_stride_of(net):>8}"
        )
