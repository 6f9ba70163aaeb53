"""``edge check`` through its door: looks at every part, runs nothing, exits as a run would."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.edge.door import edge
from tests.tiny_models import tiny_street

SOURCE = '[source]\nuri = "synthetic:96x64@30"\n'


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.onnx"
    tiny_street(path)
    return path


def _settings(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "car.toml"
    path.write_text(text)
    return path


def test_an_absent_camera_is_told_although_a_run_would_wait_for_it(tmp_path: Path) -> None:
    settings = tmp_path / "car.toml"
    settings.write_text('[source]\nuri = "/dev/video99"\nreconnect = true\n')
    done = edge("check", settings)
    assert done.returncode == 3
    assert "there is no such camera" in done.stdout


def test_what_is_right_is_named_and_nothing_is_written(model: Path, tmp_path: Path) -> None:
    text = (
        f'{SOURCE}[model]\nfiles = ["tiny.onnx"]\nengine = "openvino"\n'
        '[output]\nsinks = ["out.mp4", "out.jsonl", "web:127.0.0.1:0"]\nmetrics = "m.json"\n'
    )
    before = sorted(tmp_path.iterdir())
    done = edge("check", _settings(tmp_path, text))
    assert done.returncode == 0, done.stderr + done.stdout
    for said in ("96x64 in openvino", "boxes of 4 classes: car", "mask street: sky", "30 fps"):
        assert said in done.stdout
    assert "web:127.0.0.1:0: http://127.0.0.1:0/, open to everybody on this machine" in done.stdout
    assert "WRONG" not in done.stdout
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "car.toml"])


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("[source]\nurl = 1\n", 2, 'unknown key, did you mean "uri"?'),
        ('[model]\nfiles = ["none.onnx"]\n', 4, "none.onnx"),
        ('[source]\nuri = "none.mp4"\n', 3, "none.mp4"),
        ('[source]\nuri = "http://u:hunter2@127.0.0.1:9/a"\n', 3, "***@127.0.0.1:9/a"),
        (SOURCE + '[detect]\nclasses = ["cat"]\n', 2, "cat"),
        (SOURCE + '[output]\nsinks = ["none/out.mp4"]\n', 2, "mkdir -p"),
        (SOURCE + '[model]\nletterbox = "device"\nfiles = ["tiny.onnx"]\n', 4, "letterbox"),
        ('[source]\nuri = "rtsp:/u:hunter2@cam/1"\n', 2, "did you mean rtsp://***@cam/1?"),
        (SOURCE + '[output]\nsinks = ["window"]\n', 2, "DISPLAY is not set"),
        (SOURCE + '[output]\nmetrics = "none/m.json"\n', 2, "none"),
    ],
)
def test_what_is_wrong_is_named_with_the_code_of_a_run(
    text: str, code: int, said: str, model: Path, tmp_path: Path
) -> None:
    if "[model]" not in text:
        text += f'[model]\nfiles = ["{model}"]\n'
    done = edge("check", _settings(tmp_path, text))
    assert done.returncode == code, done.stderr + done.stdout
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_everything_is_looked_at_and_the_first_thing_wrong_gives_the_code(tmp_path: Path) -> None:
    text = (
        '[model]\nfiles = ["none.onnx"]\n[source]\nuri = "none.mp4"\n'
        '[output]\nsinks = ["none/out.mp4"]\n'
    )
    done = edge("check", _settings(tmp_path, text))
    assert done.returncode == 4
    assert done.stdout.count("WRONG") == 3
