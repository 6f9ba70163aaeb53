"""A bundle: what is damaged or of another machine is refused, what is whole installs offline."""

from __future__ import annotations

import ast
import json
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import bundle
import make_bundle
import pytest
from packaging.requirements import Requirement
from versions import Refused

from tests.systemd.booted import ROOT, booted
from tests.test_packaging import PROJECT

MACHINE = platform.machine()


def small(folder: Path, python: str = "3.10", machine: str = "aarch64") -> Path:
    """A bundle whose one wheel is a few bytes."""
    wheels = folder / "tree/wheels"
    wheels.mkdir(parents=True)
    (wheels / "outrider-1.2.3-py3-none-any.whl").write_bytes(b"wheel " * 100)
    made = folder / "outrider.pyz"
    make_bundle.pack(folder / "tree", made, "1.2.3", python, machine)
    return made


def test_a_bundle_knows_what_it_is_and_holds_the_installer_and_the_pins(tmp_path: Path) -> None:
    made = bundle.open_bundle(small(tmp_path))
    assert (made.version, made.python, made.machine) == ("1.2.3", (3, 10), "aarch64")
    with zipfile.ZipFile(made.path) as archive:
        names = set(archive.namelist())
    assert {"__main__.py", "systemd/install.py", "systemd/install_jetson.py", "LICENSE", "NOTICE",
            "constraints/py310.txt", ".ci/system_packages.py", "SHA256SUMS"} <= names  # fmt: skip


def test_it_runs_itself_and_tells_every_step_in_a_dry_run(
    systems_python: Path,
    tmp_path: Path,
) -> None:
    made = small(tmp_path, python=systems_python.name.removeprefix("python"), machine=MACHINE)
    command = [str(systems_python), str(made), "--dry-run", "--root", str(tmp_path / "root")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    source = f"{tmp_path}/root/opt/outrider/1.2.3/source"
    assert f"python3 -m zipfile -e {made} {source}\n" in run.stdout
    fetching = [line for line in run.stdout.splitlines() if "pip install" in line]
    assert len(fetching) == 2
    for line in fetching:
        assert f"--no-index --find-links {source}/wheels -c {source}/constraints/" in line
    assert fetching[1].endswith(" 'outrider[web]==1.2.3'")
    assert f"rm -r {source}/wheels\n" in run.stdout
    assert not (tmp_path / "root").exists()


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """The same file with other members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_a_byte_that_changed_on_the_way_is_found(tmp_path: Path) -> None:
    path = small(tmp_path)
    content = bytearray(path.read_bytes())
    content[content.index(b"wheel wheel") + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(Refused, match=r"is damaged .*Bad CRC-32.*copy it again"):
        bundle.open_bundle(path)


def test_a_file_that_was_replaced_is_found_by_its_sum(tmp_path: Path) -> None:
    path = small(tmp_path)
    rewritten(path, lambda members: members.update({"wheels/outrider-1.2.3-py3-none-any.whl": b""}))
    with pytest.raises(Refused, match=r"outrider-1.2.3-py3-none-any.whl has another SHA-256; copy"):
        bundle.open_bundle(path)


def test_a_file_that_is_missing_or_was_added_is_named(tmp_path: Path) -> None:
    path = small(tmp_path)

    def change(members: dict[str, bytes]) -> None:
        del members["NOTICE"]
        members["wheels/other.whl"] = b""

    rewritten(path, change)
    with pytest.raises(Refused, match=r"NOTICE is missing and wheels/other.whl was added"):
        bundle.open_bundle(path)


@pytest.mark.parametrize("left", [0, 100, 0.5, 0.99])
def test_a_copy_that_was_cut_off_is_found(left: float, tmp_path: Path) -> None:
    path = small(tmp_path)
    size = path.stat().st_size
    os.truncate(path, int(left if left > 1 else left * size))
    with pytest.raises(Refused, match=r"is damaged or no bundle \(File is not a zip file\)"):
        bundle.open_bundle(path)


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil", "wheels/../../evil", "a\\..\\evil"])
def test_a_name_that_leads_out_of_the_bundle_is_refused(name: str, tmp_path: Path) -> None:
    path = small(tmp_path)
    rewritten(path, lambda members: members.update({name: b""}))
    with pytest.raises(Refused, match="would be unpacked elsewhere"):
        bundle.open_bundle(path)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    path = small(tmp_path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("NOTICE", b"")
    with pytest.raises(Refused, match="'NOTICE' is in it 2 times"):
        bundle.open_bundle(path)


def test_what_is_no_bundle_at_all_is_told(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be read: No such file or directory"):
        bundle.open_bundle(tmp_path / "none.pyz")
    with pytest.raises(Refused, match="cannot be read: Is a directory"):
        bundle.open_bundle(tmp_path)
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("README", "")
    with pytest.raises(Refused, match=r"is no bundle: SHA256SUMS or bundle.json is not in it"):
        bundle.open_bundle(other)


def test_another_python_or_machine_is_told_with_the_command_that_makes_the_right_one(
    tmp_path: Path,
) -> None:
    made = bundle.open_bundle(small(tmp_path))
    assert made.reasons_against((3, 10), "aarch64") == []
    (reason,) = made.reasons_against((3, 12), "aarch64")
    assert reason.startswith("outrider.pyz is for Python 3.10, this is 3.12; run it by python3.10,")
    assert reason.endswith("make bundle PYTHON_VERSION=3.12 MACHINE=aarch64")
    (reason,) = made.reasons_against((3, 10), "x86_64")
    assert reason.startswith("outrider.pyz is for aarch64, this machine is x86_64;")
    assert reason.endswith("make bundle MACHINE=x86_64 PYTHON_VERSION=3.10")


def test_a_damaged_bundle_ends_in_one_line_and_writes_nothing(tmp_path: Path) -> None:
    path = small(tmp_path)
    os.truncate(path, 1000)
    script = str(ROOT / "systemd/install.py")
    words = ["--from", str(path), "--root", str(tmp_path / "r")]
    command = [sys.executable, "-B", script, *words]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    (line,) = run.stderr.splitlines()
    assert line.startswith(f"install: {path} is damaged or no bundle")
    assert not (tmp_path / "r").exists()


def test_a_python_that_is_too_old_reads_as_far_as_the_sentence() -> None:
    ast.parse(make_bundle.MAIN, feature_version=(3, 4))
    assert "is for Python {python}, this is" in make_bundle.MAIN


def test_what_a_wheel_asks_for_is_judged_for_the_vehicle_and_not_for_this_machine(
    tmp_path: Path,
) -> None:
    wheel = tmp_path / "a-1-py3-none-any.whl"
    asks = [
        "tomli; python_version < '3.11'",
        "cuda; platform_machine == 'x86_64'",
        "plot; extra == 'export'",
        "numpy",
    ]
    with zipfile.ZipFile(wheel, "w") as archive:
        text = "".join(f"Requires-Dist: {one}\n" for one in asks)
        archive.writestr("a-1.dist-info/METADATA", f"Name: a\n{text}")
        archive.writestr("a/_vendor/b-1.dist-info/METADATA", "Name: b\nRequires-Dist: other\n")

    def names(python: str, machine: str, extra: str = "") -> list[str]:
        environment = make_bundle.environment_of(python, machine)
        found: list[Requirement] = make_bundle.needs(wheel, environment | {"extra": extra})
        return [one.name for one in found]

    assert names("3.10", "aarch64") == ["tomli", "numpy"]
    assert names("3.12", "x86_64", "export") == ["cuda", "plot", "numpy"]


@pytest.mark.slow
def test_a_machine_upgrades_without_network_while_its_service_runs_and_rolls_back(
    shared: Path, systems_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it real: a bundle of the index's wheels, a systemd, the app and its service."""
    monkeypatch.delenv("XDG_CACHE_HOME")  # pip keeps its own cache: make test has just filled it
    version = PROJECT["version"]
    python = systems_python.name.removeprefix("python")
    edge = "/opt/outrider/current/venv/bin/edge"
    with (
        tempfile.TemporaryDirectory(dir="/var/tmp") as folder,  # a boot has a /tmp of its own
        booted(shared) as boot,
    ):
        made = make_bundle.make(python, MACHINE, Path(folder))

        def current() -> str:
            return boot.run("readlink", "/opt/outrider/current").stdout.strip()

        def runs() -> str:
            return boot.run(
                "cat", f"/proc/{boot.show('outrider', 'MainPID')['MainPID']}/cmdline"
            ).stdout

        boot.install_app("0.0.9")
        boot.write("/opt/outrider/0.0.9/installed.json", "{}")  # by an installer that is gone
        boot.run(edge, "service", "install")  # puts an example of settings there
        boot.run(edge, "service", "install")  # and with settings starts it
        assert boot.ctl("is-active", "outrider").stdout == "active\n"
        offline = ["unshare", "--net", str(systems_python), str(made)]
        said = boot.run(*offline, "--trial-s", "3").stdout
        assert f"outrider.service on trial with {version}: ready, then 3 s" in said
        assert current() == version
        assert f"/opt/outrider/{version}/venv/" in runs()
        found = json.loads(boot.run(edge, "doctor", "--json").stdout)
        (model,) = [item["text"] for item in found if item["name"] == "model"]
        assert model.startswith(f"/opt/outrider/{version}/venv/lib")  # not the checkout's
        assert not (ROOT / "build").exists(), "pip built in the checkout"

        said = boot.run(*offline, "--rollback").stdout
        assert "outrider.service runs on it" in said
        assert current() == "0.0.9"
        assert "/opt/outrider/current/venv/" in runs()
