"""Reads a settings file and the options into one checked value; it opens nothing else.

Every wrong key or value becomes one line that names the file or option, the key, what was got and
what was wanted. Paths in a file are relative to that file, paths on the command line to the shell.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec as find_module
from pathlib import Path
from typing import Any, get_origin

from pydantic import ValidationError

import edge.sinks
from edge.credential import first_text
from edge.settings.mistakes import mistakes
from edge.settings.options import FromFolder, mark_of, sections_of
from edge.settings.outputs import refuse_overwriting
from edge.settings.settings import Settings
from edge.sinks.stream.address import read_address
from edge.sources.password import with_password
from edge.web.access.rules import check_access
from engines.errors import SettingsError, SinkError, SourceError
from engines.redact import redact
from engines.text import NotTextError, read_text

log = logging.getLogger(__name__)

DEEPEST = 100
"""Parts of a key, of which two are known here."""

_QUOTED = re.compile(r""""(?:\\.|[^"\\\n])*"|'[^'\n]*'""")
_TWINS = {
    "source.uri": "uri_file", "source.uri_file": "uri",
    "output.sinks": "sink_files", "output.sink_files": "sinks",
}  # fmt: skip
"""Two keys of a section that name the same; where one is an option, the file's other is none."""

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load_settings(
    path: Path | None,
    overrides: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    usual_sink: str | None = None,
) -> Settings:
    """Read a settings file, override it from the command line and check the whole.

    Args:
        path: the TOML file, None for the defaults.
        overrides: values by dotted key ("detect.conf"); one that is None counts as not given.
        environ: decides the default sink: a window where a display answers, else null; may hold
            CREDENTIALS_DIRECTORY.
        usual_sink: the sink where none is asked for, whatever ``environ`` says.

    Raises:
        SettingsError: one line for each thing that is wrong.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    text = "" if path is None else _read(path)
    raw = _parse(text, path)
    if path is not None:
        _anchor(raw, path.resolve().parent)
    for key, value in given.items():
        section, _, name = key.partition(".")
        table = raw.setdefault(section, {})
        if isinstance(table, dict):  # otherwise the file's mistake is reported below
            table[name] = value
            twin = _TWINS.get(key)
            if twin and f"{section}.{twin}" not in given:
                table.pop(twin, None)
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as exc:
        lines = mistakes(exc, Settings, path=path, text=text, given=given)
        raise SettingsError("\n".join(lines)) from exc
    settings = _with_files(settings, environ)
    check_outputs(settings, path)
    pages = check_access(settings.output.sinks, settings.web, environ=environ)
    if "web.token_file" in given and not pages:
        raise SettingsError(
            "--web-token: no sink is a page that the token could open; wanted one, such as "
            "--sink web:0.0.0.0:8090"
        )
    _check_streams(settings, environ)
    if settings.output.sinks:
        return settings
    sink = usual_sink or edge.sinks.usual_sink(environ)
    if sink == "null" and usual_sink is None:
        there = find_module("starlette") and find_module("uvicorn")
        log.info(
            "no display answers, so no picture and no boxes are shown or kept; "
            "--sink web shows them on a page%s, --sink out.mp4 or --sink out.jsonl keeps them",
            "" if there else " (first, in the project's folder: pip install -e '.[web]')",
        )
    output = settings.output.model_copy(update={"sinks": (sink,)})
    return settings.model_copy(update={"output": output})


def with_values(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """The settings with other values by dotted key, checked as those of a file are.

    Raises:
        SettingsError: one line for each thing that is wrong.
    """
    raw = settings.model_dump(exclude_unset=True)
    for key, value in values.items():
        section, _, name = key.partition(".")
        if not name:
            example = next(iter(sections_of(Settings).get(section, ())), "KEY")
            raise SettingsError(
                f"{key}: is a section, wanted each of its keys by itself, such as "
                f"{section}.{example}"
            )
        raw.setdefault(section, {})[name] = value
    try:
        return Settings.model_validate(raw)
    except ValidationError as exc:
        lines = mistakes(exc, Settings, path=None, text="", given=())
        raise SettingsError("\n".join(lines)) from exc


def _with_files(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """The settings with the source and the sinks that stand in files of their own.

    Raises:
        SettingsError: a file has none, or others can read it; two sources.
    """
    source, output = settings.source, settings.output
    if source.uri_file is not None:
        if "uri" in source.model_fields_set:
            raise SettingsError("[source] uri_file: uri names a source, too; wanted one of them")
        uri = first_text(source.uri_file, key="[source] uri_file", what="a source", environ=environ)
        source = source.model_copy(update={"uri": uri})
    sinks = tuple(
        first_text(file, key="[output] sink_files", what="a sink", environ=environ)
        for file in output.sink_files
    )
    output = output.model_copy(update={"sinks": (*output.sinks, *sinks)})
    return settings.model_copy(update={"source": source, "output": output})


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except FileNotFoundError as exc:
        if ":/" in str(path):  # not shown: a path has lost a slash, and may hold a password
            raise SettingsError(
                "a URL, where a settings file was wanted; a source goes to: edge run --source URL"
            ) from exc
        raise SettingsError(f"{path}: no such settings file; check the path{_meant(path)}") from exc
    except NotTextError as exc:
        raise SettingsError(f"{path}: {exc}, wanted a file of settings{_meant(path)}") from exc
    except OSError as exc:
        raise SettingsError(
            f"{path}: cannot be read: {exc.strerror}; check the path and its permissions"
        ) from exc


def _meant(path: Path) -> str:
    """The option to use for a file that does not look like settings."""
    suffix = path.suffix.lower()
    option = "model" if suffix in (".onnx", ".engine") else "source"
    return "" if suffix in ("", ".toml") else f". A {option} goes to: edge run --{option} {path}"


def _parse(text: str, path: Path | None) -> dict[str, Any]:
    try:
        bare = _QUOTED.sub("", text)  # names of files have dots, too
        if any(part.count(".") > DEEPEST for part in re.split(r"[=\n,]", bare)):
            raise RecursionError  # for each part of a key the parser goes through all before it
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise SettingsError(f"{path}: not valid TOML: {exc}") from exc
    except RecursionError as exc:
        raise SettingsError(f"{path}: nested too deep, wanted sections of keys") from exc
    except ValueError as exc:  # of int: more digits than Python converts
        raise SettingsError(f"{path}: a number of too many digits, wanted a smaller one") from exc


def _anchor(raw: dict[str, Any], folder: Path) -> None:
    """Make the paths in a settings file absolute, seen from the file's folder."""
    for section, fields in sections_of(Settings).items():
        for name, field in fields.items():
            table, mark = raw.get(section), mark_of(field, FromFolder)
            kind = list if get_origin(field.annotation) is tuple else str
            if mark and isinstance(table, dict) and isinstance(table.get(name), kind):
                table[name] = _anchored(table[name], folder, mark)


def _anchored(value: Any, folder: Path, mark: FromFolder) -> Any:
    if isinstance(value, list):
        return [_anchored(entry, folder, mark) for entry in value]
    if not isinstance(value, str) or not value or not mark.is_path(value, folder):
        return value
    before = mark.before(value)
    return before + str(folder / os.path.expanduser(value.removeprefix(before)))


def _check_streams(settings: Settings, environ: Mapping[str, str]) -> None:
    """Refuse addresses that are none, and files without a password for them.

    Raises:
        SettingsError: names the setting.
    """
    source, output = settings.source, settings.output
    streams = [read_address(text) for text in output.sinks if edge.sinks.is_stream(text)]
    if output.password_file is not None and not streams:
        raise SettingsError(
            "[output] password_file: no sink has a user whose password it could be; wanted one "
            "such as rtsp://USER@HOST/PATH"
        )
    try:
        if source.password_file is not None:
            with_password(source.uri, source.password_file, environ=environ)
        for address in streams:
            address.with_password(output.password_file, environ=environ)
    except (SourceError, SinkError) as exc:
        raise SettingsError(str(exc)) from exc


def check_outputs(settings: Settings, path: Path | None) -> None:
    """Refuse outputs that would destroy an input, the settings at ``path`` or each other.

    Raises:
        SettingsError: names the output.
    """
    metrics, sinks = settings.output.metrics, settings.output.sinks
    if metrics is not None and metrics.suffix.lower() != ".json":  # a picture of the source, say
        raise SettingsError(f'metrics: got "{metrics}", wanted a name that ends in .json')
    for text in sinks:
        if sinks.count(text) > 1 and not edge.sinks.writes_file(text):
            raise SettingsError(f'--sink: got "{redact(text)}" twice, wanted it once')
    files = [text for text in sinks if edge.sinks.writes_file(text)]
    refuse_overwriting(
        files if metrics is None else [*files, metrics],
        folders=[folder for text in sinks if (folder := edge.sinks.folder_of(text))],
        models=settings.model.files,
        source=settings.source.uri,
        others=[*([("the settings", path)] if path is not None else []), *_named(settings)],
    )


def _named(settings: Settings) -> Iterator[tuple[str, str | Path]]:
    """The files that settings name beside source, models and outputs: passwords, certificates."""
    named = {("source", "uri"), ("model", "files"), ("output", "sinks"), ("output", "metrics")}
    for section, fields in sections_of(Settings).items():
        for key, field in fields.items():
            if mark_of(field, FromFolder) and (section, key) not in named:
                value = getattr(getattr(settings, section), key) or ()
                for path in value if isinstance(value, tuple) else (value,):
                    yield f"[{section}] {key}", path
