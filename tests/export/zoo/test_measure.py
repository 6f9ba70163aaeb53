"""Parameters, multiply-adds and receptive fields: by hand, and as gradients have them."""

from __future__ import annotations

import math

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from docs.experiments.zoo_measured import Chain
from export.commands.train import zoo
from export.zoo import BOX_NETS, NETS, build
from export.zoo.measure import multiply_adds, parameters, receptive_field

CLASSES = ("sky", "road", "car")


def conv(k: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(3, 3, k, stride, dilation * (k // 2), dilation)


@pytest.mark.parametrize(
    ("layers", "rows"),
    [
        ([conv(1)], 1),
        ([conv(3), conv(3)], 5),
        ([conv(3, dilation=4)], 9),
        ([conv(3, stride=2), conv(3)], 7),  # 3 + 2 · 2
        ([nn.MaxPool2d(2), nn.MaxPool2d(2)], 4),
        # a row of the larger map falls to one row of two
        ([nn.MaxPool2d(2), nn.Upsample(scale_factor=2)], 2),
        # and here between two rows of two
        ([nn.MaxPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear")], 4),
        # kernel 3 and stride 2: every other row is of two
        ([nn.Conv2d(3, 3, 2, 2), nn.ConvTranspose2d(3, 3, 3, 2, 1, output_padding=1)], 4),
        ([nn.PixelUnshuffle(2), nn.Conv2d(12, 12, 3, padding=1), nn.PixelShuffle(2)], 6),
        ([nn.AdaptiveAvgPool2d(1), nn.Upsample(size=(8192, 64))], math.inf),
    ],
)
def test_a_receptive_field_by_hand(layers: list[nn.Module], rows: float) -> None:
    assert receptive_field(Chain(*layers).eval().to("meta")) == rows


def test_a_cell_of_fcn_32s_sees_404_rows_as_its_source_says() -> None:
    with torch.device("meta"):
        net = build("fcn32s", "vgg16", CLASSES).eval()
    # arXiv 1411.4038, table 1; a pixel is interpolated between two cells, 32 rows apart
    assert receptive_field(net) == 404 + 32


@pytest.mark.parametrize("name", ["strided", "naive", "upsample", "fcn8s", "unet", "deeplabv1"])
def test_the_receptive_field_is_the_one_that_gradients_show(name: str) -> None:
    with torch.device("meta"):
        far = receptive_field(build(name, "plain", CLASSES).eval())
    net = build(name, "plain", CLASSES).eval().double()
    with torch.no_grad():
        for module in net.modules():  # all paths open: nothing is negative, so no ReLU shuts
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.weight.fill_(1 / module.weight[0].numel())
                if module.bias is not None:
                    module.bias.zero_()
    height = (int(far) // 32 + 4) * 32
    x = torch.ones(1, 3, height, 32, dtype=torch.float64, requires_grad=True)
    mask = net(x).mask
    seen = 0
    middle = mask.shape[2] // 2
    for row in range(middle, middle + 32 // (height // mask.shape[2])):
        (slope,) = torch.autograd.grad(mask[0, 0, row].sum(), x, retain_graph=True)
        rows = slope.abs().sum((0, 1, 3)).nonzero()[:, 0]
        seen = max(seen, int(rows[-1] - rows[0]) + 1)
    assert seen == far


def test_parameters_and_multiply_adds_by_hand() -> None:
    net = Chain(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False)).to("meta")
    assert parameters(net) == 3 * 8 * 9 + 8 + 8 * 9
    # 4 x 6 pixels: 27 for each of 8 channels, then 9
    assert multiply_adds(net, 8, 12) == 24 * 8 * 27 + 24 * 8 * 9
    up = Chain(nn.ConvTranspose2d(3, 5, 4, 2, 1)).to("meta")
    assert multiply_adds(up, 8, 12) == 8 * 12 * 3 * 5 * 16  # each pixel is spread over 4x4


def test_the_command_lists_every_network() -> None:
    done = CliRunner().invoke(zoo, ["--backbone", "lite0"])
    assert done.exit_code == 0, done.exception
    rows = {line.split()[0]: line for line in done.output.splitlines()}
    assert set(rows) == {"net", "street", *NETS, *BOX_NETS}
    assert rows["street"].split()[-2:] == ["all", "4"]
    assert "not over lite0" in rows["strided"]
    assert "not over lite0" in rows["overfeat"]
    assert rows["localise"].split()[-2:] == ["all", "32"]
