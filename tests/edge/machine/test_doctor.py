"""The doctor: a recorded Jetson, a bare machine, this machine, and libraries that are broken."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
from click import unstyle
from click.testing import CliRunner

import edge.machine.doctor
from edge.commands.doctor import as_text, doctor, needing
from edge.machine.doctor import examine
from edge.machine.finding import Finding
from engines.errors import EngineError

ORIN_CPU = """processor\t: 0
BogoMIPS\t: 62.50
Features\t: fp asimd evtstrm aes asimdhp cpuid asimddp
CPU implementer\t: 0x41
"""


def _nothing(command: list[str]) -> str | None:
    return None


def _write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def _jetson(root: Path) -> None:
    """The files of an Orin Nano with L4T 36.4.3 and a USB camera, as far as they are read."""
    _write(root, "proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0")
    _write(root, "proc/cpuinfo", ORIN_CPU)
    _write(root, "proc/meminfo", "MemTotal:        7802092 kB\nMemFree: 1 kB\n")
    _write(root, "etc/os-release", 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n')
    _write(
        root,
        "etc/nv_tegra_release",
        "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
    )
    _write(root, "sys/class/video4linux/video0/name", "HD Webcam\n")
    _write(root, "sys/class/video4linux/video0/index", "0\n")
    _write(root, "dev/video0", "")
    (root / "dev/v4l/by-id").mkdir(parents=True)
    (root / "dev/v4l/by-id/usb-Acme_HD_Webcam-video-index0").symlink_to("../../video0")


def _by_name(findings: list[Finding]) -> dict[tuple[str, str], Finding]:
    return {(found.section, found.name): found for found in findings}


def test_a_jetson_is_told_with_its_power_mode_and_its_camera(tmp_path: Path) -> None:
    _jetson(tmp_path)

    def ask(command: list[str]) -> str | None:
        return "NV Power Mode: MAXN_SUPER\n2" if command == ["nvpmodel", "-q"] else None

    found = _by_name(examine(tmp_path, environ={}, ask=ask))
    assert found["Jetson", "model"].text == "NVIDIA Jetson Orin Nano Developer Kit"
    assert found["Jetson", "L4T"].text == "36.4.3"
    assert found["Jetson", "power mode"].text == "MAXN_SUPER"
    assert found["machine", "instructions"].text == "asimd, asimdhp, asimddp"
    assert found["machine", "memory"].text == "7.4 GiB"
    assert found["machine", "system"].text.startswith("Ubuntu 22.04.5 LTS")
    camera = "--source camera:usb-Acme_HD_Webcam-video-index0 (HD Webcam)"
    assert found["cameras", "video0"].text == camera


def test_a_jetson_whose_power_mode_is_secret_says_how_to_ask(tmp_path: Path) -> None:
    _jetson(tmp_path)
    found = _by_name(examine(tmp_path, environ={}, ask=_nothing))
    assert found["Jetson", "power mode"].status == "missing"
    assert "sudo nvpmodel -q" in found["Jetson", "power mode"].hint
    # What nvpmodel itself tells root alone stands in files for everybody.
    _write(tmp_path, "var/lib/nvpmodel/status", "pmode:0001\n")
    _write(tmp_path, "etc/nvpmodel.conf", "< POWER_MODEL ID=1 NAME=25W >\n")
    found = _by_name(examine(tmp_path, environ={}, ask=_nothing))
    assert found["Jetson", "power mode"] == Finding("Jetson", "power mode", "ok", "25W")


def test_an_empty_machine_is_examined_to_the_end(tmp_path: Path) -> None:
    found = _by_name(examine(tmp_path, environ={}, ask=_nothing))
    assert not any(section == "Jetson" for section, _ in found)
    assert found["cameras", "V4L2"].status == "none"
    assert found["engines", "built engine"].status == "none"
    assert found["display", "X11"].status == "none"
    assert found["display", "page"].text == "--sink web, at http://127.0.0.1:8090/"
    assert "h264" in found["video", "decoders"].text


def test_what_serves_the_page_is_worth_getting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    page = _by_name(examine(tmp_path, environ={}, ask=_nothing))["display", "page"]
    assert (page.status, page.text) == ("missing", "lacks uvicorn")
    assert "pip install -e '.[web]'" in page.hint


@pytest.mark.parametrize(
    ("environ", "status"),
    [({"DISPLAY": ":987"}, "missing"), ({"WAYLAND_DISPLAY": "wayland-0"}, "missing")],
)
def test_a_display_that_cannot_be_used_is_missing(
    environ: dict[str, str], status: str, tmp_path: Path
) -> None:
    display = _by_name(examine(tmp_path, environ=environ, ask=_nothing))["display", "X11"]
    assert (display.status, bool(display.hint)) == (status, True)


def test_a_library_that_breaks_on_use_hides_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = types.ModuleType("openvino")  # there, but without Core
    broken.__spec__ = sys.modules[__name__].__spec__
    monkeypatch.setitem(sys.modules, "openvino", broken)
    found = _by_name(examine(tmp_path, environ={}, ask=_nothing))
    assert found["engines", "openvino"].status == "missing"
    assert "is there but broken: AttributeError" in found["engines", "openvino"].text
    assert found["engines", "openvino"].hint == "pip install --force-reinstall openvino"
    assert found["engines", "onnxruntime"].status == "ok"
    assert "CPU" in found["engines", "onnxruntime"].text
    assert "Azure" not in found["engines", "onnxruntime"].text


@pytest.mark.parametrize(
    ("cuda", "status", "said"),
    [
        (None, "none", "no NVIDIA driver"),
        ([], "missing", "opens no device"),
        (["NVIDIA H100, compute capability 9.0"], "ok", "NVIDIA H100"),
    ],
)
def test_the_driver_is_told_apart_from_its_devices(
    cuda: list[str] | None,
    status: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edge.machine.doctor, "cuda_devices", lambda: cuda)
    found = _by_name(examine(tmp_path, environ={}, ask=_nothing))
    assert found["GPU", "CUDA"].status == status
    assert said in found["GPU", "CUDA"].text


def test_the_page_gives_every_hint_and_counts_what_is_missing() -> None:
    page = as_text(
        [
            Finding("a", "one", "ok", "fine", "not shown"),
            Finding("a", "two", "missing", "absent", "apt install two"),
            Finding("b", "three", "none", "not needed\x1b[2J"),
        ]
    )
    assert r"not needed\x1b[2J" in page  # a camera's name comes from the camera
    assert "apt install two" in page
    assert "not shown" not in page
    assert page.endswith("1 missing, see above.")


def test_what_was_needed_is_missing_even_where_others_do_without() -> None:
    findings = [Finding("a", "CUDA", "none", "no NVIDIA GPU"), Finding("a", "X11", "none", "no")]
    assert as_text(needing(findings, [])).endswith("Nothing is missing.")
    page = unstyle(as_text(needing(findings, ["CUDA", "video7"])))
    assert "MISSING  CUDA" in page
    assert "-        X11" in page
    assert "MISSING  video7         nothing here has that name\n" in page
    assert page.endswith("2 missing, see above.")


@pytest.mark.parametrize("name", ["openvinoo", "OpenVINO"])
def test_a_mistyped_name_is_told_with_the_nearest(name: str) -> None:
    run = CliRunner().invoke(doctor, ["--need", "openvino", "--need", name, "--need", name])
    assert isinstance(run.exception, EngineError)
    assert str(run.exception) == f"needed and not ok here: {name}; see the list"
    assert "nothing here has that name; did you mean openvino?" in run.output
    assert "1 missing, see above." in run.output


def test_an_empty_name_is_wrong_usage() -> None:
    run = CliRunner().invoke(doctor, ["--need", ""])
    assert run.exit_code == 2
    assert "got an empty name" in run.output


def test_this_machine_is_printed_for_people_and_for_programs() -> None:
    page = CliRunner().invoke(doctor)
    assert page.exit_code == 0
    assert page.output.startswith("machine\n")
    listed = CliRunner().invoke(doctor, ["--json"])
    assert listed.exit_code == 0
    sections = [found["section"] for found in json.loads(listed.output)]
    assert list(dict.fromkeys(sections))[-1] == "display"
