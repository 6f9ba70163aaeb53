"""Houses along the street: what one looks like and how it is drawn; their order is the layout's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.street.look import AHEAD, Bgr, Floats, Look, pick, tone
from edge.street.pens import BUILDING, Pen

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

# A house's outline has so many corners, each at its near and at its far end; faces by index.
CORNERS: Final = 9
(FOOT, EAVES, OUT, OUT_TOP, GUTTER, RIDGE, BAND_LOW, BAND_HIGH, CORNICE) = range(CORNERS)
FRAME_Z, FRAME_Y = np.array([[-0.12, 0.12, 0.12, -0.12], [-0.14, -0.14, 0.12, 0.12]])  # metres
# Fronts that span so many px are painted as lines of panes, as a lattice, as panes, with frames.
ROWS_PX, LATTICE_PX, PANES_PX, FRAMES_PX = 11.0, 22.0, 66.0, 145.0


def _long(low: int, high: int) -> NDArray[np.intp]:
    """A face from the near to the far end between two edges."""
    return np.array([low, low + CORNERS, high + CORNERS, high], np.intp)


ROOF_FACE: Final = _long(GUTTER, RIDGE)
FRONT_FACE: Final = _long(FOOT, EAVES)
BAND_FACE: Final = _long(BAND_LOW, BAND_HIGH)
CORNICE_FACE: Final = _long(CORNICE, EAVES)
END_FACE: Final = np.array([FOOT, OUT, OUT_TOP, EAVES], np.intp)
GABLE_FACE: Final = np.array([EAVES, RIDGE, OUT_TOP], np.intp)


@dataclass(frozen=True, slots=True)
class House:
    """A building from z − length to z, its front at ``x``, away from the road."""

    look: Look
    x: float
    length: float
    height: float
    ridge: float  # height of a pitched roof over the eaves, 0 for a flat one
    outline: Floats  # (CORNERS, 2) metres from the camera's axis: right, down
    wall: Bgr
    end: Bgr
    roof: Bgr
    trim: Bgr
    band: Bgr  # plinth or shop sign
    dim: Bgr  # a row of panes from afar
    glass: tuple[Bgr, Bgr]
    faint: Bgr  # a row of panes and the wall between them, from further
    panes: Floats  # (2, N, 4) corners: from the near end, y
    dark: int  # so many first panes are of the first glass
    lattice: Floats  # (2, storeys + columns + 1, 4) rows of panes, then the wall between columns
    side: Floats  # (1, 1) x
    storeys: int
    stack: Floats | None  # (4, 2) the chimney
    hides_end: bool  # the house before it covers its end wall
    hides_gable: bool

    def paint(self, pen: Pen, z: float, t_s: float) -> None:
        """Draw it with its far end at ``z`` metres ahead."""
        if z < CUT_M + 1:
            return
        view, look = self.look.view, self.look
        near = max(z - self.length, CUT_M)
        aside = (self.x - view.x) * view.focal
        if not 0 <= view.centre + aside / z < view.width:
            return
        whole, close, haze = near > CUT_M, look.haze(near), look.haze((near + z) / 2)
        corners = view.drawn_out(self.outline, near, z)
        pen.begin(BUILDING)
        if self.ridge:
            if self.stack is not None:
                c = near + 0.7 * (z - near)
                pen.face(view.upright(self.stack, c), look.fade(self.end, haze))
            pen.face(corners[ROOF_FACE], look.fade(self.roof, haze))
            if whole and not self.hides_gable:
                pen.face(corners[GABLE_FACE], look.fade(self.end, close))
        if whole and not self.hides_end:  # it faces the camera: its edges are upright and level
            pen.face(corners[END_FACE], look.fade(self.end, close), smooth=False)
        pen.face(corners[FRONT_FACE], look.fade(self.wall, haze))
        pen.end()
        band = abs(aside) * (1 / near - 1 / z)  # px from its near to its far end
        if band < ROWS_PX:  # and far: the haze leaves nothing of its windows
            return
        if band < PANES_PX:
            self._paint_lattice(pen, z, haze, columns=band > LATTICE_PX)
        else:
            self._paint_panes(pen, z, haze, framed=band > FRAMES_PX)
        if band > 18.0:
            pen.decal([corners[BAND_FACE]], look.fade(self.band, haze))
            pen.decal([corners[CORNICE_FACE]], look.fade(self.trim, haze))

    def _paint_lattice(self, pen: Pen, z: float, haze: float, *, columns: bool) -> None:
        """From afar: whole rows of panes, then the wall between: far fewer shapes than panes."""
        view, look, rows = self.look.view, self.look, self.storeys
        along, high = self.lattice
        if not columns:
            along, high = along[:rows], high[:rows]
        points = list(view.points(self.side, high, along + (z - self.length)))
        pen.decal(points[:rows], look.fade(self.dim if columns else self.faint, haze))
        if columns:
            # Their edges are upright on the frame: smoothing would change nothing that shows.
            pen.decal(points[rows:], look.fade(self.wall, haze), smooth=False)

    def _paint_panes(self, pen: Pen, z: float, haze: float, *, framed: bool) -> None:
        view, look = self.look.view, self.look
        (along, high), dark = self.panes, self.dark
        along = along + (z - self.length)
        first = z - self.length
        scale = view.focal / max(first, CUT_M)
        u, top = view.centre + (self.x - view.x) * scale, (view.y - self.height) * scale
        if not (first > CUT_M and 0 <= u < view.width and top > -view.horizon):
            # Leave out what is beside or above the frame.
            scales = view.focal / np.maximum(along[:, 1], CUT_M)
            across = (self.x - view.x) * scales
            seen = np.abs(across + (view.centre - view.width / 2)) < view.width / 2 + 4
            seen &= along[:, 0] > CUT_M
            seen &= (view.y - high[:, 0]) * scales > -4 - view.horizon
            dark = int(np.count_nonzero(seen[:dark]))
            along, high = along[seen], high[seen]
            if not len(along):
                return
        if framed:
            frames = view.points(self.side, high + FRAME_Y, along + FRAME_Z)
            # Their outer edges part colours that are much alike; smooth ones cost three times that.
            pen.decal(list(frames), look.fade(self.trim, haze), smooth=False)
        points = list(view.points(self.side, high, along))
        if dark:
            pen.decal(points[:dark], look.fade(self.glass[0], haze))
        if dark < len(points):
            pen.decal(points[dark:], look.fade(self.glass[1], haze))


def build_house(
    look: Look,
    rng: np.random.Generator,
    x: float,
    length: float,
    *,
    tall: float,
    before: House | None,
) -> House:
    """A house of a random style; ``before`` is the one that touches its near end."""
    side = 1.0 if x > 0 else -1.0
    pitched = bool(rng.random() < 0.55) and tall < 12
    storeys = max(round(tall / 3.1), 2)
    height = storeys * 3.1 + 0.5
    shop = bool(rng.random() < 0.4)
    base = pick(WALLS, rng) * rng.uniform(0.8, 1.12)
    facing = np.array([-side, 0.0, 0.0])
    wall, end = look.lit(base, facing), look.lit(base * 0.94, AHEAD)
    roof = look.lit(pick(ROOFS, rng), np.array([-side * 0.6, 0.8, 0.0]))
    trim = look.lit(np.minimum(base * 1.25 + 24, 235), facing)
    wide, high = rng.uniform(1.0, 1.6), rng.uniform(1.3, 1.8)
    if rng.random() < 0.2:  # an office: bands of glass
        wide, high, pitched = 2.2, 1.7, False
    columns = max(int(length / (wide + rng.uniform(1.1, 2.3))), 1)
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
            panes.append(rectangle(a, a + w, y, y + h))
    bright = rng.random(len(panes)) < 0.3
    dark = look.lit(np.array([92.0, 84.0, 74.0]) * rng.uniform(0.7, 1.0), facing)
    light = dark + (look.sky[0] - dark) * 0.45
    if look.mood in ("dusk", "evening"):
        light = np.array([120.0, 196.0, 236.0])
    sign = look.lit(pick(SHOPS, rng), facing)
    ridge = float(rng.uniform(1.8, 3.2)) if pitched else 0.0
    out = x + side * float(rng.uniform(7.0, 11.0))
    ridge_x = (x + out) / 2
    low, high_y = (2.7, 3.4) if shop else (0.0, 0.5)
    outline = [(x, 0.0), (x, height), (out, 0.0), (out, height)]
    outline += [(x - side * 0.35, height - 0.1), (ridge_x, height + ridge)]
    outline += [(x, low), (x, high_y), (x, height - 0.35)]
    top = height + ridge
    stack = rectangle(ridge_x - 0.45, ridge_x + 0.45, top - 0.6, top + 0.9)
    chimney = bool(rng.random() < 0.6)
    table = np.asarray(panes, float)
    plain = table.reshape(storeys, columns, 4, 2)[:, -1]  # the last of a storey is never its door
    lows, highs = plain[:, 0, 1].tolist(), plain[:, 2, 1].tolist()
    rows = [rectangle(0.0, length, y0, y1) for y0, y1 in zip(lows, highs, strict=True)]
    edges = [0.0, *table[columns : 2 * columns, :2, 0].ravel().tolist(), length]
    walls = [rectangle(edges[i], edges[i + 1], lows[0], highs[-1]) for i in range(0, len(edges), 2)]
    order = np.argsort(bright, kind="stable")
    share = float((table[columns, 1, 0] - table[columns, 0, 0]) / pitch)
    covers = before is not None and abs(before.x) <= abs(x)
    return House(
        look=look,
        x=x,
        length=length,
        height=height,
        ridge=ridge,
        outline=look.view.offsets(outline),
        wall=tone(wall),
        end=tone(end),
        roof=tone(roof),
        trim=tone(trim),
        band=tone(sign if shop else wall * 0.72),
        dim=tone(dark * 0.75 + light * 0.25),
        glass=(tone(dark), tone(light)),
        faint=tone(wall + (dark * 0.75 + light * 0.25 - wall) * share),
        panes=np.ascontiguousarray(np.moveaxis(table[order], 2, 0)),
        dark=len(bright) - int(bright.sum()),
        lattice=np.ascontiguousarray(np.moveaxis(np.array(rows + walls), 2, 0)),
        side=np.full((1, 1), x),
        storeys=storeys,
        stack=look.view.offsets(stack) if chimney else None,
        hides_end=covers and before is not None and before.height >= height,
        hides_gable=covers and before is not None and before.height >= top,
    )


def rectangle(a: float, b: float, low: float, high: float) -> list[tuple[float, float]]:
    """Corners of an upright rectangle."""
    return [(a, low), (b, low), (b, high), (a, high)]
