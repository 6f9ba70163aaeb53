"""``edge profile`` through its door: what it leaves in its folder, however the run ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.edge.door import DEADLINE_S, EDGE, edge
from tests.edge.media_files import write_video
from tests.tiny_models import tiny_street

FILES = ["metrics.json", "report.html", "trace.json"]
DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    tiny_street(path)
    return path


def shown(folder: Path) -> dict[str, Any]:
    """What the page of a profile shows."""
    found = DATA.findall((folder / "report.html").read_text())
    assert len(found) == 1
    data: dict[str, Any] = json.loads(found[0])
    return data


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_profile_of_the_street_has_its_report_trace_and_metrics(
    model: Path, tmp_path: Path
) -> None:
    arguments = ["--source", "synthetic:96x64@50", "--model", str(model), "--seconds", "0.6"]
    done = edge("profile", *arguments, "-o", tmp_path / "p", "--metrics", tmp_path / "m.json")
    assert done.returncode == 0, done.stderr
    assert names_in(tmp_path / "p") == FILES
    assert (tmp_path / "m.json").read_bytes() == (tmp_path / "p/metrics.json").read_bytes()
    metrics = json.loads((tmp_path / "m.json").read_bytes())
    data = shown(tmp_path / "p")
    assert "trace ends" in json.loads((tmp_path / "p/trace.json").read_bytes())[-1]["name"]
    assert (data["ended"], data["error"]) == ("seconds", None)
    rendered = metrics["frames"]["rendered"]
    assert data["frames"] == metrics["frames"]
    assert data["kept"] == {"frames": rendered, "of": rendered}
    assert data["rates"]["fps"] == pytest.approx(metrics["fps"], rel=1e-3)
    stages = {stage["name"]: stage for stage in data["stages"]}
    assert stages["overlay"]["count"] == 0  # no sink wants a picture
    for name in ("capture", "letterbox", "infer", "decode", "sinks", "end_to_end"):
        assert stages[name]["count"] == rendered
        assert stages[name]["max"] == pytest.approx(metrics["stages"][name]["max_ms"], abs=1e-3)
    assert sum(data["timeline"]["frames"]) == rendered
    lost = sum(sum(window.values()) for window in data["timeline"]["lost"])
    assert lost == metrics["frames"]["captured"] - rendered
    what = dict(data["what"])
    assert what["source"] == "synthetic:96x64@50"
    assert what["sinks"].startswith("null")
    assert {"CPU", "Python", "engine"} <= what.keys()


def test_a_video_with_a_picture_kept_is_profiled_frame_by_frame(
    model: Path, tmp_path: Path
) -> None:
    write_video(tmp_path / "in.mp4", count=12, fps=10, wh=(96, 64))
    arguments = [
        "--source",
        "in.mp4",
        "--model",
        str(model),
        "--policy",
        "wait",
        "--sink",
        "out.mp4",
    ]
    done = edge("profile", *arguments, "-o", "p", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    data = shown(tmp_path / "p")
    assert data["ended"] == "end of source"
    stages = {stage["name"]: stage["count"] for stage in data["stages"]}
    assert (stages["overlay"], stages["interval"]) == (12, 11)
    slowest = data["slowest"]
    assert len(slowest) == 10
    took = [frame["took"] for frame in slowest]
    assert took == sorted(took, reverse=True)
    for frame in slowest:
        assert sum(ms for _, ms in frame["parts"]) == pytest.approx(frame["took"], abs=0.02)
        assert frame["picture"]["wh"] == [96, 64]
        took, said = frame["words"].split(" ms, usually ")[0], frame["took"]
        assert float(took) == pytest.approx(said, abs=0.0501)  # rounded from more digits


def test_a_run_that_fails_leaves_a_report_that_says_why(tmp_path: Path, model: Path) -> None:
    arguments = ["--source", "</script><b>none.mp4", "--model", str(model)]
    done = edge("profile", *arguments, "-o", "p", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert names_in(tmp_path / "p") == FILES
    data = shown(tmp_path / "p")
    assert data["ended"] == "error in source"
    assert "</script><b>none.mp4" in data["error"]
    assert (data["kept"]["of"], data["rates"]["fps"], data["slowest"]) == (0, None, [])
    assert json.loads((tmp_path / "p/metrics.json").read_bytes())["error"] == data["error"]


def test_a_setting_that_is_refused_late_is_in_the_report_too(tmp_path: Path, model: Path) -> None:
    arguments = ["--source", "synthetic:96x64@30", "--model", str(model), "--classes", "elephant"]
    done = edge("profile", *arguments, "-o", "p", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "elephant" in shown(tmp_path / "p")["error"]


def test_an_interrupted_run_is_reported_and_a_killed_one_says_so(
    model: Path, tmp_path: Path
) -> None:
    arguments = ["--source", "synthetic:96x64@50", "--model", str(model), "--sink", "-", "-o", "p"]
    for number, code in ((signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)):
        with subprocess.Popen(
            [*EDGE, "profile", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for _ in range(3):
                process.stdout.readline()
            process.send_signal(number)
            process.stdout.read()
            assert process.wait(DEADLINE_S) == code
        data = shown(tmp_path / "p")
        if number == signal.SIGINT:
            assert data["ended"] == "signal SIGINT"
            assert data["kept"]["of"] >= 3
        else:
            assert "was not finished" in data["error"]
            assert names_in(tmp_path / "p") == ["report.html", "trace.json"]


def test_a_folder_that_holds_anything_else_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "taxes").mkdir()
    (tmp_path / "taxes/metrics.json").write_text("mine")
    done = edge("profile", "--model", "none.onnx", "-o", "taxes", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "taxes: holds what is no profile's (metrics.json)" in done.stderr
    assert "choose a new folder" in done.stderr
    assert (tmp_path / "taxes/metrics.json").read_text() == "mine"
    assert names_in(tmp_path / "taxes") == ["metrics.json"]


@pytest.mark.parametrize(
    "options", [("--metrics", "p/trace.json"), ("--sink", "record:{}/p/films")]
)
def test_nothing_else_is_written_into_the_folder_of_a_profile(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    (tmp_path / "p").mkdir()
    given = [text.format(tmp_path) for text in options]
    done = edge("profile", "--model", "none.onnx", *given, "-o", "p", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "lies in -o p, which is the profile's alone; write it elsewhere" in done.stderr
    assert names_in(tmp_path / "p") == []


UNSHARED = 'mount -t tmpfs -o size=64k{} none p && exec "$@"'


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (",ro", 2, "-o p: cannot be made or written to: Read-only file system; choose another"),
        ("", 5, "cannot be written: No space left on device; make room or choose another"),
    ],
)
def test_a_disk_that_takes_nothing_is_told_in_one_line(
    options: str, code: int, words: str, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "p").mkdir()
    mount = ["unshare", "--mount", "sh", "-ec", UNSHARED.format(options), "sh"]
    if subprocess.run([*mount, "true"], cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount (root)")
    run = ["--source", "synthetic:960x540@30", "--model", str(model), "--frames", "12"]
    done = subprocess.run(
        [*mount, *EDGE, "profile", *run, "-o", "p"], env=os.environ | {"DISPLAY": ""},
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
