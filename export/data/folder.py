"""A folder of images with label maps, boxes or both, as data to learn from and to score against.

Layout: ``images/NAME.*``; ``labels/NAME.png`` (8-bit class indices, 255 is unlabelled) with
``classes.txt`` (one name a line, the first is index 0); ``boxes.json`` (COCO, with the file names
of ``images/``).
"""

from __future__ import annotations

from os.path import exists, isdir
from pathlib import Path

from engines.errors import ExportError
from engines.text import NotTextError, read_text
from export.data.coco import CocoImage, match_images, read_coco
from export.data.labelled import UNLABELLED, LabelledData, LabelledFrame
from export.data.pairs import check_size, find_images, find_pairs, read_frame, read_label_map

LAYOUT = "images/NAME.* and labels/NAME.png with classes.txt, or boxes.json, or both"


def folder_data(root: Path) -> LabelledData:
    """Pair images with label maps by name, and with boxes, decoding none.

    Raises:
        ExportError: something is missing, stands alone, or is wrong.
    """
    images, labels = root / "images", root / "labels"
    boxes_file, names_file = root / "boxes.json", root / "classes.txt"
    with_boxes, with_labels = exists(boxes_file), isdir(labels)  # these never raise
    if not isdir(images):
        raise ExportError(f"{root}: wanted a folder with {LAYOUT}.")
    if not (with_boxes or with_labels):
        raise ExportError(
            f"{root}: its images have neither label maps nor boxes, wanted a folder with {LAYOUT}. "
            "docs/TRAIN.md says what writes them."
        )
    if with_labels != exists(names_file):
        raise ExportError(
            f"{names_file}: {'missing' if with_labels else 'there are no label maps for it'}, "
            f"wanted a folder with {LAYOUT}."
        )
    layout = f"Wanted {LAYOUT}."
    classes: tuple[str, ...] = ()
    maps: list[Path] = []
    if with_labels:
        classes = _classes(names_file)
        pairs = find_pairs(images, labels, layout=layout)
        paths, maps = [path for path, _ in pairs], [path for _, path in pairs]
    else:
        paths = find_images(images, layout=layout)
    names: tuple[str, ...] = ()
    listed: list[CocoImage] = []
    left_out: list[str] = []
    if with_boxes:
        names, entries = read_coco(boxes_file, left_out=left_out)
        listed = match_images(entries, paths, file=boxes_file)
    if not with_labels and not any(image.boxes for image in listed):
        raise ExportError(
            f"{boxes_file}: has no box that can be used{': ' if left_out else ''}"
            f"{''.join(left_out[:1])}, and its images have no label maps. Add boxes or label maps."
        )

    def load(i: int) -> LabelledFrame:
        path = paths[i]
        image = read_frame(path)
        if listed:
            check_size(path, image, listed[i].wh, stated_in=str(boxes_file))
        truth = None
        if maps:
            truth = read_label_map(
                maps[i], classes=len(classes), unlabelled=UNLABELLED, of="classes.txt"
            )
            height, width = image.shape[:2]
            check_size(maps[i], truth, (width, height), stated_in=path.name)
        return LabelledFrame(path.name, image, truth, listed[i].boxes if listed else [])

    return LabelledData(
        "folder", len(paths), load, classes, UNLABELLED, names,
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
