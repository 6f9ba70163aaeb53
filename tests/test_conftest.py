"""The count of tests that skipped for want of the shared folder, seen in runs of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A folder with the project's conftest and two tests that want the shared folder."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "test_two.py").write_text(
        "def test_one(shared): assert (shared / 'data').exists()\n"
        "def test_two(shared, tmp_path): assert shared != tmp_path\n"
        "def test_three(): pass\n"
    )
    return tmp_path


def run_suite(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the folder's tests, CI and the shared folder being only what ``environment`` says."""
    inherited = {k: v for k, v in os.environ.items() if k not in ("CI", "OUTRIDER_SHARED")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(folder)],
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_skips_are_counted_and_allowed_where_the_folder_is_absent(suite: Path) -> None:
    for ci in ({}, {"CI": "true"}):
        run = run_suite(suite, OUTRIDER_SHARED=str(suite / "absent"), **ci)
        assert run.returncode == 0, run.stdout
        assert "2 tests skipped: needs ../shared or OUTRIDER_SHARED" in run.stdout
        assert "1 passed, 2 skipped" in run.stdout


def test_nothing_is_said_where_nothing_was_skipped(suite: Path) -> None:
    (suite / "shared" / "data").mkdir(parents=True)
    run = run_suite(suite, OUTRIDER_SHARED=str(suite / "shared"), CI="true")
    assert run.returncode == 0, run.stdout
    assert "skipped" not in run.stdout


def test_in_ci_a_skip_in_spite_of_the_folder_is_a_failure_and_named(suite: Path) -> None:
    (suite / "shared" / "data").mkdir(parents=True)
    (suite / "test_four.py").write_text(
        "import pytest\ndef test_four(): pytest.skip('needs ../shared or OUTRIDER_SHARED')\n"
    )
    run = run_suite(suite, OUTRIDER_SHARED=str(suite / "shared"), CI="true")
    assert run.returncode == 1, run.stdout
    assert "test_four.py::test_four" in run.stdout
    assert run_suite(suite, OUTRIDER_SHARED=str(suite / "shared")).returncode == 0


def test_a_skip_for_want_of_a_cuda_toolkit_is_counted_and_a_failure_in_ci(suite: Path) -> None:
    (suite / "shared" / "data").mkdir(parents=True)
    (suite / "test_five.py").write_text(
        "import pytest\nfrom conftest import NEEDS_CUDA_TOOLKIT\n"
        "def test_five(): pytest.skip(NEEDS_CUDA_TOOLKIT)\n"
    )
    run = run_suite(suite, OUTRIDER_SHARED=str(suite / "shared"), CI="true")
    assert run.returncode == 1, run.stdout
    assert "1 tests skipped: needs a CUDA toolkit" in run.stdout
    assert "test_five.py::test_five" in run.stdout
    assert run_suite(suite, OUTRIDER_SHARED=str(suite / "shared")).returncode == 0
