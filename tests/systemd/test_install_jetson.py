"""Installing on a Jetson: what it refuses, what it would run, and what is current at any time.

The machines are recorded. One test runs all steps, on the driver and the TensorRT of tests.
"""

from __future__ import annotations

import json
import signal
import site
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import install_jetson
import pytest
import versions
from jetson_facts import NEEDED_DISK, Place, read_facts, reasons_against
from packages import Checkout

from tests.cuda_host.build import HostCuda
from tests.edge.media_files import unprivileged
from tests.engines.jetson import Jetson
from tests.systemd.recorded import ORIN_5, ORIN_7, ORIN_NANO_6, THOR_7, Recorded
from tests.test_packaging import PROJECT, ROOT

SCRIPT = ROOT / "systemd" / "install_jetson.py"
VERSION = PROJECT["version"]


def script(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The script chooses what ends it, which would hold for pytest, too."""
    chosen = (signal.SIGPIPE, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in chosen}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def place_in(root: Path) -> Place:
    return Place(root, root / "usr/bin/python3", root / "usr/local/cuda")


@pytest.mark.parametrize(
    ("device", "python", "pinned", "said"),
    [
        (ORIN_NANO_6, "3.10", "py310.txt", "L4T 36.4.7, JetPack 6.2.1+b38, TensorRT 10.3.0.30"),
        (THOR_7, "3.12", "py311.txt", "L4T 38.2.0, JetPack unknown, TensorRT 10.13.3.9"),
        (ORIN_7, "3.12", "py311.txt", "L4T 39.2.0, JetPack 7.2-b187, TensorRT 10.16.2.10"),
    ],
    ids=["jetpack 6", "thor", "jetpack 7"],
)
def test_a_dry_run_prints_every_command_with_its_reason_and_does_nothing(
    device: Recorded, python: str, pinned: str, said: str, tmp_path: Path
) -> None:
    device.write(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    run = script("--dry-run", "--root", tmp_path)
    assert run.returncode == 0, run.stderr
    assert sorted(tmp_path.rglob("*")) == before
    text = run.stdout.replace(str(tmp_path), "")
    assert text.startswith(f"{device.model}, {said}, Python {python}, ")
    blocks = text.strip().split("\n\n")[1:]
    assert all(block.startswith("# ") and block.count("\n") == 1 for block in blocks)
    commands = [block.split("\n")[1] for block in blocks]
    folder = f"/opt/outrider/{VERSION}"
    assert commands[1] == f"/usr/bin/python3 -m venv --system-site-packages {folder}/venv"
    assert f"-c {folder}/source/constraints/{pinned} '{folder}/source[export,web]'" in commands[3]
    assert commands[4].startswith("PYTHONNOUSERSITE=1 CUDA_ROOT=/usr/local/cuda PATH=/usr/local/")
    assert "--no-binary=pycuda" in commands[4]
    packages = f"{folder}/venv/lib/python{python}/site-packages"
    assert commands[5].endswith(f"edge-export build {packages}/engines/models/street.onnx")
    assert f"{folder}/venv/bin/edge doctor --need" in commands[6]
    assert "--engine tensorrt" in commands[7]
    assert commands[8] == f"ln -sfn {VERSION} /opt/outrider/current"
    assert len(commands) == 9


def test_the_engine_is_built_by_the_services_user_where_the_services_look(tmp_path: Path) -> None:
    facts = read_facts(place_in(ORIN_NANO_6.write(tmp_path)))
    steps = install_jetson.steps(
        place_in(Path("/")), VERSION, facts, origin=Checkout(), jetpack_opencv=False
    )
    words = [step.words for step in steps]
    assert words[1][0] == "systemd-sysusers"
    assert words[2][:2] == ["systemd-tmpfiles", "--create"]
    assert all(Path(line[-1]).parts[-3:-1] == ("source", "systemd") for line in words[1:3])
    unit = (ROOT / "systemd/outrider-build@.service").read_text()
    for step in steps[-3:]:
        assert step.words[:4] == ["runuser", "-u", "outrider", "--"]
        for key in ("HOME", "XDG_CACHE_HOME", "OUTRIDER_BUILT"):
            assert f"{key}={step.environ[key]}" in unit.replace("Environment=", "").split()


def test_no_command_fetches_tensorrt_and_only_pycuda_is_compiled(tmp_path: Path) -> None:
    ORIN_NANO_6.write(tmp_path)
    text = script("--dry-run", "--root", tmp_path).stdout
    fetching = [line for line in text.splitlines() if "pip install" in line]
    assert len(fetching) == 3
    for line in fetching:
        assert "--only-binary=:all:" in line
        assert "tensorrt" not in line
    assert ["--no-binary" in line for line in fetching] == [False, False, True]


def test_jetpacks_opencv_replaces_the_wheel_where_it_is_asked_for(tmp_path: Path) -> None:
    ORIN_NANO_6.write(tmp_path)
    plain = script("--dry-run", "--root", tmp_path).stdout
    asked = script("--dry-run", "--root", tmp_path, "--jetpack-opencv").stdout
    assert "uninstall -y -q opencv-python" not in plain
    added = [line for line in asked.splitlines() if line not in plain.splitlines()]
    assert any(line.endswith("uninstall -y -q opencv-python") for line in added)
    assert any("'numpy>=1.26,<2'" in line for line in added)
    assert any("import cv2" in line for line in added)


def test_what_is_no_jetson_is_sent_to_make_install(tmp_path: Path) -> None:
    run = script("--root", tmp_path)
    assert run.returncode == 1
    assert run.stderr.splitlines() == [
        "install-jetson: this is no Jetson (no /proc/device-tree/model, no /etc/nv_tegra_release); "
        "elsewhere: make install"
    ]
    assert not (tmp_path / "opt").exists()


@pytest.mark.parametrize(
    ("device", "without", "message"),
    [
        (ORIN_5, (), "L4T 35.4.1 is older than JetPack 6 (L4T 36)"),
        (ORIN_5, (), "TensorRT 8.5.2 is not supported, wanted 10.3 to 11.x"),
        (ORIN_NANO_6, ("python3-libnvinfer",), "sudo apt install -y nvidia-jetpack"),
        (ORIN_NANO_6, ("g++", "python3-gi"), "sudo apt install -y g++ python3-gi"),
        (
            replace(ORIN_NANO_6, python="python3.11"),
            (),
            "Python 3.11, JetPack's TensorRT is for 3.10",
        ),
        (replace(ORIN_7, python="python3.10"), (), "Python 3.10, JetPack's TensorRT is for 3.12"),
    ],
)
def test_what_would_fail_later_is_refused_before_anything_is_written(
    device: Recorded, without: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    device.write(tmp_path, without=without)
    for arguments in ([], ["--dry-run"]):
        run = script(*arguments, "--root", tmp_path)
        assert run.returncode == 1
        assert message in run.stderr
    assert not (tmp_path / "opt").exists()


def test_a_jetson_without_the_cuda_compiler_is_refused(tmp_path: Path) -> None:
    ORIN_NANO_6.write(tmp_path)
    (tmp_path / "usr/local/cuda").unlink()
    run = script("--root", tmp_path)
    assert "JetPack's CUDA compiler (/usr/local/cuda/bin/nvcc) is not there" in run.stderr


def test_too_little_disk_is_refused_with_both_figures(tmp_path: Path) -> None:
    seen = read_facts(place_in(ORIN_NANO_6.write(tmp_path)))
    enough, little = (
        replace(seen, disk=replace(seen.disk, free_bytes=size)) for size in (NEEDED_DISK, 1 << 30)
    )
    assert reasons_against(enough) == []
    (reason,) = reasons_against(little)
    assert reason.startswith(f"1.0 GiB are free for {tmp_path}/opt/outrider, wanted 3;")


def test_one_who_is_not_root_is_refused_and_may_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ORIN_NANO_6.write(tmp_path)
    for folder in (tmp_path, *tmp_path.parents):  # pytest closes its own to others
        if folder.owner() == tmp_path.owner() and folder.stat().st_mode & 0o055 != 0o055:
            folder.chmod(0o755)
    tmp_path.chmod(0o555)
    try:
        with unprivileged():
            assert install_jetson.main(["--root", str(tmp_path)]) == 1
            assert "sudo make install-jetson" in capsys.readouterr().err
            assert install_jetson.main(["--root", str(tmp_path), "--dry-run"]) == 0
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_installation_that_is_interrupted_ends_in_one_line_and_its_step_with_it(
    number: signal.Signals, tmp_path: Path
) -> None:
    ORIN_NANO_6.write(tmp_path)
    python = tmp_path / "usr/bin/python3.10"
    # The second step never ends, and says so only when the installer waits for it.
    waits = 'until grep -q ") S " /proc/$PPID/stat; do :; done'
    python.write_text(f"#!/bin/sh\n{waits}\necho asleep\nexec sleep 60\n")
    python.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, SCRIPT, "--root", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout
        assert "asleep\n" in run.stdout
        run.send_signal(number)
        _, said = run.communicate(timeout=30)  # returns only when the step has let go of it too
    assert (run.returncode, said) == (130, "install-jetson: interrupted; nothing is current\n")


def test_a_file_in_the_place_of_the_folder_is_told_in_one_line(tmp_path: Path) -> None:
    ORIN_NANO_6.write(tmp_path)
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt/outrider").write_text("")
    run = script("--root", tmp_path)
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.startswith("install-jetson: [Errno 17] File exists")


@pytest.mark.slow
def test_all_steps_run_on_the_driver_of_tests(
    host_cuda: HostCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is Python's is real: copy, venv, packages, build, gate, doctor, run, switch.

    The packages of this machine, the double of TensorRT and the host's PyCUDA are what the venv
    finds on its system, so that nothing is downloaded that is here.
    """
    environment = Jetson(host_cuda).environment()
    found = [path for path in environment["PYTHONPATH"].split(":") if Path(path) != ROOT]
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("PYTHONPATH")
    place = Place(tmp_path, Path(sys.executable).resolve(), Path("/usr/local/cuda"))
    seen = replace(read_facts(place), python=sys.version_info[:2])

    def plan(name: str) -> list[versions.Step]:
        steps = install_jetson.steps(place, name, seen, origin=Checkout(), jetpack_opencv=False)
        packages = (
            place.base / name / "venv/lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        )
        system = packages / "site-packages" / "system.pth"
        lines = "\n".join([*found, *site.getsitepackages()])

        def show() -> None:
            system.write_text(lines + "\n")

        there = versions.Step("the system", [], action=show)
        steps[-1].words[-1] = "10"  # frames: the double is no GPU
        return [*steps[:2], there, *steps[2:]]

    assert versions.install(place.base, versions.Plan(VERSION, plan)) == VERSION
    current = place.base / "current"
    listed = subprocess.run(
        [current / "venv/bin/edge", "doctor", "--json"], capture_output=True, text=True, check=True
    )
    ok = {
        item["name"]: item["text"] for item in json.loads(listed.stdout) if item["status"] == "ok"
    }
    assert {"CUDA", "tensorrt", "pycuda", "built engine"} <= set(ok)
    built = current.resolve() / "venv" / "lib"
    assert ok["built engine"].startswith(str(built))
