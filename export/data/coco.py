"""COCO files of boxes: the one reader of them, and any such file as data to score against.

What stands for a whole file has to be right; a box that cannot be used may be left out.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engines.errors import ExportError
from engines.text import NotTextError, read_text
from export.data.labelled import LabelledData, LabelledFrame
from export.data.pairs import check_size, read_frame

ROUNDING_PX = 1.0
"""How far a box may leave its image: tools that count the last pixel, or round, go one beyond."""
MOST_CATEGORIES = 2_000
"""LVIS has 1,203. What was taken for what is a table with a row and a column for each."""
MOST_BYTES = 2 << 30
"""Of a file; COCO's own largest has 0.5 GB."""


@dataclass(frozen=True, slots=True)
class CocoImage:
    """One image of a file: its name, its size, and its boxes as ``LabelledFrame`` has them."""

    file_name: str
    wh: tuple[int, int]
    boxes: list[dict[str, Any]] = field(default_factory=list)


def coco_data(file: Path, images: Path | None = None) -> LabelledData:
    """Boxes of ``file``; ``images`` is the folder of the images, else the one that ``file`` is in.

    Raises:
        ExportError: the file is no COCO file, contradicts itself, or an image is missing.
    """
    folder = file.parent if images is None else images
    left_out: list[str] = []
    names, listed = read_coco(file, left_out=left_out)
    root = os.path.realpath(folder)
    for image in listed:
        path = folder / image.file_name
        if not os.path.isfile(path):  # unlike Path.is_file it never raises
            raise ExportError(
                f"{file}: lists {image.file_name}, which is not in {folder}. Name the folder of "
                "the images with --images."
            )
        if os.path.commonpath([root, os.path.realpath(path)]) != root:
            raise ExportError(
                f"{file}: lists {image.file_name}, a link to {os.path.realpath(path)}, which is "
                f"not in {folder}. Name the folder of the images with --images, or copy them there."
            )
    if not any(image.boxes for image in listed):
        why = f"no annotation that can be used: {left_out[0]}" if left_out else "no annotations"
        raise ExportError(f"{file}: has {why}; there is nothing to score.")

    def load(i: int) -> LabelledFrame:
        entry = listed[i]
        path = folder / entry.file_name
        image = read_frame(path)
        check_size(path, image, entry.wh, stated_in=str(file))
        return LabelledFrame(entry.file_name, image, None, entry.boxes)

    return LabelledData(
        "coco-json", len(listed), load, box_classes=names, source=file.name,
        frames=(folder / listed[0].file_name).parent, left_out=tuple(left_out),
    )  # fmt: skip


def match_images(
    listed: Sequence[CocoImage], paths: Sequence[Path], *, file: Path, hint: str = ""
) -> list[CocoImage]:
    """The entry of each image of ``paths``, which lie in one folder.

    Raises:
        ExportError: an image is not listed in ``file``, or another is.
    """
    of_name = {image.file_name: image for image in listed}
    for path in paths:
        if path.name not in of_name:
            raise ExportError(f"{path}: not listed in {file}. Add it or leave the image out{hint}.")
    alone = of_name.keys() - {path.name for path in paths}
    if alone:
        raise ExportError(
            f"{file}: lists {min(alone)}, which is not in {paths[0].parent}. Add it or leave the "
            "entry out."
        )
    return [of_name[path.name] for path in paths]


def read_coco(
    file: Path, *, beyond_px: float = ROUNDING_PX, left_out: list[str] | None = None
) -> tuple[tuple[str, ...], list[CocoImage]]:
    """Class names and images of a file, all checked; a box may go ``beyond_px`` over its image.

    Categories become 1, 2, … in the order of the names, crowds are marked, and areas filled in.
    A box that cannot be used is left out where ``left_out`` takes why, else it is an error.

    Raises:
        ExportError: the file cannot be read, or is wrong at a place that is named.
    """
    coco = read_json(file, wanted="a COCO file of boxes")
    try:
        names, number = _categories(coco["categories"], used=_used(coco["annotations"]))
        of_id = {entry["id"]: _image(entry) for entry in coco["images"]}
        if len({image.file_name for image in of_id.values()}) != len(coco["images"]):
            raise _Wrong("two images have the same id or file name")
        seen: set[tuple[float, ...]] = set()
        for i, given in enumerate(coco["annotations"]):
            where = f"annotation {given.get('id', f'number {i + 1}')!s:.60}"
            try:
                image, box = _usable(given, where, of_id, number, beyond_px)
                place = (id(image), box["category_id"], *box["bbox"])
                if place in seen and left_out is not None:
                    raise _Wrong(f"{where} repeats another of the same box and category")
                seen.add(place)
                image.boxes.append(box)
            except _Wrong as exc:
                if left_out is None:
                    raise
                left_out.append(str(exc))
    except _Wrong as exc:
        raise ExportError(f"{file}: {exc}. Mend the annotations.") from exc
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as exc:
        reason = f"{exc} is missing" if isinstance(exc, KeyError) else str(exc)
        raise ExportError(
            f"{file}: not a COCO file of boxes: {reason}. Mend or restore it."
        ) from exc
    if not of_id:
        raise ExportError(f"{file}: lists no images.")
    return names, list(of_id.values())


def read_json(file: Path, *, wanted: str) -> Any:
    """The values of a JSON file, which messages call ``wanted``.

    Raises:
        ExportError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(read_text(file, most_bytes=MOST_BYTES))
    except NotTextError as exc:
        raise ExportError(f"{file}: {exc}, wanted {wanted}.") from exc
    except OSError as exc:
        raise ExportError(
            f"{file}: cannot be read ({exc.strerror or exc}). Check the path and its permissions."
        ) from exc
    except (ValueError, RecursionError) as exc:
        raise ExportError(f"{file}: not JSON ({exc}). Wanted {wanted}.") from exc


def are_numbers(values: Iterable[Any]) -> bool:
    """Whether all are finite numbers that float32 holds."""
    most = float(np.finfo(np.float32).max)
    return all(type(value) in (int, float) and abs(value) <= most for value in values)


class _Wrong(Exception):
    """What is wrong in a file that has the shape of COCO."""


def _used(annotations: list[dict[str, Any]]) -> set[Any]:
    """The ids of the categories that have annotations."""
    return {
        a.get("category_id") for a in annotations if isinstance(a.get("category_id"), int | str)
    }


def _categories(
    given: list[dict[str, Any]], *, used: set[Any]
) -> tuple[tuple[str, ...], dict[int, int]]:
    """Names, and the number of each id; without a root of the others that has no boxes itself.

    Roboflow's exports have one, often of the name of a class.
    """
    roots = {c.get("supercategory") for c in given} - {"none"}
    given = [
        c
        for c in given
        if c["id"] in used
        or c["name"] not in roots
        or c.get("supercategory") not in (None, "", "none")
    ]
    if len(given) > MOST_CATEGORIES:
        raise _Wrong(f"lists {len(given)} categories, wanted {MOST_CATEGORIES} at most")
    names = tuple(_name(category["name"]) for category in given)
    number = {category["id"]: i + 1 for i, category in enumerate(given)}
    if not names or len(set(names)) != len(names) or len(number) != len(names):
        raise _Wrong("wanted categories with names and ids of their own, at least one")
    return names, number


def _name(given: object) -> str:
    """A name that can be shown: whatever comes from a file ends up on a terminal and a page."""
    if not isinstance(given, str) or not given.strip() or not given.isprintable():
        raise _Wrong(f"wanted names as plain text, got {given!a:.60}")
    return given


def _image(given: dict[str, Any]) -> CocoImage:
    name = _name(given["file_name"])
    if os.path.isabs(name) or ".." in Path(name).parts:
        raise _Wrong(f"lists {name!r:.60}, wanted names of images inside one folder")
    return CocoImage(name, (int(given["width"]), int(given["height"])))


def _usable(
    given: dict[str, Any],
    where: str,
    of_id: dict[Any, CocoImage],
    number: dict[Any, int],
    beyond_px: float,
) -> tuple[CocoImage, dict[str, Any]]:
    """The image of an annotation, and its box as ``LabelledFrame`` has it."""
    for key, known, what in (
        ("image_id", of_id, "belongs to image"), ("category_id", number, "is of category"),
    ):  # fmt: skip
        if key not in given or "bbox" not in given:
            raise _Wrong(f"{where}: {key if key not in given else 'bbox'!r} is missing")
        if not isinstance(given[key], int | str) or given[key] not in known:
            raise _Wrong(f"{where} {what} {given[key]!a:.60}, which is not listed")
    image = of_id[given["image_id"]]
    return image, {
        **_box(given, where, image.wh, beyond_px),
        "category_id": number[given["category_id"]],
    }


def _box(
    given: dict[str, Any], where: str, wh: tuple[int, int], beyond_px: float
) -> dict[str, Any]:
    shown = f"{given['bbox']!a:.60}"
    try:
        if not isinstance(given["bbox"], list):  # a text has digits, too
            raise TypeError
        x, y, w, h = (float(v) for v in given["bbox"])
        area = float(given.get("area") or w * h)
        crowd = int(given.get("iscrowd") or 0)  # whoever writes numbers as text writes "0", too
    except (TypeError, ValueError, OverflowError) as exc:
        raise _Wrong(f"{where} has the box {shown}, wanted [x, y, width, height]") from exc
    if not (w > 0 and h > 0 and area > 0 and math.isfinite(x + y + w + h + area)):
        raise _Wrong(f"{where} has the box {shown}, wanted x, y, width, height of a box")
    if min(x, y) < -beyond_px or x + w > wh[0] + beyond_px or y + h > wh[1] + beyond_px:
        raise _Wrong(f"{where}: its box {shown} leaves the {wh[0]}x{wh[1]} image")
    return {"bbox": [x, y, w, h], "area": area, "iscrowd": int(crowd != 0)}
