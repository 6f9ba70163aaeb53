"""``edge-export verify``: what its options refuse, and what they leave alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from engines.errors import SettingsError
from export.commands.verify import verify


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--root", "x"], "--root goes with --data: --frames and --count say on what to compare"),
        (["--split", "test"], "--split goes with --data"),
        (["--limit", "3"], "--limit goes with --data"),
        (["--map", "a=b"], "--map goes with --data"),
        (["--data", "camvid", "--frames", "x"], "--frames goes without --data"),
        (["--data", "camvid", "--count", "3"], "--count goes without --data"),
        (["--data", "synthetic", "--root", "x"], "--root: the synthetic street has no files"),
        (["--data", "folder", "--split", "val"], "--split val: folder has no splits"),
        (["--data", "folder"], "--data folder: wanted --root with a folder with images/NAME"),
        (["--json", "b.onnx"], "--json b.onnx: would be written over"),
    ],
)
def test_what_would_be_ignored_or_replaced_is_wrong_usage(arguments: list[str], said: str) -> None:
    ran = CliRunner().invoke(verify, ["a.onnx", "b.onnx", *arguments])
    assert isinstance(ran.exception, SettingsError), ran.exception
    assert said in str(ran.exception)


def test_a_comparison_on_frames_needs_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a file"))
    ran = CliRunner().invoke(verify, [str(tmp_path / "none.onnx"), str(tmp_path / "none.onnx")])
    assert "none.onnx" in str(ran.exception)
    assert "logged" not in str(ran.exception)


@pytest.mark.parametrize("option", ["--miou", "--ap50", "--mask", "--unmatched"])
@pytest.mark.parametrize("value", ["nan", "-0.1", "2", "x"])
def test_a_limit_is_a_share(option: str, value: str) -> None:
    ran = CliRunner().invoke(verify, ["a.onnx", "b.onnx", option, value])
    assert ran.exit_code == 2
    assert f"Invalid value for '{option}'" in ran.output


def test_a_report_that_cannot_be_written_is_told_before_the_models_are_opened(
    tmp_path: Path,
) -> None:
    missing = str(tmp_path / "none.onnx")  # opened first, it would be what is told
    ran = CliRunner().invoke(verify, [missing, missing, "--json", str(tmp_path / "no" / "r.json")])
    assert "r.json: cannot be written" in str(ran.exception)


def test_the_frames_are_not_written_over(tmp_path: Path) -> None:
    film, report = tmp_path / "a.mp4", tmp_path / "r.json"
    film.write_bytes(b"film")
    report.hardlink_to(film)
    for path in (film, report):
        ran = CliRunner().invoke(
            verify, ["a.onnx", "b.onnx", "--frames", str(film), "--json", str(path)]
        )
        assert f"--json {path}: would be written over" in str(ran.exception)
    assert film.read_bytes() == b"film"
