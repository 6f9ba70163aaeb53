"""Checkpoints: whole or not at all, and never a way to run somebody's code."""

from __future__ import annotations

import os
import pickle
import resource
from pathlib import Path

import pytest
import torch

from engines.errors import ExportError
from export.train.checkpoint import load_checkpoint, network_from, network_state, save_checkpoint
from export.train.net.street import StreetNet


def state() -> dict[str, object]:
    torch.manual_seed(0)
    net = StreetNet()
    return {**network_state(net), "ema": net.state_dict()}


def test_a_network_comes_back_as_it_was(tmp_path: Path) -> None:
    saved = state()
    save_checkpoint(tmp_path / "a.pt", saved)
    net = network_from(load_checkpoint(tmp_path / "a.pt"), origin=tmp_path / "a.pt")
    assert not net.training
    for name, value in net.state_dict().items():
        assert torch.equal(value, saved["ema"][name])  # type: ignore[index]
    assert list(tmp_path.iterdir()) == [tmp_path / "a.pt"]


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(ExportError, match=r"could not be written.*What lay there is kept"):
            save_checkpoint(path, state())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("owned",)


def test_pickled_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"ema": Hostile(), "shape": {}}, tmp_path / "bad.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Hostile()))
    for name in ("bad.pt", "plain.pt"):
        with pytest.raises(ExportError, match="not a checkpoint that can be read safely"):
            load_checkpoint(tmp_path / name)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ExportError, match=r"a\.pt: not a checkpoint"):
        load_checkpoint(tmp_path / "a.pt")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    saved = state()
    saved["shape"] = {**saved["shape"], "pyramid": 32}  # type: ignore[dict-item]
    with pytest.raises(ExportError, match="weights do not fit"):
        network_from(saved, origin=tmp_path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pt")
    with pytest.raises(ExportError, match=r"a\.pt: not a regular file, wanted a checkpoint"):
        load_checkpoint(tmp_path / "a.pt")


def test_a_missing_checkpoint_is_told_from_a_broken_one(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"a\.pt: no such checkpoint.*edge-export train"):
        load_checkpoint(tmp_path / "a.pt")
    with pytest.raises(ExportError, match=r"cannot be read \(Is a directory\)"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("share", [0.003, 0.1, 0.5, 0.99])
def test_a_checkpoint_cut_off_anywhere_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, state())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ExportError, match=r"a\.pt: not a checkpoint that can be read safely"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [[1, 2], {"weights": 1}, torch.zeros(3)])
def test_a_file_of_torch_that_is_no_checkpoint_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ExportError, match="no weights inside"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shape", 3),
        ("shape", {"unknown": 1}),
        ("shape", {"depths": [9, 9, 9, 9]}),
        ("shape", {"stem": -1}),
        ("anchors", [[[1.0]]] * 3),
        ("anchors", []),
        ("box_classes", None),
        ("mask_classes", ["road"]),
        ("ema", None),
        ("ema", {"text": "weights"}),
        *(("shape", {"mask_stride": s}) for s in (0, 3, -4, 2.0, float("nan"), "4", 10**30, None)),
        ("shape", {"stem": 10**9}),
        ("shape", {"stem": 4096, "widths": [4096] * 4}),  # gigabytes of weights, had they been made
        ("shape", {"widths": [4, 4]}),
        ("anchors", [[[float("nan"), 8.0]] * 3] * 3),
        ("anchors", [[[0.0, 8.0]] * 3] * 3),
        ("anchors", [[["1", 8.0]] * 3] * 3),
        ("box_classes", ["car"] * 4),  # as many as it was trained for, but one name
        ("box_classes", ["car", "a\x1b[2J", "b", "c"]),
        ("box_classes", [1, 2, 3, 4]),
    ],
)
def test_a_description_that_makes_no_network_is_refused(
    tmp_path: Path, key: str, value: object
) -> None:
    with pytest.raises(ExportError, match=r"a\.pt: its weights do not fit"):
        network_from({**state(), key: value}, origin=tmp_path / "a.pt")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    saved = state()
    saved["ema"]["mask_out.bias"][2] = float("nan")  # type: ignore[index]
    with pytest.raises(ExportError, match=r"weights mask_out\.bias are not finite"):
        network_from(saved, origin=tmp_path)


def test_a_folder_that_is_gone_is_an_error_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="could not be written"):
        save_checkpoint(tmp_path / "file" / "a.pt", {})
