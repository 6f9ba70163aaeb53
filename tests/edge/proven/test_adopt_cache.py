"""Adoption on the fly: once for each file, never half, and with the next step where it fails."""

from __future__ import annotations

import fcntl
import os
import pwd
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from edge.proven import adopt_cache
from edge.proven.adopt_cache import adopted, cache_folder
from edge.proven.child import Done
from engines.errors import ModelError
from engines.model_file import ModelFile, read_spec
from export.commands.adopt import adopt as adopt_command
from tests.edge.door import EDGE
from tests.edge.pty_door import on_terminal
from tests.export.adopting import write_frames
from tests.foreign_models import (
    CLASSES,
    foreign_yolov8,
    semantic,
    ultralytics,
    yolov5_raw,
    yolox,
)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


def _unadoptable(path: Path) -> None:
    """A valid ONNX file that is no detector and no segmenter: one number in, one out."""
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in ("a", "b")]
    graph = helper.make_graph([helper.make_node("Neg", ["a"], ["b"])], "g", value[:1], value[1:])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def test_a_file_is_adopted_once_and_then_found(
    environ: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = tmp_path / "net.onnx"
    foreign_yolov8(model)
    with caplog.at_level("INFO", logger="edge"):
        made = adopted(model, "synthetic", environ=environ)
    assert caplog.messages[-1] == f"{model}: adopted as {made}"
    assert ".outrider-" not in caplog.text, "a place where nothing is any more"
    detection = read_spec(made).detection
    assert detection is not None
    assert detection.classes == CLASSES
    assert ModelFile(model).spec is None  # the user's file stays as it was
    kept = sorted(p.name for p in made.parent.iterdir())  # nothing temporary is left
    assert kept == [made.name, f"{made.stem}.proof"]
    monkeypatch.setattr(sys, "executable", "/nonexistent")  # no process can be started now
    assert adopted(model, environ=environ) == made
    with model.open("ab") as file:  # other bytes are another model
        file.write(b"\x42\x00")  # an empty producer version (field 8, length 0)
    with pytest.raises(ModelError, match="nonexistent"):
        adopted(model, environ=environ)


def test_what_was_not_proven_is_said_each_time(
    environ: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tmp_path / "net.onnx"
    onnx.save(ultralytics(), str(model))
    (tmp_path / "grey").mkdir()
    cv2.imwrite(str(tmp_path / "grey" / "a.png"), np.full((64, 96, 3), 90, np.uint8))
    for _ in range(2):
        caplog.clear()
        made = adopted(model, str(tmp_path / "grey"), environ=environ)
        (said,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert "not proven: 0 boxes were found, wanted 10 or more" in said
    made.unlink()
    caplog.clear()
    for _ in range(2):  # proven now, and found
        assert adopted(model, str(write_frames(tmp_path / "seen")), environ=environ) == made
    assert not [r for r in caplog.records if r.levelname == "WARNING"]


def _flip(made: Path) -> None:
    data = bytearray(made.read_bytes())
    data[len(data) // 2] ^= 0xFF
    made.write_bytes(data)


def _truncate(made: Path) -> None:
    made.write_bytes(made.read_bytes()[:99])


def _make_a_folder(made: Path) -> None:
    made.unlink()
    (made / "inside").mkdir(parents=True)


def _spoil_the_record(made: Path) -> None:
    made.with_suffix(".proof").write_bytes(b"\xfc[")


def _make_the_record_a_folder(made: Path) -> None:
    made.with_suffix(".proof").unlink()
    made.with_suffix(".proof").mkdir()


def _lead_nowhere(made: Path) -> None:
    made.unlink()
    made.symlink_to("nowhere.onnx")


def test_a_damaged_file_in_the_cache_is_thrown_away_and_made_anew(
    environ: dict[str, str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tmp_path / "net.onnx"
    foreign_yolov8(model)
    made = adopted(model, environ=environ)
    whole = made.read_bytes()

    def adopt_again(words: list[str], *_: object, **__: object) -> Done:
        Path(words[words.index("-o") + 1]).write_bytes(whole)  # what the other process does
        return Done(0, "", "")

    monkeypatch.setattr(adopt_cache, "proof", adopt_again)
    for damage in (
        _flip, _truncate, _make_a_folder, _spoil_the_record, _make_the_record_a_folder,
        _lead_nowhere,
    ):  # fmt: skip
        damage(made)
        caplog.clear()
        assert adopted(model, environ=environ) == made
        assert "is not as it was kept; adopting" in caplog.text, damage
        assert made.read_bytes() == whole
        caplog.clear()
        assert adopted(model, environ=environ) == made
        assert caplog.messages == [], damage


def test_a_source_that_breaks_off_or_gives_nothing_is_no_matter_of_the_model(
    environ: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What can be read proves it; the run itself then says what is wrong with its source."""
    model = tmp_path / "net.onnx"
    onnx.save(ultralytics(), str(model))
    frames = write_frames(tmp_path / "frames")
    first, *others = sorted(frames.iterdir())
    others[-1].write_bytes(b"no picture")
    with caplog.at_level("INFO", logger="edge"):
        made = adopted(model, str(frames), environ=environ)
        assert f"{len(others)} frames of {frames}; no more could be read: " in caplog.text
        caplog.clear()
        made.unlink()
        first.write_bytes(b"")
        assert adopted(model, str(frames), environ=environ) == made
    assert "proving on the synthetic street" in caplog.text


def test_other_weights_beside_the_same_file_are_another_model(
    environ: dict[str, str], tmp_path: Path
) -> None:
    model, weights = tmp_path / "net.onnx", tmp_path / "net.onnx.data"
    foreign_yolov8(model)
    net = onnx.load(model)
    onnx.save_model(net, model, save_as_external_data=True, location=weights.name)
    first, same = adopted(model, environ=environ), model.read_bytes()
    data = bytearray(weights.read_bytes())
    data[-4:] = np.float32(16).tobytes()  # a box of another height, as after another training
    weights.write_bytes(data)
    assert model.read_bytes() == same
    second = adopted(model, environ=environ)
    assert second != first
    assert second.read_bytes() != first.read_bytes()


def test_a_refusal_says_why_and_no_command_that_would_be_refused_again(
    environ: dict[str, str], tmp_path: Path
) -> None:
    model = tmp_path / "my net.onnx"
    _unadoptable(model)
    with pytest.raises(ModelError) as caught:
        adopted(model, environ=environ)
    message = str(caught.value)
    assert message.startswith(f"{model}: has no Outrider spec and could not be adopted: ")
    assert message.endswith(".")
    assert not message.endswith("..")
    assert "By hand" not in message
    assert "Traceback" not in message
    assert list(cache_folder(environ).iterdir()) == []


def test_all_that_is_missing_is_told_at_once_with_a_command_that_works(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """YOLOX names no classes, and this one leaves its size open."""
    monkeypatch.chdir(tmp_path)
    model = yolox(384, 640)
    for side, name in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], "hw", strict=True):
        side.dim_param = name
    onnx.save(model, "my net.onnx")
    Path("FILE").write_text("red\nblue\n")
    with pytest.raises(ModelError) as caught:
        adopted(Path("my net.onnx"), environ=environ)
    reason, _, command = str(caught.value).partition(" Then: ")
    assert "--size 384x640" in reason
    assert "--names FILE" in reason
    assert ".." not in reason
    adopt, _, run = command.partition(" && ")
    assert run == "edge run --model 'my net.outrider.onnx'"
    words = shlex.split(adopt)
    assert words[:3] == ["edge-export", "adopt", "my net.onnx"]
    done = CliRunner().invoke(adopt_command, words[2:])
    assert done.exit_code == 0, done.exception
    assert read_spec(Path("my net.outrider.onnx")).input.height == 384


def test_the_command_that_is_told_is_for_this_net_and_the_frames_of_the_run(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a message says of other nets is no part of it: masks, ImageNet's colours."""
    monkeypatch.chdir(tmp_path)
    Path("seen").mkdir()
    noise = np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8)
    for i in range(2):
        cv2.imwrite(f"seen/{i}.png", np.roll(noise, i * 40, axis=1))
    told = {}
    for name, net in (("masks", semantic()), ("boxes", yolov5_raw())):
        onnx.save(net, f"{name}.onnx")
        with pytest.raises(ModelError) as caught:
            adopted(Path(f"{name}.onnx"), "seen", environ=environ)
        told[name] = shlex.split(str(caught.value).partition(" Then: ")[2].partition(" && ")[0])
        assert told[name][-4:] == ["--frames", "seen", "-o", f"{name}.outrider.onnx"]
    assert "--anchors" in told["boxes"]
    assert "--family" not in told["boxes"]
    done = CliRunner().invoke(adopt_command, told["masks"][2:])
    assert done.exit_code == 0, done.exception


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    foreign_yolov8(model)
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"file.*: Not a directory.*By hand: edge-export adopt"):
        adopted(model, environ={"XDG_CACHE_HOME": str(tmp_path / "file")})


def test_a_folder_named_export_in_the_users_folder_is_not_taken_for_ours(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "net.onnx"
    foreign_yolov8(model)
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "__init__.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    assert adopted(Path("net.onnx"), environ=environ).is_file()


def test_what_a_killed_adoption_left_is_removed_and_what_a_living_one_makes_is_not(
    environ: dict[str, str], tmp_path: Path
) -> None:
    folder = cache_folder(environ)
    dead, living = folder / ".outrider-dead", folder / ".outrider-living"
    for making in (dead, living):
        making.mkdir(parents=True)
        (making / "half.onnx").write_bytes(b"half")
    model = tmp_path / "net.onnx"
    foreign_yolov8(model)
    handle = os.open(living, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        made = adopted(model, environ=environ)
    finally:
        os.close(handle)
    assert sorted(folder.iterdir()) == sorted([living, made, made.with_suffix(".proof")])
    assert (living / "half.onnx").is_file()


def test_a_stop_ends_the_process_that_adopts_and_leaves_nothing(
    environ: dict[str, str], tmp_path: Path
) -> None:
    model = tmp_path / "net.onnx"
    foreign_yolov8(model)
    stop = threading.Event()
    stop.set()
    with pytest.raises(ModelError, match="could not be adopted: the run was stopped"):
        adopted(model, environ=environ, stop=stop)
    assert list(cache_folder(environ).iterdir()) == []


TWO = """
import os, sys
from pathlib import Path
from edge.proven.adopt_cache import adopted
print(adopted(Path(sys.argv[1]), environ={"XDG_CACHE_HOME": sys.argv[2]}))
"""


def test_two_at_once_end_with_the_same_whole_file(environ: dict[str, str], tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    foreign_yolov8(model)
    command = [sys.executable, "-c", TWO, str(model), environ["XDG_CACHE_HOME"]]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    made = {process.communicate()[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(made) == 1
    read_spec(Path(made.pop()))


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/outrider/adopted"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/outrider/adopted"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/outrider/adopted"),
        ({"HOME": ""}, f"{pwd.getpwuid(os.getuid()).pw_dir}/.cache/outrider/adopted"),
        ({}, f"{pwd.getpwuid(os.getuid()).pw_dir}/.cache/outrider/adopted"),
    ],
)
def test_the_cache_lies_where_xdg_says(environ: dict[str, str], folder: str) -> None:
    assert cache_folder(environ) == Path(folder)


def test_a_user_without_a_home_is_asked_for_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)  # nobody's
    with pytest.raises(ModelError, match="export XDG_CACHE_HOME="):
        cache_folder({"HOME": ""})


def test_real_yolox_is_adopted_with_frames_of_the_video_being_run(
    shared: Path, environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    video = shared / "data" / "videos" / "highway.mp4"
    with caplog.at_level("INFO", logger="edge"):
        made = adopted(shared / "models" / "yolox_nano.onnx", str(video), environ=environ)
    assert any(str(video.resolve()) in record.getMessage() for record in caplog.records)
    assert os.access(made, os.R_OK)
    assert np.prod(read_spec(made).input.tensor.shape) == 416 * 416 * 3


def test_a_terminal_shows_how_far_the_adoption_is_under_whole_lines(
    environ: dict[str, str], tmp_path: Path
) -> None:
    model = tmp_path / "net.onnx"
    foreign_yolov8(model)
    run = [*EDGE, "run", "--model", str(model), "--engine", "onnxruntime", "--sink", "null"]
    drawn = on_terminal([*run, "--frames", "1"], env=environ)
    assert drawn.code == 0, drawn.text
    assert "| adopting, proving 0/8 images, ? left" in drawn.text
    assert "progress " not in drawn.text
    logged = drawn.lines[: next(n for n, line in enumerate(drawn.lines) if "1/1 frames" in line)]
    assert all(line[2] == ":" for line in logged)  # HH:MM:SS level name: message
    assert "adopted as " in logged[-1]
