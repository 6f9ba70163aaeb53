"""A folder of images with label maps, and boxes if it has them, as data to score against.

Layout: ``images/NAME.*``, ``labels/NAME.png`` (8-bit class indices, 255 is unlabelled),
``classes.txt`` (one name a line, the first is index 0) and, if wanted, ``boxes.json`` (COCO, with
the file names of ``images/``). It names the first mistake it finds and mends none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import crc32

import cv2
import numpy as np

from edge.sources import IMAGE_SUFFIXES
from edge.types import Image
from engines.errors import ExportError
from export.coco_json import check_size, read_coco, read_frame
from export.labelled import LabelledData, LabelledFrame

UNLABELLED = 255
"""Label that no score counts, as in Cityscapes and Pascal VOC."""
LAYOUT = "images/NAME.*, labels/NAME.png, classes.txt and, if wanted, boxes.json"
PALETTE = 3
"""Colour type 'palette' in a PNG's header, at byte 25 (ISO/IEC 15948)."""


def folder_data(root: Path) -> LabelledData:
    """Pair images and label maps by name, decoding none.

    Raises:
        ExportError: something is missing, stands alone, or is wrong.
    """
    images, labels = root / "images", root / "labels"
    if not images.is_dir() or not labels.is_dir() or not (root / "classes.txt").is_file():
        raise ExportError(f"{root}: wanted a folder with {LAYOUT}.")
    classes = _classes(root / "classes.txt")
    pairs = _pairs(images, labels)
    names: tuple[str, ...] = ()
    boxes: dict[str, list[dict[str, Any]]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    boxes_file = root / "boxes.json"
    if boxes_file.exists():
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
    pictures = sorted(
        path
        for path in images.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
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
        if not (labels / f"{path.stem}.png").is_file():
            raise ExportError(
                f"{path}: has no label map, wanted {labels / path.stem}.png. Add it or leave the "
                "image out."
            )
    alone = {p.stem for p in labels.glob("*.png") if not p.name.startswith(".")} - set(of_stem)
    if alone:
        raise ExportError(
            f"{labels / min(alone)}.png: has no image in {images}. Add it or leave the label map "
            "out."
        )
    return [(path, labels / f"{stem}.png") for stem, path in of_stem.items()]


def _labels(path: Path, count: int) -> Image:
    """One label map (H, W) of indices below ``count``, or 255."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ExportError(f"{path}: cannot be read ({exc.strerror or exc}).") from exc
    whole = _is_whole_png(data)
    labels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if whole else None
    if labels is None:
        raise ExportError(f"{path}: damaged or no PNG. Restore it or leave its image out.")
    if labels.ndim != 2 or labels.dtype != np.uint8:
        kind = "a palette" if data[25] == PALETTE else f"{labels.dtype}{list(labels.shape)}"
        raise ExportError(
            f"{path}: got {kind}, wanted one 8-bit grey channel of class indices. Save the indices "
            "themselves, not their colours."
        )
    known = labels[labels != UNLABELLED]
    if known.size and int(known.max()) >= count:
        raise ExportError(
            f"{path}: class index {int(known.max())}, wanted 0 to {count - 1} as classes.txt has, "
            f"or {UNLABELLED} for unlabelled."
        )
    return np.asarray(labels, np.uint8)


def _is_whole_png(data: bytes) -> bool:
    """Whether every chunk is there and has its checksum (ISO/IEC 15948).

    A PNG that was cut off decodes with zeros for the rest, and 0 is a class.
    """
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return False
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if crc32(data[at + 4 : end]).to_bytes(4, "big") != data[end : end + 4]:
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    return False
