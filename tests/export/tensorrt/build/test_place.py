"""The folder of a build: alone in it, cleared up behind, published whole."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engines import open_engine
from engines.cuda.context import Device
from engines.errors import ExportError, ModelError
from engines.model_file import load_model, sha256_of
from engines.tensorrt.identity import (
    Identity,
    Sidecar,
    has_sidecar,
    read_sidecar,
    sidecar_path,
    sidecar_text,
)
from export.tensorrt.build.place import building, check_disk, publish, write_durably
from tests.tiny_models import tiny_mask


def written(engine: Path, plan: bytes, folder: Path | None = None) -> Path:
    """A plan and its sidecar; in ``folder``, or in the place of ``engine``."""
    made = (folder or engine.parent) / engine.name
    made.write_bytes(plan)
    spec = tiny_mask(engine.parent / "m.onnx")
    device = Device("Orin", "8.7", 8, "linux-aarch64", "10.3.0")
    identity = Identity(sha256_of(made), "0" * 64, "0" * 64, device, {}, "fp16")
    sidecar_path(made).write_text(sidecar_text(Sidecar(spec, identity, proof={})))
    return made


def test_a_published_engine_is_the_plan_and_its_sidecar_and_nothing_else(tmp_path: Path) -> None:
    engine = written(tmp_path / "a.engine", b"old")
    with building(engine) as folder:
        made = written(engine, b"new", folder)
        assert engine.read_bytes() == b"old"
        publish(made, engine)
    assert engine.read_bytes() == b"new"
    assert read_sidecar(engine).identity.plan_sha256 == sha256_of(engine)
    assert sorted(os.listdir(tmp_path)) == ["a.engine", "a.engine.json", "m.onnx"]


def test_a_build_that_fails_leaves_the_old_engine_and_no_folder(tmp_path: Path) -> None:
    engine = written(tmp_path / "a.engine", b"old")

    def fail() -> None:
        with building(engine) as folder:
            written(engine, b"new", folder)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert engine.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["a.engine", "a.engine.json", "m.onnx"]


HOLDS = """
import sys
from pathlib import Path
from export.tensorrt.build.place import building
with building(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("x")
    (folder / ".fp16-x").mkdir()
    (folder / ".fp16-x" / "a.onnx").write_text("x")
    print("in", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_kept_out_until_it_ends_or_dies(tmp_path: Path) -> None:
    engine = tmp_path / "a.engine"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(engine)], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        with pytest.raises(ExportError, match="another build of this engine"), building(engine):
            pass
        with building(tmp_path / "b.engine"):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert os.listdir(tmp_path) == [".a.engine.building"]
    with building(engine) as folder:
        assert os.listdir(folder) == []  # what the dead one left is gone
    assert os.listdir(tmp_path) == []


def test_what_was_killed_between_plan_and_sidecar_is_finished(tmp_path: Path) -> None:
    engine = written(tmp_path / "a.engine", b"old")
    folder = tmp_path / ".a.engine.building"
    folder.mkdir()
    made = written(engine, b"new", folder)
    os.replace(made, engine)  # and then the power went
    with building(engine):
        assert read_sidecar(engine).identity.plan_sha256 == sha256_of(engine)
    assert engine.read_bytes() == b"new"


@pytest.mark.parametrize("whole", [True, False])
def test_what_was_killed_before_it_published_is_not(tmp_path: Path, whole: bool) -> None:
    engine = written(tmp_path / "a.engine", b"old")
    folder = tmp_path / ".a.engine.building"
    folder.mkdir()
    made = written(engine, b"new", folder)
    if not whole:
        made.unlink()
        sidecar_path(made).write_text("{")
    with building(engine):
        pass
    assert engine.read_bytes() == b"old"
    assert read_sidecar(engine).identity.plan_sha256 == sha256_of(engine)


def test_a_signal_between_the_two_files_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = written(tmp_path / "a.engine", b"old")
    replace = os.replace
    moved: list[str] = []

    def slow(source: Path, target: Path) -> None:
        replace(source, target)
        moved.append(target.name)
        signal.raise_signal(signal.SIGINT)

    (tmp_path / "new").mkdir()
    made = written(engine, b"new", tmp_path / "new")
    monkeypatch.setattr(os, "replace", slow)
    with pytest.raises(KeyboardInterrupt):
        publish(made, engine)
    assert moved == ["a.engine", "a.engine.json"]


def test_a_signal_while_the_folder_is_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(handle: int, how: int) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(fcntl, "flock", interrupted)
    with pytest.raises(KeyboardInterrupt), building(tmp_path / "a.engine"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(ExportError, match=r"none/a\.engine: cannot be written \(No such file"),
        building(tmp_path / "none" / "a.engine"),
    ):
        pass


def test_a_full_disk_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match=r"No space left on device\)\. Free space"):
        write_durably(tmp_path / "a.engine", b"plan")


def test_room_on_the_disk_is_asked_for_before(tmp_path: Path) -> None:
    check_disk(tmp_path, 1)
    with pytest.raises(ExportError, match=r"a build needs about 1152921504607 MB there"):
        check_disk(tmp_path, 1 << 60)
    with pytest.raises(ExportError, match="No such file"):
        check_disk(tmp_path / "none", 1)


@pytest.mark.parametrize("taken", ["a.engine", "a.engine.json"])
def test_a_folder_in_the_place_of_a_file_is_told_before_anything_is_built(
    tmp_path: Path, taken: str
) -> None:
    (tmp_path / taken).mkdir()
    with pytest.raises(ExportError, match="is a folder"), building(tmp_path / "a.engine"):
        raise AssertionError("it began to build")
    assert os.listdir(tmp_path) == [taken]


@pytest.mark.parametrize("letters", [300, 246, 240])  # too long itself, with .json, as a folder
def test_a_name_that_no_file_can_have_is_told(tmp_path: Path, letters: int) -> None:
    engine = tmp_path / f"{'a' * letters}.engine"
    with pytest.raises(ExportError, match="File name too long"), building(engine):
        pass
    assert list(tmp_path.iterdir()) == []
    assert not has_sidecar(engine)
    if letters == 300:
        with pytest.raises(ModelError, match="File name too long"):
            open_engine(engine)
        with pytest.raises(ModelError, match="File name too long"):
            load_model(engine)
