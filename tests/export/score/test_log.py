"""The log of scorings of a test split: where it is, what it holds, and when it cannot be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engines.errors import ExportError
from export.score.log import ScoringLog
from export.score.report import EvaluationReport, FrameScore, Table

TEST = EvaluationReport(
    model="street.onnx",
    model_sha256="0123456789abcdef" * 4,
    engine="openvino",
    precision="f32",
    data="camvid",
    split="test",
    images=233,
    input_wh=(640, 384),
    infer_ms_median=7.891,
    miou=0.5,
    iou={"road": 0.75, "fence": None},
)


def test_checking_the_log_leaves_it_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = ScoringLog(path)
    log.check("test")
    assert not path.exists()
    path.write_text("old\n")
    log.check("test")
    assert path.read_text() == "old\n"
    path.write_text("")
    log.check("test")
    assert path.exists()
    ScoringLog(Path("/dev/null")).check("test")
    assert Path("/dev/null").exists()
    missing = ScoringLog(tmp_path / "no" / "log.jsonl")
    with pytest.raises(ExportError, match=r"cannot be logged \(No such file .*--test-log"):
        missing.check("test")
    missing.check("val")
    missing.check(None)


def test_the_log_grows_by_one_dated_line_a_scoring_of_test(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"old": 1}\n')
    log = ScoringLog(path)
    for split in ("test", "val", None, "test"):
        log.append(replace(TEST, split=split))
    old, first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert old == {"old": 1}
    assert first["date"].endswith("+00:00")
    assert {k: v for k, v in first.items() if k != "date"} == json.loads(json.dumps(TEST.to_dict()))
    assert second["split"] == "test"


def test_a_line_leaves_out_the_confusion_and_the_worst_frames(tmp_path: Path) -> None:
    counts = Table(("car", "nothing there"), ("car", "missed"), ((1, 2), (3, 0)))
    worst: dict[str, tuple[FrameScore, ...]] = {"boxes": (FrameScore(4, "a.png", None, 1, 2),)}
    ScoringLog(tmp_path / "log.jsonl").append(replace(TEST, confusion_boxes=counts, worst=worst))
    assert {"worst", "confusion_boxes"}.isdisjoint(json.loads((tmp_path / "log.jsonl").read_text()))


def test_without_a_name_it_lies_in_the_users_state_folder_which_is_made(tmp_path: Path) -> None:
    for environ, folder in (
        ({"HOME": str(tmp_path)}, ".local/state/outrider"),
        ({"XDG_STATE_HOME": str(tmp_path / "state")}, "state/outrider"),
    ):
        log = ScoringLog(environ=environ)
        log.check("test")
        log.append(TEST)
        assert len((tmp_path / folder / "test_scores.jsonl").read_text().splitlines()) == 1


def test_a_scoring_of_val_makes_no_folder(tmp_path: Path) -> None:
    log = ScoringLog(environ={"HOME": str(tmp_path)})
    log.check("val")
    log.append(replace(TEST, split="val"))
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_cannot_be_written_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=rf"{tmp_path}: this scoring .*Is a directory.*--test-log"
    ):
        ScoringLog(tmp_path).append(TEST)
    (tmp_path / "home").touch()
    log = ScoringLog(environ={"HOME": str(tmp_path / "home")})
    place = "home/.local/state/outrider/test_scores.jsonl"
    with pytest.raises(ExportError, match=rf"{place}: .*\(Not a directory\).*--test-log"):
        log.check("test")
    with pytest.raises(ExportError, match=rf"{place}: .*\(Not a directory\).*--test-log"):
        log.append(TEST)


def test_a_user_without_a_folder_is_told_to_name_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.files.pwd.getpwuid", lambda uid: {}[uid])  # not in the database
    with pytest.raises(
        ExportError, match=r"^this scoring .*\(neither XDG_STATE_HOME nor HOME is.*--test-log"
    ):
        ScoringLog(environ={}).check("test")
