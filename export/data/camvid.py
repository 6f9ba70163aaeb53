"""The CamVid data set on disk: which image has which label map and which boxes.

It decodes and checks files; it does not augment, batch or score.

Layout: ``images/{train,val,test}/NAME.jpg``, ``labels/{train,val,test}/NAME.png`` (8-bit class
indices) and ``boxes_{train,val,test}.json`` (COCO). Source: Brostow et al., "Semantic object
classes in video", 2009, in the split of SegNet (arXiv 1511.00561).
"""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from os.path import isdir, isfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engines.errors import ExportError
from export.data.label_map import read_frame, read_label_map

Split = Literal["train", "val", "test"]
Image = NDArray[np.uint8]

CLASSES: tuple[str, ...] = (
    "sky", "building", "pole", "road", "pavement", "tree",
    "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
IGNORE = 11
"""Label index that no score counts: unlabelled."""
BOX_CLASSES: tuple[str, ...] = ("car", "pedestrian", "bicyclist", "sign")


@dataclass(frozen=True, slots=True)
class Item:
    """One labelled frame.

    ``wh`` is the size that the boxes file states; ``boxes`` (N, 4) float32 xyxy px; ``class_ids``
    (N,) index BOX_CLASSES; ``crowd`` (N,) bool marks regions in which several objects share one
    box.
    """

    image_path: Path
    label_path: Path
    image_id: int
    wh: tuple[int, int]
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    crowd: NDArray[np.bool_]

    def image(self) -> Image:
        """The frame, (H, W, 3) uint8 BGR.

        Raises:
            ExportError: the file cannot be decoded, is cut off, or has another size than ``wh``.
        """
        image = read_frame(self.image_path)
        self._check_size(self.image_path, image)
        return image

    def labels(self) -> Image:
        """The label map, (H, W) uint8 of class indices 0..11.

        Raises:
            ExportError: unreadable, of another size than ``wh``, or an index outside 0..11.
        """
        labels = read_label_map(self.label_path)
        self._check_size(self.label_path, labels)
        if int(labels.max()) > IGNORE:
            raise ExportError(
                f"{self.label_path}: class index {int(labels.max())}, wanted 0 to {IGNORE} "
                "(11 is unlabelled)."
            )
        return labels

    def _check_size(self, path: Path, pixels: NDArray[Any]) -> None:
        height, width = pixels.shape[:2]
        if (width, height) != self.wh:
            raise ExportError(
                f"{path}: got {width}x{height}, wanted {self.wh[0]}x{self.wh[1]} as the boxes of "
                f"{self.image_path.name} say. Restore it or remove it."
            )


@dataclass(frozen=True, slots=True)
class CamVidSplit:
    """One split: its items in file order, and the COCO dictionary of its boxes as on disk."""

    name: Split
    items: tuple[Item, ...]
    coco: dict[str, Any]


def default_root() -> Path:
    """Where CamVid is looked for: OUTRIDER_CAMVID, OUTRIDER_SHARED, then beside the project."""
    if "OUTRIDER_CAMVID" in os.environ:
        return Path(os.environ["OUTRIDER_CAMVID"])
    beside = Path(__file__).resolve().parents[3] / "shared"
    return Path(os.environ.get("OUTRIDER_SHARED", beside)) / "data" / "camvid"


def load_index(root: Path, split: Split) -> CamVidSplit:
    """Pair the images of a split with labels and boxes, decoding none of them.

    Raises:
        ExportError: the folder or the boxes are missing, an image, a label map or an entry of the
            boxes stands alone, or a box is wrong.
    """
    images, labels = root / "images" / split, root / "labels" / split
    boxes_file = root / f"boxes_{split}.json"
    if isdir(images) and isdir(labels) and not isfile(boxes_file):  # these never raise
        raise ExportError(
            f"{boxes_file}: missing. Make it out of the label maps: "
            f"edge-export camvid-boxes {shlex.quote(str(root))}"
        )
    if not isdir(images) or not isfile(boxes_file):
        raise ExportError(
            f"{root}: no CamVid split {split!r} here, wanted images/{split}/, labels/{split}/ and "
            f"boxes_{split}.json. Pass --root or set OUTRIDER_CAMVID; docs/DATA.md says "
            "where it is to be had."
        )
    listed, coco = _read_boxes(boxes_file)
    items = []
    try:
        pictures, maps = sorted(images.iterdir()), set(labels.glob("*.png"))
    except OSError as exc:
        raise ExportError(f"{exc.filename}: cannot be listed ({exc.strerror}).") from exc
    for path in pictures:
        label = labels / f"{path.stem}.png"
        if label not in maps:
            raise ExportError(
                f"{path}: has no label map, wanted {label}. Add it or remove the image."
            )
        if path.name not in listed:
            raise ExportError(
                f"{path}: not listed in {boxes_file}. Remove the image or add it; boxes made by "
                "'edge-export camvid-boxes' are made anew once that file is deleted."
            )
        found = listed[path.name]
        items.append(
            Item(path, label, found.image_id, found.wh, found.boxes, found.class_ids, found.crowd)
        )
    if not items:
        raise ExportError(f"{images}: holds no images.")
    alone = {p.name for p in maps} - {i.label_path.name for i in items}
    if alone:
        raise ExportError(
            f"{labels / min(alone)}: has no image in {images}. Add it or remove the label map."
        )
    alone = set(listed) - {i.image_path.name for i in items}
    if alone:
        raise ExportError(
            f"{boxes_file}: lists {min(alone)}, which is not in {images}. Add it or remove the "
            "entry."
        )
    return CamVidSplit(split, tuple(items), coco)


@dataclass(frozen=True, slots=True)
class _Boxes:
    """What the boxes file says of one image; the fields are those of Item."""

    image_id: int
    wh: tuple[int, int]
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    crowd: NDArray[np.bool_]


def _read_boxes(file: Path) -> tuple[dict[str, _Boxes], dict[str, Any]]:
    """The boxes by the image's file name, and the COCO dictionary as on disk."""
    try:
        coco = json.loads(file.read_text())
        category = {c["id"]: BOX_CLASSES.index(c["name"]) for c in coco["categories"]}
        of_image: dict[int, list[dict[str, Any]]] = {e["id"]: [] for e in coco["images"]}
        for annotation in coco["annotations"]:
            int(annotation["id"])  # wanted by whoever scores
            of_image[annotation["image_id"]].append(annotation)
        listed = {}
        for entry in coco["images"]:
            mine = of_image[entry["id"]]
            xywh = np.array([a["bbox"] for a in mine], np.float32).reshape(len(mine), 4)
            wh = int(entry["width"]), int(entry["height"])
            xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
            inside = (xywh[:, 2:] > 0).all() and (xyxy >= 0).all() and (xyxy <= [*wh, *wh]).all()
            if not inside:  # this way round a NaN is outside, too
                raise ExportError(
                    f"{file}: a box of {entry['file_name']} is empty or leaves its {wh[0]}x{wh[1]} "
                    "image. Mend the boxes."
                )
            ids = np.array([category[a["category_id"]] for a in mine], np.int32)
            crowd = np.array([bool(a["iscrowd"]) for a in mine], np.bool_)
            listed[str(entry["file_name"])] = _Boxes(int(entry["id"]), wh, xyxy, ids, crowd)
    except OSError as exc:
        raise ExportError(f"{file}: cannot be read ({exc.strerror}).") from exc
    except (
        ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError
    ) as exc:  # fmt: skip
        reason = f"{exc} is missing" if isinstance(exc, KeyError) else str(exc)
        raise ExportError(
            f"{file}: not a COCO file of {', '.join(BOX_CLASSES)}: {reason}. Mend it or restore it."
        ) from exc
    return listed, coco
