"""Networks of the zoo: sizes in and out, what is added where, and what is refused."""

from __future__ import annotations

from dataclasses import asdict
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from engines.errors import ExportError, SettingsError
from export.train.checkpoint import load_checkpoint, network_from, network_state, save_checkpoint
from export.train.net.nets import network_of
from export.train.recipe import OPTIONS, Recipe
from export.zoo import NETS, STREET, build
from export.zoo.fcn import FCN, Twice
from export.zoo.mask_net import MaskNet
from export.zoo.trunks import TRUNKS, trunk
from export.zoo.unpool import unpool, where_largest

CLASSES = ("sky", "road", "car")
PAIRS = [(n, b) for n, b in product(NETS, TRUNKS) if n != "strided" or b == "plain"]


def empty(net: str, backbone: str) -> MaskNet:
    """A network without memory for its weights."""
    with torch.device("meta"):
        return build(net, backbone, CLASSES).eval()


@pytest.mark.parametrize(("name", "backbone"), PAIRS)
def test_every_network_gives_logits_of_its_stride_on_every_backbone(
    name: str, backbone: str
) -> None:
    net = empty(name, backbone)
    assert net.shape.net == name
    h, w = (96, 64) if net.multiple > 1 else (75, 101)
    outputs = net(torch.zeros(2, 3, h, w, device="meta"))
    assert outputs.boxes == ()
    assert tuple(outputs.mask.shape) == (2, 3, h // net.stride, w // net.stride)


@pytest.mark.parametrize(
    ("name", "millions"),
    # FCN: 134 M (arXiv 1411.4038), SegNet: 29.45 M (1511.00561), DeepLab-LargeFOV: 20.5 M
    # (1412.7062), DeconvNet: 252 M (1505.04366)
    [("fcn8s", 134), ("segnet", 29.5), ("deeplabv1", 20.5), ("deconvnet", 252)],
)
def test_on_vgg_16_a_network_is_as_large_as_in_its_source(name: str, millions: float) -> None:
    count = sum(p.numel() for p in empty(name, "vgg16").parameters())
    assert count / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize("name", list(NETS))
def test_the_bias_of_the_last_scores_reaches_the_logits_as_it_is(name: str) -> None:
    """The export takes class weights back from it."""
    torch.manual_seed(0)
    net = build(name, "plain" if name == "strided" else "lite0", CLASSES).eval()
    x = torch.rand(1, 3, 64, 32)
    shift = torch.tensor([0.5, -1.0, 2.0])
    with torch.no_grad():
        before = net(x).mask
        assert net.mask_out.bias is not None
        net.mask_out.bias += shift
        torch.testing.assert_close(net(x).mask, before + shift.view(1, 3, 1, 1))


def test_a_size_that_does_not_fit_is_an_error_with_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"width 75, wanted a multiple of 32, such as 64 or 96"):
        empty("unet", "lite0")(torch.zeros(1, 3, 64, 75, device="meta"))


def test_an_unknown_network_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SettingsError, match=r"--net fnc8s: .*nearest is 'fcn8s'.*street, fcn32s"):
        build("fnc8s", "lite0", CLASSES)
    with pytest.raises(SettingsError, match=r"--backbone vgg: wanted one of plain, lite0"):
        build("unet", "vgg", CLASSES)
    with pytest.raises(SettingsError, match="strided has an encoder of its own"):
        build("strided", "lite0", CLASSES)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"box_classes": "car"}, "--box-classes car: --net unet gives a mask alone, no boxes"),
        ({"min_cells": 2.0}, "--min-cells 2.0: belongs to --net street"),
        ({"aux": 0.4}, "--aux 0.4: belongs to --net street"),
        ({"mask_names": ()}, "the data have no label maps"),
        ({"height": 200}, "--size 200x448: 200, wanted a multiple of 32, such as 192 or 224"),
        ({"net": STREET, "backbone": "vgg16"}, "--net street has plain or lite0"),
    ],
)
def test_what_a_network_does_not_do_is_refused(asked: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError, match=says), torch.device("meta"):
        network_of(Recipe(**{"net": "unet", "backbone": "lite0", **asked}))  # type: ignore[arg-type]


def test_the_option_offers_the_backbones_that_there_are() -> None:
    assert OPTIONS["backbone"].words == tuple(TRUNKS)


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("name", list(TRUNKS))
def test_backbones_say_the_strides_and_widths_of_their_features(name: str, stride: int) -> None:
    with torch.device("meta"):
        net = trunk(name, output_stride=stride).eval()
        features = net(torch.zeros(1, 3, 75, 101))
    assert max(net.strides) == stride
    assert [f.shape[1] for f in features] == list(net.widths)
    assert [tuple(f.shape[2:]) for f in features] == [
        (-(-75 // s), -(-101 // s)) for s in net.strides
    ]
    named = {n for n, _ in net.named_modules()}
    assert set(net.early) <= named


def test_unpooling_is_torchs_bit_by_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-2, 3, (2, 5, 8, 12), generator=generator).float()  # with many ties
    _, indices = F.max_pool2d(x, 2, return_indices=True)
    values = torch.randn(2, 5, 4, 6, generator=generator)
    wanted = nn.MaxUnpool2d(2)(values, indices)
    got = unpool(values, where_largest(x))
    assert torch.equal(got.view(torch.int32), wanted.view(torch.int32))


def test_unpooling_by_hand() -> None:
    x = torch.tensor([[1.0, 2, 5, 5], [3, 0, 5, 5]]).view(1, 1, 2, 4)
    where = where_largest(x)
    assert where.flatten().tolist() == [2, 0]  # the 3, lower left; of equal ones the first
    out = unpool(torch.tensor([[7.0, 8]]).view(1, 1, 1, 2), where)
    assert out[0, 0].tolist() == [[0, 0, 8, 0], [7, 0, 0, 0]]


def test_the_learnt_upsampling_of_fcn_begins_as_bilinear() -> None:
    x = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(
            Twice(3)(x), F.interpolate(x, scale_factor=2.0, mode="bilinear"), atol=1e-6, rtol=0
        )


def test_fcn_8s_adds_the_scores_of_pool3_and_pool4_as_its_source_draws_it() -> None:
    torch.manual_seed(0)
    net = FCN("plain", 3, finest=8).eval()
    for skip in (net.score[1], net.mask_out):
        nn.init.normal_(skip.weight)  # type: ignore[arg-type]
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        _, s8, s16, s32 = net.backbone(x)
        y = F.interpolate(net.score[0](s32), scale_factor=2.0, mode="bilinear")
        y = F.interpolate(y + net.score[1](s16), scale_factor=2.0, mode="bilinear")
        y = F.interpolate(y + net.mask_out(s8), scale_factor=8.0, mode="bilinear")
        torch.testing.assert_close(net(x).mask, y, atol=1e-5, rtol=1e-5)


def test_a_checkpoint_gives_its_network_back_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    net = build("unet", "plain", CLASSES)
    state = {**network_state(net), "ema": net.state_dict()}
    save_checkpoint(tmp_path / "a.pt", state)
    again = network_from(load_checkpoint(tmp_path / "a.pt"), origin=tmp_path / "a.pt")
    assert asdict(again.shape) == {"net": "unet", "backbone": "plain"}
    assert again.mask_classes == CLASSES
    for wrong, says in (
        ({"net": "nonet", "backbone": "plain"}, "there is none; the nearest is"),
        ({"net": "fcn8s", "backbone": "plain"}, "score.0.weight"),
        ({"net": "unet"}, "backbone"),
    ):
        with pytest.raises(ExportError, match=rf"its weights do not fit its network: .*{says}"):
            network_from({**state, "shape": wrong}, origin=tmp_path / "a.pt")
