"""What a network costs and how far it sees, told from its operators; nothing is computed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from export.zoo.boxes.box_net import BoxNet

HEIGHT, WIDTH = 8192, 64
"""Of the image in which a receptive field is followed: higher than any of them."""
PERIOD = 32
"""Rows of the image after which a network repeats itself."""


class Rows(NamedTuple):
    """First and last row of a map that take part."""

    first: float
    last: float


def parameters(net: nn.Module) -> int:
    """Numbers that the network consists of, learnt or fixed."""
    return sum(p.numel() for p in net.parameters())


def multiply_adds(net: nn.Module, height: int, width: int) -> int:
    """Those of the convolutions for one image, of a network on the device 'meta'."""
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, height, width, device="meta"))
    return int(counter.get_total_flops()) // 2


def receptive_field(net: nn.Module) -> float:
    """Rows of the image that a pixel of the mask can depend on; inf where that is all of them.

    Without a mask, one of the map that boxes are read from. ``net`` is in evaluation mode on the
    device 'meta'. Where pixels differ in it, that of the one that sees most. Follows the
    rows that take part back through every operator; the largest sums of Araujo et al.,
    distill.pub 2019, without their need for a chain.

    Raises:
        NotImplementedError: an operator is met that changes the height in an unknown way.
    """
    image = torch.zeros(1, 3, HEIGHT, WIDTH, device="meta")
    with _Record() as record:
        read: Tensor = net.seen(image) if isinstance(net, BoxNet) else net(image).mask
    stride = round(HEIGHT / int(read.shape[2]))
    middle = int(read.shape[2]) // 2
    most = 0.0
    for row in range(middle, middle + max(PERIOD // stride, 1)):
        seen = {id(read): Rows(row, row)}
        for call in reversed(record.calls):
            rows = [seen[id(out)] for out in call.outputs if id(out) in seen]
            if not rows:
                continue
            there = Rows(min(r.first for r in rows), max(r.last for r in rows))
            for tensor, needed in call.needed(there):
                before = seen.get(id(tensor), needed)
                seen[id(tensor)] = Rows(
                    min(before.first, needed.first), max(before.last, needed.last)
                )
        first, last = seen[id(image)]
        most = max(most, last - first + 1)
    return most


class _Call(NamedTuple):
    """One operator that ran; its tensors are kept, so that no two have one id."""

    name: str
    args: tuple[Any, ...]
    outputs: tuple[Tensor, ...]

    def needed(self, rows: Rows) -> Iterator[tuple[Tensor, Rows]]:
        """The rows of each map it read that ``rows`` of what it gave depend on."""
        args, height = self.args, _height(self.outputs[0])
        if self.name == "cat" and args[1] in (2, -2):
            start = 0
            for part in args[0]:
                end = start + _height(part) - 1
                if rows.first <= end and rows.last >= start:
                    first, last = max(rows.first, start), min(rows.last, end)
                    yield part, Rows(first - start, last - start)
                start = end + 1
            return
        for tensor in _maps(args):
            if _height(tensor) == height and not self.name.startswith(("convolution", "max_pool")):
                yield tensor, rows  # pixel by pixel
            elif _height(tensor) == 1:  # the same for all rows
                yield tensor, Rows(0, 0)
            elif tensor is args[0]:
                yield tensor, self._spread(rows, _height(tensor) / height)

    def _spread(self, rows: Rows, scale: float) -> Rows:
        """Through an operator that looks around; ``scale`` is rows read per row given."""
        first, last = rows
        if math.isinf(last):
            return rows
        if self.name.startswith(("convolution", "max_pool")):
            if self.name == "convolution":
                k, (s, p, d) = int(self.args[1].shape[2]), (int(a[0]) for a in self.args[3:6])
                if self.args[6]:  # transposed
                    return Rows(math.ceil((first + p - d * (k - 1)) / s), (last + p) // s)
            else:
                k, s, p = (int(a[0]) for a in (*self.args[1:4], [0])[:3])  # no padding: left out
                d = 1
            return Rows(first * s - p, last * s - p + d * (k - 1))
        if self.name in ("upsample_nearest2d", "pixel_shuffle"):
            return Rows(first * scale // 1, last * scale // 1)
        if self.name == "pixel_unshuffle":
            return Rows(first * scale, last * scale + scale - 1)
        if self.name == "upsample_bilinear2d":
            return Rows(*(math.floor((r + 0.5) * scale - 0.5) + i for i, r in enumerate(rows)))
        if self.name == "mean":
            return Rows(-math.inf, math.inf)
        if self.name == "slice" and self.args[1] in (2, -2):
            start = self.args[2] or 0
            start += _height(self.args[0]) if start < 0 else 0
            return Rows(first + start, last + start)
        raise NotImplementedError(f"the receptive field through {self.name}")


def _height(x: Tensor) -> int:
    return int(x.shape[-2])


def _maps(values: Any) -> Iterator[Tensor]:
    """The tensors of an image's form among arguments; weights are not, but by their place."""
    for value in values:
        if isinstance(value, Tensor) and value.ndim >= 4 and value.shape[0] == 1:
            yield value
        elif isinstance(value, list | tuple):
            yield from _maps(value)


class _Record(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operator that runs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[_Call] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        given = out if isinstance(out, tuple | list) else (out,)
        outputs = tuple(t for t in given if isinstance(t, Tensor) and t.ndim >= 4)
        if outputs:
            self.calls.append(_Call(func.overloadpacket.__name__.rstrip("_"), args, outputs))
        return out
