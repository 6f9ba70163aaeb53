"""The CamVid data set on disk: which image has which label map and which boxes.

It decodes and checks files; it does not augment, batch or score.

Layout: ``images/{train,val,test}/NAME.jpg``, ``labels/{train,val,test}/NAME.png`` (8-bit class
indices) and ``boxes_{train,val,test}.json`` (COCO). Source: Brostow et al., "Semantic object
classes in video", 2009, in the split of SegNet (arXiv 1511.00561).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import ExportError

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

    ``boxes`` (N, 4) float32 xyxy px; ``class_ids`` (N,) index BOX_CLASSES; ``crowd`` (N,) bool
    marks regions in which several objects share one box.
    """

    image_path: Path
    label_path: Path
    image_id: int
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    crowd: NDArray[np.bool_]

    def image(self) -> Image:
        """The frame, (H, W, 3) uint8 BGR.

        Raises:
            ExportError: the file cannot be decoded.
        """
        image = cv2.imread(str(self.image_path), cv2.IMREAD_COLOR)
        if image is None:
            raise ExportError(f"{self.image_path}: not a readable image. Restore it or remove it.")
        return np.asarray(image, np.uint8)

    def labels(self) -> Image:
        """The label map, (H, W) uint8 of class indices 0..11.

        Raises:
            ExportError: unreadable, or an index outside 0..11.
        """
        labels = cv2.imread(str(self.label_path), cv2.IMREAD_UNCHANGED)
        if labels is None:
            raise ExportError(f"{self.label_path}: not a readable image. Restore it or remove it.")
        if labels.ndim != 2 or labels.dtype != np.uint8:
            raise ExportError(
                f"{self.label_path}: got {labels.dtype}{list(labels.shape)}, wanted one 8-bit "
                "channel of class indices."
            )
        if int(labels.max()) > IGNORE:
            raise ExportError(
                f"{self.label_path}: class index {int(labels.max())}, wanted 0 to {IGNORE} "
                "(11 is unlabelled)."
            )
        return np.asarray(labels, np.uint8)


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
    beside = Path(__file__).resolve().parents[2] / "shared"
    return Path(os.environ.get("OUTRIDER_SHARED", beside)) / "data" / "camvid"


def load_index(root: Path, split: Split) -> CamVidSplit:
    """Pair the images of a split with labels and boxes, decoding none of them.

    Raises:
        ExportError: the folder or the boxes are missing, an image has no label, or a box is wrong.
    """
    images = root / "images" / split
    boxes_file = root / f"boxes_{split}.json"
    if not images.is_dir() or not boxes_file.is_file():
        raise ExportError(
            f"{root}: no CamVid split {split!r} here, wanted images/{split}/, labels/{split}/ and "
            f"boxes_{split}.json. Pass --root or set OUTRIDER_CAMVID."
        )
    try:
        coco = json.loads(boxes_file.read_text())
        by_name = {entry["file_name"]: entry for entry in coco["images"]}
        category = {c["id"]: BOX_CLASSES.index(c["name"]) for c in coco["categories"]}
    except (ValueError, KeyError, TypeError) as exc:
        raise ExportError(
            f"{boxes_file}: not a COCO file of {', '.join(BOX_CLASSES)}: {exc}"
        ) from exc
    of_image: dict[int, list[dict[str, Any]]] = {}
    for annotation in coco["annotations"]:
        of_image.setdefault(annotation["image_id"], []).append(annotation)
    items = []
    for path in sorted(images.iterdir()):
        label = root / "labels" / split / f"{path.stem}.png"
        if not label.is_file():
            raise ExportError(
                f"{path}: has no label map, wanted {label}. Add it or remove the image."
            )
        if path.name not in by_name:
            raise ExportError(f"{path}: not listed in {boxes_file}. Add it or remove the image.")
        entry = by_name[path.name]
        mine = of_image.get(entry["id"], [])
        xywh = np.array([a["bbox"] for a in mine], np.float32).reshape(-1, 4)
        xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        size = np.array([entry["width"], entry["height"]] * 2, np.float32)
        if len(xyxy) and ((xywh[:, 2:] <= 0).any() or (xyxy < 0).any() or (xyxy > size).any()):
            raise ExportError(
                f"{boxes_file}: a box of {path.name} is empty or leaves its "
                f"{entry['width']}x{entry['height']} image. Mend the boxes."
            )
        items.append(
            Item(
                path,
                label,
                int(entry["id"]),
                xyxy,
                np.array([category[a["category_id"]] for a in mine], np.int32),
                np.array([bool(a["iscrowd"]) for a in mine], np.bool_),
            )
        )
    if not items:
        raise ExportError(f"{images}: holds no images.")
    return CamVidSplit(split, tuple(items), coco)
