"""The folder of a profile and the names in it; one that holds anything else is refused."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engines.errors import SettingsError
from engines.files import locked

MARK = '<meta name="generator" content="edge profile">'
"""In the head of each report: a folder with one is a profile's."""
_HEAD_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the files are."""

    path: Path

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"

    @property
    def trace(self) -> Path:
        """For Perfetto."""
        return self.path / "trace.json"

    @property
    def trace_before(self) -> Path:
        """The part before it of a long run."""
        return self.path / "trace.before.json"

    @property
    def metrics(self) -> Path:
        """As ``--metrics`` writes them."""
        return self.path / "metrics.json"

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Make the folder, or empty it of an older profile; others are refused in the block.

        Raises:
            SettingsError: it cannot be made or written to, it holds what is no profile's, or
                another profile is being written there.
        """
        with contextlib.ExitStack() as held:
            try:
                self._make()
                if held.enter_context(locked(self.path, wait=False)) is False:
                    raise SettingsError(
                        f"-o {self.path}: another profile is being written there; choose another "
                        "folder"
                    )
                self._refuse_others()
                for file in (self.trace, self.trace_before, self.metrics):
                    file.unlink(missing_ok=True)
            except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
                reason = exc.strerror if isinstance(exc, OSError) else str(exc)
                raise SettingsError(
                    f"-o {self.path}: cannot be made or written to: {reason}; choose another folder"
                ) from exc
            yield

    def _make(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise SettingsError(f"-o {self.path}: is a file, wanted the name of a folder")
        try:
            self.path.mkdir(exist_ok=True)
        except FileNotFoundError as exc:
            above = self.path.parent
            raise SettingsError(
                f"-o {self.path}: there is no folder {above}; make it first: mkdir -p {above}"
            ) from exc

    def _refuse_others(self) -> None:
        """Raise SettingsError where not all in it is a profile's."""
        there = sorted(entry.name for entry in self.path.iterdir() if not _is_left_over(entry))
        files = (self.report, self.trace, self.trace_before, self.metrics)
        own = {file.name for file in files}
        others = [name for name in there if name not in own]
        if not others and there and not _is_report(self.report):
            others = there
        if others:
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            raise SettingsError(
                f"-o {self.path}: holds what is no profile's ({', '.join(others[:3])}{more}); "
                "choose a new folder, an empty one or that of an older profile"
            )


def _is_report(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return MARK.encode() in file.read(_HEAD_BYTES)


def _is_left_over(entry: Path) -> bool:
    """Of a write that a power cut ended: a name that ``engines.files.replacing`` gives."""
    return entry.name.startswith(".") and entry.suffix in (".html", ".json")
