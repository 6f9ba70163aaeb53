"""The app's settings: one frozen, typed value from a TOML file and the options; it opens nothing.

Every wrong key or value becomes one line that names the file or option, the key, what was got and
what was wanted. Paths in a file are relative to that file, paths on the command line to the shell.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

import engines
from edge.display import display_answers
from engines.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHIPPED_MODEL = Path(engines.__file__).resolve().parent / "models" / "street.onnx"
"""The network that comes with the project."""

EngineName = Literal["auto", "openvino", "onnxruntime", "tensorrt", "replay"]
Policy = Literal["auto", "drop", "wait"]
Precision = Literal["default", "f32"]
Flip = Literal["none", "horizontal", "vertical", "both"]
RotateDeg = Literal[0, 90, 180, 270]

_Fraction = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(ge=1)]
# TOML and click give lists and strings; strict mode would want the final types themselves.
_Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False)]
_File = Annotated[Path, BeforeValidator(lambda v: Path(v) if isinstance(v, str) and v else v)]
_Files = Annotated[tuple[_File, ...], Field(strict=False, min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class SourceSettings(_Section):
    """Where frames come from. ``uri`` may hold credentials: print it only through ``redact``."""

    uri: str = Field("synthetic", min_length=1, repr=False)
    policy: Policy = "auto"
    open_timeout_s: _Positive = 10.0
    read_timeout_s: _Positive = 5.0
    rotate_deg: RotateDeg = 0
    flip: Flip = "none"
    images_fps: _Positive = 25.0
    seed: int = Field(0, ge=0, le=2**32 - 1)


class ModelSettings(_Section):
    """Which networks run, and in what. ``threads`` and ``slots`` of None leave it to the engine."""

    files: _Files = (SHIPPED_MODEL,)
    engine: EngineName = "auto"
    precision: Precision = "default"
    threads: int | None = Field(None, ge=1, le=1024)
    slots: int | None = Field(None, ge=1, le=4)


class DetectSettings(_Section):
    """Which boxes are kept. None means what the model's spec recommends, or every class."""

    conf: _Fraction | None = None
    nms_iou: _Fraction | None = None
    classes: _Names | None = Field(None, min_length=1)
    max_detections: int = Field(300, ge=1, le=10_000)


class PipelineSettings(_Section):
    """When frames are too old and when the run ends; None means never.

    ``frames`` counts rendered frames, ``seconds`` from the first capture.
    """

    max_age_ms: _Positive | None = None
    frames: _Count | None = None
    seconds: _Positive | None = None


class OverlaySettings(_Section):
    """What is drawn on the picture."""

    boxes: bool = True
    masks: bool = True
    legend: bool = True
    readout: bool = True
    mask_opacity: _Fraction = 0.45


class OutputSettings(_Section):
    """Where results go. ``sinks`` is never empty after ``load_settings``."""

    sinks: _Names = ()
    metrics: _File | None = None


class LogSettings(_Section):
    """How much goes to stderr."""

    verbose: bool = False


class Settings(_Section):
    """Everything that a run depends on."""

    source: SourceSettings = SourceSettings()
    model: ModelSettings = ModelSettings()
    detect: DetectSettings = DetectSettings()
    pipeline: PipelineSettings = PipelineSettings()
    overlay: OverlaySettings = OverlaySettings()
    output: OutputSettings = OutputSettings()
    log: LogSettings = LogSettings()


OPTIONS: dict[str, str] = {
    "source.uri": "--source",
    "source.policy": "--policy",
    "model.files": "--model",
    "model.engine": "--engine",
    "model.precision": "--precision",
    "model.threads": "--threads",
    "detect.conf": "--conf",
    "detect.classes": "--classes",
    "pipeline.frames": "--frames",
    "pipeline.seconds": "--seconds",
    "output.sinks": "--sink",
    "output.metrics": "--metrics",
    "log.verbose": "--verbose",
}
"""Keys that the command line can override, and the option that does it."""


def load_settings(
    path: Path | None,
    overrides: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Read a settings file, put the command line's values over it and check the whole.

    Args:
        path: the TOML file, None for the defaults.
        overrides: values by dotted key ("detect.conf"); one that is None counts as not given.
        environ: decides the default sink: a window where a display answers, else null.

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
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as exc:
        lines = [_sentence(dict(e), path, text, given) for e in exc.errors()]
        raise SettingsError("\n".join(dict.fromkeys(lines))) from exc
    if settings.output.sinks:
        return settings
    sinks = ("window",) if display_answers(environ) else ("null",)
    output = settings.output.model_copy(update={"sinks": sinks})
    return settings.model_copy(update={"output": output})


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError as exc:
        raise SettingsError(f"{path}: no such settings file; check the path") from exc
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise SettingsError(
            f"{path}:{line}: not UTF-8 text, wanted a TOML file; save it as UTF-8"
        ) from exc
    except OSError as exc:
        raise SettingsError(f"{path}: cannot be read: {exc.strerror}") from exc


def _parse(text: str, path: Path | None) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise SettingsError(f"{path}: not valid TOML: {exc}; correct that line") from exc


def _anchor(raw: dict[str, Any], folder: Path) -> None:
    """Make the paths in a settings file absolute, seen from the file's folder."""

    def place(value: Any) -> Any:
        if isinstance(value, list):
            return [place(v) for v in value]
        if not isinstance(value, str) or not value:
            return value
        return str(folder / Path(value).expanduser())

    def place_source(value: Any) -> Any:
        named = isinstance(value, str) and (
            "://" in value or value.partition(":")[0] in ("synthetic", "camera")
        )
        return value if named else place(value)

    def place_sinks(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return [v if v in ("window", "-", "null") else place(v) for v in value]

    for section, name, how in (
        ("source", "uri", place_source),
        ("model", "files", place),
        ("output", "sinks", place_sinks),
        ("output", "metrics", place),
    ):
        table = raw.get(section)
        if isinstance(table, dict) and name in table:
            table[name] = how(table[name])


def _sentence(error: dict[str, Any], path: Path | None, text: str, given: Mapping[str, Any]) -> str:
    """One mistake as one line: where, the key, what was got, what was wanted."""
    loc = [str(part) for part in error["loc"]]
    key = ".".join(loc[:2])
    if key in given:
        where = OPTIONS.get(key, key)
    else:
        line = _line_of(text, loc)
        where = f"{path}:{line}: {key}" if line else f"{path}: {key}"
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown {'key' if len(loc) > 1 else 'section'}{_nearest(loc)}"
    got = _shown(key, error["input"])
    if error["type"] == "model_type":
        return f"{where}: got {got}, wanted a section: write [{key}] on a line of its own"
    return f"{where}: got {got}, wanted {_wanted(error)}"


def _shown(key: str, value: Any) -> str:
    if key == "source.uri":  # may hold a password
        return "an empty text" if value == "" else f"a {type(value).__name__}"
    shown = repr(value) if not isinstance(value, bool) else str(value).lower()
    return shown if len(shown) <= 60 else shown[:57] + "..."


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
    "too_short": "at least one entry",
}


def _wanted(error: Mapping[str, Any]) -> str:
    """What pydantic expected, in words; its own message where none of ours fits."""
    context = error.get("ctx", {})
    limits = {"ge": "or more", "le": "or less", "gt": "more than", "lt": "less than"}
    for name, words in limits.items():
        if name in context:
            limit = context[name]
            return f"{limit:g} {words}" if name in ("ge", "le") else f"{words} {limit:g}"
    if error["type"] == "literal_error":
        return str(context["expected"]).replace("'", '"')
    return _WANTED.get(error["type"], str(error["msg"]))


def _nearest(loc: list[str]) -> str:
    """The valid key that an unknown one was probably meant to be, with its section."""
    sections = Settings.model_fields
    if len(loc) == 1:
        homes = [s for s, field in sections.items() if loc[0] in _keys(field.annotation)]
        if homes:
            return f'; "{loc[0]}" belongs under [{homes[0]}]'
        close = get_close_matches(loc[0], sections, n=1, cutoff=0.5)
        if close:
            return f", did you mean [{close[0]}]?"
        return "; the sections are " + ", ".join(f"[{s}]" for s in sections)
    section, name = loc[0], loc[1]
    own = _keys(sections[section].annotation)
    homes = [s for s, field in sections.items() if name in _keys(field.annotation)]
    if homes:
        return f'; "{name}" belongs under [{homes[0]}]'
    close = get_close_matches(name, own, n=1, cutoff=0.5)
    if close:
        return f', did you mean "{close[0]}"?'
    everywhere = {k: s for s, field in sections.items() for k in _keys(field.annotation)}
    close = get_close_matches(name, everywhere, n=1, cutoff=0.7)
    if close:
        return f', did you mean "{close[0]}" under [{everywhere[close[0]]}]?'
    return f"; [{section}] takes " + ", ".join(own)


def _keys(annotation: Any) -> list[str]:
    return list(annotation.model_fields)


def _line_of(text: str, loc: list[str]) -> int | None:
    """The line on which ``[section]`` or its key stands, for tables as people write them."""
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("["):
            section = stripped.strip("[]").split("]")[0].strip()
            if len(loc) == 1 and section == loc[0]:
                return number
            continue
        name = stripped.partition("=")[0].strip().strip('"')
        if name and name in (".".join(loc[:2]), loc[0] if len(loc) == 1 else "") and not section:
            return number
        if len(loc) > 1 and section == loc[0] and name == loc[1]:
            return number
    return None


ENGINE_NAMES: tuple[str, ...] = get_args(EngineName)
POLICIES: tuple[str, ...] = get_args(Policy)
PRECISIONS: tuple[str, ...] = get_args(Precision)
