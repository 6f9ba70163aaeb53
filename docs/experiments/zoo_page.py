"""The figures and pictures of docs/ZOO.md, made anew; the words between them are not touched.

Run it from the project's folder: ``.venv/bin/python -m docs.experiments.zoo_page [PART...]``
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch
from torch import nn

from docs.experiments import zoo_measured as measured
from docs.experiments.trunks import cpu_seconds, exported, in_onnxruntime, in_openvino
from edge.cli import invoke
from edge.street import StreetScene
from edge.telemetry.linux import cpu_identity
from engines.errors import ExportError
from export.score.scores import Confusion
from export.train.net.nets import network_of
from export.train.onnx_file import Deployed
from export.train.recipe import Recipe
from export.zoo import BOX_NETS, NETS, OWN_ENCODER
from export.zoo.layers import Depthwise
from export.zoo.measure import multiply_adds, parameters, receptive_field

PAGE = Path(__file__).resolve().parents[1] / "ZOO.md"
PICTURES = PAGE.with_name("zoo")
HW = (384, 640)
STEPS = 300
WAYS = {
    "transposed, kernel 3": "k3", "transposed, kernel 4": "k4", "nearest ×2, then 3×3": "resize",
}  # fmt: skip
FIELDS = ("fcn32s", "strided", "upsample", "segnet", "unet", "deeplabv1")
TRUTH = np.array(
    [[0, 0, 0, 1, 1], [0, 0, 0, 1, 1], [0, 0, 2, 2, 1], [0, 2, 2, 2, 1], [0, 2, 2, 255, 255]],
    np.uint8,
)
FOUND = np.array(
    [[0, 0, 1, 1, 1], [0, 0, 0, 1, 1], [0, 0, 2, 2, 2], [0, 0, 2, 2, 1], [0, 2, 2, 2, 0]], np.uint8
)
"""Sky 0, road 1, car 2; 255 is unlabelled."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def backbone_of(name: str) -> str:
    """The backbone that the page looks at a network over."""
    return "plain" if name in OWN_ENCODER else "lite0"


def made(name: str) -> nn.Module:
    """A network as ``edge-export train`` begins with it, random weights, in evaluation mode."""
    return network_of(Recipe(net=name, backbone=backbone_of(name))).eval()


def checkerboard() -> str:
    """Nyquist's share of a layer's answer to a constant, and of what a taught net makes."""
    rows, panels = [], {}
    for title, way in WAYS.items():
        one = measured.untrained(way, seed=0)[0, 0, :16, :16]
        panels[f"{title}\nuntrained"] = (one / one.max() * 0.8).numpy()
    for title, way in WAYS.items():
        draws = [measured.nyquist_share(measured.untrained(way, seed=s)) for s in range(8)]
        row = [title, f"{measured.nyquist_share(measured.untrained(way, seed=None)):.1%}",
               f"{np.mean(draws):.1%}"]  # fmt: skip
        for steps in (STEPS // 10, STEPS):
            seen = [measured.taught(way, seed=s, steps=steps) for s in range(3)]
            row.append(" · ".join(f"{measured.nyquist_share(y) * 1e6:.0f}" for _, y in seen))
            if steps < STEPS:
                out = seen[0][1][2, 0]
                panels[f"{title}\n{steps} steps"] = (
                    0.5 + (out - out.mean()) / out.std() / 4
                ).numpy()
        row.append(" · ".join(f"{(x - y).square().mean().sqrt() * 255:.1f}" for x, y in seen))
        rows.append(row)
    measured.picture(PICTURES / "checkerboard.png", panels, columns=3, boxes={}, fixed=True)
    head = ("enlarged by", "weights all one", "random weights", f"{STEPS // 10} steps, ppm",
            f"{STEPS} steps, ppm", "RMSE then, grey levels")  # fmt: skip
    own = measured.nyquist_share(seen[0][0]) * 1e6
    note = (
        f"The images that are to come out have {own:.0f} ppm. {here()}, torch {torch.__version__}."
    )
    return f"{table(head, rows)}\n\n{note}"


def matrix() -> str:
    """The 4×16 matrix of a 3×3 convolution over 4×4."""
    kernel = torch.arange(1.0, 10).view(3, 3)
    text = [
        " ".join(f"{v:.0f}" if v else "·" for v in row) for row in measured.matrix_of(kernel, 4)
    ]
    return "\n".join(["```text", *text, "```"])


def fields() -> str:
    """What a pixel of the mask can see, by the rules, and what moves it."""
    rows, panels, boxes = [], {}, {}
    for name in FIELDS:
        with torch.device("meta"):
            rule = receptive_field(made(name))
        side = (int(rule) // 32 + 3) * 32
        heat = []
        for seed in range(3):
            torch.manual_seed(seed)
            heat.append(measured.slopes(made(name), side, side))
        mean = np.mean(heat, axis=0)
        mean /= mean.max()
        known = measured.effective(mean)
        extent = measured.extent(mean)
        rows.append([f"`{name}`", f"{rule:.0f}", f"{extent}", f"{known:.0f}",
                     f"{known / rule:.0%}"])  # fmt: skip
        title = f"{name}: {rule:.0f} px"
        small = mean[::2, ::2].copy()
        for y, x in ((0, 1), (1, 0), (1, 1)):
            np.maximum(small, mean[y::2, x::2], out=small)
        panels[title] = np.log10(np.clip(small, 1e-4, 1))
        boxes[title] = tuple(v / 2 for v in measured.square(mean, rule))
    measured.picture(PICTURES / "fields.jpg", panels, columns=3, boxes=boxes)
    return table(
        ("network", "by the rules, rows", "moved by, rows", "effective, px", "of it"), rows
    )


def dilation() -> str:
    """Receptive fields of 3×3 layers, plain and dilated, and the pixels that count in them."""
    stacks = {"plain": (1, 1, 1, 1), "1, 2, 4, 8": (1, 2, 4, 8), "2, 2, 2, 2": (2, 2, 2, 2)}
    rows, panels, boxes = [], {}, {}
    for title, rates in stacks.items():
        side, cells = 41, []
        for k in range(1, 5):
            net = measured.dilated(rates[:k])
            slope = measured.slopes(net, side, side)
            cells.append(f"{receptive_field(net.to('meta')):.0f}")
        inside = (slope > 0).sum() / measured.extent(slope) ** 2
        rows.append([title, *cells, f"{inside:.0%}"])
        panels[title] = slope
        boxes[title] = measured.square(slope, measured.extent(slope))
    measured.picture(PICTURES / "dilation.png", panels, columns=3, boxes=boxes)
    return table(("dilation of the layers", "1 layer", "2", "3", "4", "pixels that count"), rows)


def separable(times: bool) -> str:
    """A 3×3 convolution, full and separable, at stride 8 of the app's input."""
    rows = []
    for c in (32, 128, 256):
        pair = {
            "full": nn.Conv2d(c, c, 3, padding=1, bias=False),
            "separable": nn.Sequential(Depthwise(c), nn.Conv2d(c, c, 1, bias=False)),
        }
        x = torch.rand(1, c, HW[0] // 8, HW[1] // 8)
        ms = {name: list[str]() for name in pair}
        if times:
            models = {name: exported(net, x) for name, net in pair.items()}
            ms = milliseconds(models, x.numpy(), 40)
        for name, net in pair.items():
            numbers = parameters(net)
            rows.append([f"{c} channels, {name}", f"{numbers:,}",
                         f"{numbers * x[0, 0].numel() / 1e6:.1f} M", *ms[name]])  # fmt: skip
    return timed(("3×3 over 48×80", "parameters", "multiply-adds"), rows, times)


ENGINES = {"OpenVINO, ms": in_openvino, "ONNX Runtime, ms": in_onnxruntime}


def milliseconds(models: dict[str, Any], image: Any, rounds: int) -> dict[str, list[str]]:
    """Of each model in every engine: CPU time on one thread, f32."""
    runs = {
        (name, title): partial(engine(model), image)
        for name, model in models.items()
        for title, engine in ENGINES.items()
    }
    took = cpu_seconds(runs, rounds)
    return {name: [f"{took[name, title] * 1e3:.3g}" for title in ENGINES] for name in models}


def here() -> str:
    """The machine and the day."""
    return f"{cpu_model()}, {datetime.now(timezone.utc):%Y-%m-%d}"


def cpu_model() -> str:
    """The processor as its maker names it."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else cpu_identity()


def unpooling() -> str:
    """What max-pooling to a quarter leaves of a street, enlarged again."""
    frame = StreetScene(640, 384, seed=0).render(5.0)
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)[176:304, 240:368]
    image = torch.from_numpy(grey.astype(np.float32) / 255)[None, None]
    panels = {t: p[0, 0].numpy() for t, p in measured.pooled_and_back(image, 2).items()}
    measured.picture(PICTURES / "unpool.png", panels, columns=4, boxes={}, fixed=True)
    return ""


def iou() -> str:
    """Class IoU of 5×5 labels, by the project's scorer."""
    names = ("sky", "road", "car")
    counted = Confusion(names, ignore=255)
    counted.add(TRUTH, FOUND)
    hits, of = np.diagonal(counted.matrix), counted.iou()
    rows = [
        [name, str(hits[i]), str(counted.matrix[:, i].sum() - hits[i]),
         str(counted.matrix[i].sum() - hits[i]), f"{of[name]:.3f}"]
        for i, name in enumerate(names)
    ]  # fmt: skip
    pair = zip(TRUTH, FOUND, strict=True)
    text = ["   ".join(" ".join(f"{'-' if v == 255 else v}" for v in r) for r in p) for p in pair]
    head = ("class", "TP", "FP", "FN", "IoU = TP / (TP + FP + FN)")
    maps = ["```text", "truth       found", *text, "```", ""]
    return "\n".join([*maps, table(head, rows), "", f"mIoU {counted.miou():.3f}"])


def nets(times: bool) -> str:
    """Size, cost, sight and time of every network."""
    rows = []
    for name in (*NETS, *BOX_NETS):
        with torch.device("meta"):
            net = made(name)
            cells = [f"{parameters(net) / 1e6:.2f} M", f"{multiply_adds(net, *HW) / 1e9:.2f} G"]
            seen = receptive_field(net)
        cells.append("all" if math.isinf(seen) else f"{seen:.0f}")
        if times:
            real: Any = made(name)
            image = torch.zeros(1, *HW, 3, dtype=torch.uint8)
            model = exported(Deployed(real, mask_stride=real.stride), image)
            cells += milliseconds({name: model}, image.numpy(), 5)[name]
        rows.append([f"`{name}`", backbone_of(name), *cells])
    head = ("network", "backbone", "parameters", "multiply-adds", "sees, rows")
    return timed(head, rows, times)


def timed(head: Sequence[str], rows: Iterable[Sequence[str]], times: bool) -> str:
    """A table, where ``times`` with what each engine takes."""
    if not times:
        return table(head, rows)
    stamp = f"CPU time on one thread, f32, medians; {here()}."
    return f"{table((*head, *ENGINES), rows)}\n\n{stamp}"


PARTS: dict[str, Callable[[], str]] = {
    "checkerboard": checkerboard, "matrix": matrix, "fields": fields, "dilation": dilation,
    "unpooling": unpooling, "iou": iou,
}  # fmt: skip
TIMED: dict[str, Callable[[bool], str]] = {"separable": separable, "nets": nets}


def put(page: str, part: str, text: str) -> str:
    """The page with ``text`` between the marks of ``part``.

    Raises:
        ExportError: the page has no such marks.
    """
    begin, end = f"<!-- {part} -->\n", f"<!-- end of {part} -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ExportError(f"{PAGE}: no marks for {part}; wanted {begin.strip()} and {end}.")
    return f"{before}{begin}{text}\n{end}{after}"


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice([*PARTS, *TIMED]))
@click.option("--times", is_flag=True, help="In separable and nets: wants a machine at rest.")
def main(parts: Sequence[str], times: bool) -> None:
    """Make PARTS of docs/ZOO.md anew; all without any."""
    torch.set_num_threads(1)
    PICTURES.mkdir(exist_ok=True)
    for part in parts or (*PARTS, *TIMED):
        text = TIMED[part](times) if part in TIMED else PARTS[part]()
        if text:
            PAGE.write_text(put(PAGE.read_text(), part, text))
        click.echo(f"{part}\n{text}")


if __name__ == "__main__":
    invoke(main, "zoo_page")
