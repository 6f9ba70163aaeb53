"""Where a version's files and packages come from: a checkout and the index, or a bundle."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from versions import Step

PROJECT = Path(__file__).resolve().parent.parent
SOURCE = ("edge", "engines", "export", "systemd", "docs", "constraints", "pyproject.toml",
          "README.md", "LICENSE", "NOTICE")  # fmt: skip
"""What is copied: pip builds in place, and a checkout is not root's to litter."""
QUIET = {"PYTHONNOUSERSITE": "1"}
"""What root once installed for itself is not the system's."""


class Origin(Protocol):
    """What a version is made from; ``source`` is a folder of that version, made by ``put``."""

    @property
    def version(self) -> str:
        """The project's own version, '0.1.0'."""

    def reasons_against(self, python: tuple[int, int], machine: str) -> list[str]:
        """Why it is not for such a machine."""

    def put(self, source: Path) -> Step:
        """The step that makes ``source``, with the constraints in it."""

    def pip(self, source: Path, python: tuple[int, int]) -> list[str]:
        """Words of ``pip install`` that say where packages come from, and in which versions."""

    def project_of(self, source: Path, extra: str = "") -> str:
        """The word of ``pip install`` that means Outrider itself."""

    def tidy(self, source: Path) -> list[Step]:
        """Steps that take away what nobody needs after the last ``pip install``."""


@dataclass(frozen=True)
class Checkout:
    """This checkout, and what pip fetches by the pins that lie in it."""

    project: Path = PROJECT

    @property
    def version(self) -> str:
        """As pyproject.toml says."""
        text = (self.project / "pyproject.toml").read_text(encoding="utf-8")
        (version,) = re.findall(r'^version = "([^"]+)"', text, re.MULTILINE)
        return str(version)

    def reasons_against(self, python: tuple[int, int], machine: str) -> list[str]:
        """Nothing: the index has wheels for all machines."""
        return []

    def put(self, source: Path) -> Step:
        """Copies what belongs to the project."""
        parts = [str(self.project / part) for part in SOURCE]
        return Step(
            "the project's own files, so that the checkout stays as it is",
            ["cp", "-r", *parts, str(source)],
            action=lambda: self.copy(source),
        )

    def pip(self, source: Path, python: tuple[int, int]) -> list[str]:
        """The index that pip knows, and the pins."""
        return ["-c", str(source / "constraints" / pins_of(python))]

    def project_of(self, source: Path, extra: str = "") -> str:
        """Built by pip from the copy."""
        return f"{source}{extra}"

    def tidy(self, source: Path) -> list[Step]:
        """Nothing: the copy is small."""
        return []

    def copy(self, target: Path) -> None:
        """Copy what belongs to the project into a new folder."""
        skip = shutil.ignore_patterns("__pycache__", "*.engine", "*.engine.json")
        target.mkdir()
        for part in SOURCE:
            if (self.project / part).is_dir():
                shutil.copytree(self.project / part, target / part, ignore=skip)
            else:
                shutil.copy(self.project / part, target / part)


def pins_of(python: tuple[int, int]) -> str:
    """The name of the constraint file for a Python version."""
    return "py310.txt" if python < (3, 11) else "py311.txt"


def missing_of_the_system() -> list[str]:
    """Debian packages that the app needs with this Python and this machine lacks."""
    sys.path.insert(0, str(PROJECT / ".ci"))  # the list of them has one owner
    import system_packages  # type: ignore[import-not-found]

    missing: list[str] = system_packages.missing("run", window=False)
    return missing
