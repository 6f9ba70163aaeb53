"""Where an engine is built and how it is published: one build at a time, whole or not at all.

A build works in a hidden folder beside its engine, locked while it lives.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from engines.errors import EngineMismatch, ExportNotNow
from engines.files import lock, write_whole
from engines.model_file import sha256_of
from engines.tensorrt.identity import read_sidecar, sidecar_path
from export.tensorrt.build.signals import signals_wait


def check_disk(folder: Path, needed: int) -> None:
    """Refuse to begin where the disk cannot hold what a build writes, ``needed`` bytes.

    Raises:
        ExportNotNow: says what is free and what is needed.
    """
    with _writing(folder):
        free = shutil.disk_usage(folder).free
    if free < needed:
        raise ExportNotNow(
            f"{folder}: {free / 1e6:.0f} MB are free on its disk, a build needs about "
            f"{needed / 1e6:.0f} MB there. Free some, or build into another folder with -o FILE."
        )


@contextlib.contextmanager
def building(engine: Path) -> Iterator[Path]:
    """A folder for the build of ``engine``, gone at the end; its place in it is ``engine.name``.

    What a killed build left there is removed, and what it had begun to publish is finished.

    Raises:
        ExportNotNow: another process builds this engine, or the folder cannot be made.
    """
    folder = engine.with_name(f".{engine.name}.building")
    with _writing(engine):
        for taken in (engine, sidecar_path(engine)):
            if taken.is_dir():  # os.replace would say so after the build
                raise ExportNotNow(
                    f"{taken}: is a folder. Move it, or name another file with -o FILE."
                )
    handle: int | None = None
    try:
        with _writing(engine):
            with signals_wait():  # else one could come between making the folder and knowing it
                handle = _locked(folder, engine)
            _finish(folder, engine)
            for left in folder.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield folder
    finally:
        if handle is not None:
            shutil.rmtree(folder, ignore_errors=True)  # before the lock goes: nobody is in it
            os.close(handle)


def write_durably(path: Path, data: bytes) -> None:
    """Write a file, whole and onto the disk.

    Raises:
        ExportNotNow: the disk is full, or the file cannot be written.
    """
    with _writing(path):
        write_whole(path, data)


def publish(made: Path, engine: Path) -> None:
    """Move a plan and its sidecar over those of ``engine``; no signal comes between the two.

    A power cut can: then the sidecar is of the old plan, so nothing runs that was not proven, and
    the next build finishes it.

    Raises:
        ExportNotNow: they cannot be moved.
    """
    with _writing(engine):
        with signals_wait():
            os.replace(made, engine)
            os.replace(sidecar_path(made), sidecar_path(engine))
        folder = os.open(engine.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _locked(folder: Path, engine: Path) -> int:
    """Make ``folder`` and lock it; the kernel opens the lock when the process dies."""
    while True:
        folder.mkdir(exist_ok=True)
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # its build ended between the two
            continue
        got = lock(handle, wait=False)
        if got is False:
            os.close(handle)
            raise ExportNotNow(
                f"{engine}: another build of this engine, or its proof, is at work. Wait for it, "
                "or build into another file with -o FILE."
            )
        if got is None:
            return handle  # a file system without locks: there as before them
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(folder)):
                return handle
        os.close(handle)  # the build that held it has removed it


def _finish(folder: Path, engine: Path) -> None:
    """Publish the sidecar of a plan that a killed build had already published."""
    left = folder / engine.name
    if left.exists() or not sidecar_path(left).exists() or not engine.exists():
        return
    with contextlib.suppress(EngineMismatch):
        if read_sidecar(left).identity.plan_sha256 == sha256_of(engine):
            os.replace(sidecar_path(left), sidecar_path(engine))


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ExportNotNow(
            f"{path}: cannot be written ({exc.strerror or exc}). Free space or mend the folder, or "
            "build into another one (-o FILE). What was there before is as it was."
        ) from exc
