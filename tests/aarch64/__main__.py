"""What ``make test-aarch64`` runs: the vehicle's processor, played by qemu, does what a user does.

``python -m tests.aarch64 [STEP …]`` runs all steps or those named, each whatever came of the one
before, and prints their table for BENCHMARKS.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import onnx

from engines.files import locked
from export.compare.differences import PROOF_CONF, SAME
from tests.aarch64 import root as arm
from tests.aarch64.agreement import ANOTHER_LETTERBOX, Agreement, of_boxes, of_pictures
from tests.aarch64.pictures import COUNT, write_pictures
from tests.conftest import ROOT
from tests.export.adopting import write_frames
from tests.foreign_models import FOREIGN

LONGEST_S = 1800
"""A step that takes longer hangs; qemu's slowest takes a tenth of it on two cores."""
INSTALLED = ("edge", "engines", "export", "systemd", "docs", "pyproject.toml", "README.md",
             "LICENSE", "NOTICE")  # fmt: skip
TESTS = {
    "engines": ["tests/engines"],
    "vision": ["tests/edge/vision", "tests/edge/street", "tests/edge/test_cli.py"],
    "sources": ["tests/edge/sources"],
    "sinks": ["tests/edge/sinks", "tests/edge/test_logs.py", "tests/edge/test_stdout.py"],
    "run": ["tests/edge/run/test_ledger.py", "tests/edge/run/test_mailbox.py",
            "tests/edge/run/test_metrics.py", "tests/edge/run/test_pipeline.py",
            "tests/edge/settings"],
    "service": ["tests/edge/service", "tests/edge/units", "tests/systemd"],
}  # fmt: skip
"""Quick tests by what they are of."""
NOT_HERE = {
    "tests/engines/cuda": "native GPU code",
    "tests/engines/tensorrt": "native GPU code",
    "tests/systemd/*_booted.py": "boots this machine's systemd",
    "tests/systemd/test_services.py": "boots this machine's systemd",
}
"""Patterns of files below ``TESTS`` that are left out, and why."""
NOT_UNDER_QEMU = {
    "tests/edge/sources/live/test_supervisor.py::test_a_thousand_reconnects_leave_nothing_behind": (
        "qemu keeps 0.3 MB of every thread that has ended"
    ),
    "tests/edge/sources/gst/test_source.py::test_the_app_runs_a_pipeline_to_its_end": (
        "twenty frames of the shipped network take minutes"
    ),
}
VERSIONS = ("av", "numpy", "onnx", "onnxruntime", "opencv-python", "openvino")


class StepFailed(Exception):
    """A step did not do what it should; the message says what."""


class Machine:
    """The root with this checkout in it, and what both sides write."""

    def __init__(self, out: Path) -> None:
        named = Path(os.environ.get("OUTRIDER_SHARED", ROOT.parent / "shared"))
        self.shared = named.resolve() if named.is_dir() else None
        self.out = out
        mounts = {"/src": ROOT, "/out": out}
        if self.shared:
            mounts["/shared"] = self.shared
        self.root = arm.root()
        self._inside = arm.Root(self.root, mounts)

    def run(self, *words: str, **environ: str) -> str:
        """Run a command inside and show what it says; returns that.

        Raises:
            StepFailed: it ended with anything but 0, or took too long.
        """
        environ = {"OUTRIDER_SHARED": "/shared", **environ}
        said = list[str]()
        with subprocess.Popen(
            self._inside.enter(*words, **environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            assert process.stdout
            limit = threading.Timer(LONGEST_S, os.killpg, (process.pid, signal.SIGKILL))
            limit.start()
            try:
                for line in process.stdout:
                    said.append(line)
                    print(line, end="", flush=True)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
            finally:
                limit.cancel()
        if process.returncode:
            raise StepFailed(f"{words[0]} ended with {process.returncode}")
        return "".join(said)

    def clip(self) -> tuple[str, str]:
        """The highway clip, or the synthetic street as a video: its name inside and on the host."""
        if self.shared:
            name = "data/videos/highway.mp4"
            return f"/shared/{name}", str(self.shared / name)
        street = self.out / "street.mp4"
        if not street.exists():
            here("edge", "run", "--sink", str(street), "--frames", "12")
        return "/out/street.mp4", str(street)


def here(command: str, *words: str) -> None:
    """Run a command of this machine's venv.

    Raises:
        StepFailed: it ended with anything but 0; it has said why.
    """
    run = subprocess.run([Path(sys.executable).with_name(command), *words], check=False)
    if run.returncode:
        raise StepFailed(f"{command} ended with {run.returncode} on this machine")


def install(machine: Machine) -> str:
    """pip builds and installs the project inside."""
    parts = " ".join(f"/src/{part}" for part in INSTALLED)
    pip = "/opt/outrider/bin/python -m pip install --quiet --no-index --no-deps"
    machine.run(
        *("sh", "-ec"),
        f"mkdir /tmp/source; cp -r {parts} /tmp/source; {pip} --no-build-isolation /tmp/source",
    )
    return "pip install of the checkout"


def doctor(machine: Machine) -> str:
    """``edge doctor`` finds nothing missing, and both backends."""
    said = machine.run("edge", "doctor")
    for wanted in (r"system +.*aarch64", "ok +openvino", "ok +onnxruntime", "Nothing is missing"):
        if not re.search(wanted, said):
            raise StepFailed(f"edge doctor does not say {wanted!r}")
    precision = re.search(r"openvino +default precision (\w+)", said)
    return f"nothing is missing; OpenVINO's default precision is {precision and precision[1]}"


def decode(machine: Machine) -> str:
    """The clip's frames and the network's inputs are those of this machine but for rounding."""
    inside, outside = machine.clip()
    shutil.rmtree(machine.out / "aarch64", ignore_errors=True)
    machine.run(
        "sh", "-ec", f"cd /src; exec python -m tests.aarch64.pictures {inside} /out/aarch64"
    )
    x86 = _pictures(machine, outside)
    frames = of_pictures(x86 / "frames", machine.out / "aarch64/frames")
    inputs = of_pictures(x86 / "inputs", machine.out / "aarch64/inputs")
    _judge(frames, inputs)
    return f"frames differ from x86's by {frames.told}; letterboxed by {inputs.told}"


def _pictures(machine: Machine, clip: str) -> Path:
    folder = machine.out / "x86"
    if not folder.exists():
        write_pictures(clip, folder)
    return folder


def _judge(*agreements: Agreement) -> None:
    failures = [failure for agreement in agreements for failure in agreement.failures]
    if failures:
        raise StepFailed("; ".join(failures))


def _boxes(
    machine: Machine, inside: str, outside: str, engine: str, *options: str
) -> tuple[Path, Path]:
    """Run the app at f32 on both machines; their files of JSON lines."""
    shared_words = ("--engine", engine, "--precision", "f32", "--frames", str(COUNT), *options)
    files = machine.out / f"x86-{engine}.jsonl", machine.out / f"aarch64-{engine}.jsonl"
    here("edge", "run", "--source", outside, *shared_words, "--sink", str(files[0]))
    words = ("run", "--source", inside, *shared_words, "--sink", f"/out/{files[1].name}")
    machine.run("edge", *words)
    return files


def clip(machine: Machine) -> str:
    """The app on the clip: the boxes of x86, as far as another rounding of pixels lets them be."""
    agreement = of_boxes(*_boxes(machine, *machine.clip(), "openvino"), ANOTHER_LETTERBOX)
    _judge(agreement)
    return agreement.told


def _on_inputs(engine: str) -> Callable[[Machine], str]:
    def step(machine: Machine) -> str:
        """The app on the network's own input: the boxes of x86 within the limits of parity."""
        pictures = _pictures(machine, machine.clip()[1]) / "inputs"
        low = f"{PROOF_CONF - SAME.score:g}"  # a box just below the threshold is still a partner
        files = _boxes(machine, "/out/x86/inputs", str(pictures), engine, "--conf", low)
        agreement = of_boxes(*files)
        _judge(agreement)
        return agreement.told

    return step


def adopt(machine: Machine) -> str:
    """``edge-export adopt`` takes a foreign file and proves it."""
    if machine.shared:
        model, frames = "/shared/models/yolox_nano.onnx", machine.clip()[0]
    else:
        onnx.save(FOREIGN["ultralytics"](), machine.out / "foreign.onnx")
        write_frames(machine.out / "foreign")
        model, frames = "/out/foreign.onnx", "/out/foreign"
    target = machine.out / "adopted.onnx"
    said = machine.run("edge-export", "adopt", model, "--frames", frames, "-o", "/out/adopted.onnx")
    if not target.exists():
        raise StepFailed("edge-export adopt has written nothing")
    proofs = re.findall(r"^proof +(boxes: .*)", said, re.MULTILINE)
    return f"{Path(model).name}: {'; '.join(proofs)}"


def installer(machine: Machine) -> str:
    """The installers tell what they would do; Debian's own Python runs the first."""
    machine.run("/usr/bin/python3", "-B", "/src/systemd/install.py", "--dry-run")
    machine.run("edge", "service", "install", "--dry-run")
    return "systemd/install.py and edge service install"


def _tests(places: list[str]) -> Callable[[Machine], str]:
    def step(machine: Machine) -> str:
        """The quick tests of these places."""
        words = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "logical",
                 "--maxprocesses", "8", "--max-worker-restart", "0", "--dist", "loadfile",
                 "-m", "not shared and not slow and not timing",
                 *(f"--ignore-glob={place}" for place in NOT_HERE),
                 *(f"--deselect={name}" for name in NOT_UNDER_QEMU), *places]  # fmt: skip
        said = machine.run(
            *("sh", "-ec", f"cd /src; exec {shlex.join(words)}"),
            HYPOTHESIS_STORAGE_DIRECTORY="/tmp/hypothesis",
        )
        counts: list[str] = re.findall(r"(\d+ passed.*?) in ", said)
        return counts[-1]

    return step


STEPS: dict[str, tuple[str, Callable[[Machine], str]]] = {
    "install": ("`pip install`", install),
    "doctor": ("`edge doctor`", doctor),
    "decode": ("five frames of the clip, decoded and letterboxed", decode),
    "clip": ("`edge run` on them, OpenVINO f32", clip),
    "openvino": ("the same network input, OpenVINO f32", _on_inputs("openvino")),
    "onnxruntime": ("the same network input, ONNX Runtime f32", _on_inputs("onnxruntime")),
    "adopt": ("`edge-export adopt`", adopt),
    "installer": ("the installers with `--dry-run`", installer),
    **{f"test-{name}": (f"tests of {name}", _tests(places)) for name, places in TESTS.items()},
}
"""Name on the command line → (words in the table, what it does and tells)."""


def table(rows: list[str], seconds: float, shared: bool) -> str:
    """The section of BENCHMARKS.md."""
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", arm.PINS.read_text(), re.MULTILINE))
    qemu = subprocess.run([arm.QEMU, "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"version (\S+)", qemu.stdout)
    cpu = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    clip = "" if shared else " Without ../shared the clip is the synthetic street."
    return "\n".join([
        f"{datetime.date.today()}, {cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores,"
        f" qemu {version[1] if version else '?'} as {arm.CPU}, Debian {arm.SUITE}'s Python",
        f"{arm.PYTHON}, " + ", ".join(f"{name} {pins[name]}" for name in VERSIONS)
        + f"; the root was ready after {seconds:.0f} s.{clip}",
        "",
        "| step | s | verdict | |",
        "|---|---|---|---|",
        *rows,
    ])  # fmt: skip


def main() -> int:
    """Returns 0 where every step passed, 1 where one did not or this machine lacks something."""
    parser = argparse.ArgumentParser(prog="python -m tests.aarch64", description=__doc__)
    parser.add_argument("steps", nargs="*", metavar="STEP", help=", ".join(STEPS))
    parser.add_argument(
        "--where-possible", action="store_true", help="end with 0 where this machine cannot"
    )
    given = parser.parse_args()
    unknown = [name for name in given.steps if name not in STEPS]
    if unknown:
        parser.error(f"no step {unknown[0]}, wanted any of {', '.join(STEPS)}")
    packages = arm.missing()
    if packages:
        print(f"aarch64 was not tested: sudo apt install -y {' '.join(packages)}", file=sys.stderr)
        return 0 if given.where_possible else 1
    if not arm.mirror():
        print(
            f"aarch64 was not tested: this machine's apt knows no Debian {arm.SUITE}; name a "
            "mirror of it: export OUTRIDER_DEBIAN=http://HOST/debian",
            file=sys.stderr,
        )
        return 0 if given.where_possible else 1
    # What runs inside is in a session of its own, so it ends when this does.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory() as scratch:
        started = time.monotonic()
        try:
            machine = Machine(Path(scratch))
        except (OSError, subprocess.CalledProcessError) as exc:
            print(f"aarch64 was not tested, its root could not be made: {exc}", file=sys.stderr)
            return 0 if given.where_possible else 1
        seconds = time.monotonic() - started
        with locked(machine.root):
            rows = [_row(machine, name) for name in given.steps or STEPS]
        print(table(rows, seconds, machine.shared is not None))
    return int(any("**failed**" in row for row in rows))


def _row(machine: Machine, name: str) -> str:
    words, do = STEPS[name]
    print(f"== aarch64: {words} ==", flush=True)
    started = time.monotonic()
    try:
        told, verdict = do(machine), "passed"
    except StepFailed as exc:
        told, verdict = str(exc), "**failed**"
    print(f"{verdict}: {told}", flush=True)
    return f"| {words} | {time.monotonic() - started:.0f} | {verdict} | {told} |"


if __name__ == "__main__":
    sys.exit(main())
