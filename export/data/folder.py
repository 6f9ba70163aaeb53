"""A folder of images with label maps, and boxes if it has them, as data to score against.

Layout: ``images/NAME.*``, ``labels/NAME.png`` (8-bit class indices, 255 is unlabelled),
``classes.txt`` (one name a line, the first is index 0) and, if wanted, ``boxes.json`` (COCO, with
the file names of ``images/``).
"""

from __future__ import annotations

from os.path import exists, isdir, isfile
from pathlib import Path

from engines.errors import ExportError
from engines.text import NotTextError, read_text
from export.data.coco import CocoImage, match_images, read_coco
from export.data.labelled import LabelledData, LabelledFrame
from export.data.pairs import check_size, find_pairs, read_frame, read_label_map

UNLABELLED = 255
"""Label that no score counts, as in Cityscapes and Pascal VOC."""
LAYOUT = "images/NAME.*, labels/NAME.png, classes.txt and, if wanted, boxes.json"


def folder_data(root: Path) -> LabelledData:
    """Pair images and label maps by name, decoding none.

    Raises:
        ExportError: something is missing, stands alone, or is wrong.
    """
    images, labels = root / "images", root / "labels"
    if not (isdir(images) and isdir(labels) and isfile(root / "classes.txt")):  # these never raise
        raise ExportError(f"{root}: wanted a folder with {LAYOUT}.")
    classes = _classes(root / "classes.txt")
    pairs = find_pairs(images, labels, layout=f"Wanted {LAYOUT}.")
    names: tuple[str, ...] = ()
    listed: list[CocoImage] = []
    left_out: list[str] = []
    boxes_file = root / "boxes.json"
    if exists(boxes_file):
        names, entries = read_coco(boxes_file, left_out=left_out)
        listed = match_images(entries, [path for path, _ in pairs], file=boxes_file)

    def load(i: int) -> LabelledFrame:
        path, label_path = pairs[i]
        image = read_frame(path)
        if listed:
            check_size(path, image, listed[i].wh, stated_in=str(boxes_file))
        truth = read_label_map(
            label_path, classes=len(classes), unlabelled=UNLABELLED, of="classes.txt"
        )
        height, width = image.shape[:2]
        check_size(label_path, truth, (width, height), stated_in=path.name)
        return LabelledFrame(path.name, image, truth, listed[i].boxes if listed else [])

    return LabelledData(
        "folder", len(pairs), load, classes, UNLABELLED, names,
        source=root.resolve().name, frames=images, left_out=tuple(left_out),
    )  # fmt: skip


def _classes(file: Path) -> tuple[str, ...]:
    try:
        names = [line.strip() for line in read_text(file).splitlines()]
    except (OSError, NotTextError) as exc:
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
