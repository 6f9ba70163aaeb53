"""What stands along the street and never moves: houses, fences, lamp posts, signs, and marks on the ground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.scene.look import Floats, Look
from edge.scene.pens import BUILDING, FENCE, POLE, SIGN, TREE, Pen, Points

CUT_M: Final = 2.0  # long things are cut off here: nearer parts lie outside every frame
WALLS: Final = (
    (104, 124, 166),
    (84, 104, 150),
    (150, 172, 190),
    (188, 204, 212),
    (128, 148, 160),
    (160, 160, 158),
    (120, 140, 178),
    (176, 186, 176),
    (92, 98, 116),
)
ROOFS: Final = ((64, 66, 74), (58, 72, 104), (78, 76, 74), (52, 60, 84))
SHOPS: Final = (
    (60, 50, 120),
    (110, 70, 40),
    (60, 90, 50),
    (50, 50, 54),
    (90, 130, 180),
    (140, 110, 60),
)
AHEAD = np.array([0.0, 0.0, -1.0])
UP = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True, slots=True)
class House:
    """A building from z − length to z, its front at ``x``, away from the road in direction ``side``."""

    look: Look
    x: float
    side: float
    length: float
    height: float
    ridge: float  # height of a pitched roof over the eaves, 0 for a flat one
    depth: float
    wall: Floats
    end: Floats
    roof: Floats
    trim: Floats
    plinth: Floats
    panes: Floats  # (N, 4, 2) corners (from the near end, y)
    glass: tuple[Floats, Floats]
    bright: NDArray[np.bool_]  # (N,)
    shop: Floats | None
    chimney: bool

    def paint(self, pen: Pen, z: float, t_s: float) -> None:
        """Draw it with its far end at ``z`` metres ahead."""
        if z < CUT_M + 1:
            return
        view, look = self.look.view, self.look
        near = max(z - self.length, CUT_M)
        x, top, out = self.x, self.height, self.x + self.side * self.depth
        reach = view.centre + (x - view.x) * view.focal / z
        if not 0 <= reach < view.width:
            return
        mid = (near + z) / 2
        begin_near = near > CUT_M
        pen.begin(BUILDING)
        if self.ridge:
            ridge_x, ridge_y = self.x + self.side * self.depth / 2, top + self.ridge
            if self.chimney:
                c = near + 0.7 * (z - near)
                stack = [
                    (ridge_x + s * 0.45, y, c)
                    for s, y in (
                        (-1, ridge_y - 0.6),
                        (1, ridge_y - 0.6),
                        (1, ridge_y + 0.9),
                        (-1, ridge_y + 0.9),
                    )
                ]
                pen.face(view.quad(*stack), look.faded(self.end * 0.9, c))
            eave = x - self.side * 0.35
            roof = view.quad(
                (eave, top - 0.1, near),
                (eave, top - 0.1, z),
                (ridge_x, ridge_y, z),
                (ridge_x, ridge_y, near),
            )
            pen.face(roof, look.faded(self.roof, mid))
            if begin_near:
                pen.face(
                    view.quad((x, top, near), (ridge_x, ridge_y, near), (out, top, near)),
                    look.faded(self.end, near),
                )
        if begin_near:
            wall = view.quad((x, 0.0, near), (out, 0.0, near), (out, top, near), (x, top, near))
            pen.face(wall, look.faded(self.end, near))
        front = view.quad((x, 0.0, near), (x, 0.0, z), (x, top, z), (x, top, near))
        pen.face(front, look.faded(self.wall, mid))
        pen.end()
        self._dress(pen, z, near)

    def _dress(self, pen: Pen, z: float, near: float) -> None:
        """Windows, doors, shop front and cornice: decals on the front."""
        view, look = self.look.view, self.look
        start, x = z - self.length, self.x
        band = view.focal * abs(x - view.x) * self.length / (max(near, 6.0) * z)
        if band < 3.0:  # too narrow on the frame to show anything
            return
        mid = (near + z) / 2

        def strip(y0: float, y1: float, colour: Floats) -> None:
            quad = view.quad((x, y0, near), (x, y0, z), (x, y1, z), (x, y1, near))
            pen.decal([quad], look.faded(colour, mid))

        if self.shop is not None:
            strip(2.7, 3.4, self.shop)
        else:
            strip(0.0, 0.5, self.plinth)
        strip(self.height - 0.35, self.height, self.trim)
        along = self.panes[:, :, 0] + start
        seen = along[:, 0] > CUT_M
        if self.length / z > 1.0:  # near: leave out what is beside the frame
            u = view.centre + (x - view.x) * view.focal / np.maximum(along[:, 2], 0.1)
            seen &= (u > -4) & (u < view.width + 4)
        if not seen.any():
            return
        points = view.points(np.full((1, 1), x), self.panes[:, :, 1], along)
        if band > 40:
            grown = np.array([[-0.12, -0.14], [0.12, -0.14], [0.12, 0.12], [-0.12, 0.12]])
            frames = view.points(
                np.full((1, 1), x),
                (self.panes[:, :, 1] + grown[:, 1])[seen],
                (along + grown[:, 0])[seen],
            )
            pen.decal(list(frames), look.faded(self.trim, mid))
        for tone, mask in (
            (self.glass[0], seen & ~self.bright),
            (self.glass[1], seen & self.bright),
        ):
            if mask.any():
                pen.decal(list(points[mask]), look.faded(tone, mid))


def build_house(
    look: Look, rng: np.random.Generator, x: float, side: float, length: float, *, tall: float
) -> House:
    """A house of a random style."""
    pitched = bool(rng.random() < 0.55) and tall < 12
    storeys = max(int(round(tall / 3.1)), 2)
    height = storeys * 3.1 + 0.5
    shop = bool(rng.random() < 0.4)
    base = np.asarray(WALLS[int(rng.integers(len(WALLS)))], float) * rng.uniform(0.8, 1.12)
    facing = np.array([-side, 0.0, 0.0])
    wall, end = look.lit(base, facing), look.lit(base * 0.94, AHEAD)
    roof = look.lit(
        np.asarray(ROOFS[int(rng.integers(len(ROOFS)))], float), np.array([-side * 0.6, 0.8, 0.0])
    )
    trim = look.lit(np.minimum(base * 1.25 + 24, 235), facing)
    wide, high = rng.uniform(0.9, 1.5), rng.uniform(1.3, 1.8)
    if rng.random() < 0.2:  # an office: bands of glass
        wide, high, pitched = 2.2, 1.7, False
    columns = max(int(length / (wide + rng.uniform(0.9, 1.6))), 1)
    pitch = length / columns
    panes = []
    for storey in range(storeys):
        for column in range(columns):
            a = (column + 0.5) * pitch - wide / 2
            y = storey * 3.1 + 0.95
            w, h = wide, high
            if storey == 0 and shop:
                a, w, y, h = column * pitch + 0.25, pitch - 0.5, 0.55, 2.0
            elif storey == 0 and column == columns // 2:
                y, h = 0.05, 2.3
            panes.append([(a, y), (a + w, y), (a + w, y + h), (a, y + h)])
    bright = rng.random(len(panes)) < 0.3
    dark = look.lit(np.array([92.0, 84.0, 74.0]) * rng.uniform(0.7, 1.0), facing)
    light = dark + (look.sky[0] - dark) * 0.45
    if look.mood in ("dusk", "evening"):
        light = np.array([120.0, 196.0, 236.0])
    sign = look.lit(np.asarray(SHOPS[int(rng.integers(len(SHOPS)))], float), facing)
    return House(
        look=look, x=x, side=side, length=length, height=height,
        ridge=rng.uniform(1.8, 3.2) if pitched else 0.0, depth=rng.uniform(7.0, 11.0),
        wall=wall, end=end, roof=roof, trim=trim, plinth=wall * 0.72,
        panes=np.asarray(panes, float), glass=(dark, light), bright=bright,
        shop=sign if shop else None, chimney=bool(rng.random() < 0.6),
    )  # fmt: skip


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
        pen.faces([bars[0]], colour)
        pen.faces([bars[1]], colour)
        pen.end()

    def _posts(self, z: Floats, wide: float) -> list[Points]:
        """Uprights at the given depths."""
        depth = z[:, None] + np.array([0.0, wide, wide, 0.0])
        high = np.array([[0.0, 0.0, self.height, self.height]])
        return list(self.look.view.points(np.full((1, 1), self.x), high, depth))


@dataclass(frozen=True, slots=True)
class Post:
    """A lamp post with an arm over the road, or a plain post with a sign; the plate faces the camera."""

    look: Look
    x: float
    height: float
    arm: float  # metres towards the road, 0 for none
    colour: Floats
    plate: tuple[tuple[str, Floats, Floats], ...]  # (shape, border, face) from the top down
    size: float

    def paint(self, pen: Pen, z: float, t_s: float) -> None:
        """Draw it at ``z`` metres ahead."""
        view, look, x = self.look.view, self.look, self.x
        u = view.centre + (x - view.x) * view.focal / z
        spread = (abs(self.arm) + 1.0) * view.focal / z
        if not -spread < u < view.width + spread:
            return
        colour, r, top = look.faded(self.colour, z), 0.075 if self.arm else 0.04, self.height
        pen.begin(POLE)
        pen.face(
            view.quad((x - r, 0, z), (x + r, 0, z), (x + r * 0.7, top, z), (x - r * 0.7, top, z)),
            colour,
        )
        if self.arm:
            tip = x + self.arm
            pen.face(
                view.quad(
                    (x, top - 0.12, z), (x, top, z), (tip, top + 0.25, z), (tip, top + 0.17, z)
                ),
                colour,
            )
            lit = look.mood in ("dusk", "evening")
            lamp = [190.0, 230.0, 250.0] if lit else [c * 0.8 for c in colour]
            back = tip - np.sign(self.arm) * 0.6
            pen.face(
                view.quad(
                    (tip, top + 0.12, z),
                    (back, top + 0.08, z),
                    (back, top + 0.22, z),
                    (tip, top + 0.3, z),
                ),
                lamp,
            )
        if z < 45:
            light = [min(c * 1.25, 250.0) for c in colour]
            pen.decal(
                [view.quad((x - r * 0.5, 0, z), (x, 0, z), (x, top, z), (x - r * 0.4, top, z))],
                light,
            )
        pen.end()
        y = top - self.size * 0.5
        for shape, border, face in self.plate:
            pen.begin(SIGN)
            pen.face(self._outline(shape, y, self.size / 2, z), look.faded(border, z))
            pen.end()
            pen.decal(
                [self._outline(shape, y, self.size / 2 * (0.74 if shape != "plain" else 0.86), z)],
                look.faded(face, z),
            )
            if view.focal * self.size / z > 14:
                mark = look.faded(
                    border * 0.6 if shape != "disc" else np.array([40.0, 40.0, 40.0]), z
                )
                w, h = self.size * 0.14, self.size * 0.18
                pen.decal(
                    [
                        view.quad(
                            (x - w, y - h, z),
                            (x + w, y - h, z),
                            (x + w, y + h, z),
                            (x - w, y + h, z),
                        )
                    ],
                    mark,
                )
            y -= self.size * 1.08

    def _outline(self, shape: str, y: float, r: float, z: float) -> Points:
        x = self.x
        if shape == "disc":
            turn = np.arange(12) * (np.pi / 6)
            return self.look.view.quad(
                *[(x + r * float(np.cos(a)), y + r * float(np.sin(a)), z) for a in turn]
            )
        if shape == "triangle":
            return self.look.view.quad(
                (x - r, y - r * 0.8, z), (x + r, y - r * 0.8, z), (x, y + r, z)
            )
        wide = r * (1.0 if shape == "square" else 1.5)
        return self.look.view.quad(
            (x - wide, y - r, z), (x + wide, y - r, z), (x + wide, y + r, z), (x - wide, y + r, z)
        )


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


@dataclass(frozen=True, slots=True)
class Patch:
    """Marks that lie on the ground from z − length to z: crossings, repairs, manholes."""

    look: Look
    spans: tuple[tuple[float, float], ...]  # (x0, x1)
    length: float
    colour: Floats

    def paint(self, pen: Pen, z: float, t_s: float) -> None:
        """Draw them with their far end at ``z`` metres ahead."""
        near = max(z - self.length, 0.7)
        if z <= near:
            return
        colour = self.look.faded(self.colour, z)
        pen.decal([self.look.view.flat(a, b, near, z) for a, b in self.spans], colour)
