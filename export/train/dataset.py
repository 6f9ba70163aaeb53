"""The training set as tensors in memory, on the device that trains; it augments nothing.

CamVid frames and frames of the synthetic street lie side by side at one size, so a batch is one
index.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge.vision.types import Image
from engines.errors import ExportError
from export.data.camvid import BOX_CLASSES, Item, Split, load_index
from export.data.class_set import Classes
from export.train.augment import MIN_VISIBLE, Batch

SIZE_WH = (480, 360)
"""Width and height of CamVid's frames here; every image of the set has it."""
STREET_WH = (640, 360)
"""The synthetic street is drawn as wide as a camera sees it; a window of SIZE_WH is kept."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Labelled images.

    ``images`` uint8 (N, 3, H, W) RGB; ``labels`` uint8 (N, H, W); ``boxes`` (N, M, 4) xyxy px;
    ``class_ids`` (N, M), −1 for none; ``crowd`` (N, M) bool. The first ``real`` are photographs.
    """

    images: Tensor
    labels: Tensor
    boxes: Tensor
    class_ids: Tensor
    crowd: Tensor
    real: int

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def batch(self, index: Tensor) -> Batch:
        """The images of ``index`` (B,) without augmentation."""
        return Batch(
            self.images[index], self.labels[index], self.boxes[index],
            self.class_ids[index], self.crowd[index],
        )  # fmt: skip

    def class_weights(self, classes: int) -> Tensor:
        """Weights (classes,) ∝ 1/√frequency over the photographs, mean 1.

        Rare classes count more, without drowning the common ones. Without photographs the
        synthetic frames are counted.
        """
        labels = self.labels[: self.real or None]
        counts = torch.bincount(labels.flatten().int(), minlength=classes)
        frequency = counts[:classes].float() / counts[:classes].sum().clamp(min=1)
        weights = frequency.clamp(min=1e-4).rsqrt()
        return weights / weights.mean()


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.asarray(sides[:, 0] * sides[:, 1], np.float32)


@dataclass(slots=True)
class _Lists:
    """Collects images in the classes that are learnt."""

    classes: Classes
    images: list[Image] = field(default_factory=list)
    labels: list[Image] = field(default_factory=list)
    boxes: list[NDArray[np.float32]] = field(default_factory=list)
    class_ids: list[NDArray[np.int64]] = field(default_factory=list)
    crowd: list[NDArray[np.bool_]] = field(default_factory=list)

    def add(
        self,
        image: Image,
        labels: Image,
        boxes: NDArray[np.float32],
        class_ids: NDArray[np.int32],
        crowd: NDArray[np.bool_],
    ) -> None:
        rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        learnt = self.classes.boxes.table(BOX_CLASSES, missing=-1)[class_ids]
        kept = learnt >= 0
        self.images.append(np.ascontiguousarray(rgb.transpose(2, 0, 1)))  # (3, H, W)
        self.labels.append(self.classes.label_table()[labels])
        self.boxes.append(boxes[kept])
        self.class_ids.append(learnt[kept])
        self.crowd.append(crowd[kept])


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a training set is made of: ``images`` of the splits' photographs, all where 0."""

    splits: tuple[Split, ...]
    synthetic: int
    seed: int
    images: int = 0
    classes: Classes = field(default_factory=Classes.parse)


def load_training_set(root: Path, wanted: Wanted, *, device: torch.device) -> TrainingSet:
    """Read the photographs and render frames of the street, each of a scene of its own.

    Raises:
        ExportError: data are missing or wrong (see export.data.camvid), or there is none.
    """
    lists = _Lists(wanted.classes)
    for item in _chosen(root, wanted):
        image, labels = item.image(), item.labels()
        if item.wh != SIZE_WH:
            raise ExportError(
                f"{item.image_path}: got {item.wh[0]}x{item.wh[1]}, wanted "
                f"{SIZE_WH[0]}x{SIZE_WH[1]}. Training takes images of that size alone."
            )
        lists.add(image, labels, item.boxes, item.class_ids, item.crowd)
    real = len(lists.images)
    rng = np.random.default_rng(wanted.seed)
    if wanted.synthetic:
        from edge.street import StreetScene
    for i in range(wanted.synthetic):
        scene = StreetScene(*STREET_WH, seed=wanted.seed * 100_003 + i)
        t = float(rng.uniform(0, 60))
        left = int(rng.integers(0, STREET_WH[0] - SIZE_WH[0] + 1))
        truth = scene.truth(t)
        to_box_class = np.array([BOX_CLASSES.index(n) for n in truth.class_names], np.int32)
        ids = to_box_class[truth.class_ids]
        shift = np.array([left, 0, left, 0], np.float32)
        boxes = np.clip(truth.boxes - shift, 0, [*SIZE_WH, *SIZE_WH]).astype(np.float32)
        visible = _areas(boxes) / np.maximum(_areas(truth.boxes), 1e-6)
        window = np.s_[:, left : left + SIZE_WH[0]]
        image, labels = scene.render(t)[window], truth.labels[window]
        there = visible > 0
        crowd = visible < MIN_VISIBLE
        lists.add(image, labels, boxes[there], ids[there], crowd[there])
    if not lists.images:
        raise ExportError("a training without images. Name --splits or ask for --synthetic frames.")
    most = max((len(b) for b in lists.boxes), default=1)
    n = len(lists.images)
    boxes = np.zeros((n, most, 4), np.float32)
    class_ids = np.full((n, most), -1, np.int64)
    crowd_all = np.zeros((n, most), np.bool_)
    for i, (b, c, k) in enumerate(zip(lists.boxes, lists.class_ids, lists.crowd, strict=True)):
        boxes[i, : len(b)], class_ids[i, : len(b)], crowd_all[i, : len(b)] = b, c, k
    return TrainingSet(
        torch.from_numpy(np.stack(lists.images)).to(device),
        torch.from_numpy(np.stack(lists.labels)).to(device),
        torch.from_numpy(boxes).to(device),
        torch.from_numpy(class_ids).to(device),
        torch.from_numpy(crowd_all).to(device),
        real,
    )


def _chosen(root: Path, wanted: Wanted) -> list[Item]:
    """The photographs, or as many of them as are asked for, drawn by the seed.

    More images of the same seed hold the fewer ones.
    """
    items = [item for split in wanted.splits for item in load_index(root, split)]
    if wanted.images > len(items):
        raise ExportError(
            f"--images {wanted.images}: the splits {', '.join(wanted.splits) or 'none'} hold "
            f"{len(items)}. Ask for fewer."
        )
    if not wanted.images:
        return items
    drawn = np.random.default_rng(wanted.seed).permutation(len(items))[: wanted.images]
    return [items[i] for i in sorted(drawn)]
