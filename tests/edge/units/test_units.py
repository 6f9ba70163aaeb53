"""What an installation would do, below a folder of its own; nothing of systemd is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.units.steps import Remove, Step, Write
from edge.units.units import Place, install_steps, installed, uninstall_steps, unit_of
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


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "-x", "%i", "a@b"])
def test_a_name_that_no_file_and_no_unit_can_have_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="wanted letters, digits"):
        unit_of(name)
