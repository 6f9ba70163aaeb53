"""Who finds the shared folder, and who skips for want of it, seen in runs of pytest apart."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import conftest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A folder with the project's conftest and two tests that want the shared folder."""
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    shared:\n")
    (folder / "test_two.py").write_text(
        "def test_one(shared): assert (shared / 'data').exists()\n"
        "def test_two(shared, tmp_path): assert shared != tmp_path\n"
        "def test_three(): pass\n"
    )
    return folder


def run_suite(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the folder's tests, CI and the shared folder being only what ``environment`` says."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("CI", "OUTRIDER_SHARED")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(folder), *words],
        cwd=folder,
        env=inherited | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | environment,  # a third faster
        capture_output=True,
        text=True,
        check=False,
    )


WAYS = {
    "open": "open(path / 'file')",
    "read": "(path / 'file').read_text()",
    "list": "os.listdir(path)",
    "walk": "list(path.iterdir())",
    "tell": "subprocess.run(['cat', path / 'file'])",
    "shell": "subprocess.run(f'cat {path}/file', shell=True)",
    "go": "os.chdir(path)",
    "round": "open(path.parent / 'suite' / '..' / 'shared' / 'file')",
    "link": "open(path.resolve() / 'file')",
    "child": "assert child() == 'True'",
}
"""Ways to find the folder: in code where ``path`` is its name and ``child`` asks a process."""

SEEKERS = """
import os, subprocess, sys
from pathlib import Path
import pytest
path = Path(__file__).parents[1] / "shared"
def child():
    code = "import os; print(os.path.isdir(os.environ['OUTRIDER_SHARED']))"
    return subprocess.check_output([sys.executable, "-c", code], text=True).strip()
@pytest.fixture(scope="module")
def through(shared): return shared
"""


@pytest.mark.parametrize(
    "workers", [(), ("-p", "xdist.plugin", "-n", "2")], ids=["alone", "workers"]
)
def test_only_a_test_with_the_marker_can_reach_the_folder(
    suite: Path, workers: tuple[str, ...]
) -> None:
    (suite.parent / "behind").mkdir()
    (suite.parent / "behind" / "file").touch()
    (suite.parent / "shared").symlink_to("behind")
    tests = "".join(
        f"def test_{name}_unmarked(): {code}\n"
        f"def test_{name}_fixture(through): {code}\n"
        f"@pytest.mark.shared\ndef test_{name}_marker(): {code}\n"
        for name, code in WAYS.items()
    )
    (suite / "test_two.py").write_text(SEEKERS + tests)
    shared = str(suite.parent / "shared")
    run = run_suite(suite, *workers, OUTRIDER_SHARED=shared, OUTRIDER_CAMVID=shared)
    assert set(re.findall(r"^FAILED .*::test_(\w+)", run.stdout, re.MULTILINE)) == {
        f"{name}_unmarked" for name in WAYS
    }, run.stdout


def test_the_marker_chooses_who_asks_through_another_fixture_too(suite: Path) -> None:
    (suite / "test_three.py").write_text(
        "import pytest\n@pytest.fixture\ndef through(shared): pass\ndef test_it(through): pass\n"
    )
    shared = str(suite.parent / "absent")
    run = run_suite(suite, "-m", "not shared", OUTRIDER_SHARED=shared)
    assert "1 passed, 3 deselected" in run.stdout
    run = run_suite(suite, "-m", "shared", OUTRIDER_SHARED=shared)
    assert "3 skipped, 1 deselected" in run.stdout


def test_no_other_code_knows_where_the_folder_is() -> None:
    """Native code that opens files is not watched; so nothing may tell it their place."""
    name = re.compile(r"""OUTRIDER_SHARED|["'/]shared["'/]""")
    rooms = ("edge", "engines", "export", "tests", "docs", "systemd")
    files = [path for room in rooms for path in (ROOT / room).rglob("*.py")]
    knows = {str(f.relative_to(ROOT)) for f in files if name.search(f.read_text(encoding="utf-8"))}
    assert knows == {
        "export/data/pairs.py",
        "tests/aarch64/__main__.py",  # a command, which takes a small street where it is absent
        "tests/conftest.py",
        "tests/test_conftest.py",
    }


def test_skips_are_counted_and_allowed_where_the_folder_is_absent(suite: Path) -> None:
    for ci in ({}, {"CI": "true"}):
        run = run_suite(suite, OUTRIDER_SHARED=str(suite / "absent"), **ci)
        assert run.returncode == 0, run.stdout
        assert "2 tests skipped: needs ../shared or OUTRIDER_SHARED" in run.stdout
        assert "1 passed, 2 skipped" in run.stdout


def test_nothing_is_said_where_nothing_was_skipped(suite: Path) -> None:
    (suite.parent / "shared" / "data").mkdir(parents=True)
    run = run_suite(suite, OUTRIDER_SHARED=str(suite.parent / "shared"), CI="true")
    assert run.returncode == 0, run.stdout
    assert "skipped" not in run.stdout


def test_in_ci_a_skip_in_spite_of_the_folder_is_a_failure_and_named(suite: Path) -> None:
    (suite.parent / "shared" / "data").mkdir(parents=True)
    (suite / "test_four.py").write_text(
        "import pytest\ndef test_four(): pytest.skip('needs ../shared or OUTRIDER_SHARED')\n"
    )
    run = run_suite(suite, OUTRIDER_SHARED=str(suite.parent / "shared"), CI="true")
    assert run.returncode == 1, run.stdout
    assert "test_four.py::test_four" in run.stdout
    assert run_suite(suite, OUTRIDER_SHARED=str(suite.parent / "shared")).returncode == 0


@pytest.mark.parametrize(
    ("need", "skips"),
    [
        ("NEEDS_CUDA_TOOLKIT", "def test_five(): pytest.skip({})"),
        ("NEEDS_RTX", "@pytest.mark.skipif(True, reason={})\ndef test_five(): pass"),
    ],
)
def test_a_skip_for_want_of_a_part_is_counted_and_a_failure_in_ci(
    suite: Path, need: str, skips: str
) -> None:
    (suite.parent / "shared" / "data").mkdir(parents=True)
    (suite / "test_five.py").write_text(
        f"import pytest\nfrom conftest import {need}\n{skips.format(need)}\n"
    )
    run = run_suite(suite, OUTRIDER_SHARED=str(suite.parent / "shared"), CI="true")
    assert run.returncode == 1, run.stdout
    assert f"1 tests skipped: {getattr(conftest, need)}" in run.stdout
    assert "test_five.py::test_five" in run.stdout
    assert run_suite(suite, OUTRIDER_SHARED=str(suite.parent / "shared")).returncode == 0


HOLD = """
import signal
from edge.run.signals import hold_signals
def test_one(): hold_signals()
def test_two(): assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
"""


def test_signals_that_a_test_holds_back_reach_the_next_and_what_it_starts(suite: Path) -> None:
    (suite / "test_hold.py").write_text(HOLD)
    run = run_suite(suite, "-k", "hold", PYTHONPATH=str(ROOT))
    assert run.returncode == 0, run.stdout
    assert "2 passed" in run.stdout
