"""``edge-export evaluate``: what it writes, where, and when not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from engines.errors import ExportError, ModelError, SettingsError
from engines.model_file import sha256_of
from export.commands.evaluate import evaluate
from tests.export.labelled_files import make_tiny_camvid
from tests.export.street_data import make_cityscapes, painted
from tests.tiny_models import grey, paint, tiny_street


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    return make_tiny_camvid(tmp_path / "camvid")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tiny_street(tmp_path / "tiny.onnx")
    return tmp_path / "tiny.onnx"


def run(model: Path, *more: str | Path | int) -> Result:
    return CliRunner().invoke(evaluate, [str(model), *map(str, more)])


def test_every_scoring_of_test_is_logged_and_no_other(
    camvid: Path, model: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log.jsonl"
    assert run(model, "--root", camvid, "--split", "val", "--test-log", log).exit_code == 0
    assert not log.exists()
    for _ in range(2):
        assert run(model, "--root", camvid, "--test-log", log).exit_code == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == 2
    assert lines[0]["model_sha256"] == sha256_of(model)
    assert lines[0]["ap"] == pytest.approx(2 / 3)
    assert lines[0]["date"][:2] == "20"


def test_a_scoring_is_logged_in_the_users_state_folder_and_nowhere_in_the_project(
    camvid: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Path(__file__).resolve().parents[3] / "docs/experiments/test_scores.jsonl"
    before = record.read_bytes()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert run(model, "--root", camvid).exit_code == 0
    (line,) = (tmp_path / "state/outrider/test_scores.jsonl").read_text().splitlines()
    assert json.loads(line)["model"] == "tiny.onnx"
    assert record.read_bytes() == before


def test_a_log_that_cannot_be_written_is_told_before_the_model_is_opened(
    camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "no model"
    said = str(run(missing, "--root", camvid, "--test-log", tmp_path / "no/log.jsonl").exception)
    assert f"{tmp_path}/no/log.jsonl: this scoring of the test split cannot be logged" in said
    assert said.endswith("Name a writable file with --test-log.")
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a file"))
    said = str(run(missing, "--root", camvid).exception)
    assert "cannot be logged (Not a directory). Name a writable file with --test-log." in said


def test_the_log_is_no_place_for_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    log = tmp_path / "outrider/test_scores.jsonl"
    assert "would be written over" in str(run(Path("a.onnx"), "--json", log).exception)


def test_missing_data_names_the_folder_and_the_next_step(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_CAMVID", str(tmp_path / "nowhere"))
    with pytest.raises(ExportError, match=r"nowhere.*--root or set OUTRIDER_CAMVID"):
        CliRunner().invoke(evaluate, [str(model)], catch_exceptions=False)


def test_the_command_writes_the_scores_as_json_and_prints_a_table(
    camvid: Path, tmp_path: Path
) -> None:
    model, out = tmp_path / "tiny.onnx", tmp_path / "scores.json"
    tiny_street(model)
    arguments = [str(model), "--root", str(camvid), "--split", "val", "--json", str(out)]
    ran = CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
    assert ran.exit_code == 0
    scores = json.loads(out.read_text())
    assert {"miou", "iou", "ap", "ap50", "ap50_400px", "model_sha256", "split"} <= set(scores)
    assert scores["iou"]["road"] == pytest.approx(4032 / 4096)
    assert scores["input_wh"] == [96, 64]
    assert "mIoU       0.492" in ran.output
    assert "car        1.000" in ran.output


def test_cityscapes_is_scored_on_val_unless_a_split_is_named(model: Path, tmp_path: Path) -> None:
    root = make_cityscapes(tmp_path / "towns", painted(car=(10, 10, 30, 30)))
    more: list[str | Path] = ["--data", "cityscapes", "--root", root]
    scores = json.loads(run(model, *more, "--json", "-").stdout)
    assert (scores["data"], scores["split"], scores["images"]) == ("cityscapes", "val", 1)
    # 256 x 512 pixels, 20 x 40 of them car, all called road
    assert scores["iou"]["road"] == pytest.approx(1 - 800 / (256 * 512))
    assert (scores["ap50_400px"]["car"], scores["ap75_400px"]["car"]) == (0.0, 0.0)
    asked = str(run(model, *more, "--split", "test").exception)
    assert "no Cityscapes split 'test' here" in asked


def test_a_film_is_scored_against_another_net(model: Path, tmp_path: Path) -> None:
    film = tmp_path / "film"
    film.mkdir()
    cv2.imwrite(str(film / "1.png"), paint(grey(75), (40, 16, 48, 24), 0))
    more: list[str | Path] = ["--data", "film", "--root", film]
    asked = str(run(model, *more).exception)
    assert asked.startswith("--data film: wanted --root with a film or a folder of pictures, and ")
    written = json.loads(run(model, *more, "--judge", model, "--least-px", 8, "--json", "-").stdout)
    assert written["recall75"] == {"car": 1.0}
    asked = str(run(model, "--judge", model).exception)
    assert asked.startswith("--judge and --least-px go with --data film")
    over = str(run(model, *more, "--judge", model, "--json", model).exception)
    assert "would be written over" in over


def test_a_dash_sends_the_scores_to_standard_output_alone(camvid: Path, tmp_path: Path) -> None:
    tiny_street(tmp_path / "tiny.onnx")
    arguments = [str(tmp_path / "tiny.onnx"), "--root", str(camvid), "--split", "val"]
    ran = CliRunner().invoke(evaluate, [*arguments, "--json", "-"], catch_exceptions=False)
    assert json.loads(ran.stdout)["split"] == "val"
    assert {path.name for path in tmp_path.iterdir()} == {"camvid", "tiny.onnx"}


def test_why_a_model_without_a_spec_cannot_be_adopted_is_told(camvid: Path, tmp_path: Path) -> None:
    model, bare = tmp_path / "tiny.onnx", tmp_path / "bare.onnx"
    tiny_street(model)
    proto = onnx.load(str(model))
    del proto.metadata_props[:]
    onnx.save(proto, str(bare))
    reason = r"bare\.onnx: has no Outrider spec and could not be adopted: .*: its input"
    with pytest.raises(ModelError, match=reason):
        CliRunner().invoke(evaluate, [str(bare), "--root", str(camvid)], catch_exceptions=False)


@pytest.mark.parametrize("option", ["--json", "--html", "--test-log"])
def test_an_output_that_cannot_be_written_is_told_before_scoring(
    camvid: Path, tmp_path: Path, option: str
) -> None:
    missing = tmp_path / "missing.onnx"
    arguments = [str(missing), "--root", str(camvid), "--split", "test", option, str(tmp_path)]
    ran = CliRunner().invoke(evaluate, arguments)
    assert isinstance(ran.exception, ExportError)
    assert f"{tmp_path}: " in str(ran.exception)
    assert "(Is a directory)" in str(ran.exception)
    assert option in str(ran.exception)


def test_a_run_that_fails_leaves_no_report_of_an_earlier_one_and_nothing_new(
    camvid: Path, tmp_path: Path
) -> None:
    model, old = tmp_path / "tiny.onnx", tmp_path / "out" / "old.json"
    tiny_street(model)
    old.parent.mkdir()
    old.write_text("old")
    cv2.imwrite(str(camvid / "labels/test/2.png"), np.zeros((32, 48), np.uint8))
    arguments = [str(model), "--root", str(camvid), "--json", str(old)]
    arguments += ["--html", str(old.with_name("new.html")), "--test-log", str(old) + "l"]
    ran = CliRunner().invoke(evaluate, arguments)
    assert isinstance(ran.exception, ExportError)
    assert list(old.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--data", "folder"], "--data folder: wanted --root with a folder with images/NAME"),
        (["--data", "coco-json"], "--data coco-json: wanted --root with the annotations' file"),
        (["--data", "synthetic", "--split", "val"], "--split val: synthetic has no splits"),
        (["--data", "synthetic", "--root", "x"], "--root: the synthetic street has no files"),
        (["--images", "x"], "--images goes with --data coco-json"),
        (["--map", "car"], "wanted MODEL_NAME=DATA_NAME"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(arguments: list[str], text: str) -> None:
    ran = CliRunner().invoke(evaluate, ["model.onnx", *arguments])
    assert isinstance(ran.exception, SettingsError)
    assert text in str(ran.exception)


@pytest.mark.parametrize("outputs", [["--json", "model.onnx"], ["--json", "a", "--html", "a"]])
def test_an_output_never_takes_the_place_of_another_file_of_the_run(outputs: list[str]) -> None:
    ran = CliRunner().invoke(evaluate, ["model.onnx", *outputs])
    assert isinstance(ran.exception, SettingsError)
    assert "would be written over" in str(ran.exception)


@pytest.mark.parametrize(
    "name", ["classes.txt", "boxes.json", "labels/0.png", "images/new.html", "boxes_val.json"]
)
def test_an_output_never_takes_the_place_of_the_data(tmp_path: Path, name: str) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    (tmp_path / "classes.txt").write_text("road")
    arguments = ["model.onnx", "--data", "folder", "--root", str(tmp_path)]
    for option in ("--html", "--json"):
        ran = CliRunner().invoke(evaluate, [*arguments, option, str(tmp_path / name)])
        assert isinstance(ran.exception, SettingsError)
        assert f"{name}: is a file of the data" in str(ran.exception)


@pytest.mark.parametrize(
    ("data", "name"), [("camvid", "boxes_val.json"), ("cityscapes", "persons_val.json")]
)
def test_an_output_never_takes_the_place_of_data_that_lie_where_they_usually_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, name: str
) -> None:
    monkeypatch.setenv(f"OUTRIDER_{data.upper()}", str(tmp_path))
    (tmp_path / name).write_text("data")
    for root in ([], ["--root", str(tmp_path)]):
        arguments = ["model.onnx", "--data", data, *root, "--json", str(tmp_path / name)]
        ran = CliRunner().invoke(evaluate, arguments)
        assert f"{name}: is a file of the data" in str(ran.exception)
        assert (tmp_path / name).read_text() == "data"


def test_a_link_to_a_file_of_the_data_is_no_place_for_a_report(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    arguments = ["model.onnx", "--data", "folder", "--root", str(tmp_path / "data"), "--json"]
    for name in ("classes.txt", "boxes.json", "labels/0.png", "images/0.jpg"):
        file = tmp_path / "data" / name
        file.write_text("data")
        for link in (tmp_path / "hard.json", tmp_path / "soft.json"):
            link.hardlink_to(file) if "hard" in link.name else link.symlink_to(file)
            ran = CliRunner().invoke(evaluate, [*arguments, str(link)])
            assert isinstance(ran.exception, SettingsError)
            said = ("is a file of the data", f"would be written over {file}")
            assert any(f"{link}: {words}" in str(ran.exception) for words in said)
            assert file.read_text() == "data"
            link.unlink()


def test_an_output_may_lie_beside_the_data_and_replaces_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.JPG").write_bytes(b"a picture")
    arguments = ["none.onnx", "--data", "coco-json", "--root", str(tmp_path / "boxes.json")]
    arguments += ["--images", str(tmp_path), "--html"]
    ran = CliRunner().invoke(evaluate, [*arguments, str(tmp_path / "a.JPG")])
    assert "a.JPG: is a file of the data" in str(ran.exception)
    ran = CliRunner().invoke(evaluate, [*arguments, str(tmp_path / "report.html")])
    assert "boxes.json: cannot be read" in str(ran.exception)


def test_the_command_writes_one_page_without_links(camvid: Path, tmp_path: Path) -> None:
    model, page = tmp_path / "tiny.onnx", tmp_path / "report.html"
    tiny_street(model)
    arguments = [str(model), "--root", str(camvid), "--split", "val", "--html", str(page)]
    CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
    text = page.read_text(encoding="utf-8")
    assert "0.492" in text  # mIoU
    assert "0016E5" not in text
    assert text.count('src="data:image/jpeg;base64,') == 3 + 2  # a mask's frame and boxes' frame
    assert re.findall(r'(?:src|href|url|action)\s*[=(]\s*["\']?(?!data:)[^\s"\')>]+', text) == []
    assert "http" not in text.replace("http-equiv", "")
    assert page.stat().st_mode & 0o044 == 0o044


def test_scoring_and_comparing_know_nothing_of_the_running_app() -> None:
    """The adopter, which starts another process, is handed in by the command."""
    program = "import sys, export.score.evaluate, export.compare.verify\n"
    program += "print([name for name in sys.modules if name.startswith('edge.run')])"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_tiles_are_scored_named_and_paid_for(camvid: Path, model: Path, tmp_path: Path) -> None:
    scored = tmp_path / "s.json"
    done = run(
        model,
        "--root",
        camvid,
        "--split",
        "val",
        "--tiles",
        "2x1",
        "--json",
        scored,
        "--html",
        tmp_path / "s.html",
    )
    assert done.exit_code == 0, done.output
    assert "tiles 2x1 and the whole" in done.output
    scores = json.loads(scored.read_text())
    assert scores["tiles"] == "2x1"
    assert "in 2x1 tiles and the whole frame" in (tmp_path / "s.html").read_text()
    assert scores["ap"] is not None
    refused = run(model, "--root", camvid, "--tiles", "9x9")
    assert isinstance(refused.exception, SettingsError)
    assert '--tiles: got "9x9", wanted COLUMNSxROWS' in str(refused.exception)
