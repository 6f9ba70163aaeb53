"""Averaging: the mean of weights that fit each other, and a refusal of what does not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from engines.errors import ExportError, SettingsError
from engines.model_file import read_spec, sha256_of
from export.train.average import average_checkpoints
from export.train.checkpoint import load_checkpoint, network_from, network_state, save_checkpoint
from export.train.net.street import StreetNet
from export.train.onnx_file import export_onnx


def checkpoint(path: Path, *, value: float, **more: Any) -> Path:
    """All weights and statistics of a network are ``value``."""
    net = StreetNet(mask_classes=("road", "rest"))
    for tensor in net.state_dict().values():
        tensor.fill_(value)
    save_checkpoint(path, {**network_state(net), "ema": net.state_dict(), **more})
    return path


def test_the_mean_of_three_is_written_and_can_be_exported(tmp_path: Path) -> None:
    files = [checkpoint(tmp_path / f"{v}.pt", value=v) for v in (1.0, 2.0, 6.0)]
    out = tmp_path / "mean.pt"
    assert average_checkpoints(files, out) == []
    net = network_from(load_checkpoint(out), origin=out)
    floats = [v for v in net.state_dict().values() if v.dtype.is_floating_point]
    assert floats
    assert all(torch.equal(v, torch.full_like(v, 3.0)) for v in floats)  # (1 + 2 + 6) / 3
    export_onnx(out, tmp_path / "mean.onnx", height=32, width=32)
    assert read_spec(tmp_path / "mean.onnx").masks[0].classes == ("road", "rest")


def test_the_notice_names_the_data_of_all_that_is_averaged(tmp_path: Path) -> None:
    files = [
        checkpoint(tmp_path / "a.pt", value=1.0, terms=["cityscapes"]),
        checkpoint(tmp_path / "b.pt", value=2.0),  # an older one: it knew CamVid alone
        checkpoint(tmp_path / "c.pt", value=3.0, own_data=True),
    ]
    average_checkpoints(files, tmp_path / "mean.pt")
    export_onnx(tmp_path / "mean.pt", tmp_path / "mean.onnx", height=32, width=32)
    assert read_spec(tmp_path / "mean.onnx").notice == (
        "Weights trained on the Cambridge-driving Labeled Video Database (CamVid) and the "
        "Cityscapes Dataset: for research and demonstration."
    )
    export_onnx(files[2], tmp_path / "own.onnx", height=32, width=32)
    assert read_spec(tmp_path / "own.onnx").notice == ""


def test_class_weights_are_averaged_as_their_logarithms(tmp_path: Path) -> None:
    a = checkpoint(tmp_path / "a.pt", value=1.0, mask_weights=[1.0, 4.0])
    b = checkpoint(tmp_path / "b.pt", value=2.0, mask_weights=[9.0, 4.0])
    average_checkpoints([a, b], tmp_path / "mean.pt")
    weights = load_checkpoint(tmp_path / "mean.pt")["mask_weights"]
    assert weights == pytest.approx([3.0, 4.0])  # the root of 1 · 9, the root of 4 · 4


@pytest.mark.parametrize(
    "bad", [None, [1.0], [1.0, 0.0], [1.0, float("inf")], "text", torch.ones(2)]
)
def test_class_weights_that_some_lack_are_refused(tmp_path: Path, bad: object) -> None:
    a = checkpoint(tmp_path / "a.pt", value=1.0, mask_weights=[1.0, 4.0])
    b = checkpoint(tmp_path / "b.pt", value=2.0, mask_weights=bad)
    with pytest.raises(ExportError, match=r"b\.pt: its class weights are not 2 numbers above 0"):
        average_checkpoints([a, b], tmp_path / "mean.pt")
    assert not (tmp_path / "mean.pt").exists()


def test_other_classes_are_refused_by_name(tmp_path: Path) -> None:
    a = checkpoint(tmp_path / "a.pt", value=1.0)
    net = StreetNet(mask_classes=("rail", "rest"))
    b = tmp_path / "b.pt"
    save_checkpoint(b, {**network_state(net), "ema": net.state_dict()})
    with pytest.raises(ExportError, match=r"b\.pt: its network has mask_classes \['rail'"):
        average_checkpoints([a, b], tmp_path / "mean.pt")
    assert not (tmp_path / "mean.pt").exists()


def test_one_file_or_one_twice_is_refused(tmp_path: Path) -> None:
    a = checkpoint(tmp_path / "a.pt", value=1.0)
    with pytest.raises(SettingsError, match="got 1 checkpoint, wanted two or more"):
        average_checkpoints([a], tmp_path / "mean.pt")
    twin = tmp_path / "twin.pt"
    twin.write_bytes(a.read_bytes())
    with pytest.raises(SettingsError, match=r"twin\.pt: the same weights as .*a\.pt"):
        average_checkpoints([a, twin], tmp_path / "mean.pt")
    assert not (tmp_path / "mean.pt").exists()


@pytest.mark.parametrize(
    ("origins", "doubted"),
    [
        (["aa", "aa", "aa"], []),
        (["aa", "bb", "aa"], ["1.pt began with bb, "]),
        (["", ""], ["1.pt began with no weights, "]),
        (["aa", None], []),  # a mean of others, which does not tell
        (["aa", "the first"], []),  # trained on from the first
        (["the second", "aa"], []),
    ],
)
def test_trainings_that_were_begun_apart_are_doubted(
    tmp_path: Path, origins: list[str | None], doubted: list[str]
) -> None:
    files = [tmp_path / f"{i}.pt" for i in range(len(origins))]
    for i in sorted(range(len(origins)), key=lambda i: str(origins[i]).startswith("the")):
        origin = origins[i]
        if origin in ("the first", "the second"):
            origin = sha256_of(files[0] if origin == "the first" else files[1])
        recipe = {} if origin is None else {"recipe": {"init_sha256": origin}}
        checkpoint(files[i], value=float(i), **recipe)
    doubts = average_checkpoints(files, tmp_path / "mean.pt")
    assert len(doubts) == len(doubted)
    assert all(part in doubt for part, doubt in zip(doubted, doubts, strict=True))
    assert (tmp_path / "mean.pt").exists()


@pytest.mark.parametrize("name", ["-", "mean.onnx", "pipe.pt", "b.pt.part", "mean"])
def test_a_target_that_is_no_name_for_a_checkpoint_is_refused(tmp_path: Path, name: str) -> None:
    a = checkpoint(tmp_path / "a.pt", value=1.0)
    b = checkpoint(tmp_path / "b.pt", value=2.0)
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(SettingsError, match=r"-o .*wanted"):
        average_checkpoints([a, b], tmp_path / name)
    assert {p.name for p in tmp_path.iterdir()} == {"a.pt", "b.pt", "pipe.pt"}
    assert (tmp_path / "pipe.pt").is_fifo()


def test_a_link_stays_a_link_and_what_it_names_is_not_replaced_while_averaged(
    tmp_path: Path,
) -> None:
    a = checkpoint(tmp_path / "a.pt", value=1.0)
    b = checkpoint(tmp_path / "b.pt", value=2.0)
    link = tmp_path / "link.pt"
    link.symlink_to(b)
    with pytest.raises(SettingsError, match=r"would be written over .*b\.pt"):
        average_checkpoints([a, b], link)
    other = checkpoint(tmp_path / "c.pt", value=2.5)
    average_checkpoints([a, other], link)
    assert link.is_symlink()
    assert load_checkpoint(b)["averaged_sha256"]


def test_what_is_averaged_is_not_replaced(tmp_path: Path) -> None:
    a = checkpoint(tmp_path / "a.pt", value=1.0)
    b = checkpoint(tmp_path / "b.pt", value=2.0)
    before = b.read_bytes()
    with pytest.raises(SettingsError, match=r"would be written over .*b\.pt"):
        average_checkpoints([a, b], b)
    assert b.read_bytes() == before


def test_a_name_that_is_too_long_is_told(tmp_path: Path) -> None:
    a = checkpoint(tmp_path / "a.pt", value=1.0)
    b = checkpoint(tmp_path / "b.pt", value=2.0)
    long = tmp_path / f"{'x' * 300}.pt"
    for names in ([a, b, long], [a, long, tmp_path / "mean.pt"]):
        with pytest.raises(ExportError, match="File name too long"):
            average_checkpoints(names[:2], names[2])


def test_a_missing_file_and_a_missing_folder_are_told(tmp_path: Path) -> None:
    a = checkpoint(tmp_path / "a.pt", value=1.0)
    b = checkpoint(tmp_path / "b.pt", value=2.0)
    with pytest.raises(ExportError, match=r"none\.pt: no such checkpoint"):
        average_checkpoints([a, tmp_path / "none.pt"], tmp_path / "mean.pt")
    with pytest.raises(ExportError, match=r"cannot be written \(No such file.*-o FILE"):
        average_checkpoints([a, b], tmp_path / "no" / "mean.pt")
