"""Which folders a profile takes: new ones, empty ones and those of older profiles."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.profile.folder import Folder
from edge.profile.report import write_page
from engines.errors import SettingsError


def profile_in(path: Path) -> Folder:
    folder = Folder(path)
    with folder.taken():
        write_page(folder.report, {})
    return folder


def test_the_folder_of_an_older_profile_is_taken_and_emptied(tmp_path: Path) -> None:
    folder = profile_in(tmp_path / "p")
    for file in (folder.trace, folder.trace_before, folder.metrics):
        file.write_text("old")
    (folder.path / ".0123456789abcdef.html").touch()  # of a power cut
    with folder.taken():
        pass
    assert [folder.report.exists(), folder.trace.exists()] == [True, False]
    assert not folder.trace_before.exists()
    assert not folder.metrics.exists()


def test_what_is_beside_a_profile_is_named(tmp_path: Path) -> None:
    folder = profile_in(tmp_path / "p")
    for name in "abcde":
        (folder.path / name).touch()
    with pytest.raises(SettingsError, match=r"no profile's \(a, b, c and 2 more\); choose a new"):
        folder.taken().__enter__()
    assert folder.report.exists()


def test_a_report_of_something_else_is_no_profile(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<html>mine</html>")
    with pytest.raises(SettingsError, match=r"no profile's \(report.html\)"):
        Folder(tmp_path).taken().__enter__()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("file", "is a file, wanted the name of a folder"),
        ("a/b", "there is no folder .*a; make it first: mkdir -p .*a"),
        ("a\0b", "cannot be made or written to: .*null"),
        ("n" * 300, "cannot be made or written to: File name too long"),
        ("file/p", "cannot be made or written to: Not a directory"),
    ],
)
def test_what_cannot_be_a_folder_is_refused(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=words):
        Folder(tmp_path / name).taken().__enter__()


def test_two_profiles_are_not_written_into_one_folder(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with folder.taken():
        folder.metrics.write_text("of the first")
        with pytest.raises(SettingsError, match="another profile is being written there; choose"):
            folder.taken().__enter__()
        assert folder.metrics.read_text() == "of the first"
