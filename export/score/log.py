"""The log of scorings of a test split, which shows how often it was seen; choices belong on val."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from engines.errors import ExportError
from engines.files import user_folder
from export.score.report import EvaluationReport

NOT_LOGGED = ("confusion_mask", "confusion_boxes", "worst")
"""What would make a line of the log unreadable."""


class ScoringLog:
    """A file that every scoring of a test split is appended to, one line each.

    A ``path`` of None is the user's own log; its folder is made where it is missing.
    """

    def __init__(self, path: Path | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self._path, self._environ = path, environ

    def path(self) -> Path:
        """Where the log is.

        Raises:
            FileNotFoundError: no folder of the user's is known.
        """
        return self._path or user_folder("STATE", self._environ) / "test_scores.jsonl"

    def check(self, split: str | None) -> None:
        """Refuse a log that cannot be written, before minutes of scoring; it stays as it is.

        Raises:
            ExportError: says why, and how to name another.
        """
        if split == "test":
            with self._appending():
                pass

    def append(self, report: EvaluationReport) -> None:
        """Add one line, where ``report`` is of a test split.

        Raises:
            ExportError: it cannot be written.
        """
        if report.split == "test":
            kept = {k: v for k, v in report.to_dict().items() if k not in NOT_LOGGED}
            date = datetime.now(timezone.utc).isoformat(timespec="seconds")
            with self._appending() as file:
                file.write(json.dumps({"date": date, **kept}) + "\n")

    @contextmanager
    def _appending(self) -> Iterator[TextIO]:
        """The file; where nothing is written and there was none, none is left."""
        where = ""
        try:
            path = self.path()
            where = f"{path}: "
            if self._path is None:
                path.parent.mkdir(parents=True, exist_ok=True)
            known = os.path.exists(path)
            with path.open("a") as file:
                yield file
                empty = not file.tell()
            if empty and not known:
                path.unlink()
        except OSError as exc:
            raise ExportError(
                f"{where}this scoring of the test split cannot be logged ({exc.strerror or exc}). "
                "Name a writable file with --test-log."
            ) from exc
