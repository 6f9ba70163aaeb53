"""What a frozen trunk sees of streets: the street network's pyramid and heads, learnt on top of it.

Run it from the project's folder: ``.venv/bin/python docs/experiments/probe.py NAME FILE`` prints a
row of scores on val for each seed; docs/experiments/trunks.py says what NAME and FILE are. The
trunk runs once on every view, so a head learns in a minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from docs.experiments.trunks import NAMES, blob_of, in_onnxruntime, trunk
from edge.cli import invoke
from edge.vision.decode.anchors import build
from edge.vision.decode.nms import nms_per_class
from edge.vision.letterbox import Letterbox
from edge.vision.types import Detections, Image
from engines.spec import DetectionHead, InputSpec
from export.data import camvid, cityscapes
from export.data.camvid import BOX_CLASSES, CLASSES, IGNORE, Item, Split
from export.data.class_set import Classes
from export.data.labelled import UNLABELLED
from export.data.streets import annotations_of
from export.score.scores import BoxTally, Confusion
from export.train.batch import MIN_SIDE_PX, box_sides
from export.train.dataset import TrainingSet, class_weights
from export.train.loss import StreetLoss
from export.train.net.street import ANCHORS, SHAPES, STRIDES, StreetNet
from export.train.onnx_file import BOX_OUTPUTS, UNWEIGH

VIEW = InputSpec("image", 192, 320)
"""Half of the app's input, and so are the anchors."""
HALF = tuple(tuple((w / 2, h / 2) for w, h in level) for level in ANCHORS)
CITY_TRAIN, CITY_VAL = 400, 125
"""Frames of Cityscapes, evenly out of all; CamVid is taken whole."""
RATE, WARMUP = 2e-3, 20


@dataclass(frozen=True, slots=True)
class Frame:
    """A labelled frame at its true aspect, and how a view shows it."""

    item: Item
    image: Image
    labels: Image
    place: Letterbox

    def view(self) -> Image:
        """(H, W, 3) uint8 BGR."""
        out = np.empty((VIEW.height, VIEW.width, 3), np.uint8)
        self.place.apply(self.image, out)
        return out


def frames_of(data: str, split: Split, count: int = 0) -> list[Frame]:
    """The frames of a data set's split, or ``count`` of them, evenly out of all."""
    module, stretch = (camvid, 1) if data == "camvid" else (cityscapes, cityscapes.STRETCH)
    items = module.load_index(module.default_root(), split)
    made = []
    for i in np.linspace(0, len(items) - 1, min(count or len(items), len(items))).astype(int):
        item = items[i]
        wh = (item.wh[0] * stretch, item.wh[1])
        boxes = item.boxes * np.array((stretch, 1, stretch, 1), np.float32)
        image, labels = cv2.resize(item.image(), wh), item.labels().repeat(stretch, axis=1)
        place = Letterbox.fit(wh, VIEW)
        made.append(Frame(replace(item, wh=wh, boxes=boxes), image, labels, place))
    return made


def truth_of(frames: Sequence[Frame]) -> TrainingSet:
    """Labels and objects in the views: first of all, then of all mirrored. No images."""
    n, most = len(frames), max(len(f.item.boxes) for f in frames)
    labels = np.full((n, VIEW.height, VIEW.width), IGNORE, np.uint8)
    boxes = np.zeros((n, most, 4), np.float32)
    ids, crowd = np.full((n, most), -1), np.zeros((n, most), np.bool_)
    for i, f in enumerate(frames):
        x, y, (w, h), k = f.place.pad_x, f.place.pad_y, f.place.resized_wh, len(f.item.boxes)
        nearest = cv2.INTER_NEAREST_EXACT
        labels[i, y : y + h, x : x + w] = cv2.resize(f.labels, (w, h), interpolation=nearest)
        boxes[i, :k] = f.place.to_input(f.item.boxes)
        ids[i, :k], crowd[i, :k] = f.item.class_ids, f.item.crowd
    labels[labels == IGNORE] = UNLABELLED
    mirrored = boxes[..., [2, 1, 0, 3]] * (-1, 1, -1, 1) + np.array((1, 0, 1, 0)) * VIEW.width
    both = torch.from_numpy(np.concatenate([boxes, mirrored]).astype(np.float32))
    return TrainingSet(
        images=torch.zeros(2 * n, 0),
        labels=torch.from_numpy(np.concatenate([labels, labels[..., ::-1]])),
        boxes=both,
        class_ids=torch.from_numpy(np.tile(ids, (2, 1))),
        crowd=torch.from_numpy(np.tile(crowd, (2, 1))) | (box_sides(both) < MIN_SIDE_PX).any(-1),
        real=2 * n,
    )


def features_of(name: str, model: onnx.ModelProto, views: Sequence[Image]) -> list[Tensor]:
    """Features float16 (N, C, h, w) of each stride, channels last in memory."""
    run = in_onnxruntime(model)
    levels: list[NDArray[np.float16]] = []
    for i, view in enumerate(views):
        seen = [one.transpose(0, 2, 3, 1) for one in run(blob_of(name, view))]
        levels = levels or [np.empty((len(views), *s.shape[1:]), np.float16) for s in seen]
        for level, one in zip(levels, seen, strict=True):
            level[i] = one[0]
    return [torch.from_numpy(level).permute(0, 3, 1, 2) for level in levels]


def learn(
    features: Sequence[Tensor], truth: TrainingSet, *, steps: int, seed: int, batch: int = 16
) -> StreetNet:
    """Pyramid and heads, learnt on stored features, which its backbone passes on."""
    torch.manual_seed(seed)
    widths: Any = tuple(level.shape[1] for level in features)
    net = StreetNet(replace(SHAPES["lite0"], backbone="plain", widths=widths), anchors=HALF)
    net.add_module("backbone", nn.Identity())
    net.train()
    weights = class_weights([truth], len(CLASSES))
    loss = StreetLoss(HALF, weights)
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.01)
    rates = [min((i + 1) / WARMUP, 0.5 + 0.5 * np.cos(np.pi * i / steps)) for i in range(steps)]
    epochs = 1 + steps * batch // len(truth)
    order = torch.cat([torch.randperm(len(truth)) for _ in range(epochs)])[: steps * batch]
    for rate, chosen in zip(rates, order.view(steps, batch), strict=True):
        for group in optimiser.param_groups:
            group["lr"] = RATE * rate
        seen: Any = [level[chosen].float() for level in features]
        views = truth.batch(chosen)
        with torch.autocast("cpu", torch.bfloat16):
            outputs = net(seen)
        total, _ = loss(outputs, replace(views, labels=views.labels.long()))
        optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
    assert net.mask_out.bias is not None
    with torch.no_grad():
        net.mask_out.bias -= UNWEIGH * weights.log()
    return net.eval()


def score(net: StreetNet, features: Sequence[Tensor], frames: Sequence[Frame]) -> list[float]:
    """Mean IoU at the labels' size; AP50 of cars and pedestrians of 400 px² and more."""
    head = DetectionHead("yolo-anchors", BOX_OUTPUTS, BOX_CLASSES, strides=STRIDES, anchors=HALF)
    decode, classes = build(head, VIEW), Classes.parse().boxes
    confusion, tally = Confusion(CLASSES, ignore=IGNORE), BoxTally(BOX_CLASSES)
    for i, frame in enumerate(frames):
        seen: Any = [level[i : i + 1].float() for level in features]
        with torch.no_grad():
            outputs = net(seen)
        x, y = frame.place.pad_x // 4, frame.place.pad_y // 4
        shown = outputs.mask[:, :, y : VIEW.height // 4 - y, x : VIEW.width // 4 - x]
        logits = F.interpolate(shown, frame.labels.shape, mode="bilinear")
        confusion.add(frame.labels, logits[0].argmax(0).numpy().astype(np.uint8))
        raw = {n: b.numpy() for n, b in zip(BOX_OUTPUTS, outputs.boxes, strict=True)}
        boxes, scores, ids = decode(raw, 0.01)
        kept = nms_per_class(boxes, scores, ids, iou=0.5, limit=100)
        placed = frame.place.to_frame(boxes[kept])
        found = Detections(placed, scores[kept], ids[kept], np.full(len(kept), -1, np.int32))
        tally.add(frame.image, annotations_of(frame.item, classes), found, range(len(BOX_CLASSES)))
    ap50 = tally.scores(BOX_CLASSES).ap50_large
    return [confusion.miou() or 0.0, ap50["car"] or 0.0, ap50["pedestrian"] or 0.0]


@click.command()
@click.argument("name", type=click.Choice(NAMES))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--steps", default=400, show_default=True, help="Of a batch of 16.")
@click.option("--seed", "seeds", multiple=True, default=(0, 1), show_default=True)
def main(name: str, file: Path, steps: int, seeds: Sequence[int]) -> None:
    """Print scores on CamVid's and Cityscapes' val of a head on what the trunk NAME sees."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    train = frames_of("camvid", "train") + frames_of("cityscapes", "train", CITY_TRAIN)
    val = [frames_of("camvid", "val"), frames_of("cityscapes", "val", CITY_VAL)]
    views = [f.view() for f in train]
    torch.manual_seed(seeds[0])
    some = torch.from_numpy(np.concatenate([blob_of(name, v) for v in views[::12]]))
    model = trunk(name, file, (VIEW.height, VIEW.width), some)
    seen = features_of(name, model, views + [np.ascontiguousarray(v[:, ::-1]) for v in views])
    of_val = [features_of(name, model, [f.view() for f in frames]) for frames in val]
    for i, level in enumerate(seen):  # else small features learn slowly, whatever is in them
        deviation = level[::16].float().std()
        for features in (seen, *of_val):
            features[i] /= deviation
    truth = truth_of(train)
    for seed in seeds:
        net = learn(seen, truth, steps=steps, seed=seed)
        cells = [name, str(seed), f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f}"]
        for features, frames in zip(of_val, val, strict=True):
            cells += [f"{value:.3f}" for value in score(net, features, frames)]
        click.echo(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    invoke(main, "probe")
