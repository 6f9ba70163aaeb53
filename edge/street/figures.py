"""People, cyclists and trees as sprites; where they stand and go is decided in the layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.street.look import AHEAD, UP, Bgr, Look, pick, tone
from edge.street.pens import BICYCLIST, PEDESTRIAN, TREE, Pen
from edge.street.sprites import Sheet, Shelf, Sprite

POSES: Final = 8  # of one full stride
PX_PER_M: Final = (36.0, 72.0, 144.0)  # drawn at the first that needs next to no enlarging
PERSON_M: Final = (1.1, 1.95)  # the sheet's width and height
BIKE_M: Final = (2.1, 2.0)
SKIN: Final = ((150, 182, 222), (120, 156, 206), (84, 116, 164), (58, 78, 112))
HAIR: Final = ((30, 32, 38), (40, 58, 84), (70, 110, 150), (150, 152, 156), (24, 22, 24))
CLOTH: Final = (
    (52, 46, 44),
    (120, 70, 44),
    (60, 60, 150),
    (190, 190, 186),
    (84, 100, 60),
    (70, 120, 190),
    (150, 130, 90),
    (90, 80, 120),
    (110, 108, 104),
    (200, 170, 120),
    (40, 40, 90),
)
TROUSERS: Final = ((60, 48, 40), (96, 66, 44), (40, 38, 38), (110, 120, 132), (70, 74, 84))
LEAVES: Final = (
    (52.0, 104.0, 78.0),
    (50.0, 92.0, 60.0),
    (54.0, 112.0, 108.0),
    (60.0, 120.0, 150.0),
)
LEAF_SHARES: Final = (0.4, 0.3, 0.2, 0.1)
OCTAGON: Final = np.array([(0.36 * np.cos(a), 0.30 * np.sin(a)) for a in np.arange(8) * np.pi / 4])
# The roughness of cloth and skin, for sheets up to the largest of PX_PER_M: drawn once for all.
CLOTH_ROWS: Final = 512
WEAVE: Final = np.float32(0.03) * np.random.default_rng(7).standard_normal(
    (CLOTH_ROWS, int(BIKE_M[0] * PX_PER_M[-1])), np.float32
)
Colour = list[float]
Pair = tuple[float, float]


def _lit(look: Look, rng: np.random.Generator, table: Sequence[Bgr]) -> Colour:
    base = pick(table, rng) * rng.uniform(0.85, 1.2)
    lit = look.lit(np.minimum(base, 245.0), np.array([0.0, 0.2, -0.98]))
    return [float(c) for c in lit * 1.12]


def _dark(colour: Colour, share: float = 0.72) -> Colour:
    return [c * share for c in colour]


def _mirrored(right: list[Pair]) -> list[Pair]:
    """An outline from its right half, top to bottom."""
    left = [(-x, y) for x, y in right]
    return [left[0], *right, *left[:0:-1]]


def _bend(a: Pair, angle: float, length: float) -> Pair:
    return a[0] + length * float(np.sin(angle)), a[1] - length * float(np.cos(angle))


class Dress:
    """What a person wears, lit, by chance."""

    def __init__(self, look: Look, rng: np.random.Generator) -> None:
        self.skin = _lit(look, rng, SKIN)
        self.hair = _lit(look, rng, HAIR)
        self.top = _lit(look, rng, CLOTH)
        self.legs = _lit(look, rng, TROUSERS)
        self.shoes = _lit(look, rng, TROUSERS[:3])
        self.coat = bool(rng.random() < 0.3)
        self.bag = bool(rng.random() < 0.35)
        self.build = rng.uniform(0.88, 1.15)


def _head(sheet: Sheet, d: Dress, x: float, y: float, *, view: str) -> None:
    sheet.limb([(x, y - 0.19), (x, y - 0.08)], 0.10, _dark(d.skin))
    if view == "back":
        sheet.oval(x, y, 0.095, 0.125, d.hair)
        return
    sheet.oval(x, y, 0.09, 0.12, d.skin)
    shift = 0.0 if view == "front" else -0.025
    sheet.oval(x + shift, y + 0.055, 0.098, 0.075, d.hair)
    if view == "side":
        sheet.oval(x - 0.045, y + 0.01, 0.055, 0.10, d.hair)


def _walker(d: Dress, pose: int, view: str, px_per_m: float) -> Sheet:
    """A walking person; 'side' walks to the right."""
    sheet, side = Sheet(*PERSON_M, px_per_m), view == "side"
    phase = 2 * np.pi * pose / POSES
    swing, b = float(np.sin(phase)), d.build
    bob = 0.02 * abs(float(np.cos(phase)))
    hip, neck = 0.90 + bob, 1.44 + bob
    for leg in (-1.0, 1.0):  # the far limb first
        shade = 0.78 if leg < 0 else 1.0
        if side:
            angle = 0.42 * swing * leg
            bend = 0.55 * max(-leg * float(np.cos(phase)), 0.0) + 0.06
            knee = _bend((0.0, hip), angle, 0.43)
            foot = _bend(knee, angle - bend, 0.41)
            toe = (foot[0] + 0.13, foot[1] - 0.01)
        else:
            lift = 0.13 * max(swing * leg, 0.0)
            knee = (0.09 * leg * b, 0.47 + lift * 0.6)
            foot = (0.085 * leg * b, 0.07 + lift)
            toe = (foot[0] + 0.02 * leg, foot[1] - 0.03)
        start = (0.0 if side else 0.075 * leg * b, hip)
        sheet.limb([start, knee], 0.165 * b, _dark(d.legs, shade))
        sheet.limb([knee, foot], 0.12 * b, _dark(d.legs, shade * 0.94))
        sheet.limb([foot, toe], 0.085, _dark(d.shoes, shade))
    half = (0.135 if side else 0.205) * b
    hem = 0.58 if d.coat else 0.86

    def arm(s: float, shade: float) -> None:
        if side:
            angle = -0.5 * swing * s
            elbow = _bend((0.0, neck - 0.04), angle, 0.29)
            hand = _bend(elbow, angle + 0.3, 0.26)
        else:
            reach = 0.05 * swing * s
            elbow = (s * (half + 0.055), neck - 0.30)
            hand = (s * (half + 0.05 - 0.02 * abs(swing)), neck - 0.56 + reach)
        start = (0.0 if side else s * (half - 0.01), neck - 0.05)
        sheet.limb([start, elbow], 0.11 * b, _dark(d.top, shade))
        sheet.limb([elbow, hand], 0.09 * b, _dark(d.top, shade * 0.95))
        sheet.oval(*hand, 0.045, 0.055, _dark(d.skin, shade))

    arm(-1.0, 0.74 if side else 0.86)
    waist = half * (1.0 if side else 0.92)
    hips = half * (1.12 if d.coat else 0.95)
    torso = [(half * 0.72, neck + 0.02), (half, neck - 0.08), (waist, 1.1), (hips, hem)]
    sheet.patch(_mirrored(torso), d.top)
    if view == "front":
        if d.coat:
            sheet.limb([(0.0, neck - 0.05), (0.0, hem + 0.05)], 0.02, _dark(d.top, 0.6))
        collar = [(-0.06, neck + 0.02), (0.06, neck + 0.02), (0.0, neck - 0.12)]
        sheet.patch(collar, _dark(d.skin, 0.9))
    elif d.bag:
        bag = [(-0.12, 1.40), (-0.25, 1.36), (-0.26, 1.06), (-0.12, 1.02)]
        if view == "back":
            bag = _mirrored([(0.14, 1.42), (0.15, 1.02)])
        sheet.patch(bag, _dark(d.legs, 1.25))
    arm(1.0, 0.9)
    _head(sheet, d, 0.015 if side else 0.0, neck + 0.22, view=view)
    return sheet


def _cyclist(d: Dress, pose: int, view: str, px_per_m: float, frame: Colour) -> Sheet:
    """A rider; 'side' rides to the right."""
    sheet = Sheet(*BIKE_M, px_per_m)
    phase = 2 * np.pi * pose / POSES
    tyre, steel = [36.0, 34.0, 34.0], [150.0, 150.0, 148.0]
    crank = (-0.05, 0.30)
    if view != "side":
        sheet.oval(0.0, 0.34, 0.03, 0.34, tyre)
        for leg in (-1.0, 1.0):
            turn = 0.16 * float(np.sin(phase)) * leg
            foot = (0.13 * leg, 0.26 + turn)
            knee = (0.15 * leg, 0.66 + turn * 0.9)
            sheet.limb([(0.10 * leg, 0.98), knee], 0.16, _dark(d.legs, 0.9))
            sheet.limb([knee, foot], 0.11, _dark(d.legs, 0.85))
            sheet.limb([foot, (foot[0], foot[1] - 0.05)], 0.09, d.shoes)
        sheet.limb([(-0.28, 1.02), (0.28, 1.02)], 0.035, tyre)
        for s in (-1.0, 1.0):
            arm = [(0.19 * s, 1.38), (0.29 * s, 1.20), (0.26 * s, 1.03)]
            sheet.limb(arm, 0.09, _dark(d.top, 0.88))
        sheet.patch(_mirrored([(0.17, 1.46), (0.20, 1.36), (0.16, 0.92)]), d.top)
        _head(sheet, d, 0.0, 1.64, view=view)
        sheet.oval(0.0, 1.71, 0.11, 0.07, frame)
        if view == "front":
            sheet.oval(0.0, 0.86, 0.035, 0.035, [230.0, 240.0, 245.0])
        else:
            sheet.oval(0.0, 0.72, 0.035, 0.035, [50.0, 44.0, 210.0])
        return sheet

    def pedalling(turn: float, shade: float) -> None:
        pedal = (crank[0] + 0.17 * float(np.cos(turn)), crank[1] - 0.17 * float(np.sin(turn)))
        hip = (-0.24, 0.98)
        mid = ((hip[0] + pedal[0]) / 2, (hip[1] + pedal[1]) / 2)
        reach = float(np.hypot(hip[0] - pedal[0], hip[1] - pedal[1]))
        out = float(np.sqrt(max(0.44**2 - (reach / 2) ** 2, 0.0)))
        dx, dy = (pedal[0] - hip[0]) / reach, (pedal[1] - hip[1]) / reach
        knee = (mid[0] - dy * out, mid[1] + dx * out)
        sheet.limb([hip, knee], 0.15, _dark(d.legs, shade))
        sheet.limb([knee, pedal], 0.11, _dark(d.legs, shade * 0.95))
        sheet.limb([pedal, (pedal[0] + 0.12, pedal[1] - 0.02)], 0.08, _dark(d.shoes, shade))

    pedalling(phase + np.pi, 0.75)
    for x in (-0.52, 0.52):
        sheet.oval(x, 0.35, 0.32, 0.32, tyre, ring=0.045)
        sheet.oval(x, 0.35, 0.05, 0.05, steel)
        for k in range(4):
            a = phase + k * np.pi / 4
            dx, dy = 0.31 * float(np.cos(a)), 0.31 * float(np.sin(a))
            sheet.limb([(x - dx, 0.35 - dy), (x + dx, 0.35 + dy)], 0.008, steel)
    sheet.limb([(-0.52, 0.35), crank, (0.38, 0.82), (-0.20, 0.84), crank], 0.04, frame)
    sheet.limb([(-0.52, 0.35), (-0.20, 0.84), (-0.24, 0.94)], 0.035, frame)
    sheet.limb([(0.52, 0.35), (0.36, 0.96), (0.46, 1.02)], 0.04, frame)
    sheet.limb([(-0.34, 0.95), (-0.12, 0.95)], 0.06, tyre)
    sheet.patch(
        [(-0.36, 0.94), (-0.12, 0.92), (0.16, 1.34), (0.10, 1.46), (-0.06, 1.46), (-0.30, 1.16)],
        d.top,
    )
    pedalling(phase, 1.0)
    sheet.limb([(0.06, 1.36), (0.22, 1.14), (0.44, 1.04)], 0.09, _dark(d.top, 0.88))
    _head(sheet, d, 0.16, 1.62, view="side")
    sheet.oval(0.14, 1.69, 0.13, 0.075, frame)
    return sheet


class Figure:
    """One person or rider with the poses of one stride, each drawn when first needed."""

    def __init__(self, look: Look, shelf: Shelf, seed: int, *, view: str, rides: bool) -> None:
        self._look, self._seed, self._rides = look, seed, rides
        self._view, self._flip = view.removeprefix("-"), view.startswith("-")
        self._shelf, self._number = shelf, shelf.number()
        rng = np.random.default_rng(seed)
        self._dress = Dress(look, rng)
        self._frame = _lit(look, rng, CLOTH)
        self._shadow = tone(look.lit(np.full(3, 92.0), UP) * 0.66)
        self.label = BICYCLIST if rides else PEDESTRIAN
        self.height = (BIKE_M if rides else PERSON_M)[1] * rng.uniform(0.88, 1.04)

    def pose(self, number: int, px_per_m: float) -> Sprite:
        """The sprite of one pose, to be seen at ``px_per_m``."""
        detail = next((p for p in PX_PER_M if p >= 0.8 * px_per_m), PX_PER_M[-1])
        if detail == PX_PER_M[0]:
            number -= number % 2  # half the poses will do from afar
        key = (self._number, number, detail)
        return self._shelf.sprites.get(key, lambda: self._draw(number, detail))

    def _draw(self, number: int, detail: float) -> Sprite:
        look, shelf = self._look, self._shelf
        lit = float(look.sun[0]) * (-1.0 if self._flip else 1.0) * (1.3 - look.ambient)
        if self._rides:
            sheet = _cyclist(self._dress, number, self._view, detail, self._frame)
        else:
            sheet = _walker(self._dress, number, self._view, detail)
        made = sheet.sprite(self._cloth, shelf, lit_from=lit, step=2 if detail > PX_PER_M[0] else 1)
        if not self._flip:
            return made
        colour, clear = made.largest
        return Sprite(np.ascontiguousarray(colour[:, ::-1]), 255 - clear[:, ::-1], shelf)

    def _cloth(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Roughness; cut from the same sheet for all, each from a row of its own."""
        row = self._seed % (CLOTH_ROWS - shape[0])
        return WEAVE[row : row + shape[0], : shape[1]]

    def paint(self, pen: Pen, x: float, z: float, stride: float) -> None:
        """Draw it standing at (x, z), ``stride`` counted in full strides."""
        look = self._look
        view = look.view
        u, v, scale = view.foot(x, z)
        wide = (0.55 if self._rides else 0.34) * scale
        if not -3 * wide < u < view.width + 3 * wide:
            return
        height = self.height * scale
        if height > 40:
            flat = view.points(OCTAGON[:, 0] + x, np.zeros(8), OCTAGON[:, 1] + z)
            pen.decal([flat], look.fade(self._shadow, look.haze(z)))
        sprite = self.pose(int(stride * POSES) % POSES, scale)
        _stand(pen, self.label, sprite, u, v, height, look.haze(z))


def draw_tree(look: Look, rng: np.random.Generator, shelf: Shelf) -> Sprite:
    """A broad-leaved tree or a conifer, two shades of leaves over a trunk."""
    sheet = Sheet(6.0, 8.0, 44.0)
    bark = look.lit(np.array([52.0, 66.0, 84.0]) * rng.uniform(0.8, 1.2), AHEAD)
    hue = LEAVES[int(rng.choice(len(LEAVES), p=LEAF_SHARES))]
    leaf = look.lit(np.array(hue), np.array([0.0, 0.5, -0.85]))
    sheet.limb([(0.0, 0.0), (rng.uniform(-0.1, 0.1), 3.6)], 0.30, bark.tolist())
    for s in (-1.0, 1.0):
        sheet.limb([(0.0, 2.2), (s * rng.uniform(0.6, 1.1), 3.8)], 0.14, bark.tolist())
    slim = rng.random() < 0.25
    middle, wide, tall = (4.4, 1.0, 3.0) if slim else (4.9, 2.2, 2.2)
    for layer in range(3):
        for _ in range(34 if layer else 60):
            a, r = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
            x = r * np.cos(a) * wide
            y = middle + r * np.sin(a) * tall + 0.25 * layer
            if slim:
                x *= max(1.25 - (y - 1.5) / 5.5, 0.15) * 1.3
            x += 0.35 * layer * float(look.sun[0])
            size = rng.uniform(0.30, 0.62) * (1.0 - 0.22 * layer)
            high = (y - middle) / 3.0
            shade = (0.62 + 0.22 * layer + 0.16 * high) * rng.uniform(0.88, 1.12)
            colour = np.clip(leaf * shade, 0, 250).tolist()
            x, y = float(np.clip(x, -2.6, 2.6)), min(float(y), 7.5)
            sheet.oval(x, y, size, size * 0.85, colour)

    def leaves(shape: tuple[int, ...]) -> NDArray[np.float32]:
        return np.float32(0.10) * rng.standard_normal(shape, np.float32)

    return sheet.sprite(leaves, shelf, lit_from=float(look.sun[0]) * 0.4)


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree or bush at ``x``."""

    look: Look
    sprite: Sprite
    x: float
    height: float

    def paint(self, pen: Pen, z: float, t_s: float) -> None:
        """Draw it at ``z`` metres ahead."""
        view = self.look.view
        u, v, scale = view.foot(self.x, z)
        h = self.height * scale
        if not -h < u < view.width + h:
            return
        _stand(pen, TREE, self.sprite, u, v, h, self.look.haze(z))


def _stand(
    pen: Pen, label: int, sprite: Sprite, u: float, v: float, height: float, haze: float
) -> None:
    """Draw a sprite that stands on (u, v), ``height`` px tall."""
    pen.begin(label)
    pen.sprite(sprite, u - height * sprite.aspect / 2, v - height, height, haze)
    pen.end()
