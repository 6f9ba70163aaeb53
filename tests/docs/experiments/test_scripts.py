"""Every script of the experiments starts as its page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "docs" / "experiments"
SCRIPTS = sorted(p.stem for p in FOLDER.glob("*.py") if '__name__ == "__main__"' in p.read_text())


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_starts_in_the_projects_folder(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"docs.experiments.{name}", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


def test_the_pages_name_scripts_by_the_way_that_starts_them() -> None:
    for page in [*FOLDER.glob("*.md"), *FOLDER.glob("*.py")]:
        called = re.findall(
            r"python (-m docs\.experiments\.|docs/experiments/)(\w+)", page.read_text()
        )
        for way, name in called:
            assert (way, name in SCRIPTS) == ("-m docs.experiments.", True), f"{page.name}: {name}"
