"""The whole app in processes of its own: signals, failing stages, full disks, and what it reports.

Counts are compared over three witnesses: the metrics, the JSON lines and the frames in the mp4.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest

from edge.metrics.metrics import STAGES
from edge.run import app
from edge.settings.load import load_settings
from edge.sources.video.media import av
from tests.edge import loopback
from tests.edge.door import DEADLINE_S, EDGE, edge
from tests.edge.media_files import write_video
from tests.foreign_models import foreign_yolov8
from tests.tiny_models import BOX_CLASSES, grey, paint, tiny_mask, tiny_street, tiny_yolov8

AT_ONCE_S = 5
"""On a machine that is busy with something else; the waits that it cuts short are 10 s and more."""
TIMES = ["count", "mean_ms", "p50_ms", "p90_ms", "p99_ms", "max_ms"]

AT_THE_DOOR = """
import os
from edge.run.signals import hold_signals
from edge.start import main
hold_signals()  # before this the interpreter itself starts
os.write(2, b"started\\n")
main()
"""

COUNTED = """
import sys
from edge.start import main
model, reads = sys.argv.pop(1), []
sys.addaudithook(lambda event, of: event == "open" and str(of[0]) == model and reads.append(of))
try:
    main()
finally:
    print(len(reads))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    tiny_street(path)
    return str(path)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_an_engine_on_the_cpu_holds_no_frame_back_for_a_device(model: str, engine: str) -> None:
    settings = load_settings(None, {"model.files": [model], "model.engine": engine})
    network = app._open_perception(settings, threading.Event(), [])
    try:
        assert not network.on_gpu
    finally:
        network.close()


def test_a_default_run_parses_its_model_once(model: str, tmp_path: Path) -> None:
    arguments = ["run", "--source", "synthetic:96x64@30", "--model", model, "--frames", "1"]
    command = [sys.executable, "-c", COUNTED, model, *arguments, "--sink", "null"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    # Python reads it to parse it, and to look for an engine that was built from these bytes.
    assert run.stdout.strip() == "2"


@contextlib.contextmanager
def started(*arguments: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """``edge run`` at the moment when it takes signals; it is gone afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-c", AT_THE_DOOR, "run", *arguments],
        cwd=cwd,
        env=os.environ | {"DISPLAY": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        try:
            assert process.stderr.readline() == "started\n"
            yield process
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def nohup() -> Iterator[None]:
    """What is started meanwhile ignores SIGHUP, as by nohup(1)."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def python(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A small program around the app; ``arguments`` are its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env=os.environ | {"DISPLAY": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )


def frames_in(path: Path) -> int:
    """How many frames a player shows; it passes over a last one that a full disk cut off."""
    shown = 0
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            with contextlib.suppress(av.error.InvalidDataError):
                shown += len(packet.decode())
    return shown


def balanced(path: Path) -> dict[str, Any]:
    """The metrics of a run that ended, after a look at its ledger."""
    report: dict[str, Any] = json.loads(path.read_text())
    n = report["frames"]
    assert n["in_flight"] == 0
    outcomes = ("rendered", "dropped_overwritten", "dropped_stale", "failed", "discarded_at_stop")
    assert n["captured"] == sum(n[name] for name in outcomes)
    return report


def fault(stderr: str) -> str:
    """The one line that says what went wrong."""
    assert "Traceback" not in stderr
    errors = [line for line in stderr.splitlines() if " error " in line]
    assert len(errors) == 1, stderr
    return errors[0]


def assert_orderly(process: subprocess.Popen[str], folder: Path) -> None:
    """It exited 0, and a film that was begun is whole."""
    stderr = process.communicate(timeout=DEADLINE_S)[1]
    assert process.returncode == 0, stderr
    assert "Traceback" not in stderr
    film, metrics = folder / "out.mp4", folder / "m.json"
    rendered = balanced(metrics)["frames"]["rendered"] if metrics.exists() else 0
    assert (frames_in(film) if film.exists() else 0) == rendered


def endless(model: str) -> list[str]:
    """A run that only a signal ends; should one be lost, a limit does."""
    arguments = ["--source", "synthetic:96x64@30", "--model", model]
    return [*arguments, "--sink", "out.mp4", "--metrics", "m.json", "--seconds", "100"]


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_any_moment_is_an_orderly_end(
    number: signal.Signals, after_s: float, model: str, tmp_path: Path
) -> None:
    with started(*endless(model), cwd=tmp_path) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(after_s)
        process.send_signal(number)
        assert_orderly(process, tmp_path)


STOPPED_AT_ONCE = """
import sys
from edge.run import app
from edge.settings.load import load_settings
class Asked(app.StopSignals):
    def __init__(self, reload):
        super().__init__(reload)
        self.asked.set()
app.StopSignals = Asked
sys.exit(app.run_app(load_settings(None, {"output.metrics": "m.json"})))
"""


def test_a_run_that_is_stopped_at_once_leaves_no_metrics_of_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text("{}")
    done = python(STOPPED_AT_ONCE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_that_keep_coming_change_nothing(
    number: signal.Signals, model: str, tmp_path: Path
) -> None:
    with started(*endless(model), "--sink", "-", cwd=tmp_path) as process:
        assert process.stdout is not None
        for _ in range(5):
            process.stdout.readline()
        while process.poll() is None:
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.002)
        assert_orderly(process, tmp_path)
    assert balanced(tmp_path / "m.json")["frames"]["rendered"] >= 5
    assert balanced(tmp_path / "m.json")["ended"] == f"signal {number.name}"


def test_a_hangup_that_was_ignored_at_the_start_stays_so(model: str, tmp_path: Path) -> None:
    with nohup(), started(*endless(model), "--sink", "-", cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        for _ in range(5):
            assert process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert_orderly(process, tmp_path)
    assert balanced(tmp_path / "m.json")["ended"] == "signal SIGTERM"


def test_no_thread_takes_a_signal_from_the_one_that_waits_for_it(
    model: str, tmp_path: Path
) -> None:
    # Given to another thread, a signal would not wake the main thread from its wait for a message.
    with started(*endless(model), "--sink", "-", cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        held = []
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            status = (thread / "status").read_text()
            held.append(int(status.partition("SigBlk:")[2].split()[0], 16))
        wanted = 1 << signal.SIGINT - 1 | 1 << signal.SIGTERM - 1 | 1 << signal.SIGHUP - 1
        assert len(held) > 3
        assert [mask & wanted for mask in sorted(held)] == [0] + [wanted] * (len(held) - 1)
        process.send_signal(signal.SIGINT)
        assert_orderly(process, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_adoption_of_a_model_leaves_no_process_and_no_folder(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    foreign_yolov8(tmp_path / "foreign.onnx")
    with started(*endless("foreign.onnx"), cwd=tmp_path) as process:
        assert process.stderr is not None
        assert any("adopting it once" in line for line in process.stderr)
        app = psutil.Process(process.pid)
        while not (children := app.children()):
            assert process.poll() is None
        process.send_signal(number)
        stderr = process.communicate(timeout=DEADLINE_S)[1]
        assert process.returncode == 0, stderr
        assert "left behind" not in stderr
        assert "Traceback" not in stderr
        assert not any(child.is_running() for child in children)
    assert list((tmp_path / "cache" / "outrider" / "adopted").iterdir()) == []


def test_a_signal_ends_the_wait_for_a_frame_that_is_due_in_an_hour(
    model: str, tmp_path: Path
) -> None:
    write_video(tmp_path / "in.mp4", count=3, fps=1, times=[0, 3600, 7200])
    arguments = ["--source", "in.mp4", "--policy", "drop", "--sink", "-", "--metrics", "m.json"]
    with started(*arguments, "--sink", "out.mp4", "--model", model, cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert_orderly(process, tmp_path)
        assert time.monotonic() - asked < AT_ONCE_S
    assert balanced(tmp_path / "m.json")["frames"]["rendered"] == 1


def test_a_signal_ends_the_wait_for_a_server_that_does_not_answer(
    model: str, tmp_path: Path
) -> None:
    called = threading.Event()

    def silent(connection: Any, over: threading.Event) -> None:
        called.set()
        over.wait(30)

    with loopback.served(silent) as port:
        url = f"http://127.0.0.1:{port}/live"
        arguments = ["--source", url, "--sink", "out.mp4", "--metrics", "m.json", "--model", model]
        with started(*arguments, cwd=tmp_path) as process:
            assert called.wait(DEADLINE_S)
            asked = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert_orderly(process, tmp_path)
            assert time.monotonic() - asked < AT_ONCE_S


RAISE_IN = """
import json, sys, threading, time
from importlib import import_module
where = sys.argv.pop(1)
module, name, method = where.rsplit(".", 2)
owner = getattr(import_module(module), name)
real, calls = getattr(owner, method), []
def broken(*arguments, **named):
    calls.append(1)
    if len(calls) == 6:
        open("raised", "w").write(str(time.monotonic()))
        raise RuntimeError("two\\nlines")
    return real(*arguments, **named)
setattr(owner, method, broken)
from edge.start import main
try:
    main()
finally:
    open("threads", "w").write(" ".join(t.name for t in threading.enumerate()))
"""


@pytest.mark.parametrize(
    ("where", "stage"),
    [
        ("edge.sources.synthetic.SyntheticSource.read", "source"),
        ("edge.vision.perception.Perception.prepare", "letterbox"),
        ("edge.vision.perception.Perception.submit", "infer"),
        ("edge.vision.perception.Perception.wait", "infer"),
        ("edge.vision.perception.Perception.decode", "decode"),
        ("edge.sinks.overlay.overlay.Overlay.draw", "overlay"),
        ("edge.sinks.mp4.Mp4Sink.write", "sink out.mp4"),
    ],
)
def test_an_exception_in_a_stage_ends_the_app_with_code_5_and_a_film(
    where: str, stage: str, model: str, tmp_path: Path
) -> None:
    arguments = ["run", "--source", "synthetic:96x64@30", "--policy", "wait", "--model", model]
    arguments += ["--sink", "out.mp4", "--metrics", "m.json", "--seconds", "100"]
    done = python(RAISE_IN, where, *arguments, cwd=tmp_path)
    gone = time.monotonic()
    assert done.returncode == 5, done.stderr
    assert gone - float((tmp_path / "raised").read_text()) < 2
    assert f"error in {stage}: RuntimeError: two lines; --verbose shows where" in fault(done.stderr)
    assert (tmp_path / "threads").read_text() == "MainThread signals"
    frames = balanced(tmp_path / "m.json")["frames"]
    assert frames["failed"] == (0 if stage == "source" else 1)
    assert 1 <= frames["rendered"] <= 5
    assert frames_in(tmp_path / "out.mp4") == frames["rendered"]


SMALL_DISK = """
import resource, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from edge.start import main
main()
"""


def test_a_full_disk_under_the_film_keeps_what_was_written(model: str, tmp_path: Path) -> None:
    write_video(tmp_path / "in.avi", count=150, fps=30, wh=(96, 64), codec="mjpeg", noise=True)
    arguments = ["run", "--source", "in.avi", "--model", model]
    arguments += ["--sink", "out.mp4", "--metrics", "m.json"]
    done = python(SMALL_DISK, "250000", *arguments, cwd=tmp_path)
    assert done.returncode == 5, done.stderr
    assert "out.mp4: cannot be written: File too large; what was" in fault(done.stderr)
    rendered = balanced(tmp_path / "m.json")["frames"]["rendered"]
    # The whole film has about 360 kB in five fragments, a second or 30 frames each: the fourth is
    # cut off, and the next may have grown in memory.
    assert 30 <= rendered - 60 <= frames_in(tmp_path / "out.mp4") <= rendered < 150


def test_a_full_disk_under_the_lines_is_told(model: str, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").symlink_to("/dev/full")
    arguments = ["--source", "synthetic:96x64@30", "--model", model, "--metrics", "m.json"]
    done = edge("run", *arguments, "--sink", "out.jsonl", cwd=tmp_path)
    assert done.returncode == 5
    assert "out.jsonl: cannot write frame 0: No space left on device" in fault(done.stderr)
    assert balanced(tmp_path / "m.json")["frames"]["failed"] == 1


def test_a_reader_of_stdout_that_leaves_ends_the_run_in_order(model: str, tmp_path: Path) -> None:
    arguments = [*endless(model), "--sink", "-"]
    with started(*arguments, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["frame"] == 0
        process.stdout.close()
        assert process.stderr is not None
        stderr = process.stderr.read()
        assert process.wait(DEADLINE_S) == 0, stderr
    report = balanced(tmp_path / "m.json")
    assert report["ended"] == "a sink's reader left"
    assert frames_in(tmp_path / "out.mp4") == report["frames"]["rendered"]


@pytest.mark.parametrize(
    ("closed", "sink", "code"), [("1>&-", "-", 5), ("1>&-", "null", 0), ("2>&-", "-", 0)]
)
def test_streams_that_are_closed_from_the_start_lead_to_no_fault(
    closed: str, sink: str, code: int, model: str, tmp_path: Path
) -> None:
    arguments = ["--source", "synthetic:96x64@30", "--policy", "wait", "--model", model]
    arguments += ["--frames", "2"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *EDGE, "run", *arguments, "--sink", sink],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    if code:
        assert "stdout: cannot write frame 0: it was closed" in fault(done.stderr)
    lines = 2 if code == 0 and sink == "-" else 0
    assert len(done.stdout.splitlines()) == lines, "a table must not go where lines are read"


def test_a_video_that_breaks_off_leaves_what_was_rendered(model: str, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", count=20, wh=(96, 64), codec="mjpeg", noise=True)
    broken = tmp_path / "broken.avi"
    broken.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    arguments = ["--source", "broken.avi", "--model", model, "--metrics", "m.json"]
    done = edge("run", *arguments, "--sink", "out.mp4", "--sink", "out.jsonl", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "breaks off after frame 1" in fault(done.stderr)
    assert "Copy or record the video again" in fault(done.stderr)
    frames = balanced(tmp_path / "m.json")["frames"]
    assert 8 <= frames["rendered"] <= 12
    assert frames["rendered"] == frames["captured"]
    assert frames_in(tmp_path / "out.mp4") == frames["rendered"]
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == frames["rendered"]


def test_waiting_renders_every_frame_of_a_video_and_counts_them_all(
    model: str, tmp_path: Path
) -> None:
    write_video(tmp_path / "in.mp4", count=12, fps=10, wh=(96, 64))
    arguments = ["--source", "in.mp4", "--model", model, "--policy", "wait", "--metrics", "m.json"]
    done = edge("run", *arguments, "--sink", "out.mp4", "--sink", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["frame"] for line in done.stdout.splitlines()] == list(range(12))
    assert frames_in(tmp_path / "out.mp4") == 12
    report = balanced(tmp_path / "m.json")
    assert list(report) == [
        "frames", "fps", "seconds", "stages", "frame_age_ms", "source_delay_ms", "detections_total",
        "cpu_ms_per_frame", "peak_rss_mb", "engine", "precision", "opened_s", "model", "source",
        "timed", "ended", "verdict",
    ]  # fmt: skip
    assert report["verdict"]["words"].startswith("Too few frames to tell")
    assert list(report["frames"]) == [
        "captured", "rendered", "dropped_overwritten", "dropped_stale", "failed",
        "discarded_at_stop", "in_flight", "source_gaps",
    ]  # fmt: skip
    documented = (Path(__file__).resolve().parents[3] / "docs" / "OUTPUT.md").read_text()
    keys = [*report, *report["frames"], *report["stages"], *report["frame_age_ms"]]
    keys += report["verdict"]
    assert [key for key in keys if f"`{key}`" not in documented] == []
    assert list(report["stages"]) == list(STAGES)
    assert all(list(stage) == TIMES for stage in report["stages"].values())
    assert list(report["frame_age_ms"]) == TIMES
    assert report["frames"]["captured"] == report["frames"]["rendered"] == 12
    assert all(stage["count"] == 12 for stage in report["stages"].values())
    assert report["fps"] == pytest.approx(11 / report["seconds"], rel=1e-3)
    assert report["ended"] == "end of source"


def test_dropping_plays_a_video_at_its_own_timestamps(model: str, tmp_path: Path) -> None:
    write_video(tmp_path / "in.mp4", count=8, fps=10, wh=(96, 64))
    arguments = ["--source", "in.mp4", "--model", model, "--policy", "drop", "--metrics", "m.json"]
    done = edge("run", *arguments, "--sink", "-", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    frames = balanced(tmp_path / "m.json")["frames"]
    assert frames["captured"] == 8
    assert sum(1 + line["dropped"] for line in lines) == lines[-1]["frame"] + 1
    # Frame n is due n/10 s after the first, and never before.
    for line in lines:
        late_s = (line["t_capture_ns"] - lines[0]["t_capture_ns"]) / 1e9 - line["frame"] / 10
        assert late_s > -0.005


def test_seconds_end_a_run_in_order(model: str, tmp_path: Path) -> None:
    arguments = ["--source", "synthetic:96x64@30", "--model", model, "--metrics", "m.json"]
    done = edge("run", *arguments, "--sink", "null", "--seconds", "0.3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = balanced(tmp_path / "m.json")
    assert report["ended"] == "seconds"
    assert report["seconds"] <= 0.35
    assert {row["engine"]: row["chosen"] for row in report["timed"]}[report["engine"]]
    assert [row["engine"] for row in report["timed"]] == ["openvino", "onnxruntime"]


def _folder(tmp_path: Path) -> str:
    """Three pictures: a car in colour, a grey one of another size, a car with alpha."""
    folder = tmp_path / "images"
    folder.mkdir()
    car = paint(grey(75), (32, 0, 64, 32), 0)  # 16 + 4 + 1 cells of strides 8, 16, 32 are cars
    cv2.imwrite(str(folder / "0.png"), car)
    cv2.imwrite(str(folder / "1.png"), np.full((50, 33), 75, np.uint8))
    cv2.imwrite(str(folder / "2.png"), np.dstack([car, np.full((64, 96), 9, np.uint8)]))
    return str(folder)


def test_pictures_that_are_grey_have_alpha_or_change_size_are_frames_like_any_other(
    model: str, tmp_path: Path
) -> None:
    arguments = ["--source", _folder(tmp_path), "--model", model, "--precision", "f32"]
    arguments += ["--sink", "out.mp4", "--sink", "-", "--metrics", "m.json"]
    done = edge("run", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["wh"] for line in lines] == [[96, 64], [33, 50], [96, 64]]
    assert [len(line["detections"]) for line in lines] == [21, 0, 21]
    assert lines[1]["masks"][0]["share"]["road"] == 1.0
    assert frames_in(tmp_path / "out.mp4") == 3
    assert balanced(tmp_path / "m.json")["detections_total"] == 42


@pytest.mark.parametrize(
    ("options", "boxes"),
    [
        ([], 21 + 21),
        (["--conf", "1"], 0),  # their score is 0.9999
        (["--classes", "car"], 21 + 21),
        (["--classes", "pedestrian, sign"], 0),
    ],
)
def test_several_models_see_the_same_frame_and_the_filters_hold_for_all(
    options: list[str], boxes: int, model: str, tmp_path: Path
) -> None:
    tiny_yolov8(tmp_path / "b.onnx")
    tiny_mask(tmp_path / "c.onnx")
    models = ["--model", model, "--model", "b.onnx", "--model", "c.onnx", "--precision", "f32"]
    arguments = ["--source", f"{_folder(tmp_path)}/0.png", *models, *options]
    done = edge("run", *arguments, "--sink", "-", "--metrics", "m.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    found = line["detections"]
    assert len(found) == boxes
    assert {d["class"] for d in found} <= {"car"}
    # The second model's classes follow the first's.
    assert {d["class_id"] for d in found} == ({0, len(BOX_CLASSES)} if boxes else set())
    assert len(line["masks"]) == 2
    report = balanced(tmp_path / "m.json")
    assert report["detections_total"] == boxes
    assert report["model"] == f"{model}, b.onnx, c.onnx"


@pytest.mark.parametrize("text", ["/dev/null", "/dev/stdout"])
def test_metrics_never_take_the_place_of_a_device(text: str, model: str, tmp_path: Path) -> None:
    # A link, so that no mistake can cost this machine its devices.
    (tmp_path / "m.json").symlink_to(text)
    done = edge("run", "--model", model, "--frames", "1", "--metrics", "m.json", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "metrics m.json: a device or a pipe, wanted the name of a file" in done.stderr
    assert (tmp_path / "m.json").is_symlink()


def test_a_run_calls_nobody_and_waits_for_nobody(model: str, tmp_path: Path) -> None:
    # OpenVINO's telemetry would go through this proxy, and the process could not end before it.
    called: list[bytes] = []

    def proxy(connection: Any, over: threading.Event) -> None:
        called.append(connection.recv(1000))
        over.wait(30)

    arguments = ["--source", "synthetic:96x64@30", "--model", model, "--frames", "1"]
    with loopback.served(proxy) as port:
        address = f"http://127.0.0.1:{port}"
        env = {"HTTPS_PROXY": address, "https_proxy": address, "HTTP_PROXY": address}
        env |= {"http_proxy": address, "HOME": str(tmp_path), "CI": ""}
        done = edge("run", *arguments, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert called == []
    assert not list(tmp_path.iterdir()), "an id to be recognised by"
