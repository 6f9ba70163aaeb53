"""Who and what is on one street, where and how fast, by the seed; drawing is done elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from edge.street.figures import Figure, Tree, draw_tree
from edge.street.houses import House, build_house
from edge.street.look import AHEAD, GONE_M, UP, Bgr, Floats, Look, tone
from edge.street.marks import Marks
from edge.street.meshes import SHAPES, build_solid
from edge.street.pens import Pen
from edge.street.roadside import Fence, build_lamp, build_sign
from edge.street.sprites import Shelf, Sprite
from edge.street.vehicles import build_vehicle

LOOP_M: Final = 720.0  # the street repeats after this far; nothing is seen further than half of it
FAR_M: Final = 300.0
FAINT_MARKS: Final = 2  # repairs of two ages: hardly darker than the road
CROWD: Final = 8  # different people seen from one side
WALK_M_S: Final = 1.4
STRIDE_M: Final = 1.5
METRES_A_TURN: Final = 5.0  # of a bicycle's pedals


class Thing(Protocol):
    """Something that can be drawn."""

    def paint(self, pen: Pen, z: float, t_s: float) -> None:
        """Draw it ``z`` metres ahead of the camera at time ``t_s``."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A thing at ``z`` m along the loop, moving with ``speed`` m/s and swaying by ``sway`` m."""

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
    """A figure that crosses the road while the camera comes nearer, and is over in time."""

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
            walked = abs(x - self.x0) / STRIDE_M if 0.0 < done < 1.0 else 0.0  # 0 stands still
            self.figure.paint(pen, x, z, walked)


@dataclass(frozen=True, slots=True)
class Plan:
    """A street while it is laid out."""

    look: Look
    rng: np.random.Generator
    shelf: Shelf
    speed: float  # of the camera, m/s
    things: list[Placed]
    spans: list[list[float]]  # see Marks
    kinds: list[int]
    colours: list[Bgr]
    trees: tuple[Sprite, ...]
    crowd: dict[tuple[str, bool], list[Figure]]

    def between(self, low: float, high: float) -> float:
        """A random number."""
        return float(self.rng.uniform(low, high))

    def chance(self, share: float) -> bool:
        """True in ``share`` of all cases."""
        return bool(self.rng.random() < share)

    def sign(self) -> float:
        """−1 or 1."""
        return 1.0 if self.chance(0.5) else -1.0

    def figure(self, view: str, *, rides: bool = False) -> Figure:
        """One of the street's people: each walks in several places, which spares drawing them."""
        known = self.crowd.setdefault((view, rides), [])
        which = int(self.rng.integers(CROWD))
        if which < len(known):
            return known[which]
        seed = int(self.rng.integers(1 << 30))
        known.append(Figure(self.look, self.shelf, seed, view=view, rides=rides))
        return known[-1]

    def tree(self, x: float, height: float) -> Tree:
        """A tree of one of the street's kinds."""
        return Tree(self.look, self.trees[int(self.rng.integers(len(self.trees)))], x, height)

    def put(self, thing: Thing, z: float, **motion: float) -> None:
        """Place a thing."""
        self.things.append(Placed(thing, z, **motion))

    def mark(self, spans: list[tuple[float, float, float, float]], bgr: Floats, far: float) -> None:
        """Paint rectangles (left, right, far end, length) on the ground, of one kind."""
        self.spans.extend([*span, far] for span in spans)
        self.kinds.extend([len(self.colours)] * len(spans))
        self.colours.append(tone(bgr))


def lay_out(
    look: Look, rng: np.random.Generator, shelf: Shelf, *, speed: float
) -> tuple[Marks, list[Placed]]:
    """Everything on the street: (marks on the ground, things that stand on it)."""
    trees = tuple(draw_tree(look, rng, shelf) for _ in range(4))
    plan = Plan(look, rng, shelf, speed, [], [], [], [], trees, {})
    crossings = np.arange(70.0, LOOP_M - 40, plan.between(110, 170)).tolist()
    _ground(plan, crossings)
    _crossings(plan, crossings)
    for side in (-1.0, 1.0):
        _lots(plan, side)
        _kerbside(plan, side)
    _parked(plan, crossings)
    _traffic(plan)
    _people(plan)
    _riders(plan)
    marks = Marks(
        look, np.array(plan.spans), np.array(plan.kinds), tuple(plan.colours), FAINT_MARKS, LOOP_M
    )
    return marks, plan.things


def _ground(plan: Plan, crossings: list[float]) -> None:
    """Repairs and manholes, joints between slabs, lane dashes: later ones lie on earlier ones."""
    look = plan.look
    tar = look.lit(np.full(3, plan.between(74, 100)), UP)
    for dark in (0.92, 1.08):  # the FAINT_MARKS
        spans = []
        for _ in range(36):
            x = plan.between(-look.edge + 1, look.edge - 1)
            wide, long = 0.32, 0.65
            if plan.chance(0.6):
                wide, long = plan.between(0.4, 1.4), plan.between(1.5, 7.0)
            spans.append((x - wide, x + wide, plan.between(0, LOOP_M), long))
        plan.mark(spans, tar * dark, 55.0)
    joint = look.lit(np.array([118.0, 122.0, 126.0]), UP)
    inner, outer = look.edge + 0.16, look.edge + look.pavement
    rows = np.arange(0.0, LOOP_M, 2.4).tolist()
    plan.mark([(s * inner, s * outer, z, 0.05) for s in (-1.0, 1.0) for z in rows], joint, 22.0)
    paint = look.lit(np.array([220.0, 224.0, 224.0]) * plan.between(0.85, 1.05), UP)
    pitch, dash = (9.0, 3.0) if plan.chance(0.5) else (6.0, 2.5)
    lines = [look.lane * k for k in range(1 - look.lanes, look.lanes)]
    rows = np.arange(0.0, LOOP_M, pitch).tolist()
    rows = [z for z in rows if all(abs(z - dash / 2 - c) > dash / 2 + 2.0 for c in crossings)]
    plan.mark([(x - 0.07, x + 0.07, z, dash) for x in lines for z in rows], paint, 110.0)


def _crossings(plan: Plan, places: list[float]) -> None:
    """Zebras, and who waits there to cross."""
    look = plan.look
    paint = look.lit(np.array([214.0, 218.0, 218.0]), UP)
    lefts = [-look.edge + 0.3 + i * 1.1 for i in range(int(2 * look.edge / 1.1))]
    plan.mark([(x, x + 0.55, z + 1.4, 2.8) for z in places for x in lefts], paint, 120.0)
    outer = look.edge + 0.6
    for z in places:
        for _ in range(int(plan.rng.integers(1, 5))):
            way = plan.sign()
            who = plan.figure("side" if way > 0 else "-side", rides=plan.chance(0.15))
            begin = plan.between(58.0, 90.0)
            end = begin - plan.between(34.0, 44.0)
            cross = Crossing(who, -way * outer, way * outer, begin, end)
            plan.put(cross, z + plan.between(-1.1, 1.1), far=110.0)


def _lots(plan: Plan, side: float) -> None:
    """Houses and gardens, one lot after another along the loop."""
    line = plan.look.edge + plan.look.pavement
    town = plan.between(0.0, 0.7)
    before: House | None = None
    z = 0.0
    while z < LOOP_M - 6:
        length = min(plan.between(9.0, 22.0), LOOP_M - z)
        z += length
        garden = plan.chance(0.16)
        back = plan.between(2.0, 5.0) if plan.chance(0.35) else 0.0
        if garden or back:
            plan.put(_fence(plan, side, side * (line + 0.05), length), z - 0.01, far=105.0)
        if garden:
            before = None
            for _ in range(int(plan.rng.integers(1, 4))):
                tree = plan.tree(side * (line + plan.between(2.0, 9.0)), plan.between(4.5, 9.5))
                plan.put(tree, z - plan.between(1.0, length - 1.0), far=110.0)
            continue
        tall = plan.between(9.0, 20.0) if plan.chance(town) else plan.between(6.0, 9.5)
        x = side * (line + back)
        before = build_house(plan.look, plan.rng, x, length, tall=tall, before=before)
        plan.put(before, z, far=GONE_M)


def _fence(plan: Plan, side: float, x: float, length: float) -> Fence:
    kind, paint = (
        ("rails", (60.0, 60.0, 58.0)),
        ("boards", (96.0, 120.0, 146.0)),
        ("hedge", (48.0, 92.0, 66.0)),
    )[int(plan.rng.integers(3))]
    bgr = np.array(paint) * plan.between(0.8, 1.25)
    colour = tone(plan.look.lit(bgr, np.array([-side, 0.2, 0.0])))
    return Fence(plan.look, x, length, plan.between(0.9, 1.6), kind, colour)


def _kerbside(plan: Plan, side: float) -> None:
    """Lamp posts, signs and street trees on the pavement's edge."""
    look = plan.look
    steel = look.lit(np.array([112.0, 116.0, 112.0]) * plan.between(0.6, 1.2), AHEAD)
    lamp = build_lamp(look, side * (look.edge + 0.5), plan.between(6.0, 9.0), -side * 1.6, steel)
    for z in np.arange(plan.between(4, 20), LOOP_M - 5, plan.between(24.0, 36.0)).tolist():
        plan.put(lamp, z, far=105.0)
    grey = look.lit(np.array([140.0, 142.0, 142.0]), AHEAD)
    z = plan.between(8, 30)
    while z < LOOP_M - 5:
        post = build_sign(look, plan.rng, side * (look.edge + plan.between(0.4, 0.9)), grey)
        plan.put(post, z, far=95.0)
        z += plan.between(16.0, 50.0)
    if look.pavement > 2.6 and plan.chance(0.75):
        for z in np.arange(plan.between(6, 20), LOOP_M - 5, plan.between(16.0, 34.0)).tolist():
            if plan.chance(0.8):
                tree = plan.tree(side * (look.edge + 0.8), plan.between(4.5, 7.5))
                plan.put(tree, z + plan.between(-2, 2), far=110.0)


def _parked(plan: Plan, crossings: list[float]) -> None:
    look = plan.look
    if look.parking < 1:
        return
    solids = tuple(build_solid(shape) for shape in (*SHAPES[:4], SHAPES[1]))
    for s in (-1.0, 1.0):
        z, full = 0.0, plan.between(0.3, 0.9)
        while z < LOOP_M - 8:
            z += plan.between(5.9, 7.2)
            if plan.chance(full) and all(abs(z - c) > 8 for c in crossings):
                x = s * (look.edge - 1.05 + plan.between(-0.1, 0.1))
                heading = look.side * s
                car = build_vehicle(look, plan.rng, solids, x, heading, shelf=plan.shelf)
                plan.put(car, z, far=90.0)


def _traffic(plan: Plan) -> None:
    """Oncoming lanes, the cars ahead in the camera's own lane, and those in the lane beside it."""
    look = plan.look
    solids = tuple(build_solid(shape) for shape in SHAPES)
    small = (*solids[:4], solids[1])  # no bus straight ahead: it would hide the street
    for lane in range(look.lanes):
        x = -look.side * look.lane * (lane + 0.5)
        pace = -plan.speed * plan.between(0.7, 1.1)
        z = plan.between(0, 30)
        while z < LOOP_M - 14:
            car = build_vehicle(look, plan.rng, solids, x, -1.0, shelf=plan.shelf)
            plan.put(car, z, speed=pace, far=130.0)
            z += plan.between(14, 30) if plan.chance(0.3) else plan.between(30, 110)
    for lane in range(look.lanes):
        x = look.side * look.lane * (lane + 0.5)
        own = abs(x - look.view.x) < look.lane / 2
        # Cars in the camera's own lane keep their distance; the next lane is a little faster.
        pace, sway = (plan.speed, 2.2) if own else (plan.speed * 1.18, 0.0)
        z = plan.between(12, 36)
        for _ in range(int(plan.rng.integers(1, 5))):
            car = build_vehicle(look, plan.rng, small, x, 1.0, shelf=plan.shelf, steady=True)
            plan.put(car, z, speed=pace, sway=sway, far=130.0)
            z += plan.between(18, 45)


def _people(plan: Plan) -> None:
    """People on the pavements, some side by side."""
    look = plan.look
    for _ in range(int(plan.rng.integers(22, 60))):
        way, s = plan.sign(), plan.sign()
        pace = WALK_M_S * plan.between(0.8, 1.2)
        x = s * (look.edge + plan.between(1.0, look.pavement - 0.4))
        z = plan.between(0, LOOP_M)
        for beside in range(2 if plan.chance(0.3) else 1):
            who = plan.figure("back" if way > 0 else "front")
            walk = Walk(who, x - s * 0.6 * beside, pace / STRIDE_M, plan.between(0, 1))
            plan.put(walk, z + 0.2 * beside, speed=pace * way, far=100.0)


def _riders(plan: Plan) -> None:
    """Cyclists beside the lanes."""
    look = plan.look
    for _ in range(int(plan.rng.integers(6, 16))):
        s = look.side if plan.chance(0.6) else -look.side
        way = s * look.side
        x = s * (look.edge - max(look.parking - 0.2, 0.0) - plan.between(0.2, 0.5))
        pace = plan.between(3.6, 5.6)
        who = plan.figure("back" if way > 0 else "front", rides=True)
        ride = Walk(who, x, pace / METRES_A_TURN, plan.between(0, 1))
        plan.put(ride, plan.between(0, LOOP_M), speed=pace * way, far=110.0)
