"""The app's settings: one frozen, typed value from a TOML file and the options; it opens nothing.

Every wrong key or value becomes one line that names the file or option, the key, what was got and
what was wanted. Paths in a file are relative to that file, paths on the command line to the shell.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

import edge.sinks
import edge.sources
import engines
from edge.settings.mistakes import mistakes
from edge.settings.options import FromFolder, Option, mark_of, sections_of
from edge.settings.outputs import refuse_overwriting
from edge.sources.options import Flip, Policy, RotateDeg, SourceOptions
from edge.sources.password import VARIABLE, with_password
from engines.errors import SettingsError, SourceError

log = logging.getLogger(__name__)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHIPPED_MODEL = Path(engines.__file__).resolve().parent / "models" / "street.onnx"
"""The network that comes with the project."""

if TYPE_CHECKING:
    EngineName = str
else:
    EngineName = Literal[("auto", *engines.ENGINES)]
Precision = Literal["default", "f32"]

_Fraction = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(gt=0, le=1e9)]  # what clocks take: 1e9 s are 30 years
_Count = Annotated[int, Field(ge=1)]
# TOML and click give lists and strings; strict mode would want the final types themselves.
_Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False)]
_Hashes = Annotated[
    tuple[Annotated[str, Field(pattern="^[0-9a-f]{64}$")], ...], Field(strict=False)
]
_File = Annotated[Path, BeforeValidator(lambda v: Path(v) if isinstance(v, str) and v else v)]
_Files = Annotated[tuple[_File, ...], Field(strict=False, min_length=1)]


_SOURCE = SourceOptions()


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class SourceSettings(_Section):
    """Where frames come from. ``uri`` may hold credentials: print it only through ``redact``.

    ``reconnect`` of None is True in a service that waits for READY, else False.
    """

    uri: Annotated[
        str,
        FromFolder(edge.sources.is_path),
        Option(
            1, "--source", "S", ", ".join(form for _, form in edge.sources.SOURCES.values()) + "."
        ),
    ] = Field("synthetic", min_length=1, repr=False)
    policy: Annotated[
        Policy,
        Option(7, "--policy", help="Drop frames that come too fast, or wait for each."),
    ] = "auto"
    open_timeout_s: _Positive = _SOURCE.open_timeout_s
    read_timeout_s: _Positive = _SOURCE.read_timeout_s
    stall_s: _Positive = _SOURCE.stall_s
    reconnect: Annotated[
        bool | None,
        Option(15, "--reconnect", help="Open a live source that is absent or breaks again."),
    ] = None
    retry_s: _Positive = _SOURCE.retry_s
    hang_s: _Positive = _SOURCE.hang_s
    rotate_deg: RotateDeg = _SOURCE.rotate_deg
    flip: Flip = _SOURCE.flip
    # Of the slowest, a picture is due in 12 days.
    images_fps: float = Field(_SOURCE.images_fps, ge=1e-6, le=1e9)
    seed: int = Field(_SOURCE.seed, ge=0, le=2**32 - 1)
    password_file: Annotated[
        Annotated[str, Field(min_length=1)] | None, FromFolder(lambda text, _: VARIABLE not in text)
    ] = _SOURCE.password_file

    def options(self, *, in_service: bool = False) -> SourceOptions:
        """What a source is opened with, beside its uri and policy."""
        given = self.model_dump(exclude={"uri", "policy", "reconnect"})
        reconnect = in_service if self.reconnect is None else self.reconnect
        return SourceOptions(**given, reconnect=reconnect)


class ModelSettings(_Section):
    """Which networks run, and in what. ``threads`` and ``slots`` of None leave it to the engine.

    ``letterbox`` says where frames are resized: 'auto' measures where an engine can do it, too.
    ``trust`` holds the SHA-256 of TensorRT plans that are loaded without a sidecar.
    """

    files: Annotated[
        _Files,
        FromFolder(),
        Option(2, "--model", "M", "ONNX file or TensorRT engine; may be given several times."),
    ] = (SHIPPED_MODEL,)
    engine: Annotated[EngineName, Option(3, "--engine")] = "auto"
    precision: Annotated[
        Precision, Option(10, "--precision", help="The device's own choice, or f32.")
    ] = "default"
    threads: Annotated[int | None, Option(11, "--threads", "N", "Threads of the engine.")] = Field(
        None, ge=1, le=1024
    )
    slots: int | None = Field(None, ge=1, le=4)
    letterbox: Literal["auto", "host", "device"] = "auto"
    trust: Annotated[
        _Hashes,
        Option(12, "--trust", "SHA256", "Load the TensorRT plan with this hash without a sidecar."),
    ] = ()


class DetectSettings(_Section):
    """Which boxes are kept. None means what the model's spec recommends, or every class."""

    conf: Annotated[
        _Fraction | None, Option(8, "--conf", "C", "Keep boxes with this score, 0 to 1.")
    ] = None
    nms_iou: _Fraction | None = None
    classes: Annotated[
        _Names | None, Option(9, "--classes", "A,B", "Keep boxes of these classes.", commas=True)
    ] = Field(None, min_length=1)
    max_detections: int = Field(300, ge=1, le=10_000)


class PipelineSettings(_Section):
    """When frames are too old and when the run ends; None means never.

    ``frames`` counts rendered frames, ``seconds`` from the first capture.
    """

    max_age_ms: _Positive | None = None
    frames: Annotated[
        _Count | None, Option(5, "--frames", "N", "Stop after N rendered frames.")
    ] = None
    seconds: Annotated[
        _Positive | None, Option(6, "--seconds", "S", "Stop S seconds after the first capture.")
    ] = None


class OverlaySettings(_Section):
    """What is drawn on the picture."""

    boxes: bool = True
    masks: bool = True
    legend: bool = True
    readout: bool = True
    mask_opacity: _Fraction = 0.45


class OutputSettings(_Section):
    """Where results go. ``sinks`` is never empty after ``load_settings``."""

    sinks: Annotated[
        _Names,
        FromFolder(lambda text, _: edge.sinks.writes_file(text)),
        Option(
            4,
            "--sink",
            "|".join(edge.sinks.FORMS),
            "May be given several times; - is JSON lines on stdout.",
        ),
    ] = ()
    metrics: Annotated[
        _File | None,
        FromFolder(),
        Option(13, "--metrics", "FILE.json", "Write counts and times there at the end."),
    ] = None


class LogSettings(_Section):
    """How much goes to stderr."""

    verbose: Annotated[bool, Option(14, "--verbose", help="Log more, tracebacks included.")] = False


class Settings(_Section):
    """Everything that a run depends on."""

    source: SourceSettings = SourceSettings()
    model: ModelSettings = ModelSettings()
    detect: DetectSettings = DetectSettings()
    pipeline: PipelineSettings = PipelineSettings()
    overlay: OverlaySettings = OverlaySettings()
    output: OutputSettings = OutputSettings()
    log: LogSettings = LogSettings()


def load_settings(
    path: Path | None,
    overrides: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Read a settings file, override it from the command line and check the whole.

    Args:
        path: the TOML file, None for the defaults.
        overrides: values by dotted key ("detect.conf"); one that is None counts as not given.
        environ: decides the default sink: a window where a display answers, else null; may hold
            CREDENTIALS_DIRECTORY.

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
        lines = mistakes(exc, Settings, path=path, text=text, given=given)
        raise SettingsError("\n".join(lines)) from exc
    check_outputs(settings, path)
    if settings.source.password_file is not None:
        try:
            with_password(settings.source.uri, settings.source.password_file, environ=environ)
        except SourceError as exc:
            raise SettingsError(str(exc)) from exc
    if settings.output.sinks:
        return settings
    sink = edge.sinks.usual_sink(environ)
    if sink == "null":
        log.info(
            "no display answers, so no picture and no boxes are shown or kept; "
            "--sink out.mp4 or --sink out.jsonl keeps them"
        )
    output = settings.output.model_copy(update={"sinks": (sink,)})
    return settings.model_copy(update={"output": output})


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError as exc:
        if ":/" in str(path):  # not shown: a path has lost a slash, and may hold a password
            raise SettingsError(
                "a URL, where a settings file was wanted; a source goes to: edge run --source URL"
            ) from exc
        raise SettingsError(f"{path}: no such settings file; check the path{_meant(path)}") from exc
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise SettingsError(
            f"{path}:{line}: not UTF-8 text, wanted a TOML file; save it as UTF-8{_meant(path)}"
        ) from exc
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
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise SettingsError(f"{path}: not valid TOML: {exc}") from exc


def _anchor(raw: dict[str, Any], folder: Path) -> None:
    """Make the paths in a settings file absolute, seen from the file's folder."""
    for section, fields in sections_of(Settings).items():
        for name, field in fields.items():
            table, mark = raw.get(section), mark_of(field, FromFolder)
            kind = list if get_origin(field.annotation) is tuple else str
            if mark and isinstance(table, dict) and isinstance(table.get(name), kind):
                table[name] = _anchored(table[name], folder, mark.is_path)


def _anchored(value: Any, folder: Path, is_path: Callable[[str, Path], bool]) -> Any:
    if isinstance(value, list):
        return [_anchored(entry, folder, is_path) for entry in value]
    if not isinstance(value, str) or not value or not is_path(value, folder):
        return value
    return str(folder / os.path.expanduser(value))


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
            raise SettingsError(f'--sink: got "{text}" twice, wanted it once')
    files = [text for text in sinks if edge.sinks.writes_file(text)]
    refuse_overwriting(
        files if metrics is None else [*files, metrics],
        models=settings.model.files,
        source=settings.source.uri,
        settings=path,
    )
