"""A folder of images with label maps, and boxes if it has them, as data to score against.

Layout: ``images/NAME.*``, ``labels/NAME.png`` (8-bit class indices, 255 is unlabelled),
``classes.txt`` (one name a line, the first is index 0) and, if wanted, ``boxes.json`` (COCO, with
the file names of ``images/``). It names the first mistake it finds and mends none.
"""

from __future__ import annotations

from os.path import exists, isdir, isfile
from pathlib import Path
from typing import Any

from edge.sources.images import IMAGE_SUFFIXES
from edge.vision.types import Image
from engines.errors import ExportError
from export.data.coco import check_size, read_coco
from export.data.label_map import read_frame, read_label_map
from export.data.labelled import LabelledData, LabelledFrame

UNLABELLED = 255
"""Label that no score counts, as in Cityscapes and Pascal VOC."""
LAYOUT = "images/NAME.*, labels/NAME.png, classes.txt and, if wanted, boxes.json"


def folder_data(root: Path) -> LabelledData:
    """Pair images and label maps by name, decoding none.

    Raises:
        ExportError: something is missing, stands alone, or is wrong.
    """
    images, labels = root / "images", root / "labels"
    wanted = (isdir(images), isdir(labels), isfile(root / "classes.txt"))
    if not all(wanted):  # unlike those of Path these tests never raise
        raise ExportError(f"{root}: wanted a folder with {LAYOUT}.")
    classes = _classes(root / "classes.txt")
    pairs = _pairs(images, labels)
    names: tuple[str, ...] = ()
    boxes: dict[str, list[dict[str, Any]]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    boxes_file = root / "boxes.json"
    if exists(boxes_file):
        names, entries, by_id = read_coco(boxes_file)
        boxes = {entry["file_name"]: by_id[entry["id"]] for entry in entries}
        sizes = {entry["file_name"]: (entry["width"], entry["height"]) for entry in entries}
        apart = set(sizes) ^ {path.name for path, _ in pairs}
        if apart:
            first = min(apart)
            where = f"not in {images}" if first in sizes else f"not listed in {boxes_file}"
            raise ExportError(f"{boxes_file}: {first} is {where}. Add it or leave it out.")

    def load(i: int) -> LabelledFrame:
        path, label_path = pairs[i]
        image = read_frame(path)
        if path.name in sizes:
            check_size(path, image, sizes[path.name], origin=str(boxes_file))
        truth = _labels(label_path, len(classes))
        if truth.shape != image.shape[:2]:
            raise ExportError(
                f"{label_path}: got {truth.shape[1]}x{truth.shape[0]}, wanted "
                f"{image.shape[1]}x{image.shape[0]} as {path.name} has. Restore it or leave both "
                "out."
            )
        return LabelledFrame(path.name, image, truth, boxes.get(path.name, []))

    return LabelledData(
        "folder", len(pairs), load, classes, UNLABELLED, names,
        source=root.resolve().name, frames=images,
    )  # fmt: skip


def _classes(file: Path) -> tuple[str, ...]:
    try:
        names = [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as exc:
        raise ExportError(f"{file}: cannot be read as text ({exc}).") from exc
    while names and not names[-1]:
        names.pop()
    good = all(name and name.isprintable() for name in names)
    if not names or not good or len(set(names)) != len(names) or len(names) > UNLABELLED:
        raise ExportError(
            f"{file}: wanted 1 to {UNLABELLED} class names, one a line, none empty or twice; got "
            f"{len(names)} lines."
        )
    return tuple(names)


def _pairs(images: Path, labels: Path) -> list[tuple[Path, Path]]:
    try:
        pictures = sorted(p for p in images.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        maps = [p for p in labels.iterdir() if p.suffix == ".png" and not p.name.startswith(".")]
    except OSError as exc:
        raise ExportError(f"{exc.filename}: cannot be listed ({exc.strerror}).") from exc
    pictures = [p for p in pictures if not p.name.startswith(".")]
    if not pictures:
        raise ExportError(f"{images}: holds no images; there is nothing to score.")
    of_stem: dict[str, Path] = {}
    for path in pictures:
        if path.stem in of_stem:
            raise ExportError(
                f"{path}: {of_stem[path.stem].name} has the same name, and there is one label map "
                f"{path.stem}.png for both. Rename one of them."
            )
        of_stem[path.stem] = path
        if not isfile(labels / f"{path.stem}.png"):
            raise ExportError(
                f"{path}: has no label map, wanted {labels / path.stem}.png. Add it or leave the "
                "image out."
            )
    alone = {p.stem for p in maps} - set(of_stem)
    if alone:
        raise ExportError(
            f"{labels / min(alone)}.png: has no image in {images}. Add it or leave the label map "
            "out."
        )
    return [(path, labels / f"{stem}.png") for stem, path in of_stem.items()]


def _labels(path: Path, count: int) -> Image:
    """One label map (H, W) of indices below ``count``, or 255."""
    labels = read_label_map(path)
    known = labels[labels != UNLABELLED]
    if known.size and int(known.max()) >= count:
        raise ExportError(
            f"{path}: class index {int(known.max())}, wanted 0 to {count - 1} as classes.txt has, "
            f"or {UNLABELLED} for unlabelled."
        )
    return labels
