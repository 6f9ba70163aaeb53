"""Files of outputs: whose they are, and what becomes of those of the run before."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.sinks import open_sink
from edge.sinks.place import KEPT, check_alone
from engines.errors import SettingsError
from tests.edge.sink_values import picture, result


def start(path: Path, frame: int, *, keep: bool) -> None:
    """One start of the app that writes one frame."""
    sink = open_sink(str(path), fps=25.0, keep=keep)
    sink.write(result(frame), picture((9, 9, 9)), frame_age_ms=0)
    sink.close()


def frames(path: Path) -> int:
    return int(path.read_text().split('"frame": ')[1].split(",")[0])


def test_a_service_keeps_what_its_last_starts_wrote(tmp_path: Path) -> None:
    path = tmp_path / "drive.jsonl"
    for number in range(KEPT + 3):  # 0 to 7: of 8 files the last is current and 5 more are kept
        start(path, number, keep=True)
    kept = {p.name: frames(p) for p in tmp_path.iterdir()}
    assert kept == {
        "drive.jsonl": 7,
        "drive.1.jsonl": 6,
        "drive.2.jsonl": 5,
        "drive.3.jsonl": 4,
        "drive.4.jsonl": 3,
        "drive.5.jsonl": 2,
    }


def test_a_film_is_kept_whole(tmp_path: Path) -> None:
    start(tmp_path / "drive.mp4", 0, keep=True)
    before = (tmp_path / "drive.mp4").read_bytes()
    start(tmp_path / "drive.mp4", 1, keep=True)
    assert (tmp_path / "drive.1.mp4").read_bytes() == before


def test_an_empty_file_is_not_worth_keeping_and_other_runs_write_over_theirs(
    tmp_path: Path,
) -> None:
    (tmp_path / "drive.jsonl").touch()
    start(tmp_path / "drive.jsonl", 0, keep=True)
    start(tmp_path / "drive.jsonl", 1, keep=False)
    assert [p.name for p in tmp_path.iterdir()] == ["drive.jsonl"]
    assert frames(tmp_path / "drive.jsonl") == 1


@pytest.mark.parametrize("name", ["drive.jsonl", "drive.mp4"])
@pytest.mark.parametrize("keep", [False, True])
def test_another_name_of_an_output_keeps_what_was_there(
    name: str, keep: bool, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    backup.write_text("precious")
    (tmp_path / name).hardlink_to(backup)
    start(tmp_path / name, 0, keep=keep)
    assert backup.read_text() == "precious"
    assert b"precious" not in (tmp_path / name).read_bytes()
    assert (tmp_path / name).stat().st_size > 100


def test_a_file_that_a_run_writes_to_is_told_before_the_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "drive.jsonl"
    sink = open_sink(str(path), fps=None)
    check_alone(path)  # it opens with its first frame
    sink.write(result(0), None, frame_age_ms=0)
    with pytest.raises(SettingsError, match="another run writes to it"):
        check_alone(path)
    sink.close()
    check_alone(path)
    assert path.stat().st_size > 0


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(SettingsError, match="NUL"):
        open_sink("a\0b.jsonl", fps=None)
