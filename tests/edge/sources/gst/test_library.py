"""GStreamer where it is not: the message says what to install, and for which Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge.sources.gst.library import APT_LINE
from tests.edge.gst_here import needs_gst

ASK = (
    "import sys; from pathlib import Path\n"
    "sys.path[:] = [p for p in sys.path if 'dist-packages' not in p]\n"
    "from edge.sources.gst.library import import_gst\n"
    "from engines.errors import SourceError\n"
    "try:\n    import_gst(Path(sys.argv[1]))\n"
    "except SourceError as exc:\n    print(exc)\n"
    "assert 'gi' not in sys.modules\n"
)
"""In a process of its own: a library that was imported cannot be taken back."""


def said(folder: Path) -> str:
    run = subprocess.run(
        [sys.executable, "-c", ASK, str(folder)], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture
def _no_gi_of_its_own() -> None:
    import importlib.metadata

    if any(d.metadata["Name"] == "PyGObject" for d in importlib.metadata.distributions()):
        pytest.skip("this venv brings PyGObject itself")


@pytest.mark.usefixtures("_no_gi_of_its_own")
def test_a_system_without_pygobject_gets_the_one_apt_line(tmp_path: Path) -> None:
    message = said(tmp_path)
    assert "no module named gi" in message
    assert message.strip().endswith(APT_LINE)


@pytest.mark.usefixtures("_no_gi_of_its_own")
def test_pygobject_of_another_python_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "gi").mkdir()
    (tmp_path / "gi" / "_gi.cpython-37m-x86_64-linux-gnu.so").touch()
    assert "is for cpython-37m-x86_64-linux-gnu" in said(tmp_path)
    assert "/usr/bin/python3" in said(tmp_path)


@pytest.mark.usefixtures("_no_gi_of_its_own")
def test_a_broken_pygobject_is_an_error_in_words(tmp_path: Path) -> None:
    import importlib.machinery

    (tmp_path / "gi").mkdir()
    (tmp_path / "gi" / f"_gi{importlib.machinery.EXTENSION_SUFFIXES[0]}").touch()
    (tmp_path / "gi" / "__init__.py").write_text("from gi import _gi\n")
    assert "cannot be used by this Python" in said(tmp_path)


@pytest.mark.parametrize("first", ["", "import cv2\n"])
def test_exceptions_inside_other_libraries_survive_gstreamer(first: str) -> None:
    needs_gst()
    code = first + (
        "from edge.sources.gst.library import import_gst\n"
        "import_gst()\n"
        "from engines.openvino import import_openvino\n"
        # OpenVINO throws and catches one for each plug-in without its device.
        "assert 'CPU' in import_openvino().Core().available_devices\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
