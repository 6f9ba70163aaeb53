"""Turns pydantic's errors into one readable line each; it checks nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from edge.settings.options import Option, mark_of, sections_of
from engines.redact import redact

Sections = Mapping[str, Mapping[str, FieldInfo]]

MOST = 20
"""Mistakes that are told: of a file that is none of settings, every line is one."""
LONGEST = 60
"""Characters that are shown of a key or a value."""

_WANTED = {
    "float_type": "a number",
    "finite_number": "a finite number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "string_type": "a text in quotes",
    "tuple_type": 'a list, such as ["a", "b"]',
    "is_instance_of": "a path in quotes",
    "path_type": "a path in quotes",
    "string_too_short": "a text that is not empty",
    "string_pattern_mismatch": "a SHA-256: 64 digits, 0 to 9 and a to f",
    "too_short": "at least one entry",
}
"""By pydantic's error type; its own message stands where none of these fits."""


def mistakes(
    error: ValidationError,
    settings: type[BaseModel],
    *,
    path: Path | None,
    text: str,
    given: Collection[str],
) -> list[str]:
    """One line for each of the first mistakes: where, the key, what was got, what was wanted.

    Args:
        error: what pydantic found.
        settings: the model of sections, each a model of keys.
        path: the settings file, None where there is none.
        text: its content, to find lines.
        given: the dotted keys that came from the command line.
    """
    sections = sections_of(settings)
    lines = []
    all_found = error.errors(include_url=False)
    deepest = {found["loc"][:-1] for found in all_found}
    for found in all_found[:MOST]:
        if found["type"] == "too_short" and found["loc"] in deepest:
            continue  # only because an entry was refused, which has a line of its own
        loc = [str(part)[:LONGEST] for part in found["loc"]]
        key = ".".join(loc[:2])
        line = _line_of(text, loc)
        place = key if path is None else f"{path}{f':{line}' if line else ''}: {key}"
        if key in given:
            option = mark_of(sections[loc[0]][loc[1]], Option)
            place = option.flag if option else key
        lines.append(f"{place}: {_complaint(dict(found), loc, key, sections)}")
    if len(all_found) > MOST:
        lines.append(f"{path or 'settings'}: and {len(all_found) - MOST} more mistakes")
    return list(dict.fromkeys(lines))


def _complaint(error: dict[str, Any], loc: list[str], key: str, sections: Sections) -> str:
    if error["type"] == "extra_forbidden":
        kind = "section" if len(loc) == 1 and isinstance(error["input"], dict) else "key"
        return f"unknown {kind}{_nearest(loc, sections)}"
    if error["type"] == "string_unicode" and isinstance(error["input"], str):
        name = redact(error["input"].encode("utf-8", "backslashreplace").decode())
        return f'got "{name}", wanted a text in UTF-8: rename the file'
    got = _shown(key, error["input"])
    if error["type"] == "model_type":
        return f"got {got}, wanted a section: write [{key}] on a line of its own"
    field = sections[loc[0]].get(loc[1]) if len(loc) > 1 else None
    return f"got {got}, wanted {_wanted(error, field)}"


def _shown(key: str, value: Any) -> str:
    if key in (
        "source",
        "source.uri",
        "source.uri_file",
        "source.password_file",
        "output.sink_files",
        "output.password_file",
    ):
        # may hold a password
        return "an empty text" if value == "" else f"a {type(value).__name__}"
    if isinstance(value, bool):
        return str(value).lower()
    shown = redact(repr(list(value) if isinstance(value, tuple) else value))
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 3] + "..."


def _wanted(error: Mapping[str, Any], field: FieldInfo | None) -> str:
    """What pydantic expected."""
    context = error.get("ctx", {})
    if "gt" in context:
        return f"more than {context['gt']:g}"
    for side, words in (("ge", "or more"), ("le", "or less")):
        if side in context:
            low, high = _range(field)
            both = low is not None and high is not None
            return f"{low} to {high}" if both else f"{context[side]:g} {words}"
    if error["type"] == "literal_error":
        return str(context["expected"]).replace("'", '"')
    return _WANTED.get(str(error["type"]), str(error["msg"]))


def _range(field: FieldInfo | None) -> tuple[Any, Any]:
    """Lowest and highest value of a key, None where open."""
    if field is None:
        return None, None
    marks = [*field.metadata]
    for part in get_args(field.annotation):  # "Annotated[float, ...] | None" hides them one deeper
        marks += getattr(part, "__metadata__", ())
    for inner in [mark for mark in marks if isinstance(mark, FieldInfo)]:
        marks += inner.metadata
    low, high = ([getattr(m, side) for m in marks if hasattr(m, side)] for side in ("ge", "le"))
    return next(iter(low), None), next(iter(high), None)


def _nearest(loc: list[str], sections: Sections) -> str:
    """The valid name nearest to an unknown one, with its section."""
    name = loc[-1]
    homes = {key: section for section, keys in sections.items() for key in keys}
    if name in homes:
        return f'; "{name}" belongs under [{homes[name]}]'
    if len(loc) == 1:
        close = get_close_matches(name, sections, n=1, cutoff=0.5)
        if close:
            return f", did you mean [{close[0]}]?"
        return "; the sections are " + ", ".join(f"[{s}]" for s in sections)
    close = get_close_matches(name, sections[loc[0]], n=1, cutoff=0.5)
    if close:
        return f', did you mean "{close[0]}"?'
    close = get_close_matches(name, homes, n=1, cutoff=0.7)
    if close:
        return f', did you mean "{close[0]}" under [{homes[close[0]]}]?'
    return f"; [{loc[0]}] takes " + ", ".join(sections[loc[0]])


def _line_of(text: str, loc: list[str]) -> int | None:
    """The line on which ``[section]`` or its key stands, for tables as people write them."""
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            section = stripped.lstrip("[").partition("]")[0].strip()
            if len(loc) == 1 and section == loc[0]:
                return number
            continue
        name = stripped.partition("=")[0].strip().strip('"')
        dotted = f"{section}.{name}" if section else name
        if "=" in stripped and dotted in (loc[0], ".".join(loc[:2])):
            return number
    return None
