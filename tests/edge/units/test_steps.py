"""Steps of an installation: told as they would be done, and done whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.units.steps import Command, Remove, Write, perform
from engines.errors import OutriderError, SettingsError


def test_a_new_file_is_told_whole_or_by_what_it_is_a_copy_of(tmp_path: Path) -> None:
    path = tmp_path / "a.service"
    assert Write("why", path, "[Unit]\nA=1\n").tell() == f"# why\nwrite {path}\n    [Unit]\n    A=1"
    copied = Write("why", path, "[Unit]\n", Path("/opt/a.service"))
    assert copied.tell() == f"# why\nwrite {path}, a copy of /opt/a.service"


def test_a_file_that_changes_is_told_as_a_diff_and_one_that_does_not_is_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.service"
    path.write_text("[Unit]\nA=1\nB=2\n")
    told = Write("why", path, "[Unit]\nA=3\nB=2\n").tell().splitlines()
    assert told[:2] == ["# why", f"change {path}"]
    assert [line.strip() for line in told if "A=" in line] == ["-A=1", "+A=3"]
    same = Write("why", path, "[Unit]\nA=1\nB=2\n")
    assert same.tell() == f"# why\nkeep {path}, as it is"
    said: list[str] = []
    perform([same], said.append)
    assert said == []


def test_files_are_written_with_their_mode_and_what_is_done_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "new/folder/a.toml"
    perform([Write("why", path, "x", mode=0o640), Command("why", ("true",))], said.append)
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("x", 0o640)
    assert said == [f"write {path}", "true"]


def test_nothing_is_begun_where_the_last_file_could_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, where a folder is wanted")
    first, last = tmp_path / "a", tmp_path / "taken" / "b"
    with pytest.raises(SettingsError, match="taken is no folder here, so nothing was begun"):
        perform([Write("why", first, "x"), Write("why", last, "x")], print)
    assert not first.exists()


def test_a_folder_of_drop_ins_goes_with_the_last_of_them(tmp_path: Path) -> None:
    folder = tmp_path / "a.service.d"
    folder.mkdir()
    for name in ("10-ours.conf", "override.conf"):
        (folder / name).write_text("")
    perform([Remove("why", folder / "10-ours.conf")], print)
    assert [path.name for path in folder.iterdir()] == ["override.conf"]
    perform([Remove("why", folder / "override.conf")], print)
    assert not folder.exists()
    perform([Remove("why", tmp_path / "never.there")], print)
    assert tmp_path.exists()


def test_a_command_that_fails_quotes_what_it_said_unless_it_may(tmp_path: Path) -> None:
    failing = ("sh", "-c", "echo 'no such unit' >&2; exit 5")
    with pytest.raises(OutriderError, match=r"no such unit\. Look at the logs"):
        perform([Command("why", failing, otherwise=". Look at the logs")], print)
    sentence = ("sh", "-c", "echo 'see the log.' >&2; exit 1")
    with pytest.raises(OutriderError, match=r"see the log\. Look"):
        perform([Command("why", sentence, otherwise=". Look")], print)
    perform([Command("why", failing, may_fail=True)], print)
    with pytest.raises(OutriderError, match="No such file"):
        perform([Command("why", ("/none/there",))], print)
