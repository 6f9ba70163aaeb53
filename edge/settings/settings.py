"""The app's settings: one frozen, typed value of sections and their options; it reads no file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

import edge.sinks
import edge.sources
import engines
from edge.credential import VARIABLE
from edge.settings.grid import check_grid
from edge.settings.options import FromFolder, Option
from edge.settings.regions import read_regions
from edge.sinks.record.options import RecordOptions
from edge.sources.options import Flip, Policy, RotateDeg, RtspTransport, SourceOptions
from edge.vision.polygon import Polygon

SHIPPED_MODEL = Path(engines.__file__).resolve().parent / "models" / "street.onnx"
"""The network that comes with the project."""

if TYPE_CHECKING:
    EngineName = str
else:
    EngineName = Literal[("auto", *engines.ENGINES)]
Precision = Literal["default", "f32"]

_Fraction = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(gt=0, le=1e9)]  # what clocks take: 1e9 s are 30 years
_Count = Annotated[int, Field(ge=1, le=10**12)]  # a thousand years of frames
# TOML and click give lists and strings; strict mode would want the final types themselves.
_Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False)]
_Hashes = Annotated[
    tuple[Annotated[str, Field(pattern="^[0-9a-f]{64}$")], ...], Field(strict=False)
]
_File = Annotated[Path, BeforeValidator(lambda v: Path(v) if isinstance(v, str) and v else v)]
_SECRET = FromFolder(lambda text, _: VARIABLE not in text)
"""A file that systemd may hand over."""
_Files = Annotated[tuple[_File, ...], Field(strict=False, min_length=1)]


_SOURCE = SourceOptions()
_RECORD = RecordOptions()


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _without_nul(cls, value: Any) -> Any:
        """Refuse what neither a name of a file nor a text of ours can hold."""
        if any(
            isinstance(v, str) and "\0" in v
            for v in (value if isinstance(value, list) else [value])
        ):
            raise PydanticCustomError("nul", "a text without \\u0000")
        return value


class SourceSettings(_Section):
    """Where frames come from. ``uri`` may hold credentials: print it only through ``redact``.

    The first line of ``uri_file`` stands for it; ``load_settings`` puts it there.
    ``reconnect`` of None is True in a service that waits for READY, else False.
    """

    uri: Annotated[
        str,
        FromFolder(edge.sources.is_path),
        Option(
            1, "--source", "S", ", ".join(form for _, form in edge.sources.SOURCES.values()) + "."
        ),
    ] = Field("synthetic", min_length=1, repr=False)
    uri_file: Annotated[
        Annotated[str, Field(min_length=1)] | None,
        _SECRET,
        Option(18, "--source-file", "FILE", "File whose first line is the source."),
    ] = None
    policy: Annotated[
        Policy,
        Option(7, "--policy", help="Drop frames that come too fast, or wait for each."),
    ] = "auto"
    open_timeout_s: _Positive = _SOURCE.open_timeout_s
    read_timeout_s: _Positive = _SOURCE.read_timeout_s
    stall_s: _Positive = _SOURCE.stall_s
    max_delay_s: float = Field(_SOURCE.max_delay_s, ge=0, le=60)
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
    raw_fps: Annotated[
        float | None,
        Option(20, "--raw-fps", "FPS", "Rate of a video without times, such as raw H.264."),
    ] = Field(_SOURCE.raw_fps, ge=1e-6, le=1e9)
    seed: int = Field(_SOURCE.seed, ge=0, le=2**32 - 1)
    password_file: Annotated[Annotated[str, Field(min_length=1)] | None, _SECRET] = (
        _SOURCE.password_file
    )
    rtsp_transport: RtspTransport = _SOURCE.rtsp_transport

    def options(self, *, in_service: bool = False) -> SourceOptions:
        """What a source is opened with, beside its uri and policy."""
        given = self.model_dump(exclude={"uri", "uri_file", "policy", "reconnect"})
        reconnect = in_service if self.reconnect is None else self.reconnect
        return SourceOptions(**given, reconnect=reconnect)


class ModelSettings(_Section):
    """Which networks run, and in what. ``threads`` and ``slots`` of None leave it to the engine.

    ``letterbox`` says where frames are resized: 'auto' measures where an engine can do it, too.
    ``tiles`` of 2x1 look at two halves of a frame that overlap, and at the whole.
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
    tiles: Annotated[
        str,
        AfterValidator(check_grid),
        Option(21, "--tiles", "CxR", "Look for small objects in C columns and R rows of tiles."),
    ] = "1x1"
    trust: Annotated[
        _Hashes,
        Option(12, "--trust", "SHA256", "Load the TensorRT plan with this hash without a sidecar."),
    ] = ()


class DetectSettings(_Section):
    """Which boxes are kept. None means what the model's spec recommends, or every class.

    A box whose centre lies in one of the regions of ``ignore`` is not.
    """

    conf: Annotated[
        _Fraction | None, Option(8, "--conf", "C", "Keep boxes with this score, 0 to 1.")
    ] = None
    nms_iou: _Fraction | None = None
    classes: Annotated[
        _Names | None, Option(9, "--classes", "A,B", "Keep boxes of these classes.", commas=True)
    ] = Field(None, min_length=1)
    max_detections: int = Field(300, ge=1, le=10_000)
    ignore: Annotated[tuple[Polygon, ...], BeforeValidator(read_regions)] = ()


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
    """Where results go. ``sinks`` is never empty after ``load_settings``.

    They may hold credentials: print them only through ``redact``. The first lines of ``sink_files``
    are among them. ``password_file`` holds the password of the user in the address of a stream.
    Boxes of the classes in ``blur`` are unrecognisable on every picture, whatever [detect] keeps.
    """

    sinks: Annotated[
        _Names,
        FromFolder(
            lambda text, _: edge.sinks.writes_file(text) or bool(edge.sinks.folder_of(text)),
            lambda text: "record:" if edge.sinks.folder_of(text) else "",
        ),
        Option(
            4,
            "--sink",
            "|".join(edge.sinks.FORMS),
            "May be given several times; - is JSON lines on stdout.",
        ),
    ] = Field((), repr=False)
    sink_files: Annotated[
        _Names,
        _SECRET,
        Option(19, "--sink-file", "FILE", "File whose first line is a sink."),
    ] = ()
    password_file: Annotated[Annotated[str, Field(min_length=1)] | None, _SECRET] = None
    blur: _Names = ()
    metrics: Annotated[
        _File | None,
        FromFolder(),
        Option(13, "--metrics", "FILE.json", "Write counts and times there at the end."),
    ] = None


class RecordSettings(_Section):
    """What ``--sink record:DIR`` keeps; its fields are those of ``RecordOptions``."""

    overlay: bool = _RECORD.overlay
    # At 50 Mbit/s ten minutes are 3.75 GB, and FAT takes 4 GiB a file.
    segment_s: float = Field(_RECORD.segment_s, ge=1, le=600)
    keep_gb: float = Field(_RECORD.keep_gb, gt=0, le=1e6)
    free_gb: float = Field(_RECORD.free_gb, ge=0, le=1e6)
    pre_s: float = Field(_RECORD.pre_s, ge=0, le=300)
    post_s: float = Field(_RECORD.post_s, ge=0, le=300)
    most_s: float = Field(_RECORD.most_s, ge=1, le=600)
    pre_mb: float = Field(_RECORD.pre_mb, ge=1, le=4096)
    clips_gb: float = Field(_RECORD.clips_gb, ge=0, le=1e6)
    event_classes: _Names = ()
    event_score: _Fraction = _RECORD.event_score
    event_s: float = Field(_RECORD.event_s, ge=0, le=60)

    def options(self) -> RecordOptions:
        """What a recorder is started with."""
        return RecordOptions(**self.model_dump())


class WebSettings(_Section):
    """What the page of ``--sink web`` gives, and to whom.

    The first three bound the picture and how many look at it at once. ``hosts`` are names of this
    machine that browsers may ask for, beside its addresses.
    """

    max_fps: float = Field(30.0, ge=0.1, le=240)
    max_side_px: int = Field(960, ge=64, le=4096)
    max_viewers: _Count = 32
    token_file: Annotated[
        Annotated[str, Field(min_length=1)] | None,
        _SECRET,
        Option(
            16, "--web-token", "FILE", "File whose first line opens the page elsewhere than here."
        ),
    ] = None
    tls_cert: Annotated[_File | None, _SECRET] = None
    tls_key: Annotated[_File | None, _SECRET] = None
    client_ca: Annotated[_File | None, _SECRET] = None
    hosts: _Names = ()


class LogSettings(_Section):
    """How much goes to stderr."""

    verbose: Annotated[bool, Option(14, "--verbose", help="Log more, tracebacks included.")] = False
    quiet: Annotated[
        bool,
        Option(
            17, "--quiet", help="Warnings and errors alone: no bar or status line, no final table."
        ),
    ] = False


class Settings(_Section):
    """Everything that a run depends on."""

    source: SourceSettings = SourceSettings()
    model: ModelSettings = ModelSettings()
    detect: DetectSettings = DetectSettings()
    pipeline: PipelineSettings = PipelineSettings()
    overlay: OverlaySettings = OverlaySettings()
    output: OutputSettings = OutputSettings()
    record: RecordSettings = RecordSettings()
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()
