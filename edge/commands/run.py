"""``edge run``: turns its arguments into settings and starts the app; it decides nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("settings", required=False, type=click.Path(path_type=Path))
@click.option(
    "--source",
    metavar="S",
    help="synthetic[:WxH@FPS], a video file, a folder or glob of images, /dev/video0, "
    "camera:ID[:WxH@FPS[:MJPG]], csi:N[:WxH@FPS] (a Jetson's), an rtsp:// or http(s):// URL, "
    "'gst:PIPELINE' (GStreamer's elements up to raw video).",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="M",
    help="ONNX file or TensorRT engine; may be given several times.",
)
@click.option("--engine", metavar="auto|openvino|onnxruntime|tensorrt|replay")
@click.option(
    "--sink",
    "sinks",
    multiple=True,
    metavar="window|FILE.mp4|FILE.jsonl|-|null",
    help="May be given several times; - is JSON lines on stdout.",
)
@click.option("--frames", type=int, metavar="N", help="Stop after N rendered frames.")
@click.option("--seconds", type=float, metavar="S", help="Stop S seconds after the first capture.")
@click.option(
    "--policy", metavar="auto|drop|wait", help="Drop frames that come too fast, or wait for each."
)
@click.option("--conf", type=float, metavar="C", help="Keep boxes with this score, 0 to 1.")
@click.option("--classes", metavar="A,B", help="Keep boxes of these classes.")
@click.option("--precision", metavar="default|f32", help="The device's own choice, or f32.")
@click.option("--threads", type=int, metavar="N", help="Threads of the engine.")
@click.option(
    "--trust",
    multiple=True,
    metavar="SHA256",
    help="Load the TensorRT plan with this hash without a sidecar.",
)
@click.option("--metrics", metavar="FILE.json", help="Write counts and times there at the end.")
@click.option("--verbose", is_flag=True, default=None, help="Log more, tracebacks included.")
@click.pass_context
def run(context: click.Context, /, settings: Path | None, **options: Any) -> None:
    """Run the perception app.

    SETTINGS is a TOML file; options go before what it says. Without any, the network that comes
    with the project looks at a synthetic street, in a window where there is a display. q or Esc in
    the window, Ctrl-C and SIGTERM end the run in order.
    """
    from edge.logs import set_up_logs
    from edge.settings.settings import load_settings

    set_up_logs(verbose=bool(options["verbose"]))  # the settings may ask for more
    loaded = load_settings(settings, overrides_of(**options))

    from edge.run.app import run_app
    from edge.sinks import sink_opener

    set_up_logs(verbose=loaded.log.verbose)
    for text in loaded.output.sinks:
        sink_opener(text)  # a mistake here shows before a model is loaded
    context.exit(run_app(loaded))


def overrides_of(
    *,
    source: str | None,
    models: tuple[str, ...],
    engine: str | None,
    sinks: tuple[str, ...],
    frames: int | None,
    seconds: float | None,
    policy: str | None,
    conf: float | None,
    classes: str | None,
    precision: str | None,
    threads: int | None,
    trust: tuple[str, ...],
    metrics: str | None,
    verbose: bool | None,
) -> dict[str, Any]:
    """The options as values by dotted settings key; those not given are None."""
    return {
        "source.uri": source,
        "source.policy": policy,
        "model.files": list(models) or None,
        "model.engine": engine,
        "model.precision": precision,
        "model.threads": threads,
        "model.trust": list(trust) or None,
        "detect.conf": conf,
        "detect.classes": None if classes is None else [c.strip() for c in classes.split(",")],
        "pipeline.frames": frames,
        "pipeline.seconds": seconds,
        "output.sinks": list(sinks) or None,
        "output.metrics": metrics,
        "log.verbose": verbose,
    }
