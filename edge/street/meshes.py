"""The shapes of vehicles as small meshes; paint, light and place are added elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from math import copysign, hypot
from typing import Final

import numpy as np

from edge.street.look import Floats

HARD: Final = ("under", "pane", "tyre")  # parts whose edges hardly show
DETAIL_PX: Final = 12.0  # faces that only vehicles so tall show are details
Point3 = tuple[float, float, float]
Span = tuple[float, float]


@dataclass(slots=True)
class Mesh:
    """Faces in drawing order: details follow what they lie on. x right, y up, s ahead, metres."""

    length: float
    width: float
    height: float
    corners: list[list[Point3]] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    least: list[float] = field(default_factory=list)

    def add(self, part: str, corners: list[Point3], *, least: float = 0.0) -> None:
        """Add a convex face; it is left out while the vehicle is under ``least`` px tall."""
        self.corners.append(corners)
        self.parts.append(part)
        self.least.append(least)

    def both(self, part: str, corners: list[Point3], *, least: float = 0.0) -> None:
        """Add a face and its mirror image."""
        self.add(part, corners, least=least)
        self.add(part, [(-x, y, s) for x, y, s in corners], least=least)


def _quad(x: Span, y: Span, s: Span) -> list[Point3]:
    """A rectangle from the first x and s to the second, between two heights."""
    return [(x[0], y[0], s[0]), (x[1], y[0], s[1]), (x[1], y[1], s[1]), (x[0], y[1], s[0])]


@dataclass(frozen=True, slots=True)
class Shape:
    """A vehicle's side outline: lengths from the front in shares, heights in metres."""

    length: float
    width: float
    height: float
    bonnet: float  # windscreen's foot
    screen: float  # roof's front
    roof: float  # roof's rear
    deck: float  # rear window's foot
    belt: float  # height of the windows' lower edge
    roof_width: float
    windows: int


SHAPES: Final = (
    Shape(4.0, 1.76, 1.48, 0.24, 0.42, 0.86, 0.97, 0.94, 0.76, 2),  # hatchback
    Shape(4.6, 1.82, 1.44, 0.27, 0.44, 0.74, 0.88, 0.93, 0.72, 2),  # saloon
    Shape(4.6, 1.88, 1.70, 0.24, 0.38, 0.92, 0.985, 1.05, 0.82, 3),  # estate, off-roader
    Shape(5.2, 1.98, 2.20, 0.14, 0.28, 0.985, 0.995, 1.20, 0.92, 1),  # van
    Shape(10.5, 2.50, 3.00, 0.012, 0.03, 0.99, 0.998, 1.25, 0.97, 6),  # bus
)
SHARES: Final = (0.33, 0.29, 0.22, 0.12, 0.04)


def build_mesh(shape: Shape) -> Mesh:
    """A vehicle's faces."""
    f, w, top = shape.length / 2, shape.width / 2, shape.height
    big = shape.height > 2.5
    mesh = Mesh(shape.length, shape.width, shape.height)

    def at(share: float) -> float:
        return f - share * shape.length

    belt, nose = shape.belt, shape.belt * (0.95 if shape.bonnet < 0.2 else 0.78)
    roof_w = w * shape.roof_width
    # (half width, y, s) along the outline, from the front's foot over the roof to the rear's.
    line = [
        (w * 0.78, 0.26, f),
        (w * 0.80, nose * 0.80, f),
        (w * 0.78, nose, f - 0.10),
        (w * 0.97, belt, at(shape.bonnet)),
        (roof_w, top, at(shape.screen)),
        (roof_w, top, at(shape.roof)),
        (w * 0.96, belt, at(shape.deck)),
        (w * 0.84, belt * 0.97, -f + 0.03),
        (w * 0.85, belt * 0.55, -f),
        (w * 0.82, 0.28, -f),
    ]
    radius = 0.46 if big else (0.34 if top > 1.6 else 0.31)
    axles = (f - 0.20 * shape.length, -f + 0.20 * shape.length)

    for s in (f - 0.25, -f + 0.25):  # what is seen under the bumper
        mesh.add("under", _quad((-w * 0.9, w * 0.9), (0.12, 0.4), (s, s)))
    for s in (axles[0] + radius * 0.9, axles[1] - radius * 0.9):
        mesh.both("tyre", _quad((w * 0.66, w * 0.96), (0.0, 0.4), (s, s)))

    def strip(i: int, part: str) -> None:
        (w0, y0, s0), (w1, y1, s1) = line[i], line[i + 1]
        mesh.add(part, [(-w0, y0, s0), (w0, y0, s0), (w1, y1, s1), (-w1, y1, s1)])

    def inset(i: int, part: str, lo: float, hi: float, wide: float, *, least: float = 7.0) -> None:
        (w0, y0, s0), (w1, y1, s1) = line[i], line[i + 1]

        def point(k: float, sign: float) -> Point3:
            width = (w0 + (w1 - w0) * k) * wide
            return sign * width, y0 + (y1 - y0) * k, s0 + (s1 - s0) * k

        mesh.add(part, [point(lo, -1), point(lo, 1), point(hi, 1), point(hi, -1)], least=least)

    # The corners are cut: a side begins a little behind the front and ends before the rear.
    front = [(w * 0.94, 0.26, f - 0.3), (w * 0.98, nose * 0.8, f - 0.3), (w * 0.96, nose, f - 0.34)]
    rear = [
        (w * 0.96, belt * 0.97, 0.22 - f),
        (w * 0.98, belt * 0.55, 0.2 - f),
        (w * 0.94, 0.28, 0.2 - f),
    ]
    mesh.both("body", [*front, line[3], line[6], *rear])
    for corner in (
        [line[0], line[1], front[1], front[0]],
        [line[1], line[2], front[2], front[1]],
        [line[2], line[3], front[2]],
        [line[9], line[8], rear[1], rear[2]],
        [line[8], line[7], rear[0], rear[1]],
        [line[7], line[6], rear[0]],
    ):
        mesh.both("body", corner)
    for i in (0, 1, 2, 6, 7, 8):
        strip(i, "body")
    mesh.both("body", [line[i] for i in (3, 4, 5, 6)])
    for i in (3, 4, 5):
        strip(i, "body")
    inset(3, "glass", 0.06, 0.92, 0.90)
    inset(5, "glass", 0.10, 0.88 if not big else 0.5, 0.84)
    # Lower edges darker: bumpers and sills.
    inset(0, "trim", 0.0, 0.34, 1.0, least=12)
    inset(8, "trim", 0.45, 1.0, 1.0, least=12)
    mesh.both(
        "trim",
        [
            (w * 0.93, 0.26, f - 0.1),
            (w * 0.95, 0.38, f - 0.1),
            (w * 0.95, 0.38, 0.1 - f),
            (w * 0.93, 0.28, 0.1 - f),
        ],
        least=16,
    )
    _side_windows(mesh, [line[i] for i in (3, 4, 5, 6)], shape.windows)
    for axle in axles:
        _wheel(mesh, w, axle, radius)
    _lamps(mesh, line, nose, belt)
    return mesh


def _side_windows(mesh: Mesh, frame: list[Point3], count: int) -> None:
    """Panes between pillars on the slanted upper side."""
    (w0, y0, s0), (w1, y1, s1), (_, _, s2), (_, _, s3) = frame

    def point(along: float, up: float) -> Point3:
        bottom, top = s0 + (s3 - s0) * along, s1 + (s2 - s1) * along
        return w0 + (w1 - w0) * up + 0.005, y0 + (y1 - y0) * up, bottom + (top - bottom) * up

    stop = 0.34 if count == 1 else 0.96
    for i in range(count):
        a = 0.06 + (stop - 0.06) * i / count + (0.012 if i else 0.0)
        b = 0.06 + (stop - 0.06) * (i + 1) / count - 0.012
        glass = [point(a, 0.06), point(b, 0.06), point(b, 0.86), point(a, 0.86)]
        mesh.both("glass", glass, least=9)
        if b - a > 0.1:
            m = a + (b - a) * 0.45
            shine = [point(a, 0.5), point(m, 0.5), point(m + 0.02, 0.86), point(a, 0.86)]
            mesh.both("pane", shine, least=70)


def _wheel(mesh: Mesh, w: float, axle: float, radius: float) -> None:
    """Arch, tyre and rim as polygons on the side."""
    for part, r, x, least in (
        ("under", radius * 1.22, 0.972, 12.0),
        ("tyre", radius, 0.98, 0.0),
        ("rim", radius * 0.62, 0.985, 16.0),
        ("trim", radius * 0.22, 0.99, 80.0),
    ):
        turn = np.linspace(0, 2 * np.pi, 15)[:-1]
        ring = [(w * x, radius + r * float(np.sin(a)), axle + r * float(np.cos(a))) for a in turn]
        mesh.both(part, ring, least=least)


def _lamps(mesh: Mesh, line: list[Point3], nose: float, belt: float) -> None:
    """Lights, grille, plates and mirrors."""
    w, f = mesh.width / 2, mesh.length / 2
    front, rear = f + 0.005, -f - 0.005
    y0, y1 = nose * 0.70, nose * 0.93

    def plate(part: str, x: Span, y: Span, s: float, least: float) -> None:
        add = mesh.add if x[0] < 0 else mesh.both
        add(part, _quad(x, y, (s, s)), least=least)

    plate("trim", (-w * 0.44, w * 0.44), (nose * 0.62, nose * 0.86), front, 18)
    plate("trim", (-w * 0.34, w * 0.34), (0.30, 0.42), front, 70)
    plate("head", (w * 0.50, w * 0.79), (y0, y1), front, 9)
    plate("rim", (w * 0.58, w * 0.70), (y0 + 0.03, y1 - 0.03), front + 0.005, 80)
    plate("plate", (-0.26, 0.26), (0.42, 0.52), front + 0.01, 16)
    plate("tail", (w * 0.56, w * 0.83), (belt * 0.66, belt * 0.92), rear, 7)
    plate("head", (w * 0.58, w * 0.70), (belt * 0.68, belt * 0.75), rear - 0.005, 70)
    plate("plate", (-0.26, 0.26), (belt * 0.62, belt * 0.62 + 0.11), rear - 0.005, 14)
    plate("trim", (-w * 0.80, w * 0.80), (belt * 0.50, belt * 0.53), rear - 0.005, 40)

    def corner(part: str, x: Span, y: Span, s: Span, least: float) -> None:
        mesh.both(part, _quad((w * x[0], w * x[1]), y, s), least=least)

    # Lamps and bumpers go round the cut corners.
    bumper, rear_bumper = 0.27 + 0.34 * (nose * 0.8 - 0.26), 0.28 + 0.55 * (belt * 0.55 - 0.28)
    corner("head", (0.80, 0.91), (y0, y1), (front, front - 0.19), 12)
    corner("trim", (0.78, 0.95), (0.27, bumper), (front, front - 0.30), 12)
    corner("tail", (0.85, 0.93), (belt * 0.66, belt * 0.92), (rear, rear + 0.12), 12)
    corner("trim", (0.83, 0.96), (0.29, rear_bumper), (rear, rear + 0.20), 12)
    foot = line[3][2]
    for s in (foot - 0.25, foot - 0.32):
        quad = [
            (w * 0.98, belt + 0.02, s),
            (w * 1.14, belt + 0.05, s),
            (w * 1.14, belt + 0.18, s),
            (w * 0.98, belt + 0.15, s),
        ]
        mesh.both("body", quad, least=40)


@dataclass(frozen=True, slots=True)
class Solid:
    """A mesh as arrays: everything that does not depend on colour or place."""

    mesh: Mesh
    vertices: Floats  # (V, 3)
    slices: tuple[slice, ...]
    normals: Floats  # (F, 3)
    planes: Floats  # (F,) normal · corner: an eye beyond it sees the face
    least: Floats  # (F,)
    smooth: tuple[bool, ...]  # (F,) False for parts as dark as what they lie on
    smooth_far: tuple[bool, ...]  # (F,) False for details, too


@cache
def build_solid(shape: Shape) -> Solid:
    """A vehicle of this shape; normals point outward."""
    mesh = build_mesh(shape)
    vertices: list[Point3] = []
    slices, normals, centres = [], [], []
    middle = mesh.height * 0.45
    for face in mesh.corners:
        slices.append(slice(len(vertices), len(vertices) + len(face)))
        vertices.extend(face)
        # Newell: the faces are nearly, not exactly, flat.
        nx = ny = nz = 0.0
        for (x0, y0, z0), (x1, y1, z1) in zip(face, (*face[1:], face[0]), strict=True):
            nx += (y0 - y1) * (z0 + z1)
            ny += (z0 - z1) * (x0 + x1)
            nz += (x0 - x1) * (y0 + y1)
        centre = tuple(sum(axis) / len(face) for axis in zip(*face, strict=True))
        out = nx * centre[0] + ny * (centre[1] - middle) + nz * centre[2]
        size = copysign(hypot(nx, ny, nz), out if out else -1.0)
        normals.append((nx / size, ny / size, nz / size))
        centres.append(centre)
    outward = np.asarray(normals)
    rings = [len(face) > 4 for face in mesh.corners]  # wheels and their arches
    return Solid(
        mesh=mesh,
        vertices=np.asarray(vertices),
        slices=tuple(slices),
        normals=outward,
        planes=np.einsum("ij,ij->i", outward, np.asarray(centres)),
        least=np.asarray(mesh.least),
        smooth=tuple(
            part not in HARD or ring for part, ring in zip(mesh.parts, rings, strict=True)
        ),
        smooth_far=tuple(
            ring or (part not in HARD and least < DETAIL_PX)
            for part, least, ring in zip(mesh.parts, mesh.least, rings, strict=True)
        ),
    )
