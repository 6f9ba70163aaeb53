"""A film without labels as data to score against: what a judging net sees in it is the truth.

What the judge is sure of are objects; what it is unsure of, and what is small, is a crowd:
neither missed nor a false alarm. It judges boxes, no masks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.progress import counted
from edge.proven.engine import proven_engine
from edge.sources import SourceOptions, open_source
from edge.sources.base import Source
from edge.vision.types import Detections, Image
from engines import open_engine
from engines.errors import ExportError
from engines.model_file import ModelFile
from export.data.labelled import LabelledData, LabelledFrame, annotation
from export.data.streets import COCO_ALIASES
from export.score.predictor import Predictor
from export.score.scores import share_inside

SURE, UNSURE = 0.4, 0.1
"""Scores of the judge from which a box of it is an object, and from which it is a crowd."""
NESTED = 0.8
"""Share of a box in another from which one of the two is no object of its own."""
LONGEST = 100_000
"""Frames, an hour at 25 fps: what has no end is not read for ever."""


def film_data(
    film: Path, judge: Path, *, least_px: float, adopt: Callable[[Path, str | None], ModelFile],
    limit: int | None = None,
) -> LabelledData:  # fmt: skip
    """The first ``limit`` frames of a film or of a folder of pictures, with the judge's boxes.

    Objects have ``least_px`` on their longer side. Trucks and buses are cars, whoever names them.
    ``adopt`` gives the file that runs for a foreign judge.

    Raises:
        ExportError: the judge finds no object, or has no boxes.
        ModelError, EngineError: it is refused, or cannot run.
        SourceError: the film cannot be read.
    """
    frames = _Film(film)  # what cannot be read is told before the judge is adopted
    file = adopt(judge, str(film))
    engine = open_engine(
        file,
        engine=proven_engine(file, "auto", str(film), foreign=file.path != judge, precision="f32"),
        precision="f32",
    )
    found: list[Detections] = []
    try:
        if engine.spec.detection is None:
            raise ExportError(f"{judge}: has no boxes, wanted a net that detects objects.")
        called = [COCO_ALIASES.get(n, n) for n in engine.spec.detection.classes]
        predictor = Predictor(engine)
        total = min(limit or LONGEST, frames.count or limit or LONGEST)
        for i in counted(range(limit or LONGEST), "judge", total=total, unit="frames"):
            image = frames.at(i)
            if image is None:
                break
            found.append(predictor.predict(image).all)
            predictor.check_finite()
    finally:
        engine.close()
    sure = {called[i] for boxes in found for i in boxes.class_ids[boxes.scores >= SURE]}
    names = tuple(n for n in dict.fromkeys(called) if n in sure)
    if not names:
        raise ExportError(
            f"{judge}: found nothing in {len(found)} frames of {film} at score {SURE:g} and "
            "more. Name a better net with --judge, or another film."
        )
    ids = np.array([names.index(n) if n in names else -1 for n in called], np.int64)

    def load(i: int) -> LabelledFrame:
        image = frames.at(i)
        if image is None:
            raise ExportError(
                f"{film}: had {len(found)} frames and now has {i}. Leave it as it is."
            )
        return LabelledFrame(f"frame {i}", image, None, truth_of(found[i], ids, least_px=least_px))

    return LabelledData(
        "film", len(found), load, box_classes=names, frames=film, video=True,
        source=f"{film.name} as {judge.name} sees it, {least_px:g} px and more",
        aliases=COCO_ALIASES, least_px=least_px, in_time=frames.in_time,
    )  # fmt: skip


def truth_of(found: Detections, ids: NDArray[np.int64], *, least_px: float) -> list[dict[str, Any]]:
    """What the judge found in a frame as COCO entries; ``ids`` are the data's classes by its.

    A class that has −1 is left out. Of two boxes of a class one of which lies in the other, the
    lower-scored one is a crowd: half a car beside the whole one, or two cars in one.
    """
    kept = (found.scores >= UNSURE) & (ids[found.class_ids] >= 0)
    boxes, scores, own = found.xyxy[kept], found.scores[kept], ids[found.class_ids[kept]]
    crowd = (scores < SURE) | ((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0) < least_px)
    inside = share_inside(boxes, boxes)
    nested = np.tril(np.maximum(inside, inside.T) >= NESTED, -1)  # [i, j]: i scores less than j
    crowd |= (nested & (own[:, None] == own[None]) & ~crowd[None]).any(axis=1)
    return [
        annotation(xyxy, int(class_id), crowd=bool(one))
        for xyxy, class_id, one in zip(boxes, own, crowd, strict=True)
    ]


class _Film:
    """The frames of a file or folder by number; going back opens it anew.

    ``count`` is how many it says it has, ``in_time`` whether they follow one another in time.
    """

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            SourceError: it cannot be opened.
        """
        self._name = str(path)
        self._source = self._opened()
        self._next = 0
        self.count = self._source.frame_count
        self.in_time = self._source.fps is not None

    def _opened(self) -> Source:
        return open_source(
            self._name, policy="wait", stop=threading.Event(), options=SourceOptions()
        )

    def at(self, number: int) -> Image | None:
        """Frame ``number``, (H, W, 3) BGR; None beyond the last.

        Raises:
            SourceError: it cannot be read so far.
        """
        if number < self._next:
            self._source.close()
            self._source, self._next = self._opened(), 0
        while True:
            frame = self._source.read()
            self._next += 1
            if frame is None or self._next > number:
                return None if frame is None else frame.image
