"""The contract that every sink keeps, and the way in which they are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.sinks import SINKS, open_sink, uses_network
from edge.sinks.base import Sink
from engines.errors import SettingsError
from tests.edge.loopback import closed_port
from tests.edge.sink_values import picture, result

# The window has a test of its own under a display.
WITHOUT_DISPLAY = sorted(set(SINKS) - {"window"})


def _open(kind: str, folder: Path) -> Sink:
    servers = {"rtsp": "rtsp://{}/cam", "rtsps": "rtsps://{}/cam", "whip": "whip:http://{}/cam"}
    places = servers | {"record": f"record:{folder}"}
    text = places.get(kind, kind).format(f"127.0.0.1:{closed_port()}")
    return open_sink(str(folder / f"out{kind}") if kind.startswith(".") else text, fps=25.0)


@pytest.mark.parametrize("kind", WITHOUT_DISPLAY)
def test_a_sink_takes_frames_until_it_is_closed_and_closes_twice(kind: str, tmp_path: Path) -> None:
    sink = _open(kind, tmp_path)
    assert sink.name
    for i in range(3):
        image = picture((0, 0, 0)) if sink.wants_image else None
        assert sink.write(result(i), image, frame_age_ms=1.0)
    sink.close()
    sink.close()


@pytest.mark.parametrize("kind", WITHOUT_DISPLAY)
def test_a_sink_without_frames_closes_and_leaves_no_file(kind: str, tmp_path: Path) -> None:
    _open(kind, tmp_path).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["out.avi", "", "windows", "jsonl", "mp4"])
def test_an_unknown_sink_is_refused_with_the_valid_ones(text: str) -> None:
    with pytest.raises(SettingsError, match=r"wanted window, FILE\.mp4, FILE\.jsonl, -, .* null"):
        open_sink(text, fps=None)


@pytest.mark.parametrize("suffix", ["mp4", "jsonl", "MP4"])
def test_a_missing_folder_is_named_with_the_command_that_makes_it(
    suffix: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=f"mkdir -p {tmp_path}/none"):
        open_sink(str(tmp_path / "none" / f"a.{suffix}"), fps=None)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(SettingsError, match="is a folder"):
        open_sink(str(tmp_path / "a.mp4"), fps=None)


@pytest.mark.parametrize("suffix", ["mp4", "jsonl"])
def test_a_second_run_into_one_file_is_refused_and_the_first_goes_on(
    suffix: str, tmp_path: Path
) -> None:
    text = str(tmp_path / f"a.{suffix}")
    first, second = open_sink(text, fps=25.0), open_sink(text, fps=25.0)
    first.write(result(0), picture((0, 0, 0)), frame_age_ms=0)
    before = Path(text).read_bytes()
    with pytest.raises(SettingsError, match=rf"a\.{suffix}: another run writes to it; give each"):
        second.write(result(0), picture((0, 0, 0)), frame_age_ms=0)
    second.close()
    assert Path(text).read_bytes() == before
    first.write(result(1), picture((0, 0, 0)), frame_age_ms=0)
    first.close()
    third = open_sink(text, fps=25.0)
    assert third.write(result(0), picture((0, 0, 0)), frame_age_ms=0)
    third.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("web", True), ("web:127.0.0.1:0", True), ("a.mp4", False), ("-", False), ("record:a", False)],
)
def test_a_sink_that_has_an_address_uses_the_network(text: str, expected: bool) -> None:
    assert uses_network(text) == expected
