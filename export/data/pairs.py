"""Images and their label maps on disk: found in pairs, and each read whole or refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.sources.picture import decoded, is_whole_png, read_image
from edge.sources.picture_kinds import is_picture
from edge.vision.types import Image
from engines.errors import ExportError, SourceError

BITS, COLOUR_TYPE = 24, 25
"""Where a PNG's header has the bits of a channel and the kind of colour (ISO/IEC 15948)."""
PALETTE = 3


def usual_root(name: str) -> Path:
    """Where a data set is looked for: OUTRIDER_<NAME>, OUTRIDER_SHARED, then beside the project."""
    own = os.environ.get(f"OUTRIDER_{name.upper()}")
    if own is not None:
        return Path(own)
    beside = Path(__file__).resolve().parents[3] / "shared"
    return Path(os.environ.get("OUTRIDER_SHARED", beside)) / "data" / name


def find_images(images: Path, *, layout: str) -> list[Path]:
    """Every image of a folder, by name; hidden and other files are not.

    Raises:
        ExportError: the folder cannot be listed or holds no images, which ``layout`` explains.
    """
    try:
        pictures = sorted(p for p in images.iterdir() if _is_shown(p) and is_picture(p))
    except OSError as exc:
        raise ExportError(f"{exc.filename}: cannot be listed ({exc.strerror}). {layout}") from exc
    if not pictures:
        raise ExportError(f"{images}: holds no images. {layout}")
    return pictures


def find_pairs(images: Path, labels: Path, *, layout: str) -> list[tuple[Path, Path]]:
    """Every image of a folder with NAME.png of ``labels``, by name; hidden and other files are not.

    Raises:
        ExportError: a folder cannot be listed or holds no images, which ``layout`` explains; an
            image or a label map stands alone, or two images share one.
    """
    pictures = find_images(images, layout=layout)
    try:
        maps = {p.stem: p for p in labels.iterdir() if p.suffix == ".png" and _is_shown(p)}
    except OSError as exc:
        raise ExportError(f"{exc.filename}: cannot be listed ({exc.strerror}). {layout}") from exc
    of_stem: dict[str, Path] = {}
    for path in pictures:
        if path.stem not in maps:
            raise ExportError(
                f"{path}: has no label map, wanted {labels / path.stem}.png. Add it or leave the "
                "image out."
            )
        twin = of_stem.setdefault(path.stem, path)
        if twin is not path:
            raise ExportError(
                f"{path}: {twin.name} has the same name, and there is one label map "
                f"{path.stem}.png for both. Rename one of them."
            )
    alone = maps.keys() - of_stem.keys()
    if alone:
        raise ExportError(
            f"{maps[min(alone)]}: has no image in {images}. Add it or leave the label map out."
        )
    return [(path, maps[stem]) for stem, path in of_stem.items()]


def _is_shown(path: Path) -> bool:
    return not path.name.startswith(".")


def check_size(path: Path, pixels: NDArray[Any], wh: tuple[int, int], *, stated_in: str) -> None:
    """Refuse what has not the size ``wh`` that ``stated_in`` has, which the message names."""
    height, width = pixels.shape[:2]
    if (width, height) != wh:
        raise ExportError(
            f"{path}: got {width}x{height}, wanted {wh[0]}x{wh[1]} as in {stated_in}. "
            "Restore one of them."
        )


def read_frame(path: Path) -> Image:
    """One image (H, W, 3) BGR.

    Raises:
        ExportError: it cannot be read or decoded, or is cut off.
    """
    try:
        return read_image(path)
    except SourceError as exc:
        raise ExportError(str(exc)) from exc


def read_label_map(path: Path, *, classes: int, unlabelled: int, of: str) -> Image:
    """The indices (H, W) uint8 of a PNG: below ``classes``, as ``of`` has them, or ``unlabelled``.

    Raises:
        ExportError: it cannot be read, is damaged, holds anything but one 8-bit grey channel, or
            another index.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ExportError(f"{path}: cannot be read ({exc.strerror or exc}).") from exc
    whole = is_whole_png(data)
    labels = None
    if whole:
        try:
            labels = decoded(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED, path)
        except SourceError as exc:
            raise ExportError(str(exc)) from exc
    if labels is None:
        raise ExportError(f"{path}: damaged or no PNG. Restore it or leave its image out.")
    # the decoder stretches 1, 2 and 4 bits to 0..255, which are no indices any more
    if labels.ndim != 2 or labels.dtype != np.uint8 or data[BITS] != 8:
        kind = f"{labels.dtype}{list(labels.shape)}"
        if data[COLOUR_TYPE] == PALETTE:
            kind = "a palette"
        elif data[BITS] < 8:
            kind = f"{data[BITS]} bits a pixel"
        raise ExportError(
            f"{path}: got {kind}, wanted one 8-bit grey channel of class indices. Save the indices "
            "themselves, not their colours."
        )
    wrong = labels[(labels >= classes) & (labels != unlabelled)]
    if wrong.size:
        raise ExportError(
            f"{path}: class index {wrong.max()}, wanted 0 to {classes - 1} as {of} has, or "
            f"{unlabelled} for unlabelled."
        )
    return np.asarray(labels, np.uint8)
