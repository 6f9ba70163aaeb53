"""A bundle: one file with all that an installation needs, for a vehicle without internet.

It is a zip file that Python runs (``sudo python3 FILE``), made by make_bundle.py. Every file in it
has its SHA-256 in ``SHA256SUMS``; what is damaged, of another machine or
would be unpacked elsewhere is refused before anything is written. The sums find damage; who made
the file they cannot tell.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packages import pins_of
from versions import Refused, Step

SUMS = "SHA256SUMS"
ABOUT = "bundle.json"
WHEELS = "wheels"
ANEW = "copy it again, and compare sha256sum with what make bundle printed"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every byte has been checked."""

    path: Path
    version: str
    python: tuple[int, int]
    machine: str

    def reasons_against(self, python: tuple[int, int], machine: str) -> list[str]:
        """Another Python or machine than the one that it was made for."""
        name, wanted, got = self.path.name, _dotted(self.python), _dotted(python)
        found = []
        if machine != self.machine:
            found.append(
                f"{name} is for {self.machine}, this machine is {machine}; on the machine with "
                f"internet: make bundle MACHINE={machine} PYTHON_VERSION={got}"
            )
        elif python != self.python:
            found.append(
                f"{name} is for Python {wanted}, this is {got}; run it by python{wanted}, or on "
                f"the machine with internet: make bundle PYTHON_VERSION={got} MACHINE={machine}"
            )
        return found

    def put(self, source: Path) -> Step:
        """Unpacks it."""
        return Step(
            "what the bundle holds, whose checksums are right",
            ["python3", "-m", "zipfile", "-e", str(self.path), str(source)],
            action=lambda: self._unpack(source),
        )

    def pip(self, source: Path, python: tuple[int, int]) -> list[str]:
        """The bundle's wheels and no index."""
        pins = ["-c", str(source / "constraints" / pins_of(python))]
        return ["--no-index", "--find-links", str(source / WHEELS), *pins]

    def project_of(self, source: Path, extra: str = "") -> str:
        """Its wheel."""
        return f"outrider{extra}=={self.version}"

    def tidy(self, source: Path) -> list[Step]:
        """The wheels go: what they hold is installed."""
        wheels = source / WHEELS
        words = ["rm", "-r", str(wheels)]
        return [Step("they are installed", words, action=lambda: shutil.rmtree(wheels))]

    def _unpack(self, source: Path) -> None:
        with zipfile.ZipFile(self.path) as archive:
            archive.extractall(source)


def open_bundle(path: Path) -> Bundle:
    """Check a bundle, all of it.

    Raises:
        Refused: it cannot be read, is damaged, or names files outside of itself.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_names(path, archive.namelist())
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if SUMS not in names or ABOUT not in names:
                raise Refused(f"{path} is no bundle: {SUMS} or {ABOUT} is not in it; make bundle")
            wanted = _sums(archive.read(SUMS).decode())
            lacking = sorted(set(wanted) - set(names))
            added = sorted(set(names) - set(wanted) - {SUMS})
            if lacking or added:
                raise Refused(
                    f"{path} is damaged: {', '.join(lacking) or 'nothing'} is missing and "
                    f"{', '.join(added) or 'nothing'} was added; {ANEW}"
                )
            for name, digest in wanted.items():
                if _sha256(archive, name) != digest:
                    raise Refused(f"{path} is damaged: {name} has another SHA-256; {ANEW}")
            about = json.loads(archive.read(ABOUT))
            python = tuple(int(part) for part in about["python"].split("."))
            return Bundle(path, about["version"], (python[0], python[1]), about["machine"])
    except OSError as exc:
        raise Refused(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, NotImplementedError) as exc:
        raise Refused(f"{path} is damaged or no bundle ({exc}); {ANEW}") from exc


def sums_of(folder: Path) -> str:
    """The text of ``SHA256SUMS`` for all files below a folder, as sha256sum writes it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in files
    )


def _check_names(path: Path, names: list[str]) -> None:
    for name, count in Counter(names).items():
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\\" in name or not parts:
            raise Refused(f"{path} is no bundle: {name!r} would be unpacked elsewhere")
        if count > 1:
            raise Refused(f"{path} is no bundle: {name!r} is in it {count} times")


def _sums(text: str) -> dict[str, str]:
    pairs = re.findall(r"^([0-9a-f]{64})  (.+)$", text, re.MULTILINE)
    return {name: digest for digest, name in pairs}


def _sha256(archive: zipfile.ZipFile, name: str) -> str:
    digest = hashlib.sha256()
    with archive.open(name) as file:
        while True:
            block = file.read(1 << 20)
            if not block:
                return digest.hexdigest()
            digest.update(block)


def _dotted(python: tuple[int, int]) -> str:
    return ".".join(map(str, python))
