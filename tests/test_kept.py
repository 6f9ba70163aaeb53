"""What tests build once a machine: made once, whole, and anew where what decides it changes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.kept import kept


def test_it_is_made_once_and_anew_for_another_content(tmp_path: Path) -> None:
    source, made = tmp_path / "source", list[Path]()
    source.write_text("one")

    def ask(word: str) -> Path:
        return kept("thing", [source, word], made.append, place=tmp_path / "cache")

    first = ask("a")
    assert ask("a") == first
    assert len(made) == 1
    other = ask("b")
    source.write_text("two")
    assert len({first, other, ask("b")}) == len(made) == 3


def test_two_at_once_make_one(tmp_path: Path) -> None:
    second_begins, made = threading.Event(), list[str]()

    def slow(folder: Path) -> None:
        assert second_begins.wait(10)
        made.append("one")

    def second() -> None:
        second_begins.set()
        kept("thing", [], lambda _: made.append("two"), place=tmp_path)

    other = threading.Thread(target=second)
    other.start()
    folder = kept("thing", [], slow, place=tmp_path)
    other.join()
    assert len(made) == 1
    assert folder.is_dir()


def test_one_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def broken(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("no compiler")

    with pytest.raises(RuntimeError, match="no compiler"):
        kept("thing", [], broken, place=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thing.lock"]


def test_what_a_killed_one_left_goes_with_the_next_of_its_name(tmp_path: Path) -> None:
    for name in (".building-thing-a1b2c3d4", ".building-other-a1b2c3d4"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").touch()
    made = kept("thing", [], lambda folder: None, place=tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {made.name, "thing.lock", ".building-other-a1b2c3d4"}


def test_where_the_cache_cannot_be_written_it_is_made_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = kept("thing", [], lambda at: (at / "part").touch(), place=tmp_path / "file" / "cache")
    assert folder.parent == tmp_path / "outrider-tests"
    assert (folder / "part").exists()
