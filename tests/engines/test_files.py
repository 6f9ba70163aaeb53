"""Files that are written whole or not at all, and locks that end with their process."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from engines.files import keep, kept, lock, locked, replacing, scratch, user_folder, write_whole


def test_a_file_is_replaced_whole_and_readable_as_the_umask_says(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    before = os.umask(0o022)
    try:
        write_whole(path, b"new")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_on_the_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_text("old")
    with contextlib.suppress(KeyboardInterrupt), replacing(path) as made:
        assert made.suffix == ".onnx"
        made.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error_and_stays_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "absent" / "a", b"")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_another_processs_until_it_dies(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom engines.files import locked\n"
        "with locked(Path(sys.argv[1])) as got: print(got, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        with locked(tmp_path, wait=False) as got:
            assert got is False
        other.kill()
        other.wait()
        with locked(tmp_path) as got:
            assert got is True


def test_a_file_system_without_locks_is_told_apart() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    assert lock(writer, wait=False) is None  # EBADF stands in for ENOLCK


def test_the_folders_are_those_of_xdg() -> None:
    assert user_folder("STATE", {"HOME": "/h"}) == Path("/h/.local/state/outrider")
    assert user_folder("STATE", {"XDG_STATE_HOME": "/s"}) == Path("/s/outrider")
    assert user_folder("CACHE", {"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == Path("/c/outrider")


HOLDS = """
import sys, time
from pathlib import Path
from engines.files import replacing, scratch
place = Path(sys.argv[1])
with scratch(place) as folder, replacing(place / "a.onnx") as made:
    (folder / "half").write_text("half")
    made.write_text("half")
    print(folder.name, made.name, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_was_making_goes_with_the_next_and_a_living_ones_stays(
    tmp_path: Path,
) -> None:
    (tmp_path / ".outrider-link").symlink_to("nowhere")  # not ours
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = set(other.stdout.readline().split())
        try:
            with scratch(tmp_path) as made:
                there = {p.name for p in tmp_path.iterdir()}
            assert there == {made.name, ".outrider-link", *theirs}
            write_whole(tmp_path / "b", b"")
            assert {p.name for p in tmp_path.iterdir()} == {".outrider-link", "b", *theirs}
        finally:
            other.kill()
            other.wait()
    write_whole(tmp_path / "a.onnx", b"whole")
    assert {p.name for p in tmp_path.iterdir()} == {".outrider-link", "a.onnx", "b"}


def test_a_folder_for_a_while_is_ones_own_and_gone_after_an_error(tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), scratch(tmp_path) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "deep").mkdir()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_is_known_again_and_nothing_else_is_taken_for_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.cache"
    assert kept(path) is None
    keep(path, b"kernels")
    whole = path.read_bytes()
    assert kept(path) == b"kernels"
    for damaged in (b"", whole[:-1], whole[:20], whole[:-1] + b"S", b"\0" + whole[1:]):
        path.write_bytes(damaged)
        assert kept(path) is None
    path.unlink()
    (path / "inside").mkdir(parents=True)
    assert kept(path) is None
    keep(path, b"kernels")
    assert kept(path) == b"kernels"
