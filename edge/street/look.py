"""How one seed's street looks: camera, light, colours, and the picture's part that never moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.street.pens import BUILDING, PAVEMENT, ROAD, SHIFT, SKY, TREE, Points
from edge.vision.types import Image

Floats = NDArray[np.float64]
Bgr = tuple[float, float, float]
FADES_M, GONE_M = 70.0, 145.0  # things fade out in between, so that none appears at once
FAR_FROM_M: Final = 40.0  # what is further away is drawn less often
NEAR_M: Final = 0.6  # nothing nearer is projected: the frame's edges lie beyond it
ONE: Final = float(1 << SHIFT)
AHEAD: Final = np.array([0.0, 0.0, -1.0])  # normals: of what faces the camera, and of the ground
UP: Final = np.array([0.0, 1.0, 0.0])

# Name, sky above, sky at the horizon, light on surfaces (BGR), ambient share, haze length in m.
MOODS: Final = (
    ("clear", (205, 140, 78), (238, 222, 196), (1.00, 1.02, 1.06), 0.62, 420.0),
    ("bright", (225, 170, 105), (245, 236, 222), (1.02, 1.03, 1.05), 0.66, 320.0),
    ("overcast", (206, 200, 194), (226, 223, 219), (0.90, 0.90, 0.88), 0.88, 230.0),
    ("grey", (172, 168, 163), (205, 202, 198), (0.74, 0.74, 0.73), 0.92, 190.0),
    ("evening", (176, 128, 102), (150, 196, 240), (0.72, 0.86, 1.02), 0.58, 300.0),
    ("dusk", (122, 84, 66), (140, 150, 190), (0.58, 0.54, 0.54), 0.80, 240.0),
)


@dataclass(frozen=True, slots=True)
class View:
    """A pinhole camera over a flat street: x right from its middle, y up, z ahead, metres."""

    width: int
    height: int
    focal: float
    centre: float
    horizon: float
    x: float
    y: float

    def points(self, x: Floats, y: Floats, z: Floats) -> Points:
        """Frame px in fixed point, (..., 2) int32; ``z`` must not be under ``NEAR_M``."""
        scale = self.focal * ONE / z
        out = np.empty((*scale.shape, 2), np.int32)
        np.add((x - self.x) * scale, self.centre * ONE, out=out[..., 0], casting="unsafe")
        np.add((self.y - y) * scale, self.horizon * ONE, out=out[..., 1], casting="unsafe")
        return out

    def upright(self, offsets: Floats, z: float) -> Points:
        """Points that all stand at ``z``: (N, 2) of (x − camera x, camera y − y) in metres."""
        out = offsets * (self.focal * ONE / z)
        out += (self.centre * ONE, self.horizon * ONE)
        return out.astype(np.int32)

    def drawn_out(self, offsets: Floats, near: float, far: float) -> Points:
        """Points as in ``upright``, first all at ``near``, then all at ``far``, (2·N, 2)."""
        out = np.empty((2, len(offsets), 2))
        np.multiply(offsets, self.focal * ONE / near, out=out[0])
        np.multiply(offsets, self.focal * ONE / far, out=out[1])
        out += (self.centre * ONE, self.horizon * ONE)
        return out.astype(np.int32).reshape(-1, 2)

    def offsets(self, points: list[tuple[float, float]]) -> Floats:
        """Metres from the camera's axis, (N, 2) right and down, of points (x, y)."""
        return np.array([(x - self.x, self.y - y) for x, y in points])

    def foot(self, x: float, z: float) -> tuple[float, float, float]:
        """Where (x, z) on the ground lies on the frame, px, and px per metre there."""
        scale = self.focal / z
        return self.centre + (x - self.x) * scale, self.horizon + self.y * scale, scale

    def flat(self, x0: float, x1: float, z0: float, z1: float) -> Points:
        """A rectangle lying on the ground, (4, 2)."""
        return self._quad((x0, 0.0, z0), (x1, 0.0, z0), (x1, 0.0, z1), (x0, 0.0, z1))

    def wall(self, x: float, y0: float, y1: float, z0: float, z1: float) -> Points:
        """An upright rectangle along the street, (4, 2)."""
        return self._quad((x, y0, z0), (x, y0, z1), (x, y1, z1), (x, y1, z0))

    def _quad(self, *corners: tuple[float, float, float]) -> Points:
        """Plain floats: cheaper than arrays for so few corners."""
        focal, centre, horizon = self.focal * ONE, self.centre * ONE, self.horizon * ONE
        out = []
        for x, y, z in corners:
            s = focal / (z if z > NEAR_M else NEAR_M)
            out.append((int(centre + (x - self.x) * s), int(horizon + (self.y - y) * s)))
        return np.array(out, np.int32)


@dataclass(frozen=True, slots=True)
class Look:
    """Light, colours and measures of one street, all drawn from the seed. Metres, BGR 0..255."""

    view: View
    mood: str
    sky: tuple[Floats, Floats]
    light: Floats
    ambient: float
    sun: Floats
    haze_m: float
    side: float
    lane: float
    lanes: int
    parking: float
    pavement: float
    grain: int
    haze_bgr: Bgr  # what far things fade into

    @property
    def edge(self) -> float:
        """From the road's middle to the kerb."""
        return self.lane * self.lanes + self.parking

    def haze(self, z: float) -> float:
        """Share of haze in front of a thing at ``z``: all of it from ``GONE_M`` on."""
        if z < 8.0:
            return 0.0
        clear = exp((8.0 - z) / self.haze_m)
        if z > FADES_M:
            clear *= max((GONE_M - z) / (GONE_M - FADES_M), 0.0)
        return 1.0 - clear

    def lit(self, bgr: Floats, normal: Floats) -> Floats:
        """A surface's colour under this sky; ``bgr`` and ``normal`` (unit, outward) (..., 3)."""
        direct = np.maximum(normal @ self.sun, 0.0) * (1.25 - self.ambient)
        above = 0.10 * normal[..., 1]
        shade = self.ambient + direct + above
        return np.asarray(np.clip(bgr * self.light * shade[..., None], 0.0, 250.0))

    def fade(self, bgr: Bgr, haze: float) -> Bgr:
        """A lit colour behind a share of haze."""
        c0, c1, c2 = bgr
        b, g, r = self.haze_bgr
        return c0 + (b - c0) * haze, c1 + (g - c1) * haze, c2 + (r - c2) * haze


def tone(colour: Floats) -> Bgr:
    """A lit colour as plain numbers: many small sums are faster on them than on arrays."""
    b, g, r = colour.tolist()
    return b, g, r


def pick(table: Sequence[Bgr], rng: np.random.Generator) -> Floats:
    """One of the colours."""
    return np.asarray(table[int(rng.integers(len(table)))], float)


def draw_look(width: int, height: int, rng: np.random.Generator) -> Look:
    """Draw a look."""
    mood, above, low, light, ambient, haze_m = MOODS[int(rng.integers(len(MOODS)))]
    side = 1.0 if rng.random() < 0.5 else -1.0
    lanes = 1 if rng.random() < 0.7 else 2
    lane = rng.uniform(3.0, 3.6)
    mine = int(rng.integers(lanes))
    view = View(
        width=width,
        height=height,
        focal=max(width, height) * rng.uniform(0.78, 1.2),
        centre=width * rng.uniform(0.45, 0.55),
        horizon=height * rng.uniform(0.40, 0.52),
        x=side * (lane * (mine + 0.5) + rng.uniform(-0.25, 0.25)),
        y=rng.uniform(1.2, 1.75),
    )
    sun = np.array([rng.uniform(-1, 1), rng.uniform(0.5, 1.2), rng.uniform(-1, 0.4)])
    jitter = rng.normal(0.0, 6.0, (2, 3))
    low_sky = np.clip(low + jitter[1], 20, 250)
    return Look(
        view=view,
        mood=mood,
        sky=(np.clip(above + jitter[0], 20, 250), low_sky),
        light=np.asarray(light) * rng.uniform(0.9, 1.05),
        ambient=ambient,
        sun=sun / np.linalg.norm(sun),
        haze_m=haze_m * rng.uniform(0.8, 1.3),
        side=side,
        lane=lane,
        lanes=lanes,
        parking=2.2 if rng.random() < 0.7 else 0.3,
        pavement=rng.uniform(2.2, 4.0),
        grain=int(rng.integers(3, 9)),
        haze_bgr=tone(0.94 * low_sky),
    )


def cloudy(shape: tuple[int, int], rng: np.random.Generator, cells: int) -> NDArray[np.float32]:
    """Smooth noise 0..1, (h, w): four octaves of scaled-up random grids."""
    h, w = shape
    total = np.zeros(shape, np.float32)
    for octave in range(4):
        n = cells << octave
        grid = rng.random((max(n // 2, 2), n)).astype(np.float32)
        up = cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC)
        total += np.asarray(up, np.float32) * 0.5 ** (octave + 1)
    return np.asarray(np.clip(total / 0.9375, 0.0, 1.0), np.float32)


def backdrop(look: Look, rng: np.random.Generator) -> tuple[Image, Image]:
    """The picture and labels of what never moves: sky, far hills, the ground's long surfaces."""
    v = look.view
    h, w = v.height, v.width
    horizon = int(np.clip(v.horizon, 1, h - 1))
    down = np.linspace(0.0, 1.0, horizon)[:, None, None] ** 0.8
    picture = np.empty((h, w, 3), np.float32)
    picture[:horizon] = look.sky[0] * (1 - down) + look.sky[1] * down  # (horizon, 1, 3)
    clear = look.mood in ("clear", "bright", "evening", "dusk")
    cloud = np.clip((cloudy((horizon, w), rng, 5) - (0.52 if clear else 0.38)) * 4.0, 0, 1)
    white = np.minimum(look.sky[1] * 1.06 + 6, 252)
    share = cloud[:, :, None] * np.float32(0.75 if clear else 0.35)
    picture[:horizon] += (white.astype(np.float32) - picture[:horizon]) * share

    labels = np.full((h, w), SKY, np.uint8)
    grass = look.lit(np.array([62.0, 112.0, 96.0]) * rng.uniform(0.8, 1.1), UP)
    road = look.lit(np.full(3, rng.uniform(92, 128)) + rng.normal(0, 1.5, 3), UP)
    slab = look.lit(np.array([150.0, 156.0, 160.0]) * rng.uniform(0.85, 1.1), UP)
    kerb = look.lit(np.array([176.0, 180.0, 182.0]), UP)
    line = look.lit(np.array([222.0, 226.0, 226.0]), UP)
    yellow = look.lit(np.array([70.0, 185.0, 225.0]), UP)

    depth = v.focal * v.y / np.maximum(np.arange(h) + 0.5 - v.horizon, 0.05)
    haze = 1 - np.exp(-np.maximum(depth - 8, 0) / look.haze_m)  # (h,)
    haze = haze[horizon:, None, None].astype(np.float32)
    canvas = np.zeros((h, w, 3), np.float32)
    canvas[:] = grass
    ground = np.full((h, w), TREE, np.uint8)

    def strip(x0: float, x1: float, colour: Floats, label: int | None) -> None:
        points = v.flat(x0, x1, NEAR_M, 4000.0)
        cv2.fillConvexPoly(canvas, points, colour.tolist(), cv2.LINE_8, SHIFT)
        if label is not None:
            cv2.fillConvexPoly(ground, points, (label,), cv2.LINE_8, SHIFT)

    outer = look.edge + look.pavement
    strip(-outer, outer, slab, PAVEMENT)
    strip(-look.edge - 0.16, look.edge + 0.16, kerb, None)
    strip(-look.edge, look.edge, kerb * 0.62, ROAD)
    strip(-look.edge + 0.12, look.edge - 0.12, road * 0.86, None)
    strip(-look.edge + 0.5, look.edge - 0.5, road, None)
    # Tyres polish two darker tracks into every lane.
    for lane in range(-look.lanes, look.lanes):
        middle = (lane + 0.5) * look.lane
        for track in (-0.75, 0.75):
            strip(middle + track - 0.26, middle + track + 0.26, road * 0.955, None)
    if rng.random() < 0.5:
        paint = yellow if rng.random() < 0.5 else line
        gap = 0.3 if look.parking < 1 else look.parking
        for s in (-1.0, 1.0):
            x = s * (look.edge - gap)
            strip(x - 0.05, x + 0.05, paint, None)
    shape = (h - horizon, w)
    texture = np.float32(0.018) * rng.standard_normal(shape, np.float32)
    texture += (cloudy(shape, rng, 6) - np.float32(0.5)) * np.float32(0.07)
    far = np.asarray(look.haze_bgr)
    bottom = np.asarray(cv2.GaussianBlur(canvas, (3, 3), 0)[horizon:], np.float32)
    bottom *= (texture + np.float32(1.0))[:, :, None]
    picture[horizon:] = bottom + (far.astype(np.float32) - bottom) * haze
    labels[horizon:] = ground[horizon:]

    # A far skyline: hills with woods, and a town before them.
    rows = np.arange(h)[:, None]
    for amplitude, share, label, cells in ((0.055, 0.50, TREE, 9), (0.035, 0.62, BUILDING, 24)):
        ridge = cloudy((8, w), rng, cells)[4] * amplitude * h
        if label == BUILDING:
            block = max(w // 60, 2)
            ridge = ridge[::block]
            ridge = np.repeat(ridge * rng.uniform(0.3, 1.2, len(ridge)), block)[:w]
        base = look.lit(np.array([88.0, 100.0, 96.0]), AHEAD)
        below = (rows >= np.maximum(horizon - ridge.astype(int), 0)) & (rows < horizon)
        picture[below] = base + (far - base) * share
        labels[below] = label
    return np.clip(picture, 0, 250).astype(np.uint8), labels
