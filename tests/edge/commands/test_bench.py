"""``edge bench`` through its door: what it prints and writes, and mistakes before the minutes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.edge.door import edge
from tests.tiny_models import tiny_street

SMALL = ["--source", "synthetic:96x64@30", "--frames", "20"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    tiny_street(path)
    return str(path)


@pytest.mark.slow
def test_every_figure_is_printed_and_written(model: str, tmp_path: Path) -> None:
    beside = f"{sys.executable} -c \"print('warm-up 9 ms'); print('12.5 ms/frame')\""
    arguments = ["--model", model, "--peer", model, "--beside", beside, "--json", "figures.json"]
    done = edge("bench", *SMALL, *arguments, "--soak", "2000", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for said in (
        "openvino at ", ", in turn", "tiny.onnx, taken",
        "source, reading alone", "engine, bare, default precision", "engine, bare, f32 precision",
        "engine, bare, tiny.onnx", "letterbox, alone", "decode, alone", "overlay, alone",
        "the app's own CPU, overlay drawn", "pipeline, as fast as possible",
        "beside it 12.50 ms (medians of 3, in turn)", "camera pace,  30.0 fps",
        "memory over 2000 frames",
    ):  # fmt: skip
        assert said in done.stdout
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures) == {
        "machine", "model", "source", "letterbox", "decode", "overlay", "bare", "reading",
        "own_cpu_ms", "pipeline", "beside", "camera", "overload", "soak", "timed",
    }  # fmt: skip
    assert set(figures["bare"]) == {"default", "f32", model}
    assert [row["engine"] for row in figures["timed"]] == ["openvino", "onnxruntime"]
    assert figures["beside"]["theirs_ms"] == 12.5
    assert figures["overload"]["frames"]["rendered"] == 2000
    assert figures["overload"]["frames"]["dropped_overwritten"] > 0
    assert figures["overload"]["fps"] == pytest.approx(2e3 / figures["bare"]["default"]["wall_ms"])
    assert figures["camera"]["frames"]["rendered"] == 20
    assert figures["soak"]["frames"] == 2000


def test_figures_on_stdout_are_json_alone(model: str, tmp_path: Path) -> None:
    done = edge("bench", *SMALL, "--model", model, "--json", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["camera"]["frames"]["rendered"] == 20
    assert "pipeline, as fast as possible" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--json", "none/figures.json"], 2, "--json none/figures.json: there is no folder none"),
        (["--json", "."], 2, "--json .: is a folder"),
        (["--beside", "no-such-program -x"], 2, "wanted a program that is installed here"),
        (["--beside", ""], 2, "wanted a program that is installed here"),
        (["--beside", "echo 'open"], 2, "a quote in it is not closed"),
        (["--frames", "5"], 2, "5 is not in the range x>=20"),
        (["--engine", "magic"], 2, "engine 'magic', wanted one of"),
        (["--source", "none.mp4"], 3, "none.mp4: no such file"),
        (["--source", "bad.mp4"], 3, "bad.mp4: not a video that can be read"),
        (["--source", "http://u:hunter2@127.0.0.1:9/a"], 3, "***@127.0.0.1:9/a"),
        (["--model", "none.onnx"], 4, "none.onnx: no such model file"),
        (["--model", "bad.mp4"], 4, "bad.mp4"),
        (["--peer", "none.onnx"], 4, "--peer none.onnx: no such file"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(
    arguments: list[str], code: int, said: str, model: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    given = ["--model", model, *SMALL, *arguments]  # the later one of an option given twice wins
    done = edge("bench", *given, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "pipeline" not in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_a_program_beside_that_fails_is_quoted(model: str, tmp_path: Path) -> None:
    beside = f"{sys.executable} -c \"import sys; sys.exit('no GPU here')\""
    done = edge("bench", *SMALL, "--model", model, "--beside", beside, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "ended with 1, wanted 0 and a line with 'N ms/frame'; it said: no GPU" in done.stderr
    assert "Traceback" not in done.stderr
