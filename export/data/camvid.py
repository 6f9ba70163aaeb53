"""The CamVid data set on disk: which image has which label map and which boxes.

Layout: ``images/{train,val,test}/NAME.jpg``, ``labels/{train,val,test}/NAME.png`` (8-bit class
indices) and ``boxes_{train,val,test}.json`` (COCO). Source: Brostow et al., "Semantic object
classes in video", 2009, in the split of SegNet (arXiv 1511.00561).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from os.path import isdir, isfile
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.vision.types import Image
from engines.errors import ExportError
from export.data.coco import match_images, read_coco
from export.data.pairs import check_size, find_pairs, read_frame, read_label_map, usual_root

Split = Literal["train", "val", "test"]

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
    wh: tuple[int, int]
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    crowd: NDArray[np.bool_]

    def image(self) -> Image:
        """The frame, (H, W, 3) uint8 BGR.

        Raises:
            ExportError: the file cannot be decoded, is cut off, or has another size than ``wh``.
        """
        return self._checked(self.image_path, read_frame(self.image_path))

    def labels(self) -> Image:
        """The label map, (H, W) uint8 of class indices 0..11.

        Raises:
            ExportError: unreadable, of another size than ``wh``, or an index outside 0..11.
        """
        return self._checked(self.label_path, read_camvid_labels(self.label_path))

    def _checked(self, path: Path, pixels: Image) -> Image:
        check_size(path, pixels, self.wh, stated_in=f"the boxes of {self.image_path.name}")
        return pixels


def default_root() -> Path:
    """CamVid's folder where none is named: see ``usual_root``."""
    return usual_root("camvid")


def camvid_pairs(root: Path, split: Split) -> list[tuple[Path, Path]]:
    """The images of a split with their label maps, by name.

    Raises:
        ExportError: see ``find_pairs``.
    """
    layout = "docs/DATA.md shows how CamVid is laid out."
    return find_pairs(root / "images" / split, root / "labels" / split, layout=layout)


def read_camvid_labels(path: Path) -> Image:
    """The label map (H, W) of class indices 0..11.

    Raises:
        ExportError: see ``read_label_map``.
    """
    of = "CamVid in eleven classes (docs/DATA.md)"
    return read_label_map(path, classes=len(CLASSES), unlabelled=IGNORE, of=of)


def load_index(root: Path, split: Split) -> tuple[Item, ...]:
    """Pair the images of a split with labels and boxes, decoding none of them.

    Raises:
        ExportError: the folder or the boxes are missing, an image, a label map or an entry of the
            boxes stands alone, or a box is wrong.
    """
    boxes_file = root / f"boxes_{split}.json"
    folders = isdir(root / "images" / split) and isdir(root / "labels" / split)
    if folders and not isfile(boxes_file):  # these never raise
        raise ExportError(
            f"{boxes_file}: missing. Make it out of the label maps: "
            f"edge-export camvid-boxes {shlex.quote(str(root))}"
        )
    if not folders:
        raise ExportError(
            f"{root}: no CamVid split {split!r} here, wanted images/{split}/, labels/{split}/ and "
            f"boxes_{split}.json. Pass --root or set OUTRIDER_CAMVID; docs/DATA.md says "
            "where it is to be had."
        )
    names, listed = read_coco(boxes_file, beyond_px=0)
    for name in names:
        if name not in BOX_CLASSES:
            raise ExportError(
                f"{boxes_file}: has boxes of {name}, wanted {', '.join(BOX_CLASSES)}. Restore it."
            )
    pairs = camvid_pairs(root, split)
    hint = "; boxes made by 'edge-export camvid-boxes' are made anew once that file is deleted"
    entries = match_images(listed, [path for path, _ in pairs], file=boxes_file, hint=hint)
    items = []
    for (image_path, label_path), entry in zip(pairs, entries, strict=True):
        xywh = np.array([b["bbox"] for b in entry.boxes], np.float32).reshape(-1, 4)
        boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        ids = [BOX_CLASSES.index(names[b["category_id"] - 1]) for b in entry.boxes]
        crowd = np.array([b["iscrowd"] for b in entry.boxes], np.bool_)
        items.append(Item(image_path, label_path, entry.wh, boxes, np.array(ids, np.int32), crowd))
    return tuple(items)
