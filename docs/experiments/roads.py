"""How models look on roads without labels: pictures side by side, and what they call known places.

Run it from the project's folder: ``.venv/bin/python -m docs.experiments.roads COMMAND --help``.
Scores against another net are ``edge-export evaluate --data film``; ``at-size`` makes such a net of
a file whose size is fixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from docs.experiments.trunks import cut
from edge.cli import invoke
from edge.progress import counted
from edge.proven.adopt_cache import runnable
from edge.sinks.overlay.overlay import Overlay
from edge.vision.types import Frame, Image, Mask, Result
from engines import open_engine
from engines.errors import ExportError
from engines.model_file import load_model, write_atomically
from export.commands.options import Finite, parse_size
from export.data.frames import read_frames
from export.score.predictor import Predictor

PATH = click.Path(path_type=Path)
Corners = tuple[tuple[int, int], ...]
JPEG = (cv2.IMWRITE_JPEG_QUALITY, 88)
FRAMES = 40
"""Of a clip that are looked at."""


@dataclass(frozen=True, slots=True)
class Place:
    """A part of the picture that shows one thing in every frame of a clip, px of 960x540.

    ``right`` are the classes that it may be called; empty where CamVid has none for it.
    """

    name: str
    corners: Corners
    right: tuple[str, ...]


PLACES = {
    "highway": (
        Place("sky", ((250, 20), (600, 20), (600, 200), (250, 200)), ("sky",)),
        Place("hills", ((335, 255), (375, 254), (440, 262), (440, 266), (335, 266)), ("tree",)),
        Place("trees", ((90, 258), (260, 276), (260, 288), (90, 282)), ("tree",)),
        Place("verge", ((640, 303), (800, 303), (800, 326), (680, 326)), ("tree",)),
        Place("road", ((200, 420), (700, 420), (860, 520), (100, 520)), ("road",)),
    ),
    "city": (
        Place("road", ((400, 400), (600, 400), (600, 440), (400, 440)), ("road",)),
        Place("bonnet", ((300, 485), (660, 485), (900, 510), (900, 530), (60, 530), (60, 510)), ()),
    ),
}
"""Drawn by hand on frames 0, 40, 80 … of the clips. Grass is CamVid's tree, as in Cityscapes."""
SIGNS = {
    "highway": ((250, 255, 620, 305), (620, 0, 960, 60)),
}
"""Boxes xyxy that hold every sign of the clip; a sign elsewhere is none."""


@click.group()
def main() -> None:
    """Look at models on roads without labels."""


@main.command()
@click.argument("out", type=PATH)
@click.argument("models", type=PATH, nargs=-1, required=True)
@click.option("--frames", required=True, help="Anything that 'edge run --source' takes.")
@click.option("--count", default=6, show_default=True, help="Frames, spread over the source.")
@click.option(
    "--stretch",
    type=Finite(0.1, 10),
    default=1.0,
    show_default=True,
    help="Width times this: Cityscapes 2.",
)
def pictures(out: Path, models: Sequence[Path], frames: str, count: int, stretch: float) -> None:
    """Write OUT.jpg: a row for each frame, and in it what each of MODELS says."""
    if out.suffix != ".jpg":
        raise ExportError(f"{out}: wanted a name that ends in .jpg.")
    images = [
        np.asarray(cv2.resize(image, None, fx=stretch, fy=1.0), np.uint8)
        for image in read_frames(frames, count=count).images
    ]
    sizes = {image.shape[1::-1] for image in images}
    if len(sizes) > 1:
        raise ExportError(f"{frames}: got frames of the sizes {sorted(sizes)}, wanted one size.")
    columns = []
    for model in models:
        with opened(model, frames) as predictor:
            columns.append([_drawn(predictor, image, model.name) for image in images])
    sheet = np.vstack([np.hstack(row) for row in zip(*columns, strict=True)])
    if not cv2.imwrite(str(out), sheet, JPEG):
        raise ExportError(f"{out}: cannot be written. Name another OUT.")


@main.command()
@click.argument("clip", type=click.Choice(sorted(PLACES)))
@click.argument("source")
@click.argument("models", type=PATH, nargs=-1, required=True)
def places(clip: str, source: str, models: Sequence[Path]) -> None:
    """Print, for each of MODELS, what it calls known places of CLIP, which SOURCE shows."""
    images = read_frames(source, count=FRAMES).images
    click.echo("| model | place | right | called |\n|---|---|---|---|")
    for model in models:
        with opened(model, source) as predictor:
            for row in rows_of(clip, predictor, images):
                click.echo(f"| {model.name} | {' | '.join(row)} |")


@main.command("at-size")
@click.argument("net", type=PATH)
@click.argument("size")
@click.argument("out", type=PATH)
def at_size(net: Path, size: str, out: Path) -> None:
    """Write NET for inputs of SIZE, HxW.

    Whether its graph holds for them, as YOLOX's does, 'edge-export adopt' and 'evaluate' find out.
    """
    model = load_model(net)
    size_hw = parse_size(size, example="384x640")
    try:
        made = cut(model, [output.name for output in model.graph.output], size_hw)
    except ValueError as exc:
        raise ExportError(f"{net}: wanted a net of one image (1, 3, H, W): {exc}") from exc
    write_atomically(made.SerializeToString(), out)


@contextmanager
def opened(model: Path, frames: str) -> Iterator[Predictor]:
    """A model at f32; a foreign one is adopted."""
    engine = open_engine(runnable(model, frames), precision="f32")
    try:
        yield Predictor(engine)
    finally:
        engine.close()


def rows_of(clip: str, predictor: Predictor, images: Sequence[Image]) -> list[list[str]]:
    """For each place its name, the share called right, and the three commonest classes.

    Signs where there are none make a row of their own: boxes, and pixels, a frame; a net that
    knows no signs has none.
    """
    told = clip in SIGNS and "sign" in predictor.class_names
    classes: tuple[str, ...] = ()
    counts = {place.name: np.zeros(256, np.int64) for place in PLACES[clip]}
    boxes = pixels = 0
    for image in counted(images, "looking", total=len(images)):
        predicted = predictor.predict(image)
        classes, labels = _labels(predicted.masks)
        size = labels.shape[:2]
        for place in PLACES[clip]:
            inside = drawn([place.corners], size)
            counts[place.name] += np.bincount(labels[inside], minlength=256)
        if told and "sign" in classes:
            known = drawn([_corners(box) for box in SIGNS[clip]], size)
            pixels += int(((labels == classes.index("sign")) & ~known).sum())
            signs = predicted.shown.class_ids == predictor.class_names.index("sign")
            for x0, y0, x1, y1 in predicted.shown.xyxy[signs]:
                at = int((y0 + y1) / 2), int((x0 + x1) / 2)
                boxes += not known[min(at[0], size[0] - 1), min(at[1], size[1] - 1)]
    rows = [_row(place, counts[place.name], classes) for place in PLACES[clip]]
    if told:
        n = len(images)
        rows.append(["signs where none are", f"{boxes / n:.2f} boxes", f"{pixels / n:.0f} px"])
    return rows


def drawn(shapes: Sequence[Corners], size: tuple[int, ...]) -> NDArray[np.bool_]:
    """(H, W) of ``size``, true inside polygons that are given in px of 960x540."""
    inside = np.zeros(size, np.uint8)
    for corners in shapes:
        placed = np.array(corners) * [size[1] / 960, size[0] / 540]
        cv2.fillPoly(inside, [placed.round().astype(np.int32)], 1)
    return inside.astype(np.bool_)


def _corners(box: tuple[int, int, int, int]) -> Corners:
    x0, y0, x1, y1 = box
    return (x0, y0), (x1, y0), (x1, y1), (x0, y1)


def _row(place: Place, counts: NDArray[np.int64], classes: Sequence[str]) -> list[str]:
    shares = {name: n / max(counts.sum(), 1) for name, n in zip(classes, counts, strict=False)}
    right = f"{sum(shares.get(n, 0.0) for n in place.right):.1%}" if place.right else "–"
    first = sorted(shares, key=lambda n: -shares[n])[:3]
    return [place.name, right, ", ".join(f"{n} {shares[n]:.1%}" for n in first)]


def _labels(masks: Sequence[Mask]) -> tuple[tuple[str, ...], Image]:
    """Classes and labels (H, W) of the first mask at the frame's size."""
    if not masks:
        raise ExportError("the model has no mask, which is what is looked at. Name one that has.")
    return masks[0].classes, masks[0].letterbox.mask_to_frame(masks[0].labels)


def _drawn(predictor: Predictor, image: Image, name: str) -> Image:
    predicted = predictor.predict(image)
    frame = Frame(image, 0, 0, 0, "read", name)
    result = Result(frame, predicted.shown, predictor.class_names, predicted.masks, {}, 0, 0, 0)
    return Overlay().draw(result, [name]).copy()


if __name__ == "__main__":
    invoke(main, "roads")
