"""What a trunk sees of streets: the street network's pyramid and heads, learnt on top of it.

Run it from the project's folder: ``.venv/bin/python -m docs.experiments.probe NAME FILE`` prints a
row of scores on val for each seed; docs/experiments/trunks.py says what NAME and FILE are. A frozen
trunk runs once on every view, so a head learns in a minute; with --tune it learns, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
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

from docs.experiments.trunks import NAMES, TAPS, blob_of, in_onnxruntime, own, trunk
from docs.experiments.unfolded import Unfolded
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
from export.train.batch import MIN_SIDE_PX, Batch, box_sides, joined
from export.train.dataset import TrainingSet, class_weights, load_training_sets
from export.train.loss import StreetLoss
from export.train.net.street import ANCHORS, SHAPES, STRIDES, StreetNet
from export.train.onnx_file import BOX_OUTPUTS, UNWEIGH
from export.train.recipe import Recipe
from export.train.views.augment import Augment
from export.zoo.layers import ConvBN

VIEW = InputSpec("image", 192, 320)
"""Half of the app's input, and so are the anchors."""
HALF = tuple(tuple((w / 2, h / 2) for w, h in level) for level in ANCHORS)
Train = tuple[Callable[[int, int], StreetNet], list[list[Any]]]
"""Steps and seed to a network that has learnt; and its inputs, for each set of val."""
CITY_TRAIN, CITY_VAL = 400, 125
"""Frames of Cityscapes, evenly out of all; CamVid is taken whole."""
RATE, WARMUP = 2e-3, 20
TUNE_SHARES = (2, 6)
"""Views of CamVid and of Cityscapes in a batch, where the trunk learns."""
EVEN = (48, 96, 96, 96)


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


def tensor_of(view: Image) -> Tensor:
    """(1, 3, H, W) RGB 0..255 of a view (H, W, 3) BGR."""
    return torch.from_numpy(view[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32))


def features_of(name: str, model: onnx.ModelProto, views: Sequence[Image]) -> list[Tensor]:
    """Features float16 (N, C, h, w) of each stride, channels last in memory."""
    run = in_onnxruntime(model)
    levels: list[NDArray[np.float16]] = []
    for i, view in enumerate(views):
        seen = [one.transpose(0, 2, 3, 1) for one in run(blob_of(name, tensor_of(view)).numpy())]
        levels = levels or [np.empty((len(views), *s.shape[1:]), np.float16) for s in seen]
        for level, one in zip(levels, seen, strict=True):
            level[i] = one[0]
    return [torch.from_numpy(level).permute(0, 3, 1, 2) for level in levels]


@dataclass(frozen=True, slots=True)
class Learning:
    """How many steps, the trunk's rate, and how long the average remembers."""

    steps: int
    trunk: float = 0.0
    ema: float = 0.0


class Evened(nn.Module):
    """A trunk that learns, its features brought to EVEN channels, so that one neck fits every one.

    A linear 1x1 convolution each; the pyramid would make as many channels of them next.
    """

    TRUNK = "backbone.trunk."

    def __init__(self, name: str, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk, self.name = trunk, name
        with torch.no_grad():
            widths = [f.shape[1] for f in trunk.eval()(torch.zeros(1, 3, 64, 64))]
        self.fits = nn.ModuleList(
            ConvBN(c, even, act=False) for c, even in zip(widths, EVEN, strict=True)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) RGB 0..1 → features at strides 4, 8, 16 and 32."""
        levels = self.trunk(blob_of(self.name, images * 255))
        return [fit(level) for fit, level in zip(self.fits, levels, strict=True)]


def street_views(
    sets: Sequence[TrainingSet], *, steps: int, seed: int
) -> Iterator[tuple[Tensor, Batch]]:
    """Random views as in training, at half its scale: TUNE_SHARES of each set in a batch."""
    generator = torch.Generator().manual_seed(seed)
    views = [
        Augment((VIEW.height, VIEW.width), (data.scale_xy[0] / 2, data.scale_xy[1] / 2), gamma=0.5)
        for data in sets
    ]
    for _ in range(steps):
        parts = []
        for data, view, n in zip(sets, views, TUNE_SHARES, strict=True):
            chosen = torch.randint(len(data), (n,), generator=generator)
            parts.append(view(data.batch(chosen), generator=generator))
        batch = joined(parts, torch.arange(sum(TUNE_SHARES)))
        yield batch.images.contiguous(memory_format=torch.channels_last), batch


def network(widths: tuple[int, ...], backbone: nn.Module) -> StreetNet:
    """Pyramid and heads behind a trunk that tells features of these widths."""
    net = StreetNet(
        replace(SHAPES["lite0"], backbone="plain", widths=widths),  # type: ignore[arg-type]
        anchors=HALF,
    )
    net.add_module("backbone", backbone)
    return net.train()


def stored(
    features: Sequence[Tensor], truth: TrainingSet, *, steps: int, batch: int = 16
) -> Iterator[tuple[list[Tensor], Batch]]:
    """Features of views, and what these show, in a random order."""
    epochs = 1 + steps * batch // len(truth)
    order = torch.cat([torch.randperm(len(truth)) for _ in range(epochs)])[: steps * batch]
    for chosen in order.view(steps, batch):
        views = truth.batch(chosen)
        yield [level[chosen].float() for level in features], views


def learn(
    net: StreetNet, views: Iterable[tuple[Any, Batch]], weights: Tensor, how: Learning
) -> StreetNet:
    """The network, or its average, after as many steps as there are views."""
    loss = StreetLoss(HALF, weights)
    named = list(net.named_parameters())
    groups = [
        {"params": [p for name, p in named if name.startswith(Evened.TRUNK) == inside]}
        for inside in (False, True)
    ]
    optimiser = torch.optim.AdamW(groups, lr=RATE, weight_decay=0.01)
    average = deepcopy(net)
    for i, (given, batch) in enumerate(views):
        factor = min((i + 1) / WARMUP, 0.5 + 0.5 * np.cos(np.pi * i / how.steps))
        for group, rate in zip(optimiser.param_groups, (RATE, how.trunk), strict=True):
            group["lr"] = rate * factor
        with torch.autocast("cpu", torch.bfloat16):
            outputs = net(given)
        total, _ = loss(outputs, replace(batch, labels=batch.labels.long()))
        optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        optimiser.step()
        keep = how.ema * (1 - np.exp(-(i + 1) / 300))
        for mine, now in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
            mine.copy_(mine.lerp(now, 1 - keep) if mine.is_floating_point() else now)
    assert average.mask_out.bias is not None
    with torch.no_grad():
        average.mask_out.bias -= UNWEIGH * weights.log()
    return average.eval()


def score(net: StreetNet, inputs: Iterable[Any], frames: Sequence[Frame]) -> list[float]:
    """Mean IoU at the labels' size; AP50 of cars and pedestrians of 400 px² and more."""
    head = DetectionHead("yolo-anchors", BOX_OUTPUTS, BOX_CLASSES, strides=STRIDES, anchors=HALF)
    decode, classes = build(head, VIEW), Classes.parse().boxes
    confusion, tally = Confusion(CLASSES, ignore=IGNORE), BoxTally(BOX_CLASSES)
    for seen, frame in zip(inputs, frames, strict=True):
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


def frozen(name: str, file: Path, val: Sequence[Sequence[Frame]]) -> Train:
    """What learns a head on a frozen trunk."""
    train = frames_of("camvid", "train") + frames_of("cityscapes", "train", CITY_TRAIN)
    views = [f.view() for f in train]
    some = torch.cat([blob_of(name, tensor_of(v)) for v in views[::12]])
    model = trunk(name, file, (VIEW.height, VIEW.width), some)
    seen = features_of(name, model, views + [np.ascontiguousarray(v[:, ::-1]) for v in views])
    of_val = [features_of(name, model, [f.view() for f in frames]) for frames in val]
    for i, level in enumerate(seen):  # else small features learn slowly, whatever is in them
        deviation = level[::16].float().std()
        for features in (seen, *of_val):
            features[i] /= deviation
    truth = truth_of(train)
    weights = class_weights([truth], len(CLASSES))
    val_inputs = [
        [[level[i : i + 1].float() for level in features] for i in range(len(frames))]
        for features, frames in zip(of_val, val, strict=True)
    ]

    def run(steps: int, _: int) -> StreetNet:
        net = network(tuple(level.shape[1] for level in seen), nn.Identity())
        return learn(net, stored(seen, truth, steps=steps), weights, Learning(steps))

    return run, val_inputs


def tuned(name: str, file: Path, rate: float, val: Sequence[Sequence[Frame]]) -> Train:
    """What learns a trunk with its head."""
    roots = {"camvid": camvid.default_root(), "cityscapes": cityscapes.default_root()}
    recipe = Recipe(data=(("camvid", 1), ("cityscapes", 1)), synthetic=0)
    sets = load_training_sets(roots, recipe, device=torch.device("cpu"))
    weights = class_weights(sets, len(CLASSES))

    def run(steps: int, seed: int) -> StreetNet:
        if name in TAPS:
            model = trunk(name, file, (VIEW.height, VIEW.width))
            some = torch.cat([v for v, _ in street_views(sets, steps=4, seed=seed)])
            body: nn.Module = Unfolded(model, blob_of(name, some * 255))
        else:
            body = own(name, file)
        net = network(EVEN, Evened(name, body))
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        how = Learning(steps, rate, ema=0.999)
        return learn(net, street_views(sets, steps=steps, seed=seed), weights, how)

    return run, [[tensor_of(f.view()) / 255 for f in frames] for frames in val]


@click.command()
@click.argument("name", type=click.Choice(NAMES))
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--tune", "rate", default=0.0, help="Rate of the trunk, which then learns, too.")
@click.option("--steps", default=400, show_default=True, help="Of a batch of 16, or 8 with --tune.")
@click.option("--seed", "seeds", multiple=True, default=(0, 1), show_default=True)
def main(name: str, file: Path, rate: float, steps: int, seeds: Sequence[int]) -> None:
    """Print scores on CamVid's and Cityscapes' val of a head on what the trunk NAME sees."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(seeds[0])
    val = [frames_of("camvid", "val"), frames_of("cityscapes", "val", CITY_VAL)]
    run, of_val = tuned(name, file, rate, val) if rate else frozen(name, file, val)
    for seed in seeds:
        torch.manual_seed(seed)
        net = run(steps, seed)
        cells = [name, str(seed), f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f}"]
        for inputs, frames in zip(of_val, val, strict=True):
            cells += [f"{value:.3f}" for value in score(net, inputs, frames)]
        click.echo(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    invoke(main, "probe")
