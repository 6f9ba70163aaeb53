"""What a field of the settings declares beside its type: its option, and where its paths start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Mark = TypeVar("Mark")


@dataclass(frozen=True, slots=True)
class Option:
    """The option of ``edge run`` that overrides a field.

    ``place`` is where it stands in the help, ``metavar`` what stands there for its value unless the
    type names the words, ``commas`` whether one value names several with commas between them.
    """

    place: int
    flag: str
    metavar: str | None = None
    help: str | None = None
    commas: bool = False


@dataclass(frozen=True, slots=True)
class FromFolder:
    """The field holds paths: in a settings file they start at the folder of the file.

    ``is_path(text, folder)`` tells them from other texts that the field takes, ``before(text)`` is
    what stands before the path.
    """

    is_path: Callable[[str, Path], bool] = lambda *_: True
    before: Callable[[str], str] = lambda _: ""


def sections_of(settings: type[BaseModel]) -> dict[str, dict[str, FieldInfo]]:
    """The fields of each section by their keys, of a model of sections."""
    sections: dict[str, Any] = {n: field.annotation for n, field in settings.model_fields.items()}
    return {name: section.model_fields for name, section in sections.items()}


def mark_of(field: FieldInfo, kind: type[Mark]) -> Mark | None:
    """The ``Option`` or ``FromFolder`` of a field, None where it has none."""
    return next((mark for mark in field.metadata if isinstance(mark, kind)), None)
