"""The aarch64 root: what a machine lacks for it is said, and a run elsewhere goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.aarch64 import root
from tests.conftest import ROOT


@pytest.mark.parametrize(("words", "code"), [([], 1), (["--where-possible"], 0)])
def test_a_machine_without_qemu_names_its_package(
    tmp_path: Path, words: list[str], code: int
) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.aarch64", *words],
        cwd=ROOT,
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == code, run.stderr
    assert "aarch64 was not tested: sudo apt install -y apt" in run.stderr
    assert "qemu-user-static" in run.stderr


def test_what_is_installed_is_pinned_and_has_no_torch() -> None:
    pinned = {line.split("==")[0] for line in root.PINS.read_text().splitlines() if "==" in line}
    names = {text.split(">")[0] for text in root.requirements()}
    assert {"openvino", "onnxruntime", "matplotlib", "pytest"} <= names <= pinned
    assert "torch" not in names


def test_every_package_of_it_is_there_or_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root, "NEEDS", {"sh": "dash", "no-such-command": "one", "/no/file": "two"})
    assert root.missing() == ["one", "two"]


@pytest.mark.parametrize(
    ("told", "named", "wanted"),
    [
        ("http://a/security bookworm-security\nhttp://b/debian bookworm\n", "", "http://b/debian"),
        ("http://b/debian bookworm\n", "http://c/debian", "http://c/debian"),
        ("http://d/ubuntu jammy\n", "", ""),
        ("", "", ""),
    ],
)
def test_debian_comes_from_where_this_machines_apt_gets_it(
    told: str, named: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apt-get").write_text(f"#!/bin/sh\nprintf %s '{told}'\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("OUTRIDER_DEBIAN", named)
    assert root.mirror() == wanted
