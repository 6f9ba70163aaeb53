"""``edge-export verify``."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import click

from edge.proven.engine import ERRS, OFF
from edge.say import say as show
from edge.sources import source_files
from engines import open_engine
from engines.errors import ExportError, SettingsError
from engines.model_file import ModelFile, rounds_in_pairs
from engines.tensorrt.identity import sidecar_path
from export.commands.data_options import DataOptions, data_options
from export.commands.options import PATH, Finite, say
from export.compare.differences import SAME, Limits
from export.compare.errors import output_errors
from export.compare.verify import table, verify_models
from export.data.frames import COUNT, read_frames
from export.fp16.convert import compare_with_fp32
from export.outputs import check_reports, write_output
from export.tensorrt.build.prove import made_from, verify_engine

SHARE = Finite(0, 1)
USUAL = Limits()


@click.command()
@click.argument("a", type=PATH)
@click.argument("b", type=PATH, required=False)
@click.option(
    "--reference",
    type=PATH,
    help="With an engine alone: the FP32 file that it was made from, where that is not beside it.",
)
@click.option(
    "--engine",
    help="With an ONNX file alone: compare what it says in this engine with ONNX Runtime, at f32; "
    "of a file in int8 (QDQ) whether it errs there more than it does by itself.",
)
@click.option(
    "--frames",
    metavar="SOURCE",
    help="Compare on frames of this source, anything that 'edge run --source' takes; else on the "
    "synthetic street. What A says is then the truth of AP and mIoU.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    default=COUNT,
    show_default=True,
    help="Frames to compare on, spread over the source.",
)
@data_options(
    default=None,
    split="val",
    use="Compare on labelled images instead: as 'edge-export evaluate' takes them.",
)
@click.option(
    "--miou", type=SHARE, default=USUAL.miou, show_default=True, help="Largest change of mIoU."
)
@click.option(
    "--ap50", type=SHARE, default=USUAL.ap50, show_default=True, help="Largest change of mean AP50."
)
@click.option("--mask", type=SHARE, help="Smallest share of equal labels in every frame's mask.")
@click.option(
    "--unmatched",
    type=SHARE,
    default=USUAL.unmatched,
    show_default=True,
    help="Largest share of boxes without a partner of that IoU and score.",
)
@click.option(
    "--iou",
    type=SHARE,
    default=USUAL.iou,
    show_default=True,
    help="Least IoU of a box with its partner.",
)
@click.option(
    "--score",
    type=SHARE,
    default=USUAL.score,
    show_default=True,
    help="Largest difference of the scores of a box and its partner.",
)
@click.option("--json", "json_path", type=PATH, help="Write the report; - for stdout.")
def verify(
    a: Path,
    b: Path | None,
    reference: Path | None,
    engine: str | None,
    frames: str | None,
    count: int,
    miou: float,
    ap50: float,
    mask: float | None,
    unmatched: float,
    iou: float,
    score: float,
    json_path: Path | None,
    chosen: DataOptions,
) -> None:
    """Compare model B with model A: checkpoints, ONNX in FP32, FP16 or int8, built engines.

    With one built engine alone, prove it on this machine's GPU against the FP32 file that it was
    made from, by the limits of its build, and write that into its sidecar: what 'edge-export build
    --for rtx' made where there is no GPU runs only then.

    Exits with 4 where an output is not finite or ignores its input, where a limit is missed, and
    where the frames show too little to prove anything: fewer than ten boxes, one class of mask.
    """
    if engine is not None:
        _in_engine(a, engine, frames, chosen.said)
        return
    if b is None:
        _prove(a, reference, frames, json_path, said=chosen.said)
        return
    if reference is not None:
        raise SettingsError(f"--reference {reference}: goes with an engine alone, without B.")
    labelled = chosen.data is not None
    of_frames = (f"--{name}" for name in ("frames", "count") if name in chosen.said)
    if option := next(of_frames, None) if labelled else chosen.needs_data():
        raise SettingsError(
            f"{option} goes {'without' if labelled else 'with'} --data: --frames and --count "
            "say on what to compare, or --data and its companions do."
        )
    if labelled:
        chosen.check()
    chosen.check_outputs({"--json": json_path}, models=[a, b], frames=frames)
    limits = Limits(iou, score, unmatched, mask, miou, ap50)
    parity, report = verify_models(
        a, b, frames=frames, count=count, labelled=chosen.open() if labelled else None,
        renames=chosen.renames, limits=limits, log=chosen.log,
    )  # fmt: skip
    show(table(report, parity, limits))
    if json_path is not None:
        write_output(json_path, json.dumps(report, indent=2) + "\n", "--json")
    if parity.failures:
        raise ExportError(
            f"{b}: does not say what {a} says: {'; '.join(parity.failures)}. Where less will do, "
            "as of an int8 file, say how much: --unmatched, --iou, --score, --ap50, --miou, --mask."
        )
    if parity.doubts:
        raise ExportError(
            f"{b}: not proven against {a}: {'; '.join(parity.doubts)}. Give frames that show what "
            "the models detect: --frames SOURCE."
        )


def _in_engine(model: Path, name: str, frames: str | None, said: Collection[str]) -> None:
    alone = all(option in ("a", "engine", "frames") for option in said)
    if not alone or model.suffix != ".onnx":
        raise SettingsError("--engine: goes with one ONNX file, and --frames alone.")
    read = read_frames(frames)
    say(f"frames       {read.described}")
    file = ModelFile(model)
    if rounds_in_pairs(file.model):
        errors = output_errors(file, name, read.images)
        for error in errors:
            say(f"{name:<12} {error}")
        if wrong := [str(error) for error in errors if error.fails]:
            raise ExportError(f"{model}: in {name} {ERRS}: {'; '.join(wrong)}.")
        return
    parity = compare_with_fp32(
        model,
        lambda: open_engine(model, engine=name, precision="f32"),
        read.images,
        limits=SAME,
        say=lambda line: say(f"{name:<12} {line}"),
        scored=False,
    )
    if parity.failures:
        raise ExportError(f"{model}: in {name} {OFF}: {'; '.join(parity.failures)}.")
    if parity.doubts:
        say(f"warning      not proven in {name}: {'; '.join(parity.doubts)}")


def _prove(
    engine: Path, reference: Path | None, frames: str | None, json_path: Path | None,
    *, said: Collection[str],
) -> None:  # fmt: skip
    if engine.suffix != ".engine":
        raise SettingsError(
            f"{engine}: wanted a second model to compare with, or a built engine, NAME.engine, to "
            "prove by itself."
        )
    for name in said:
        if name not in ("a", "reference", "frames", "json_path"):
            raise SettingsError(
                f"--{'map' if name == 'renames' else name}: goes with two models. An engine alone "
                "is proven by the limits that it was built with, on --frames."
            )
    against = made_from(engine, reference)
    if json_path is not None:
        inputs = (
            *(engine, sidecar_path(engine), against, *ModelFile(against).weights),
            *source_files(frames or ""),
        )
        check_reports({"--json": json_path}, inputs)
    proof = verify_engine(engine, against, frames=frames, say=say)
    if json_path is not None:
        write_output(json_path, json.dumps(proof, indent=2) + "\n", "--json")
