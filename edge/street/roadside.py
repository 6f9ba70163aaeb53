"""What stands beside the road: fences, hedges, lamp posts and signs; nothing here moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from edge.street.houses import CUT_M, rectangle
from edge.street.look import AHEAD, Bgr, Floats, Look, tone
from edge.street.pens import FENCE, POLE, SIGN, TREE, Pen, Points

PLATE_GAP: Final = 1.08  # from plate to plate, in plate sizes
LAMPS_LIT: Final = ("dusk", "evening")


@dataclass(frozen=True, slots=True)
class Fence:
    """Railings, boards or a hedge along the pavement from z − length to z."""

    look: Look
    x: float
    length: float
    height: float
    kind: str
    colour: Bgr

    def paint(self, pen: Pen, z: float, t_s: float) -> None:
        """Draw it with its far end at ``z`` metres ahead."""
        if z < CUT_M + 1:
            return
        view, look, x, h = self.look.view, self.look, self.x, self.height
        near = max(z - self.length, CUT_M)
        colour = look.fade(self.colour, look.haze((near + z) / 2))
        if self.kind != "rails":
            pen.begin(TREE if self.kind == "hedge" else FENCE)
            pen.face(view.wall(x, 0.0, h, near, z), colour)
            pen.end()
            dark = [c * 0.82 for c in colour]
            if z < 45:
                lines: Floats = np.arange(
                    max(near, 4.0) // 0.9, z // 0.9, dtype=np.float64
                ) * 0.9 + (z % 0.9)
                if self.kind == "boards" and len(lines):
                    pen.decal(self._posts(lines[lines < z], 0.04), dark)
                else:
                    pen.decal([view.wall(x, 0.0, h * 0.4, near, z)], dark)
            return
        pen.begin(FENCE)
        step = 0.4 if z < 25 else 0.8 if z < 45 else 1.6
        first = max(near, 5.0)
        count = int((z - first) / step)
        if z < 70 and count > 0:
            posts: Floats = z - step * np.arange(count, 0, -1, dtype=np.float64)
            pen.faces(self._posts(posts, 0.05 if step < 0.5 else 0.09), colour)
        for y in (0.15, h - 0.06):
            pen.face(view.wall(x, y, y + 0.06, near, z), colour)
        pen.end()

    def _posts(self, z: Floats, wide: float) -> list[Points]:
        """Uprights at the given depths."""
        depth = z[:, None] + np.array([0.0, wide, wide, 0.0])
        high = np.array([[0.0, 0.0, self.height, self.height]])
        return list(self.look.view.points(np.full((1, 1), self.x), high, depth))


@dataclass(frozen=True, slots=True)
class Part:
    """A flat piece of a post: which of its points, and its lit colour."""

    points: slice
    colour: Bgr
    label: int | None  # None for what is only painted on the piece before
    least: float = 0.0  # left out while a metre is under so many px
    smooth: bool = True


@dataclass(frozen=True, slots=True)
class Post:
    """A lamp post with an arm over the road, or a post with plates; all of it faces the camera."""

    look: Look
    x: float
    reach: float  # metres to either side
    outline: Floats  # (N, 2) all points, metres from the camera's axis
    parts: tuple[Part, ...]

    def paint(self, pen: Pen, z: float, t_s: float) -> None:
        """Draw it at ``z`` metres ahead."""
        view, look = self.look.view, self.look
        u, _, scale = view.foot(self.x, z)
        spread = self.reach * scale
        if not -spread < u < view.width + spread:
            return
        points, haze = view.upright(self.outline, z), look.haze(z)
        for part in self.parts:
            if scale < part.least:
                continue
            colour = look.fade(part.colour, haze)
            if part.label is None:
                pen.decal([points[part.points]], colour, smooth=part.smooth)
            else:
                pen.begin(part.label)
                pen.face(points[part.points], colour)
                pen.end()


class _Kit:
    """Collects the pieces of a post."""

    def __init__(self, look: Look, x: float) -> None:
        self.look, self.x = look, x
        self.points: list[tuple[float, float]] = []
        self.parts: list[Part] = []

    def add(
        self,
        outline: list[tuple[float, float]],
        colour: Floats,
        label: int | None,
        *,
        least: float = 0.0,
        smooth: bool = True,
    ) -> None:
        """Add a piece by its points (x from the post, y)."""
        where = slice(len(self.points), len(self.points) + len(outline))
        self.points += [(self.x + x, y) for x, y in outline]
        self.parts.append(Part(where, tone(colour), label, least, smooth))

    def pole(self, wide: float, high: float, colour: Floats) -> None:
        """A tapering pole, and the light along it."""
        self.add([(-wide, 0.0), (wide, 0.0), (wide * 0.7, high), (-wide * 0.7, high)], colour, POLE)
        shine = [(-wide * 0.5, 0.0), (0.0, 0.0), (0.0, high), (-wide * 0.4, high)]
        # Left out while under a pixel and a half wide.
        least = 1.5 / (wide * 0.45)
        self.add(shine, np.minimum(colour * 1.25, 250.0), None, least=least, smooth=False)

    def post(self, reach: float) -> Post:
        """The finished post."""
        outline = self.look.view.offsets(self.points)
        return Post(self.look, self.x, reach, outline, tuple(self.parts))


def build_lamp(look: Look, x: float, high: float, arm: float, colour: Floats) -> Post:
    """A lamp post whose arm reaches ``arm`` metres to the right."""
    kit = _Kit(look, x)
    kit.pole(0.075, high, colour)
    back = arm - float(np.sign(arm)) * 0.6
    beam = [(0.0, high - 0.12), (0.0, high), (arm, high + 0.25), (arm, high + 0.17)]
    head = [(arm, high + 0.12), (back, high + 0.08), (back, high + 0.22), (arm, high + 0.3)]
    glow = np.array([190.0, 230.0, 250.0]) if look.mood in LAMPS_LIT else colour * 0.8
    kit.add(beam, colour, POLE)
    kit.add(head, glow, POLE)
    return kit.post(abs(arm) + 0.5)


def build_sign(look: Look, rng: np.random.Generator, x: float, colour: Floats) -> Post:
    """A post with one or two plates."""
    size, high = float(rng.uniform(0.55, 0.85)), float(rng.uniform(2.5, 3.3))
    kit = _Kit(look, x)
    kit.pole(0.04, high, colour)
    y = high - size / 2
    for shape, border, face in draw_plates(look, rng):
        inner = 0.86 if shape == "plain" else 0.74
        mark = np.array([40.0, 40.0, 40.0]) if shape == "disc" else border * 0.6
        w, h = size * 0.14, size * 0.18
        kit.add(_outline(shape, y, size / 2), border, SIGN)
        kit.add(_outline(shape, y, size / 2 * inner), face, None)
        kit.add(rectangle(-w, w, y - h, y + h), mark, None, least=14.0 / size)
        y -= size * PLATE_GAP
    return kit.post(size)


def _outline(shape: str, y: float, r: float) -> list[tuple[float, float]]:
    """A plate of half size ``r`` around (0, y)."""
    if shape == "disc":
        turn = np.arange(12) * (np.pi / 6)
        return [(r * float(np.cos(a)), y + r * float(np.sin(a))) for a in turn]
    if shape == "triangle":
        return [(-r, y - r * 0.8), (r, y - r * 0.8), (0.0, y + r)]
    w = r if shape == "square" else r * 1.5
    return rectangle(-w, w, y - r, y + r)


def draw_plates(look: Look, rng: np.random.Generator) -> tuple[tuple[str, Floats, Floats], ...]:
    """One or two plates of road-sign kinds."""
    red, blue, white = (
        np.array([52.0, 44.0, 204.0]),
        np.array([176.0, 96.0, 36.0]),
        np.array([236.0, 238.0, 238.0]),
    )
    green, yellow = np.array([74.0, 110.0, 30.0]), np.array([60.0, 190.0, 230.0])
    kinds = (
        ("disc", red, white),
        ("triangle", red, white),
        ("square", blue, blue * 0.92),
        ("disc", blue, blue * 0.92),
        ("plain", green, green * 0.92),
        ("plain", white, white * 0.94),
        ("square", yellow, yellow * 0.95),
        ("disc", red, red * 0.95),
    )
    count = 2 if rng.random() < 0.25 else 1
    picked = [kinds[int(rng.integers(len(kinds)))] for _ in range(count)]
    return tuple((s, look.lit(a, AHEAD) * 1.1, look.lit(b, AHEAD) * 1.1) for s, a, b in picked)
