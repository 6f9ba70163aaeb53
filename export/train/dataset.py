"""The training sets as tensors in memory, on the device that trains.

The images of a set have one size, so a part of a batch is one index; CamVid's frames and those of
the synthetic street lie in one. Sets of other sizes meet in the views that are made of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge.progress import counted
from edge.say import say
from edge.vision.letterbox import Letterbox
from edge.vision.types import Image
from engines.errors import ExportError
from engines.spec import InputSpec
from export.data import cityscapes
from export.data.by_name import NAMED
from export.data.camvid import BOX_CLASSES, CLASSES, Item, load_index
from export.data.folder import folder_data
from export.data.labelled import UNLABELLED, LabelledFrame
from export.data.seen import cars_told, read_seen, with_seen
from export.train.batch import MIN_VISIBLE, Batch, Known
from export.train.recipe import Recipe

SIZE_WH = (480, 360)
"""Width and height of CamVid's frames here, and of those of the synthetic street."""
APP_WH = (640, 384)
"""What the network is shown in the app: an image is fitted into it."""
STREET_WH = (640, 360)
"""The synthetic street is drawn as wide as a camera sees it; a window of SIZE_WH is kept."""

T = TypeVar("T")
Objects = tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]
"""Boxes (N, 4) xyxy px, their places in the data's classes (N,), and which are crowds (N,)."""


@dataclass(frozen=True, slots=True)
class TrainingSet(Batch):
    """Labelled images of one size, uint8 here as the labels. The first ``real`` are photographs.

    An epoch shows each photograph ``times``. ``known`` has one row for all. ``scale_xy`` is
    the scale in width and height at which the app would show such an image.
    """

    real: int
    times: int = 1
    scale_xy: tuple[float, float] = (384 / 360, 384 / 360)

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def batch(self, index: Tensor) -> Batch:
        """The images of ``index`` (B,) without augmentation."""
        return Batch(
            self.images[index], self.labels[index], self.boxes[index],
            self.class_ids[index], self.crowd[index],
        )  # fmt: skip

    def known_in(self, batch: Batch) -> Batch:
        """A batch of this set's images, with what the set labels."""
        if self.known is None:
            return batch
        n = len(batch.images)
        return replace(batch, known=Known(*(row.expand(n, -1) for row in self.known)))


def class_weights(sets: Sequence[TrainingSet], classes: int) -> Tensor:
    """Weights (classes,) ∝ 1/√frequency over the photographs of an epoch, mean 1.

    Rare classes count more, without drowning the common ones. Without photographs the synthetic
    frames are counted.
    """
    drawn = not any(data.real for data in sets)
    counts = sum(
        torch.bincount(
            data.labels[: None if drawn else data.real].flatten().int(), minlength=256
        ).cpu()
        * data.times
        for data in sets
    )
    assert isinstance(counts, Tensor)
    frequency = counts[:classes].float() / counts[:classes].sum().clamp(min=1)
    weights = frequency.clamp(min=1e-4).rsqrt()
    return weights / weights.mean()


def load_training_sets(
    roots: Mapping[str, Path],
    recipe: Recipe,
    *,
    device: torch.device,
    teacher: Path | None = None,
) -> list[TrainingSet]:
    """The sets that ``recipe.data`` names, read from their folders, and the synthetic frames.

    ``teacher`` is a folder of its boxes, by data set and split (see export.data.seen).

    Raises:
        ExportError: data are missing or wrong, or there is none.
    """
    times = dict(recipe.data)
    sets = []
    if "camvid" in times or recipe.synthetic:
        splits = recipe.splits if "camvid" in times else ()
        streets = load_training_set(
            roots["camvid"], replace(recipe, splits=splits), device=device, teacher=teacher
        )
        sets.append(replace(streets, times=times.get("camvid", 1)))
    if "cityscapes" in times:
        root, seen = roots["cityscapes"], None
        if teacher is not None:
            frames = (root / "images" / "train").glob("*.jpg")
            size = (cityscapes.SIDE, cityscapes.SIDE)
            seen = read_seen(teacher / "cityscapes_train.json", dict.fromkeys(frames, size))
        found = cityscapes.load_index(root, "train", seen=seen)
        if seen is not None:
            say(f"edge-export: Cityscapes train: {cars_told(found, seen)}")
        items = _chosen(found, recipe, of="Cityscapes train")
        made = [(item.image(), item.labels(), _objects(item)) for item in items]
        fit = APP_WH[0] / (cityscapes.STRETCH * cityscapes.SIDE)
        sets.append(
            replace(
                _in_memory(made, recipe, device=device, real=len(made)),
                times=times["cityscapes"], scale_xy=(cityscapes.STRETCH * fit, fit),
            )
        )  # fmt: skip
    for name in (name for name in times if name not in NAMED):
        sets.append(replace(load_folder(Path(name), recipe, device=device), times=times[name]))
    partial = next((data.known for data in sets if data.known is not None), None)
    if partial is None:
        return sets
    whole = Known(*map(torch.ones_like, partial))
    return [replace(data, known=data.known or whole) for data in sets]


def load_folder(root: Path, recipe: Recipe, *, device: torch.device) -> TrainingSet:
    """Read a folder of images of any sizes (see export.data.folder), each as the app shows it.

    Raises:
        ExportError: something is missing or wrong, or nothing in it is labelled.
    """
    data = folder_data(root)
    chosen = _chosen(range(data.count), recipe, of=str(root))
    numbers = counted(chosen, f"reading {root}", total=len(chosen), unit="images")
    made = [_fitted(data.load(i)) for i in numbers]
    kept = _in_memory(
        made, recipe, device=device, real=len(made), box_names=data.box_classes,
        mask_names=data.mask_classes,
    )  # fmt: skip
    objects = int((kept.class_ids >= 0).sum())
    masks = int((kept.labels != UNLABELLED).flatten(1).any(1).sum())
    if not objects and not masks:
        raise ExportError(
            f"{root}: not a pixel and not a box in {len(made)} images is of a class that is "
            "learnt. Label some, or choose other classes."
        )
    left_out = f"; {len(data.left_out)} boxes left out: {data.left_out[0]}" if data.left_out else ""
    say(
        f"edge-export: {root}: {len(made)} images, {masks} of them with labelled pixels, {objects} "
        f"boxes{left_out}"
    )
    return replace(kept, scale_xy=(1.0, 1.0))


def _fitted(frame: LabelledFrame) -> tuple[Image, Image, Objects]:
    """A frame of any size as the app fits it into the network's input."""
    height, width = frame.image.shape[:2]
    place = Letterbox.fit((width, height), InputSpec("image", APP_WH[1], APP_WH[0]))
    image = np.empty((APP_WH[1], APP_WH[0], 3), np.uint8)
    place.apply(frame.image, image)
    labels = np.full(image.shape[:2], UNLABELLED, np.uint8)
    if frame.labels is not None:
        wide, high = place.resized_wh
        labels[place.pad_y : place.pad_y + high, place.pad_x : place.pad_x + wide] = cv2.resize(
            frame.labels, (wide, high), interpolation=cv2.INTER_NEAREST_EXACT
        )
    xywh = np.array([box["bbox"] for box in frame.annotations], np.float32).reshape(-1, 4)
    corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    boxes = place.to_input(corners.clip(0, [width, height] * 2).astype(np.float32))
    ids = np.array([box["category_id"] - 1 for box in frame.annotations], np.int32)
    return image, labels, (boxes, ids, np.array([b["iscrowd"] for b in frame.annotations], bool))


def load_training_set(
    root: Path, recipe: Recipe, *, device: torch.device, teacher: Path | None = None
) -> TrainingSet:
    """Read the photographs and render frames of the street, each of a scene of its own.

    Raises:
        ExportError: data are missing or wrong (see export.data.camvid), or there is none.
    """
    found: list[Item] = []
    for split in recipe.splits:
        items: Sequence[Item] = load_index(root, split)
        if teacher is not None:
            frames = {item.image_path: item.wh for item in items}
            seen = read_seen(teacher / f"camvid_{split}.json", frames)
            items = [with_seen(item, seen[item.image_path.stem]) for item in items]
            say(f"edge-export: CamVid {split}: {cars_told(items, seen)}")
        found += items
    if recipe.splits:
        found = _chosen(found, recipe, of=f"CamVid {', '.join(recipe.splits)}")
    made = [_photograph(item) for item in found]
    real = len(made)
    rng = np.random.default_rng(recipe.seed)
    made += [_street(recipe.seed * 100_003 + i, rng) for i in range(recipe.synthetic)]
    if not made:
        raise ExportError("a training without images. Name --splits or ask for --synthetic frames.")
    return _in_memory(made, recipe, device=device, real=real)


def _in_memory(
    made: Sequence[tuple[Image, Image, Objects]],
    recipe: Recipe,
    *,
    device: torch.device,
    real: int,
    box_names: tuple[str, ...] = BOX_CLASSES,
    mask_names: tuple[str, ...] = CLASSES,
) -> TrainingSet:
    """Images (H, W, 3) BGR, label maps and objects as tensors, in the classes of the recipe.

    ``box_names`` and ``mask_names`` are those that they are labelled with.
    """
    classes = recipe.classes
    label_table = classes.label_table(mask_names)
    box_table = classes.boxes.table(box_names, missing=-1)
    here = classes.within(box_names, mask_names)
    images, labels, objects = zip(*made, strict=True)
    learnt = [box_table[ids] for _, ids, _ in objects]
    most = max(int((ids >= 0).sum()) for ids in learnt)
    boxes = np.zeros((len(made), most, 4), np.float32)
    class_ids = np.full((len(made), most), -1, np.int64)
    crowd = np.zeros((len(made), most), np.bool_)
    for i, (ids, (xyxy, _, crowds)) in enumerate(zip(learnt, objects, strict=True)):
        kept = ids >= 0
        n = int(kept.sum())
        boxes[i, :n], class_ids[i, :n], crowd[i, :n] = xyxy[kept], ids[kept], crowds[kept]
    rgb = np.stack([image[..., ::-1].transpose(2, 0, 1) for image in images])  # (N, 3, H, W)

    def tensor(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(device)

    labelled = (
        np.isin(classes.boxes.names, here.boxes.names)[None],
        # without label maps no pixel teaches anything, whatever takes part
        np.isin(classes.mask.names, here.mask.names or classes.mask.names)[None],
    )
    known = None if all(row.all() for row in labelled) else Known(*map(tensor, labelled))
    return TrainingSet(
        tensor(rgb), tensor(label_table[np.stack(labels)]), tensor(boxes), tensor(class_ids),
        tensor(crowd), real, known=known,
    )  # fmt: skip


def _photograph(item: Item) -> tuple[Image, Image, Objects]:
    image, labels = item.image(), item.labels()
    if item.wh != SIZE_WH:
        raise ExportError(
            f"{item.image_path}: got {item.wh[0]}x{item.wh[1]}, wanted "
            f"{SIZE_WH[0]}x{SIZE_WH[1]}. Training takes images of that size alone."
        )
    return image, labels, _objects(item)


def _objects(item: Item) -> Objects:
    return item.boxes, item.class_ids, item.crowd


def _street(seed: int, rng: np.random.Generator) -> tuple[Image, Image, Objects]:
    """A window of a street at some time; what is mostly outside of it is a crowd."""
    from edge.street import StreetScene

    scene = StreetScene(*STREET_WH, seed=seed)
    t = float(rng.uniform(0, 60))
    left = int(rng.integers(0, STREET_WH[0] - SIZE_WH[0] + 1))
    truth = scene.truth(t)
    ids = np.array([BOX_CLASSES.index(n) for n in truth.class_names], np.int32)[truth.class_ids]
    shift = np.array([left, 0, left, 0], np.float32)
    boxes = np.clip(truth.boxes - shift, 0, [*SIZE_WH, *SIZE_WH]).astype(np.float32)
    visible = _areas(boxes) / np.maximum(_areas(truth.boxes), 1e-6)
    window = np.s_[:, left : left + SIZE_WH[0]]
    there = visible > 0
    objects = boxes[there], ids[there], visible[there] < MIN_VISIBLE
    return scene.render(t)[window], truth.labels[window], objects


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).prod(1), np.float32)


def _chosen(items: Sequence[T], recipe: Recipe, *, of: str) -> list[T]:
    """The photographs of the set ``of``, or as many of them as are asked for, drawn by the seed.

    A larger draw of the same seed holds the smaller one.
    """
    if recipe.images > len(items):
        raise ExportError(f"--images {recipe.images}: {of} has {len(items)} images. Ask for fewer.")
    if not recipe.images:
        return [*items]
    drawn = np.random.default_rng(recipe.seed).permutation(len(items))[: recipe.images]
    return [items[i] for i in sorted(drawn)]
