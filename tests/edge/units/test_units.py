"""What an installation would do, below a folder of its own; nothing of systemd is called."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.units.steps import Remove, Step, Write
from edge.units.uninstall import uninstall_steps
from edge.units.units import Place, install_steps, installed, refresh_steps, unit_of
from engines.errors import SettingsError
from tests.edge.door import edge

SYSTEM = Path("etc/systemd/system")


def write_files(steps: list[Step]) -> None:
    for step in steps:
        if isinstance(step, (Write, Remove)):
            step.do()


def test_a_dry_run_from_a_checkout_tells_files_and_commands_and_writes_nothing(
    tmp_path: Path,
) -> None:
    told = edge("service", "install", "--name", "cam", "--root", tmp_path, "--dry-run")
    assert told.returncode == 0, told.stderr
    assert f"write {tmp_path}/etc/outrider/cam.toml, a copy of " in told.stdout
    assert f"systemd-sysusers --root={tmp_path} outrider.conf" in told.stdout
    assert "\nsystemctl" not in told.stdout  # without settings nothing is enabled
    assert list(tmp_path.iterdir()) == []


def test_an_instance_is_installed_until_its_own_file_is_gone(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert installed(place) == []
    for name in ("outrider", "front", "rear-2"):
        steps, has_settings = install_steps(name, place, start=True)
        assert not has_settings
        write_files(steps)
        assert install_steps(name, place, start=True)[1]  # the example is there, and loads
    assert installed(place) == ["outrider", "front", "rear-2"]
    write_files(uninstall_steps("front", place, purge=False))
    assert installed(place) == ["outrider", "rear-2"]
    assert (tmp_path / SYSTEM / "outrider@.service").exists()
    for name in ("rear-2", "outrider"):
        write_files(uninstall_steps(name, place, purge=False))
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(path.name for path in left) == [
        "front.toml", "outrider.env", "outrider.toml", "rear-2.toml",
    ]  # fmt: skip


def test_a_refresh_brings_what_is_installed_to_this_version_and_makes_no_instance(
    tmp_path: Path,
) -> None:
    place, system = Place(tmp_path), tmp_path / SYSTEM
    write_files(refresh_steps(place)[0])
    assert installed(place) == []
    assert [path.name for path in (tmp_path / "etc/outrider").iterdir()] == ["outrider.env"]
    for name in ("front", "rear"):
        write_files(install_steps(name, place, start=False)[0])
    opened = [system / f"outrider@{name}.service.d/10-settings.conf" for name in ("front", "rear")]
    for path in (*opened, system / "outrider@.service"):
        path.write_text("# of an older version\n")
    (tmp_path / "etc/outrider/front.toml").write_text("nonsense")
    steps, refused = refresh_steps(place)
    write_files(steps)
    assert (system / "outrider@.service").read_text().startswith("# One camera")
    assert opened[0].read_text() == "# of an older version\n"
    assert opened[1].read_text().startswith("# What /etc/outrider/rear.toml needs")
    (told,) = refused
    assert told.startswith("outrider@front.service opens what it did before: ")
    assert not [step for step in steps if "enable" in step.tell() or "restart" in step.tell()]


def test_settings_and_environment_of_the_operator_are_never_written_over(tmp_path: Path) -> None:
    folder = tmp_path / "etc/outrider"
    folder.mkdir(parents=True)
    (folder / "cam.toml").write_text("[log]\nverbose = true\n")
    (folder / "outrider.env").write_text("MINE=1\n")
    steps, has_settings = install_steps("cam", Place(tmp_path), start=True)
    assert has_settings
    assert not {step.path.parent for step in steps if isinstance(step, Write)} & {folder}


def test_a_jetson_gets_its_drop_in_for_the_app_and_for_the_builds_of_engines(
    tmp_path: Path,
) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release)\n")
    steps, _ = install_steps("cam", Place(tmp_path), start=True)
    write_files(steps)
    found = [path.parent.name for path in sorted((tmp_path / SYSTEM).glob("*.d/20-jetson.conf"))]
    assert found == ["outrider-build@.service.d", "outrider.service.d", "outrider@.service.d"]


def test_a_credential_is_given_to_the_builds_too_until_it_is_no_longer_named(
    tmp_path: Path,
) -> None:
    secret = tmp_path / "etc/outrider/credentials/gate"
    secret.parent.mkdir(parents=True)
    secret.write_text("swordfish\n")
    secret.chmod(0o600)
    settings = tmp_path / "etc/outrider/cam.toml"
    with_one = 'uri = "rtsp://me@cam/1"\npassword_file = "${CREDENTIALS_DIRECTORY}/gate"\n'
    settings.write_text(f"[source]\n{with_one}")
    place, build = Place(tmp_path), tmp_path / SYSTEM / "outrider-build@cam.service.d"
    write_files(install_steps("cam", place, start=True)[0])
    given = (build / "10-settings.conf").read_text()
    assert "LoadCredential=gate:/etc/outrider/credentials/gate" in given
    assert "PrivateNetwork" not in given  # which a build needs for nothing
    settings.write_text("")
    write_files(install_steps("cam", place, start=True)[0])
    assert not build.exists()


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "-x", "%i", "a@b", "a" * 201])
def test_a_name_that_no_file_and_no_unit_can_have_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="wanted letters, digits"):
        unit_of(name)


@pytest.fixture
def closed_to_others() -> Iterator[Path]:
    """A place whose /etc/outrider this user cannot look into, root neither."""
    folder = Path(tempfile.mkdtemp())  # tmp_path is for its owner only
    folder.chmod(0o755)
    (folder / "etc/outrider").mkdir(parents=True)
    (folder / "etc/outrider").chmod(0o700 if os.geteuid() == 0 else 0)
    (folder / SYSTEM / "outrider.service.d").mkdir(parents=True)
    (folder / SYSTEM / "outrider.service.d/10-settings.conf").touch()
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(user)
    (folder / "etc/outrider").chmod(0o750)
    shutil.rmtree(folder)


def test_who_may_not_look_at_the_settings_is_told_so(closed_to_others: Path) -> None:
    place = Place(closed_to_others)
    with pytest.raises(SettingsError, match=r"etc/outrider: this user cannot look into it.* sudo"):
        install_steps("outrider", place, start=True)
    with pytest.raises(SettingsError, match=r"etc/outrider: this user cannot look into it.* sudo"):
        uninstall_steps("outrider", place, purge=True)


@pytest.mark.parametrize("where", ["etc", "run"])
def test_a_masked_unit_is_refused_before_anything_is_written(tmp_path: Path, where: str) -> None:
    masked = tmp_path / where / "systemd/system/outrider@cam.service"
    masked.parent.mkdir(parents=True)
    masked.symlink_to("/dev/null")
    with pytest.raises(SettingsError, match=r"is masked .*; sudo systemctl unmask outrider@cam"):
        install_steps("cam", Place(tmp_path), start=True)
    install_steps("other", Place(tmp_path), start=True)


def test_settings_that_a_link_puts_out_of_sight_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "etc/outrider"
    folder.mkdir(parents=True)
    (folder / "near.toml").write_text("")
    (folder / "cam.toml").symlink_to("near.toml")
    install_steps("cam", Place(tmp_path), start=True)
    (folder / "far.toml").symlink_to("/root/far.toml")
    with pytest.raises(SettingsError, match=r"leads to /root/far.toml, below /root, which a"):
        install_steps("far", Place(tmp_path), start=True)


def test_attempts_that_outlast_the_watchdog_are_refused_unless_that_was_raised(
    tmp_path: Path,
) -> None:
    text = "[source]\nuri = 'rtsp://cam/1'\nopen_timeout_s = 20\n"
    settings = tmp_path / "etc/outrider/cam.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(text)
    with pytest.raises(SettingsError, match="less than the service's watchdog of 30 s"):
        install_steps("cam", Place(tmp_path), start=True)
    settings.write_text(text + "reconnect = false\n")
    install_steps("cam", Place(tmp_path), start=True)
    settings.write_text("[source]\nopen_timeout_s = 20\n")  # of no camera
    install_steps("cam", Place(tmp_path), start=True)
    settings.write_text(text)
    own = tmp_path / SYSTEM / "outrider@cam.service.d/override.conf"
    own.parent.mkdir(parents=True)
    own.write_text("[Service]\nWatchdogSec=90\n")
    (own.parent / "gone.conf").symlink_to("nowhere")
    install_steps("cam", Place(tmp_path), start=True)


def test_a_purge_takes_what_is_its_own_and_leaves_what_is_anothers(tmp_path: Path) -> None:
    place, folder = Place(tmp_path), tmp_path / "etc/outrider"
    passwords = folder / "credentials"
    passwords.mkdir(parents=True)
    for name in ("gate", "tunnel", "mine"):
        (passwords / name).write_text("swordfish\n")
        (passwords / name).chmod(0o600)
    text = '[source]\nuri = "rtsp://me@cam/1"\npassword_file = "${CREDENTIALS_DIRECTORY}/%s"\n'
    for name, password in (("front", "gate"), ("rear", "tunnel"), ("left", "tunnel")):
        (folder / f"{name}.toml").write_text(text % password)
    (tmp_path / "var/lib/outrider").mkdir(parents=True)
    (folder / "gone.toml").symlink_to("nowhere")  # somebody's, too

    def left() -> list[str]:
        return sorted(path.name for path in folder.rglob("*") if path.is_file())

    def install_and_purge(name: str) -> None:
        write_files(install_steps(name, place, start=True)[0])
        write_files(uninstall_steps(name, place, purge=True))

    install_and_purge("front")  # the only one that is installed
    others = ["left.toml", "mine", "outrider.env", "rear.toml", "tunnel"]
    assert left() == others
    install_and_purge("rear")
    assert left() == ["left.toml", "mine", "outrider.env", "tunnel"]
    assert (tmp_path / "var/lib/outrider").is_dir()
    (folder / "gone.toml").unlink()
    install_and_purge("left")  # nobody else's settings are there any more
    assert left() == ["mine"]
    assert not (tmp_path / "var/lib/outrider").exists()
    (passwords / "mine").unlink()
    (folder / "cam.toml").write_text("")
    install_and_purge("cam")
    assert not folder.exists()


@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="no systemd-sysusers here")
def test_a_user_that_was_there_gets_the_group_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("outrider:x:1000:1000::/home/outrider:/bin/sh\n")
    (tmp_path / "etc/group").write_text("people:x:1000:\n")
    write_files(install_steps("cam", Place(tmp_path), start=True)[0])
    made = subprocess.run(["systemd-sysusers", f"--root={tmp_path}", "outrider.conf"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert made.returncode == 0, made.stderr
    lines = (tmp_path / "etc/group").read_text().splitlines()
    assert [line.rsplit(":", 1)[1] for line in lines if line.startswith("outrider:")] == [
        "outrider"
    ]
