"""``edge-export onnx``: the file it writes, and sizes that it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from engines.errors import SettingsError
from engines.model_file import read_spec
from export.commands.onnx import onnx
from export.train.checkpoint import network_state, save_checkpoint
from export.train.net.street import StreetNet
from export.zoo import build


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = StreetNet()
    path = tmp_path_factory.mktemp("checkpoint") / "net.pt"
    save_checkpoint(path, {**network_state(net), "ema": net.state_dict()})
    return path


def test_the_command_writes_a_file_with_its_spec(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "street.onnx"
    result = CliRunner().invoke(onnx, [str(checkpoint), "-o", str(out), "--size", "64x96"])
    assert result.exit_code == 0, result.exception
    spec = read_spec(out)
    assert (spec.input.height, spec.input.width) == (64, 96)
    assert spec.detection is not None
    assert spec.detection.classes == ("car", "pedestrian", "bicyclist", "sign")
    assert "CamVid" in spec.notice


def test_the_file_recommends_the_score_that_was_asked_for(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "street.onnx"
    words = [str(checkpoint), "-o", str(out), "--size", "64x96", "--conf", "0.35"]
    assert CliRunner().invoke(onnx, words).exit_code == 0
    spec = read_spec(out)
    assert spec.detection is not None
    assert spec.detection.conf == 0.35


@pytest.mark.parametrize("size", ["100x96", "0x32", "big", "8224x32"])
def test_a_size_that_does_not_fit_is_refused(checkpoint: Path, tmp_path: Path, size: str) -> None:
    out = tmp_path / "street.onnx"
    result = CliRunner().invoke(onnx, [str(checkpoint), "-o", str(out), "--size", size])
    assert isinstance(result.exception, SettingsError)
    assert not out.exists()


@pytest.mark.parametrize("option", ["--conf=0.3", "--mask-stride=4"])
def test_what_a_network_does_not_give_cannot_be_asked_for(tmp_path: Path, option: str) -> None:
    net = build("strided", "plain", ("car", "other"))
    path, out = tmp_path / "net.pt", tmp_path / "net.onnx"
    save_checkpoint(path, {**network_state(net), "ema": net.state_dict()})
    result = CliRunner().invoke(onnx, [str(path), "-o", str(out), "--size", "64x96", option])
    assert isinstance(result.exception, SettingsError)
    assert "Leave it out" in str(result.exception)
    assert not out.exists()
