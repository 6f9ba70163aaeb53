"""Vehicles on the road: painted, lit meshes when near, sprites of themselves when far."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.street.look import NEAR_M, UP, Bgr, Floats, Look, View, pick, tone
from edge.street.meshes import SHARES, Solid
from edge.street.pens import CAR, SHIFT, Pen, Points
from edge.street.sprites import Shelf, Sprite

FAR_PX: Final = 64.0  # vehicles under this height are drawn from sprites: faces would be a few px
STEADY_PX: Final = 150.0  # the same for those driving ahead, seen from one side for long
SOFT_PX: Final = 90.0  # shadows of smaller ones end in one step
SHADOW: Final = 0.44  # cover of a sprite's shadow: under half, so it is no part of the vehicle
SMOOTH_PX: Final = 120.0  # details of smaller ones are a few px wide: hard edges will do
# The heights of sprites, px, and the steps between two: of metres sideways per metre ahead, and of
# the distance each time that doubles.
SPRITES: Final = ((42.0, 24.0, 2.0), (84.0, 32.0, 2.0), (168.0, 64.0, 6.0))
PAINTS: Final = (
    (48, 44, 42),
    (226, 226, 224),
    (172, 170, 166),
    (120, 116, 112),
    (40, 38, 150),
    (128, 70, 30),
    (92, 60, 24),
    (60, 92, 46),
    (200, 196, 188),
    (46, 84, 168),
    (30, 26, 92),
    (170, 120, 60),
)
PARTS: Final[dict[str, tuple[float, float, float]]] = {
    "glass": (74, 62, 52),
    "pane": (96, 82, 68),
    "tyre": (34, 32, 32),
    "rim": (150, 150, 148),
    "head": (236, 240, 244),
    "tail": (44, 36, 190),
    "trim": (46, 44, 44),
    "plate": (208, 216, 216),
    "under": (26, 25, 25),
}
LIT: Final = {"head": (225.0, 244.0, 250.0), "tail": (48.0, 44.0, 228.0)}  # where lamps are on


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One vehicle at ``x``; ``heading`` 1 drives away from the camera, −1 towards it."""

    solid: Solid
    look: Look
    shelf: Shelf
    number: int
    x: float
    heading: float
    vertices: Floats  # (3, V) turned to its heading
    colours: Floats  # (F, 3) lit
    shadow: Bgr
    steady: bool  # it drives ahead of the camera, about as fast

    def paint(self, pen: Pen, z: float, t_s: float) -> None:
        """Draw it with its middle at ``z`` metres ahead."""
        solid, look, view = self.solid, self.look, self.look.view
        half, wide = solid.mesh.length / 2, solid.mesh.width / 2 + 0.3
        if z < half * 0.6:
            return
        # Wholly beside the frame: the corner nearest to its middle is outside.
        aside = abs(self.x - view.x) - wide
        room = view.centre if self.x < view.x else view.width - view.centre
        if aside > 0 and aside * view.focal / (z + half) > room + 2:
            return
        tall = view.focal * solid.mesh.height / max(z - half, 1.0)
        if tall <= (STEADY_PX if self.steady else FAR_PX):
            pen.begin(CAR)
            self._paint_far(pen, z)
            pen.end()
            return
        points, seen = self._project(view, self.x, z, tall)
        across = points[:, 0]
        if across.max() < 0 or across.min() > view.width << SHIFT:
            return
        haze = look.haze(z)
        b, g, r = self.shadow
        x0, x1 = self.x - wide + 0.3, self.x + wide - 0.3
        for grow, dark in ((0.22, 0.80), (0.02, 0.45))[tall < SOFT_PX :]:
            flat = view.flat(x0 - grow, x1 + grow, z - half - grow, z + half + grow)
            shade = look.fade((b * dark, g * dark, r * dark), haze)
            pen.decal([flat], shade, smooth=dark < 0.7)
        pen.begin(CAR)
        smooth = solid.smooth if tall > SMOOTH_PX else solid.smooth_far
        pen.mesh(points, solid.slices, self._hazed(z), smooth, seen)
        pen.end()

    def _project(self, view: View, x: float, z: float, tall: float) -> tuple[Points, list[int]]:
        """Corners on the frame, and the faces turned to the camera, in drawing order."""
        solid, (across, up, ahead) = self.solid, self.vertices
        eye = np.array([(view.x - x) * self.heading, view.y, -z * self.heading])
        seen = (solid.normals @ eye > solid.planes) & (solid.least <= tall)
        depth = ahead + z
        if z - solid.mesh.length < NEAR_M:
            np.maximum(depth, NEAR_M, out=depth)
        return view.points(across + x, up, depth), np.flatnonzero(seen).tolist()

    def _hazed(self, z: float) -> list[list[float]]:
        """The colours of all faces, seen from ``z``."""
        haze, colours = self.look.haze(z), self.colours
        if haze:
            colours = colours * (1.0 - haze)
            colours += [tone * haze for tone in self.look.haze_bgr]
        hazed: list[list[float]] = colours.tolist()
        return hazed

    def _paint_far(self, pen: Pen, z: float) -> None:
        view = self.look.view
        # The sheet spans so many metres around the vehicle's foot at its own distance.
        reach_x, up, down = self._reach()
        u, v, scale = view.foot(self.x, z)
        height = (up + down) * scale
        tall, sides, steps = SPRITES[(height > SPRITES[0][0]) + (height > SPRITES[1][0] * 1.1)]
        turn, octave = round((self.x - view.x) / z * sides), round(steps * log2(z))
        sprite = self.shelf.sprites.get(
            (self.number, turn, octave, tall),
            lambda: self._draw(turn / sides, 2 ** (octave / steps), tall),
        )
        # Its haze is in its colours: that of the distance it was drawn for.
        pen.sprite(sprite, u - reach_x * scale, v - up * scale, height, 0.0)

    def _reach(self) -> tuple[float, float, float]:
        """Metres that its sprite covers beside, above and below the foot of its middle."""
        mesh = self.solid.mesh
        return mesh.width * 0.7 + mesh.length * 0.25, mesh.height * 1.12, mesh.height * 0.28

    def _draw(self, aside: float, z: float, tall: float) -> Sprite:
        """Its sprite as seen from ``z`` metres, ``aside`` metres sideways for each ahead."""
        reach_x, up, down = self._reach()
        scale = tall / (up + down)
        shape = (round((up + down) * scale), round(2 * reach_x * scale))
        view = View(
            width=shape[1],
            height=shape[0],
            focal=scale * z,
            centre=reach_x * scale,
            horizon=up * scale - self.look.view.y * scale,
            x=0.0,
            y=self.look.view.y,
        )
        # The frame's centre moves with the vehicle: a sheet seen aside, not a camera turned.
        points, seen = self._project(view, aside * z, z, tall)
        points[:, 0] -= round(aside * z * scale * (1 << SHIFT))
        bgra = np.zeros((*shape, 4), np.uint8)
        half, side = self.solid.mesh.length / 2, self.solid.mesh.width / 2
        haze, x = self.look.haze(z), aside * z
        for grow, cover in ((0.22, SHADOW / 2), (0.0, SHADOW))[tall < SOFT_PX :]:
            flat = view.flat(x - side - grow, x + side + grow, z - half - grow, z + half + grow)
            flat[:, 0] -= round(x * scale * (1 << SHIFT))
            shade = [tone * haze * cover for tone in self.look.haze_bgr]
            cv2.fillConvexPoly(bgra, flat, (*shade, 255.0 * cover), cv2.LINE_8, SHIFT)
        colours = self._hazed(z)
        for i in seen:
            face, colour = points[self.solid.slices[i]], (*colours[i], 255.0)
            cv2.fillConvexPoly(bgra, face, colour, cv2.LINE_AA, SHIFT)
        alpha = bgra[:, :, 3].copy()
        return Sprite(np.minimum(bgra[:, :, :3], alpha[:, :, None]), alpha, self.shelf)


def build_vehicle(
    look: Look,
    rng: np.random.Generator,
    solids: tuple[Solid, ...],
    x: float,
    heading: float,
    *,
    shelf: Shelf,
    steady: bool = False,
) -> Vehicle:
    """A vehicle of a random make and paint."""
    solid = solids[int(rng.choice(len(solids), p=SHARES))]
    paint = pick(PAINTS, rng) * rng.uniform(0.8, 1.15)
    base = np.array([paint if p == "body" else PARTS[p] for p in solid.mesh.parts], float)
    turn = np.array([heading, 1.0, heading])
    normals = solid.normals * turn
    colours = look.lit(base, normals)
    # Paint and glass mirror the sky where they lean upwards.
    gloss: NDArray[np.float64] = np.array(
        [0.30 if p in ("glass", "pane") else 0.14 if p == "body" else 0.0 for p in solid.mesh.parts]
    )
    gloss = gloss * np.clip(normals[:, 1], 0.0, 1.0)
    colours = colours + (look.sky[0] * 1.05 - colours) * gloss[:, None]
    lamps = look.mood in ("dusk", "grey", "evening")
    for i, part in enumerate(solid.mesh.parts):
        if lamps and part in LIT:
            colours[i] = LIT[part]
    return Vehicle(
        solid=solid,
        look=look,
        shelf=shelf,
        number=shelf.number(),
        x=x,
        heading=heading,
        vertices=np.ascontiguousarray((solid.vertices * turn).T),
        colours=np.clip(colours, 0, 250),
        shadow=tone(look.lit(np.full(3, 96.0), UP)),
        steady=steady,
    )
