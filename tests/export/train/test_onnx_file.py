"""Export to ONNX: the file computes what the network computes, from camera bytes."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from engines import open_engine
from engines.errors import ExportError, ModelError, SettingsError
from engines.model_file import read_spec
from export.train.checkpoint import load_checkpoint, network_from, network_state, save_checkpoint
from export.train.net.street import StreetNet
from export.train.onnx_file import export_onnx
from export.zoo.layers import upsample


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    net = StreetNet()
    with torch.no_grad():  # norms as after training, so that nothing cancels out
        for m in net.modules():
            if isinstance(m, torch.nn.BatchNorm2d):
                m.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
                m.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    path = tmp_path_factory.mktemp("checkpoint") / "net.pt"
    save_checkpoint(path, {**network_state(net), "ema": net.state_dict()})
    return path


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("stride", [2, 4])
def test_the_file_computes_what_the_network_does(
    checkpoint: Path, tmp_path: Path, engine: str, stride: int
) -> None:
    out = tmp_path / "street.onnx"
    export_onnx(checkpoint, out, height=64, width=96, mask_stride=stride)
    image = np.random.default_rng(0).integers(0, 255, (1, 64, 96, 3)).astype(np.uint8)
    opened = open_engine(out, engine=engine, precision="f32")
    try:
        opened.inputs(0)["image"][...] = image
        opened.submit(0)
        got = {k: v.copy() for k, v in opened.wait(0).items()}
    finally:
        opened.close()
    net = network_from(load_checkpoint(checkpoint), origin=checkpoint)
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        boxes, mask = net(rgb)
        if stride == 2:
            mask = upsample(mask)
    for name, wanted in zip(("boxes_8", "boxes_16", "boxes_32"), boxes, strict=True):
        np.testing.assert_allclose(got[name], wanted.numpy(), rtol=1e-3, atol=2e-3)
    assert got["labels"].shape == (1, 64 // stride, 96 // stride)
    assert (got["labels"] == mask.argmax(1).numpy()).mean() > 0.999


def test_the_first_node_casts_and_the_last_casts_back(checkpoint: Path, tmp_path: Path) -> None:
    import onnx

    export_onnx(checkpoint, tmp_path / "a.onnx", height=64, width=64)
    nodes = [n.op_type for n in onnx.load(str(tmp_path / "a.onnx")).graph.node]
    # TensorRT converts uint8 only at the network's edge, and only from and to float
    assert nodes[0] == "Cast"
    assert nodes[-3:] == ["ArgMax", "Cast", "Cast"]


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"none\.pt: no such checkpoint"):
        export_onnx(tmp_path / "none.pt", tmp_path / "a.onnx")


def test_another_class_set_comes_out_as_it_is(tmp_path: Path) -> None:
    net = StreetNet(box_classes=("bus", "tram"), mask_classes=("rail", "road", "rest"))
    path = tmp_path / "net.pt"
    save_checkpoint(path, {**network_state(net), "ema": net.state_dict()})
    export_onnx(path, tmp_path / "a.onnx", height=32, width=32)
    spec = read_spec(tmp_path / "a.onnx")
    assert spec.detection is not None
    assert spec.detection.classes == ("bus", "tram")
    assert spec.masks[0].classes == ("rail", "road", "rest")


@pytest.mark.parametrize(
    "weights", [[1.0, 2.0], [0.0] * 11, ["a"] * 11, [float("inf")] * 11, None, "text"]
)
def test_class_weights_that_do_not_fit_the_mask_are_refused(
    checkpoint: Path, tmp_path: Path, weights: object
) -> None:
    path, out = tmp_path / "net.pt", tmp_path / "a.onnx"
    save_checkpoint(path, {**load_checkpoint(checkpoint), "mask_weights": weights})
    with pytest.raises(ExportError, match=r"net\.pt: its class weights are not 11 numbers above 0"):
        export_onnx(path, out, height=32, width=32)
    assert not out.exists()


def test_a_cut_off_checkpoint_leaves_no_file(checkpoint: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "cut.pt", tmp_path / "a.onnx"
    path.write_bytes(checkpoint.read_bytes()[:100_000])
    with pytest.raises(ExportError, match=r"cut\.pt: not a checkpoint"):
        export_onnx(path, out, height=32, width=32)
    assert not out.exists()


@pytest.mark.parametrize("name", ["net.pt", "net.txt", "net"])
def test_a_name_that_is_no_models_is_refused_and_the_checkpoint_stays(
    checkpoint: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(checkpoint.read_bytes())
    with pytest.raises(SettingsError, match=r"wanted a name that ends in \.onnx"):
        export_onnx(path, tmp_path / name, height=32, width=32)
    assert path.read_bytes() == checkpoint.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("out", ["none/a.onnx", "file/a.onnx", "folder.onnx"])
def test_a_place_that_cannot_be_written_is_named(
    checkpoint: Path, tmp_path: Path, out: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.onnx").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ExportError, match=rf"{out}: cannot be written"):
        export_onnx(checkpoint, tmp_path / out, height=32, width=32)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_leaves_the_old_file(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.onnx"
    out.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(ModelError, match=r"a\.onnx: cannot be written \(File too large\)"):
            export_onnx(checkpoint, out, height=32, width=32)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]
