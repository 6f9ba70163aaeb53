"""Which encoder is taken on which machine."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from edge.h264 import X264, costly_here, open_encoder
from tests.edge.sink_values import picture


def _machine(root: Path, *files: str) -> Path:
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ((), ""),  # a PC
        (("etc/nv_tegra_release",), "this Jetson has no encoder"),  # Orin Nano
        (("etc/nv_tegra_release", "dev/v4l2-nvenc"), ""),  # JetPack 6
        (("etc/nv_tegra_release", "dev/nvhost-msenc"), ""),  # JetPack 5
    ],
)
def test_h264_is_costly_on_a_jetson_without_an_encoder_alone(
    files: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    told = costly_here(_machine(tmp_path, *files))
    assert told.startswith(why)
    assert bool(told) == bool(why)


@pytest.mark.parametrize("files", [(), ("etc/nv_tegra_release",)])
def test_the_cpu_encodes_where_there_is_no_other_encoder(
    files: tuple[str, ...], tmp_path: Path
) -> None:
    encoder = open_encoder((64, 48), fps=25, keyframe_s=1, root=_machine(tmp_path, *files))
    assert isinstance(encoder, X264)


def test_a_jetsons_encoder_that_does_not_work_is_told_and_the_cpu_encodes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = _machine(tmp_path, "dev/v4l2-nvenc")  # and no JetPack
    with caplog.at_level(logging.WARNING):
        encoder = open_encoder((64, 48), fps=25, keyframe_s=1, root=root)
    assert len(encoder.encode(picture((0, 0, 0)), 0)) == 1
    (line,) = caplog.messages
    assert line.startswith("H.264 by GStreamer's nvv4l2h264enc, 64x48: ")
    assert line.endswith("; the CPU encodes instead")
