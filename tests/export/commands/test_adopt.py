"""``edge-export adopt`` through its door: what it writes, where, when not, and its options."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from engines.errors import SettingsError
from engines.model_file import ModelFile, read_spec
from export.commands.adopt import parse_anchors, parse_size, parse_triple
from tests.edge.door import edge
from tests.edge.media_files import unprivileged
from tests.edge.pty_door import on_terminal
from tests.export.adopting import adopt_file, adopt_net, refusal, write_frames
from tests.foreign_models import FOREIGN, twinlite, ultralytics

COMMAND = [sys.executable, "-c", "from export.cli import main; main()", "adopt"]


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=300
    )


def test_the_file_is_written_beside_the_users_and_told_on_stderr(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(ultralytics().SerializeToString())
    frames = write_frames(tmp_path / "frames")
    done = _run(path, "--frames", frames)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""  # the report is for people
    assert f"3 frames of {frames}" in done.stderr
    made = tmp_path / "net.outrider.onnx"
    assert f"written      {made}" in done.stderr
    assert "proving" not in done.stderr  # progress is for a terminal
    assert ModelFile(path).spec is None  # the user's file stays as it was
    assert made.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_a_terminal_shows_how_far_it_is_and_is_left_with_the_report_alone(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(ultralytics().SerializeToString())
    frames = write_frames(tmp_path / "frames")
    drawn = on_terminal([*COMMAND, str(path), "--frames", str(frames)], columns=200)
    assert drawn.code == 0, drawn.text
    for words in ("reading 0/3 frames", "proving 0/3 images"):
        assert f"| {words}, ? left" in drawn.text
        assert all(words not in line for line in drawn.lines)
    assert drawn.lines[0].startswith("read         ")
    assert drawn.lines[-2:] == [f"written      {tmp_path / 'net.outrider.onnx'}", ""]


def test_the_adopted_files_of_all_families_run_in_the_app(tmp_path: Path) -> None:
    models: list[str | Path] = []
    for name in sorted(FOREIGN):
        (tmp_path / name).mkdir()
        models += ["--model", adopt_net(name, tmp_path / name).file]
    frames = write_frames(tmp_path / "frames")
    ran = edge("run", "--source", frames, "--sink", "null", *models)
    assert ran.returncode == 0, ran.stderr


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_refusal_is_one_line_on_stderr_and_exit_4(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"no model")
    done = _run(path)
    assert done.returncode == 4
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"edge-export: {path}: ")
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_goes_beside_the_foreign_one_or_where_it_is_said(tmp_path: Path) -> None:
    first = adopt_net("ultralytics", tmp_path)
    assert (first.file, first.written) == (tmp_path / "net.outrider.onnx", True)
    first.file.unlink()
    target = tmp_path / "elsewhere" / "mine.onnx"
    target.parent.mkdir()
    done = adopt_net("ultralytics", tmp_path, "-o", target)
    assert (done.code, done.written, done.left_over) == (0, True, [])
    assert not (tmp_path / "net.outrider.onnx").exists()


def test_an_existing_file_is_replaced_by_success_and_kept_by_a_refusal(tmp_path: Path) -> None:
    target = tmp_path / "net.outrider.onnx"
    target.write_text("old")
    broken = ultralytics()
    broken.graph.node[-1].op_type = "Max"
    broken.graph.node[-1].ClearField("attribute")
    done = adopt_net(broken, tmp_path)
    assert done.code == 4
    assert target.read_text() == "old"
    assert adopt_net("ultralytics", tmp_path).code == 0
    assert read_spec(target).name == "net"


@pytest.mark.parametrize("name", ["net", "net.engine", "net.npz", ""])
def test_a_name_that_the_app_would_not_take_for_a_model_is_refused(
    tmp_path: Path, name: str
) -> None:
    message = refusal(adopt_net("ultralytics", tmp_path, "-o", tmp_path / name), code=2)
    assert "wanted a name that ends in .onnx" in message


def test_outputs_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    for target in (
        tmp_path / "nowhere" / "x.onnx",
        tmp_path / ("x" * 300 + ".onnx"),
        Path("/proc/x.onnx"),
    ):
        done = adopt_net("ultralytics", tmp_path, "-o", target)
        assert done.code == 4, done.said
        message = done.said.splitlines()[-1]
        assert message.startswith(f"{target}: cannot be written (")
        assert "with -o." in message
    folder = tmp_path / "folder.onnx"
    folder.mkdir()
    done = adopt_net("ultralytics", tmp_path, "-o", folder)
    assert done.code == 4
    assert done.said.splitlines()[-1].startswith(f"{folder}: cannot be written (")
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_closed_to_the_user_is_refused() -> None:
    # Outside tmp_path, into which nobody but its owner may look.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "net.onnx").write_bytes(ultralytics().SerializeToString())
        frames = write_frames(folder / "frames")
        closed = folder / "closed"
        closed.mkdir(mode=0o555)
        with unprivileged():
            done = adopt_file(folder / "net.onnx", "-o", closed / "x.onnx", frames=frames)
        assert "Permission denied" in refusal(done)


def test_the_foreign_file_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    data = ultralytics().SerializeToString()
    path.write_bytes(data)
    link, hard = tmp_path / "link.onnx", tmp_path / "hard.onnx"
    link.symlink_to(path)
    hard.hardlink_to(path)
    for target in (path, link, hard):
        done = adopt_file(path, "-o", target)
        assert done.code == 2
        assert f"-o {target}: would be written over {path}" in done.said
    assert path.read_bytes() == data


def test_frames_that_cannot_be_read_end_with_the_code_of_sources(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(ultralytics().SerializeToString())
    assert "no such file" in refusal(adopt_file(path, frames=tmp_path / "nowhere"), code=3)
    assert "not a source" in refusal(adopt_file(path, frames=""), code=2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--mask", "output0=a,b"], "--mask is for nets of the family semantic"),
        (
            ["--anchors", '{"16": [[1, 1]]}'],
            "--anchors is for nets of the family darknet or yolov5, raw",
        ),
        (["--anchors", ""], "--anchors ''"),
        (["--mean", ""], "--mean ''"),
        (["--std", "0,1,1"], "--std '0,1,1': wanted positive numbers"),
        (["--std", "1e-50,1,1"], "wanted positive numbers"),
        (["--mean", "nan,0,0"], "--mean 'nan,0,0'"),
        (["--names", ""], "--names .: cannot be read as text"),
        (["--names", "/dev/null"], "not a regular file"),
    ],
)
def test_options_that_say_nothing_or_do_not_apply_are_refused(
    tmp_path: Path, options: list[str], said: str
) -> None:
    assert said in refusal(adopt_net(ultralytics(), tmp_path, *options), code=2)


def test_what_is_said_stands_above_what_the_family_says(tmp_path: Path) -> None:
    said = ["--colour", "BGR", "--mean", "1,2,3", "--std", "4,5,6", "--resize", "letterbox_topleft"]
    done = adopt_net(twinlite(), tmp_path, *said)
    assert "image        BGR - [1.0, 2.0, 3.0], / [4.0, 5.0, 6.0], letterbox topleft" in done.said
    assert done.code == 0, done.said
    assert read_spec(done.file).input.resize == "letterbox_topleft"


def test_sizes_triples_and_anchors_are_read() -> None:
    assert parse_size("384x640") == (384, 640)
    assert parse_triple("--mean", "1, 2,3.5") == (1.0, 2.0, 3.5)
    assert parse_anchors('{"16": [[1, 2]]}') == {16: ((1.0, 2.0),)}


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"16": []}', '{"16": [[1]]}', '{"16": [[0, 1]]}', '{"16": 5}'),
        *('{"x": [[1, 1]]}', '{"16": [[1e999, 1]]}', "[" * 100_000),
        '{"16": [[' + "9" * 400 + ", 1]]}",
    ],
    ids=lambda text: text[:20],
)
def test_anchors_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="wanted JSON, stride to"):
        parse_anchors(text)


REAL = {
    "yolox_nano": "yolox",
    "nanodet_m_416": "nanodet",
    "yolov8n_int8": "ultralytics",
    "yolo-fastest-1.1-xl": "darknet",
    "twinlitenet_360x640": "semantic",
}


def test_every_real_model_is_tried(shared: Path) -> None:
    assert sorted(REAL) == sorted(p.stem for p in (shared / "models").glob("*.onnx"))


@pytest.mark.parametrize("name", sorted(REAL))
def test_real_models_pass_the_proof_on_real_frames(shared: Path, tmp_path: Path, name: str) -> None:
    family = REAL[name]
    target = tmp_path / "made.onnx"
    video = shared / "data" / "videos" / "highway.mp4"
    done = adopt_file(shared / "models" / f"{name}.onnx", "-o", target, frames=video)
    assert done.code == 0, done.said
    assert f"family       {family}:" in done.said
    assert "not proven" not in done.said
    spec = read_spec(target)
    if family == "semantic":
        assert [m.name for m in spec.masks] == ["drivable", "lanes"]
    else:
        assert spec.detection is not None
        assert spec.detection.classes[2] == "car"  # COCO's
        assert len(spec.detection.classes) == 80
    assert spec.precision == ("int8" if name == "yolov8n_int8" else "fp32")
