"""Who and what is on one street: places, speeds and habits by the seed; drawing is done elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from edge.scene.cars import SHAPES, Solid, build_mesh, build_vehicle, freeze
from edge.scene.figures import Figure, Tree, draw_tree
from edge.scene.houses import AHEAD, UP, Fence, Patch, Post, build_house, draw_plates
from edge.scene.look import Look
from edge.scene.pens import Pen

LOOP_M: Final = 720.0  # the street repeats after this far; nothing is seen further than half of it
FAR_M: Final = 300.0
WALK_M_S: Final = 1.4
STRIDE_M: Final = 1.5


class Thing(Protocol):
    """Something that can be drawn."""

    def paint(self, pen: Pen, z: float, t_s: float) -> None:
        """Draw it ``z`` metres ahead of the camera at time ``t_s``."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A thing at ``z`` metres along the loop, moving with ``speed`` m/s and swaying by ``sway`` m."""

    thing: Thing
    z: float
    speed: float = 0.0
    sway: float = 0.0
    far: float = FAR_M


@dataclass(frozen=True, slots=True)
class Walk:
    """A figure that goes along the street at ``x``."""

    figure: Figure
    x: float
    pace: float  # strides a second
    start: float

    def paint(self, pen: Pen, z: float, t_s: float) -> None:
        """Draw it at ``z`` metres ahead."""
        if z > 2.0:
            self.figure.paint(pen, self.x, z, self.start + self.pace * t_s)


@dataclass(frozen=True, slots=True)
class Crossing:
    """A figure that crosses the road while the camera comes nearer, and is over before it arrives."""

    figure: Figure
    x0: float
    x1: float
    from_z: float
    until_z: float

    def paint(self, pen: Pen, z: float, t_s: float) -> None:
        """Draw it at ``z`` metres ahead."""
        if z > 2.0:
            done = min(max((self.from_z - z) / (self.from_z - self.until_z), 0.0), 1.0)
            x = self.x0 + (self.x1 - self.x0) * done
            self.figure.paint(pen, x, z, abs(x - self.x0) / STRIDE_M)


def lay_out(
    look: Look, rng: np.random.Generator, speed: float
) -> tuple[list[Placed], list[Placed]]:
    """Everything on the street: (marks on the ground, things that stand)."""
    marks: list[Placed] = []
    things: list[Placed] = []
    crossings = _crossings(look, rng, marks, things)
    trees = tuple(draw_tree(look, rng) for _ in range(4))
    for side in (-1.0, 1.0):
        _lots(look, rng, things, trees, side)
        _kerbside(look, rng, things, trees, side)
    _marks(look, rng, marks)
    _traffic(look, rng, things, crossings, speed)
    _people(look, rng, things)
    return marks, things


def _crossings(
    look: Look, rng: np.random.Generator, marks: list[Placed], things: list[Placed]
) -> list[float]:
    paint = look.lit(np.array([214.0, 218.0, 218.0]), UP)
    places = [float(z) for z in np.arange(70.0, LOOP_M - 40, rng.uniform(110, 170))]
    for z in places:
        count = int(2 * look.edge / 1.1)
        bars = tuple(
            (-look.edge + 0.3 + i * 1.1, -look.edge + 0.85 + i * 1.1) for i in range(count)
        )
        marks.append(Placed(Patch(look, bars, 2.8, paint), z + 1.4, far=120.0))
        outer = look.edge + 0.6
        for _ in range(int(rng.integers(1, 4))):
            way = 1.0 if rng.random() < 0.5 else -1.0
            figure = Figure(
                look,
                int(rng.integers(1 << 30)),
                view="side" if way > 0 else "-side",
                rides=bool(rng.random() < 0.15),
            )
            begin = rng.uniform(58.0, 90.0)
            cross = Crossing(
                figure, -way * outer, way * outer, begin, begin - rng.uniform(34.0, 44.0)
            )
            things.append(Placed(cross, z + rng.uniform(-1.1, 1.1), far=140.0))
    return places


def _lots(
    look: Look,
    rng: np.random.Generator,
    things: list[Placed],
    trees: tuple[object, ...],
    side: float,
) -> None:
    """Houses and gardens, one lot after another along the loop."""
    line = look.edge + look.pavement
    town = rng.random()
    z = 0.0
    while z < LOOP_M - 6:
        length = min(float(rng.uniform(8.0, 20.0)), LOOP_M - z)
        z += length
        garden = rng.random() < 0.16
        back = float(rng.uniform(2.0, 5.0)) if rng.random() < 0.35 else 0.0
        if garden or back:
            kind = str(rng.choice(["rails", "boards", "hedge"]))
            tone = {
                "rails": (60.0, 60.0, 58.0),
                "boards": (96.0, 120.0, 146.0),
                "hedge": (48.0, 92.0, 66.0),
            }[kind]
            colour = look.lit(np.array(tone) * rng.uniform(0.8, 1.25), np.array([-side, 0.2, 0.0]))
            fence = Fence(
                look, side * (line + 0.05), length, float(rng.uniform(0.9, 1.6)), kind, colour
            )
            things.append(Placed(fence, z - 0.01, far=160.0))
        if garden:
            for _ in range(int(rng.integers(2, 5))):
                x = side * (line + rng.uniform(2.0, 9.0))
                tree = Tree(
                    look, trees[int(rng.integers(len(trees)))], x, float(rng.uniform(4.5, 9.5))
                )  # type: ignore[arg-type]
                things.append(Placed(tree, z - rng.uniform(1.0, length - 1.0)))
            continue
        tall = (
            float(rng.uniform(6.0, 9.5))
            if rng.random() > town * 0.7
            else float(rng.uniform(9.0, 20.0))
        )
        things.append(
            Placed(build_house(look, rng, side * (line + back), side, length, tall=tall), z)
        )


def _kerbside(
    look: Look,
    rng: np.random.Generator,
    things: list[Placed],
    trees: tuple[object, ...],
    side: float,
) -> None:
    """Lamp posts, signs and street trees on the pavement's edge."""
    steel = look.lit(np.array([112.0, 116.0, 112.0]) * rng.uniform(0.6, 1.2), AHEAD)
    x = side * (look.edge + 0.5)
    high = float(rng.uniform(6.0, 9.0))
    gap = float(rng.uniform(24.0, 36.0))
    for z in np.arange(rng.uniform(4, 20), LOOP_M - 5, gap):
        things.append(Placed(Post(look, x, high, -side * 1.6, steel, (), 0.6), float(z), far=200.0))
    grey = look.lit(np.array([140.0, 142.0, 142.0]), AHEAD)
    z = float(rng.uniform(8, 30))
    while z < LOOP_M - 5:
        size, high = float(rng.uniform(0.55, 0.85)), float(rng.uniform(2.5, 3.3))
        post = Post(
            look,
            side * (look.edge + rng.uniform(0.4, 0.9)),
            high,
            0.0,
            grey,
            draw_plates(look, rng),
            size,
        )
        things.append(Placed(post, z, far=110.0))
        z += float(rng.uniform(16.0, 50.0))
    if look.pavement > 2.6 and rng.random() < 0.75:
        for z in np.arange(rng.uniform(6, 20), LOOP_M - 5, rng.uniform(14.0, 30.0)):
            if rng.random() < 0.8:
                tree = Tree(
                    look,
                    trees[int(rng.integers(len(trees)))],
                    side * (look.edge + 0.8),
                    float(rng.uniform(4.5, 7.5)),
                )  # type: ignore[arg-type]
                things.append(Placed(tree, float(z) + rng.uniform(-2, 2)))


def _marks(look: Look, rng: np.random.Generator, marks: list[Placed]) -> None:
    """Lane dashes, repairs and manholes."""
    paint = look.lit(np.array([220.0, 224.0, 224.0]) * rng.uniform(0.85, 1.05), UP)
    pitch, dash = (9.0, 3.0) if rng.random() < 0.5 else (6.0, 2.5)
    lines = [look.lane * k for k in range(1 - look.lanes, look.lanes)]
    spans = tuple((x - 0.07, x + 0.07) for x in lines)
    for z in np.arange(0.0, LOOP_M, pitch):
        marks.append(Placed(Patch(look, spans, dash, paint), float(z), far=110.0))
    tar = look.lit(np.full(3, rng.uniform(74, 100)), UP)
    for _ in range(90):
        x, z = float(rng.uniform(-look.edge + 1, look.edge - 1)), float(rng.uniform(0, LOOP_M))
        wide, long = (
            (0.32, 0.65) if rng.random() < 0.4 else (rng.uniform(0.4, 1.4), rng.uniform(1.5, 7.0))
        )
        tone = tar * rng.uniform(0.9, 1.12)
        marks.append(Placed(Patch(look, ((x - wide, x + wide),), float(long), tone), z, far=55.0))
    joint = look.lit(np.array([118.0, 122.0, 126.0]), UP)
    spans = tuple((s * (look.edge + 0.16), s * (look.edge + look.pavement)) for s in (-1.0, 1.0))
    for z in np.arange(0.0, LOOP_M, 2.4):
        marks.append(Placed(Patch(look, spans, 0.05, joint), float(z), far=32.0))


def _traffic(
    look: Look, rng: np.random.Generator, things: list[Placed], crossings: list[float], speed: float
) -> None:
    solids: tuple[Solid, ...] = tuple(freeze(build_mesh(shape)) for shape in SHAPES)
    side = look.side
    for lane in range(look.lanes):
        pace = -speed * rng.uniform(0.7, 1.1)
        z = float(rng.uniform(0, 30))
        while z < LOOP_M - 14:
            x = -side * look.lane * (lane + 0.5)
            things.append(Placed(build_vehicle(look, rng, solids, x, -1.0), z, speed=pace))
            z += float(rng.uniform(14, 30) if rng.random() < 0.3 else rng.uniform(30, 110))
    mine = side * look.view.x
    for lane in range(look.lanes):
        x = side * look.lane * (lane + 0.5)
        own = abs(abs(x) - mine) < look.lane / 2
        # Cars in the camera's own lane keep their distance; the next lane is a little faster.
        z = float(rng.uniform(11, 34)) if own else float(rng.uniform(0, 30))
        for _ in range(int(rng.integers(1, 5))):
            car = build_vehicle(look, rng, solids, x, 1.0)
            things.append(
                Placed(car, z, speed=speed if own else speed * 1.18, sway=2.2 if own else 0.0)
            )
            z += float(rng.uniform(18, 45))
    if look.parking > 1:
        for s in (-1.0, 1.0):
            z, full = 0.0, rng.uniform(0.3, 0.9)
            while z < LOOP_M - 8:
                z += float(rng.uniform(5.9, 7.2))
                clear = all(abs(z - c) > 8 for c in crossings)
                if clear and rng.random() < full:
                    x = s * (look.edge - 1.05 + rng.uniform(-0.1, 0.1))
                    car = build_vehicle(look, rng, solids[:4] + solids[1:2], x, side * s)
                    things.append(Placed(car, z))


def _people(look: Look, rng: np.random.Generator, things: list[Placed]) -> None:
    """People on the pavements, riders beside the lanes."""
    for _ in range(int(rng.integers(22, 60))):
        way = 1.0 if rng.random() < 0.5 else -1.0
        s = 1.0 if rng.random() < 0.5 else -1.0
        pace = WALK_M_S * float(rng.uniform(0.8, 1.2))
        figure = Figure(
            look, int(rng.integers(1 << 30)), view="back" if way > 0 else "front", rides=False
        )
        x = s * (look.edge + rng.uniform(1.0, look.pavement - 0.4))
        walk = Walk(figure, float(x), pace / STRIDE_M, float(rng.random()))
        z = float(rng.uniform(0, LOOP_M))
        things.append(Placed(walk, z, speed=pace * way, far=130.0))
        if rng.random() < 0.3:  # a companion
            other = Figure(
                look, int(rng.integers(1 << 30)), view="back" if way > 0 else "front", rides=False
            )
            beside = Walk(other, float(x) - s * 0.6, pace / STRIDE_M, float(rng.random()))
            things.append(Placed(beside, z + 0.2, speed=pace * way, far=130.0))
    for _ in range(int(rng.integers(6, 16))):
        s = look.side if rng.random() < 0.6 else -look.side
        way = 1.0 if s == look.side else -1.0
        figure = Figure(
            look, int(rng.integers(1 << 30)), view="back" if way > 0 else "front", rides=True
        )
        x = s * (look.edge - max(look.parking - 0.2, 0.0) - rng.uniform(0.2, 0.5))
        pace = float(rng.uniform(3.6, 5.6))
        ride = Walk(figure, float(x), pace / 5.0, float(rng.random()))
        things.append(Placed(ride, float(rng.uniform(0, LOOP_M)), speed=pace * way, far=150.0))
