"""``edge run`` through its door: arguments, settings, exit codes, signals during start-up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from edge.commands.run import overrides_of, run
from edge.settings.load import load_settings, with_values
from edge.sources import SOURCES
from tests.edge.door import DEADLINE_S, edge
from tests.tiny_models import tiny_street

FIELDS = [
    "frame", "t_capture_ns", "clock", "media_ns", "source", "wh", "frame_age_ms",
    "source_delay_ms", "dropped",
    "detections", "masks",
]  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    tiny_street(path)
    return path


def test_stdout_carries_json_lines_only_and_the_options_win(model: Path, tmp_path: Path) -> None:
    settings = tmp_path / "car.toml"
    settings.write_text(
        '[source]\nuri = "synthetic:96x64@30"\npolicy = "wait"\n[pipeline]\nframes = 99\n'
        f'[model]\nfiles = ["{model}"]\n[output]\nsinks = ["null"]\n'
    )
    metrics = tmp_path / "m.json"
    done = edge("run", settings, "--frames", "3", "--sink", "-", "--metrics", metrics)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["frame"] for line in lines] == [0, 1, 2]
    assert list(lines[0]) == FIELDS
    assert lines[0]["wh"] == [96, 64]
    assert sum(lines[0]["masks"][0]["share"].values()) == pytest.approx(1, abs=1e-3)
    frames = json.loads(metrics.read_text())["frames"]
    assert frames["rendered"] == 3
    assert frames["in_flight"] == 0


@pytest.mark.parametrize("sink", [[], ["--sink", "null"]])
def test_a_run_that_nobody_sees_says_how_to_keep_it(sink: list[str], model: Path) -> None:
    arguments = ["--source", "synthetic:96x64@30", "--policy", "wait", "--frames", "2"]
    done = edge("run", "--model", model, *arguments, *sink)
    assert done.returncode == 0, done.stderr
    words = ("no display answers", "--sink web shows them on a page", "--sink out.mp4")
    advised = all(word in done.stderr for word in words)
    assert advised == (sink == [])  # who asks for nothing knows what comes


NO_PAGE = "import sys; sys.modules['uvicorn'] = None; from edge.start import main; main()"


def test_a_page_is_not_begun_without_what_serves_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_PAGE, "run", "--model", "none.onnx", "--sink", "web"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 2, done.stderr
    assert "uvicorn is not installed, wanted the extra web" in done.stderr
    assert "pip install -e '.[web]'" in done.stderr


def test_several_sinks_are_written_at_once(model: Path, tmp_path: Path) -> None:
    arguments = ["--source", "synthetic:96x64@30", "--policy", "wait", "--frames", "2"]
    done = edge(
        "run", "--model", model, *arguments, "--sink", "a.mp4", "--sink", "b.jsonl", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.mp4").stat().st_size > 500
    assert len((tmp_path / "b.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--conf", "2"], 2, "--conf: got 2.0, wanted 0 to 1"),
        (["--frames", "x"], 2, "'x' is not a valid integer"),
        (["--engine", "magic"], 2, "--engine: got 'magic', wanted \"auto\""),
        (["--sink", "out.avi"], 2, 'sink: got "out.avi", wanted window'),
        (["--sink", "web:here"], 2, 'got "web:here", wanted web or web:ADDRESS:PORT'),
        (["none.toml"], 2, "none.toml: no such settings file; check the path\n"),
        (["none.mp4"], 2, "A source goes to: edge run --source none.mp4\n"),
        (["none.onnx"], 2, "A model goes to: edge run --model none.onnx\n"),
        (["rtsp://u:secret@h/x"], 2, "a URL, where a settings file was wanted; a source goes to: "),
        (["--model", "none.onnx", "--source", "synthetic:96x64@30"], 4, "none.onnx"),
        (["--source", "none.mp4"], 3, "none.mp4"),
        (["--source", "pipe.mp4"], 3, "pipe.mp4: not a regular file, wanted a video file"),
        (["--model", "pipe.mp4"], 4, "pipe.mp4: not a regular file, wanted an ONNX file"),
        (["--sink", "none/out.mp4"], 2, "there is no folder none; make it first: mkdir -p none"),
        (["--sink", f"{'x' * 300}.mp4"], 2, "cannot be written: File name too long"),
        (["--metrics", "none/m.json"], 2, "metrics none/m.json: no folder none"),
    ],
)
def test_bad_input_is_told_with_its_exit_code(
    arguments: list[str], code: int, said: str, model: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")  # opening it would wait for ever
    given = arguments if "--model" in arguments else [*arguments, "--model", str(model)]
    done = edge("run", "--frames", "1", *given, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_credentials_of_a_source_reach_neither_log_nor_metrics(model: Path, tmp_path: Path) -> None:
    settings = tmp_path / "car.toml"
    # Port 9 (discard) of this machine: refused at once.
    settings.write_text(
        '[source]\nuri = "http://user:hunter2@127.0.0.1:9/a.mp4"\n[log]\nverbose = true\n'
        f'[model]\nfiles = ["{model}"]\n[output]\nmetrics = "m.json"\n'
    )
    done = edge("run", settings)
    assert done.returncode == 3, done.stderr
    written = "".join(path.read_text() for path in tmp_path.glob("*.json*"))
    assert "hunter2" not in done.stderr + done.stdout + written
    assert "***@127.0.0.1:9/a.mp4" in done.stderr


SIGNAL_ON_IMPORT = """
import os, signal, sys
number, module = sys.argv[1:3]
sys.argv[1:3] = ["run"]
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(Finder)
            os.kill(os.getpid(), getattr(signal, number))
sys.meta_path.insert(0, Finder)
from edge.start import main
main()
"""


@pytest.mark.parametrize(
    "module", ["edge.cli", "click", "pydantic", "edge.run.app", "cv2", "edge.run.pipeline"]
)
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_during_start_up_is_an_orderly_end(
    number: str, module: str, model: Path, tmp_path: Path
) -> None:
    arguments = ["--model", str(model), "--source", "synthetic:96x64@30", "--sink", "null"]
    arguments += ["--seconds", "60"]  # a signal that is lost must not run for ever
    metrics = tmp_path / "m.json"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            SIGNAL_ON_IMPORT,
            number,
            module,
            *arguments,
            "--metrics",
            str(metrics),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    # Before anything is open it ends at once; after, in order without a frame rendered for long.
    assert not metrics.exists() or json.loads(metrics.read_text())["frames"]["rendered"] <= 1


OPTIONS: dict[str, tuple[str, str, Any]] = {
    "--source": ("rtsp://h/1", "source.uri", "rtsp://h/1"),
    "--model": ("a.onnx", "model.files", ["a.onnx"]),
    "--engine": ("replay", "model.engine", "replay"),
    "--sink": ("a.mp4", "output.sinks", ["a.mp4"]),
    "--frames": ("3", "pipeline.frames", 3),
    "--seconds": ("1.5", "pipeline.seconds", 1.5),
    "--policy": ("drop", "source.policy", "drop"),
    "--conf": ("0.25", "detect.conf", 0.25),
    "--classes": ("car, person", "detect.classes", ["car", "person"]),
    "--precision": ("f32", "model.precision", "f32"),
    "--threads": ("2", "model.threads", 2),
    "--trust": ("0" * 64, "model.trust", ["0" * 64]),
    "--metrics": ("m.json", "output.metrics", "m.json"),
    "--verbose": ("", "log.verbose", True),
    "--reconnect": ("", "source.reconnect", True),
    "--web-token": ("t", "web.token_file", "t"),
    "--quiet": ("", "log.quiet", True),
    "--source-file": ("s", "source.uri_file", "s"),
    "--sink-file": ("s", "output.sink_files", ["s"]),
    "--raw-fps": ("40", "source.raw_fps", 40.0),
    "--tiles": ("2x1", "model.tiles", "2x1"),
}
"""Option, a value of it, and what becomes of that: in the order of the help."""


def _overrides(*arguments: str) -> dict[str, Any]:
    given = run.make_context("run", [*arguments]).params
    del given["settings"]
    return {key: value for key, value in overrides_of(given).items() if value is not None}


@pytest.mark.parametrize("flag", OPTIONS)
def test_an_option_sets_its_key_to_a_value_that_the_settings_take(flag: str) -> None:
    text, key, wanted = OPTIONS[flag]
    overrides = _overrides(flag, *([text] if text else []))
    assert overrides == {key: wanted}
    assert type(overrides[key]) is type(wanted)
    settings = with_values(load_settings(None, environ={}), overrides)
    section, _, name = key.partition(".")
    got = getattr(getattr(settings, section), name)
    assert (
        got == tuple(map(type(got[0]), wanted)) if isinstance(wanted, list) else type(got)(wanted)
    )


def test_an_option_may_be_given_several_times_where_a_key_takes_several() -> None:
    assert _overrides("--sink", "-", "--sink", "a.mp4") == {"output.sinks": ["-", "a.mp4"]}


def test_the_help_of_the_source_has_every_kind() -> None:
    (source,) = (p for p in run.params if "--source" in p.opts)
    assert isinstance(source, click.Option)
    assert all(form in str(source.help) for _, form in SOURCES.values())


def test_no_option_changes_nothing_and_none_is_untested() -> None:
    assert _overrides() == {}
    flags = [flag for p in run.params for flag in p.opts if flag.startswith("--")]
    assert flags == list(OPTIONS)
