"""What stands beside the road: fences, hedges, lamp posts and signs; nothing here moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from edge.scene.houses import AHEAD, CUT_M
from edge.scene.look import Floats, Look
from edge.scene.pens import FENCE, POLE, SIGN, TREE, Pen, Points

PLATE_GAP: Final = 1.08  # from plate to plate, in plate sizes


@dataclass(frozen=True, slots=True)
class Fence:
    """Railings, boards or a hedge along the pavement from z − length to z."""

    look: Look
    x: float
    length: float
    height: float
    kind: str
    colour: Floats

    def paint(self, pen: Pen, z: float, t_s: float) -> None:
        """Draw it with its far end at ``z`` metres ahead."""
        if z < CUT_M + 1:
            return
        view, look, x, h = self.look.view, self.look, self.x, self.height
        near = max(z - self.length, CUT_M)
        colour = look.faded(self.colour, (near + z) / 2)
        if self.kind != "rails":
            pen.begin(TREE if self.kind == "hedge" else FENCE)
            pen.face(view.quad((x, 0.0, near), (x, 0.0, z), (x, h, z), (x, h, near)), colour)
            pen.end()
            dark = [c * 0.82 for c in colour]
            if z < 60:
                lines = np.arange(max(near, 4.0) // 0.9, z // 0.9) * 0.9 + (z % 0.9)
                if self.kind == "boards" and len(lines):
                    pen.decal(self._posts(lines[lines < z], 0.04), dark)
                else:
                    low = view.quad(
                        (x, 0.0, near), (x, 0.0, z), (x, h * 0.4, z), (x, h * 0.4, near)
                    )
                    pen.decal([low], dark)
            return
        pen.begin(FENCE)
        bars = [
            view.quad((x, y, near), (x, y, z), (x, y + 0.06, z), (x, y + 0.06, near))
            for y in (0.15, h - 0.06)
        ]
        step = 0.3 if z < 25 else 0.6 if z < 50 else 1.2
        first = max(near, 5.0)
        count = int((z - first) / step)
        if z < 90 and count > 0:
            posts = z - (np.arange(count)[::-1] + 1) * step
            pen.faces(self._posts(posts, 0.05 if step < 0.5 else 0.08), colour)
        for bar in bars:
            pen.face(bar, colour)
        pen.end()

    def _posts(self, z: Floats, wide: float) -> list[Points]:
        """Uprights at the given depths."""
        depth = z[:, None] + np.array([0.0, wide, wide, 0.0])
        high = np.array([[0.0, 0.0, self.height, self.height]])
        return list(self.look.view.points(np.full((1, 1), self.x), high, depth))


@dataclass(frozen=True, slots=True)
class Part:
    """A flat piece of a post: outline (N, 2) in metres from the camera's axis, lit colour."""

    outline: Floats
    colour: Floats
    least: float = 0.0  # left out while a metre is under so many px


@dataclass(frozen=True, slots=True)
class Post:
    """A lamp post with an arm over the road, or a plain post with plates; all of it faces the camera."""

    look: Look
    x: float
    reach: float  # metres to either side
    pole: tuple[Part, ...]
    shine: Part
    plates: tuple[tuple[Part, tuple[Part, ...]], ...]  # (outline, what is painted on it)

    def paint(self, pen: Pen, z: float, t_s: float) -> None:
        """Draw it at ``z`` metres ahead."""
        view, look = self.look.view, self.look
        scale = view.focal / z
        u, spread = view.centre + (self.x - view.x) * scale, self.reach * scale
        if not -spread < u < view.width + spread:
            return
        pen.begin(POLE)
        for part in self.pole:
            pen.face(view.upright(part.outline, z), look.faded(part.colour, z))
        pen.end()
        if scale > self.shine.least:
            outline = view.upright(self.shine.outline, z)
            pen.decal([outline], look.faded(self.shine.colour, z))
        for plate, paint in self.plates:
            pen.begin(SIGN)
            pen.face(view.upright(plate.outline, z), look.faded(plate.colour, z))
            pen.end()
            for part in paint:
                if scale > part.least:
                    pen.decal([view.upright(part.outline, z)], look.faded(part.colour, z))


def _upright(look: Look, x: float, wide: float, high: float, colour: Floats) -> tuple[Part, Part]:
    """A tapering pole, and the light along it."""
    pole = [(x - wide, 0.0), (x + wide, 0.0), (x + wide * 0.7, high), (x - wide * 0.7, high)]
    shine = [(x - wide * 0.5, 0.0), (x, 0.0), (x, high), (x - wide * 0.4, high)]
    bright = np.minimum(colour * 1.25, 250.0)
    offsets = look.view.offsets
    return Part(offsets(pole), colour), Part(offsets(shine), bright, least=20.0)


def build_lamp(look: Look, x: float, high: float, arm: float, colour: Floats) -> Post:
    """A lamp post whose arm reaches ``arm`` metres to the right."""
    pole, shine = _upright(look, x, 0.075, high, colour)
    tip = x + arm
    back = tip - float(np.sign(arm)) * 0.6
    beam = [(x, high - 0.12), (x, high), (tip, high + 0.25), (tip, high + 0.17)]
    head = [(tip, high + 0.12), (back, high + 0.08), (back, high + 0.22), (tip, high + 0.3)]
    lit = look.mood in ("dusk", "evening")
    glow = np.array([190.0, 230.0, 250.0]) if lit else colour * 0.8
    offsets = look.view.offsets
    parts = (pole, Part(offsets(beam), colour), Part(offsets(head), glow))
    return Post(look, x, abs(arm) + 0.5, parts, shine, ())


def build_sign(look: Look, rng: np.random.Generator, x: float, colour: Floats) -> Post:
    """A post with one or two plates."""
    size, high = float(rng.uniform(0.55, 0.85)), float(rng.uniform(2.5, 3.3))
    pole, shine = _upright(look, x, 0.04, high, colour)
    offsets = look.view.offsets
    plates = []
    y = high - size / 2
    for shape, border, face in draw_plates(look, rng):
        inner = 0.86 if shape == "plain" else 0.74
        tone = np.array([40.0, 40.0, 40.0]) if shape == "disc" else border * 0.6
        w, h = size * 0.14, size * 0.18
        mark = [(x - w, y - h), (x + w, y - h), (x + w, y + h), (x - w, y + h)]
        paint = (
            Part(offsets(_outline(shape, x, y, size / 2 * inner)), face),
            Part(offsets(mark), tone, least=14.0 / size),
        )
        plates.append((Part(offsets(_outline(shape, x, y, size / 2)), border), paint))
        y -= size * PLATE_GAP
    return Post(look, x, size, (pole,), shine, tuple(plates))


def _outline(shape: str, x: float, y: float, r: float) -> list[tuple[float, float]]:
    """A plate of half size ``r`` around (x, y)."""
    if shape == "disc":
        turn = np.arange(12) * (np.pi / 6)
        return [(x + r * float(np.cos(a)), y + r * float(np.sin(a))) for a in turn]
    if shape == "triangle":
        return [(x - r, y - r * 0.8), (x + r, y - r * 0.8), (x, y + r)]
    w = r if shape == "square" else r * 1.5
    return [(x - w, y - r), (x + w, y - r), (x + w, y + r), (x - w, y + r)]


def draw_plates(look: Look, rng: np.random.Generator) -> tuple[tuple[str, Floats, Floats], ...]:
    """One or two plates of road-sign kinds."""
    red, blue, white = (
        np.array([52.0, 44.0, 204.0]),
        np.array([176.0, 96.0, 36.0]),
        np.array([236.0, 238.0, 238.0]),
    )
    green, yellow = np.array([74.0, 110.0, 30.0]), np.array([60.0, 190.0, 230.0])
    kinds = (
        ("disc", red, white), ("triangle", red, white), ("square", blue, blue * 0.92), ("disc", blue, blue * 0.92),
        ("plain", green, green * 0.92), ("plain", white, white * 0.94), ("square", yellow, yellow * 0.95), ("disc", red, red * 0.95),
    )  # fmt: skip
    count = 2 if rng.random() < 0.25 else 1
    picked = [kinds[int(rng.integers(len(kinds)))] for _ in range(count)]
    return tuple((s, look.lit(a, AHEAD) * 1.1, look.lit(b, AHEAD) * 1.1) for s, a, b in picked)
