"""Anchor shapes by k-means over the boxes of a training set: the table in export.train.net.street.

Run it from the project's folder: ``.venv/bin/python -m docs.experiments.anchors``.
"""

from __future__ import annotations

import click
import numpy as np
from numpy.typing import NDArray

from edge.cli import invoke
from engines.errors import ExportError
from export.data.camvid import default_root, load_index

SCALE = 384 / 360
"""Input pixels a CamVid pixel, when its 480x360 frames are letterboxed into 384x640."""


def k_means_anchors(wh: NDArray[np.float32], k: int, *, seed: int) -> NDArray[np.float32]:
    """Cluster widths and heights (n, 2) px into ``k`` shapes (k, 2), sorted by area.

    The distance is 1 − IoU of boxes put on one corner (YOLOv2, arXiv 1612.08242). Fewer than ``k``
    different boxes give some shapes more than once.

    Raises:
        ExportError: fewer boxes than shapes, or a box without width or height.
    """
    if len(wh) < k:
        raise ExportError(f"anchors: got {len(wh)} boxes, wanted {k} or more. Add labelled images.")
    if not (wh > 0).all():
        raise ExportError("anchors: a box has no width or no height. Remove it from the boxes.")
    rng = np.random.default_rng(seed)
    centres = wh[rng.choice(len(wh), k, replace=False)]
    for _ in range(100):
        inner = np.minimum(wh[:, None], centres[None]).prod(-1)  # (n, k)
        union = wh.prod(-1)[:, None] + centres.prod(-1)[None] - inner
        nearest = (inner / union).argmax(1)
        groups = [wh[nearest == i] for i in range(k)]
        moved = np.stack(
            [np.median(g, axis=0) if len(g) else c for g, c in zip(groups, centres, strict=True)]
        )
        if np.allclose(moved, centres):
            break
        centres = moved
    return np.asarray(centres[np.argsort(centres.prod(-1))], np.float32)


@click.command()
def main() -> None:
    """Print the anchors of CamVid train, three for each of the strides 8, 16 and 32."""
    items = load_index(default_root(), "train")
    boxes = np.concatenate([i.boxes[~i.crowd] for i in items])
    wh = (boxes[:, 2:] - boxes[:, :2]) * SCALE
    for row in k_means_anchors(wh[wh.min(1) >= 3], 9, seed=0).reshape(3, 3, 2).round():
        click.echo(tuple((float(w), float(h)) for w, h in row))


if __name__ == "__main__":
    invoke(main, "anchors")
