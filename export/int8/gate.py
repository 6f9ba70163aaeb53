"""What a quantised file loses against the FP32 one, and whether that is too much; no file changes.

On labelled images the scores of both are compared; on other frames what FP32 says is the truth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.progress import counted
from edge.vision.types import Image
from engines import open_engine
from engines.spec import ModelSpec
from export.compare.agreement import AgainstFirst, Score
from export.compare.differences import FEWEST_BOXES
from export.data.class_map import class_map
from export.data.labelled import LabelledData, LabelledFrame
from export.score.frame_scorer import FrameScorer
from export.score.predictor import MIN_SCORE, Prediction, Predictor


@dataclass(frozen=True, slots=True)
class Allowed:
    """The most that may be lost: of mIoU, and of the AP50 of each class."""

    miou: float
    ap50: float


ON_LABELS = Allowed(0.005, 0.01)
AGREEMENT = Allowed(0.07, 0.05)
"""Where FP32 itself is the truth every pixel that changes counts against INT8, also those that it
gets right: a street net that lost 0.0013 of mIoU on labels kept 0.95 of FP32's own masks."""


@dataclass(frozen=True, slots=True)
class Loss:
    """One score: FP32's, the quantised file's, and by how much that may be lower."""

    name: str
    before: float
    after: float
    allowed: float

    @property
    def share(self) -> float:
        """What was lost as a share of what may be; below 0 where it rose."""
        return (self.before - self.after) / self.allowed

    def __str__(self) -> str:
        change = self.after - self.before
        return f"{self.name} {self.before:.4f} to {self.after:.4f} ({change:+.4f})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """All losses, the outputs that were not finite, and over how many frames."""

    losses: tuple[Loss, ...]
    broken: tuple[str, ...]
    frames: int

    @property
    def worst(self) -> float:
        """The largest share; the gate holds up to 1."""
        return max((loss.share for loss in self.losses), default=np.inf)

    @property
    def holds(self) -> bool:
        """Whether no loss is past its limit and every output finite."""
        return not any(self.failures())

    def failures(self) -> Iterator[str]:
        """Why it does not hold."""
        if not self.losses:
            yield "nothing was judged"
        yield from (f"output {name} is not finite" for name in self.broken)
        yield from (f"{x}, {x.allowed:g} may be lost" for x in self.losses if not x.share <= 1)

    def __str__(self) -> str:
        return f"{', '.join(map(str, self.losses))} on {self.frames} frames"


class Gate:
    """FP32's own answers, kept, and the scores of quantised files against them."""

    def __init__(
        self,
        reference: Path,
        frames: Sequence[Image],
        *,
        labelled: LabelledData | None,
        renames: Mapping[str, str],
        allowed: Allowed,
    ) -> None:
        """Run the FP32 file over ``frames``, or over the images of ``labelled``.

        Raises:
            ModelError, EngineError: it cannot be run.
            ExportError: the data is broken, or model and data share no class.
            SettingsError: a name in ``renames`` is unknown.
        """
        self._frames, self._labelled, self._renames = frames, labelled, renames
        self._allowed = allowed
        self._said: list[Prediction] = []
        """What FP32 says, frame by frame, where that is the truth."""
        self._boxes: Counter[str] = Counter()
        self._score, self.broken = self._scored(reference, "onnxruntime", first=True)

    def judge(self, path: Path, *, engine: str = "onnxruntime") -> Verdict:
        """Score a quantised file in an engine.

        Raises:
            ModelError, EngineError: it cannot be run.
        """
        score, broken = self._scored(path, engine)
        return Verdict(tuple(self._losses(score)), broken, self.frames)

    @property
    def frames(self) -> int:
        """How many it judges on."""
        return self._labelled.count if self._labelled else len(self._frames)

    @property
    def judged(self) -> list[str]:
        """The scores that are compared."""
        return [loss.name for loss in self._losses(self._score)]

    @property
    def not_judged(self) -> list[str]:
        """Classes with too few boxes for an AP that means something."""
        return sorted(name for name, count in self._boxes.items() if count < FEWEST_BOXES)

    def _losses(self, score: Score) -> Iterator[Loss]:
        before = self._score
        if before.miou is not None:
            yield Loss("mIoU", before.miou, score.miou or 0.0, self._allowed.miou)
        if before.boxes is None:
            return
        for name, ap50 in before.boxes.ap50.items():
            if ap50 is not None and name not in self.not_judged:
                now = score.boxes.ap50.get(name) if score.boxes else None
                yield Loss(f"{name} AP50", ap50, now or 0.0, self._allowed.ap50)

    def _scored(
        self, path: Path, engine: str, *, first: bool = False
    ) -> tuple[Score, tuple[str, ...]]:
        """The scores of a file, and its outputs that were not finite; the first is the truth's."""
        broken: dict[str, None] = {}
        with closing(open_engine(path, engine=engine, precision="f32")) as opened:
            predictor = Predictor(opened)
            names = predictor.class_names
            against = AgainstFirst([names, names])
            on_labels = self._on_labels(opened.spec)
            for i in counted(range(self.frames), "scoring", total=self.frames):
                item = self._labelled.load(i) if self._labelled else None
                said = predictor.predict(item.image if item else self._frames[i])
                broken.update(dict.fromkeys(_not_finite(predictor)))
                if first:
                    self._count(item, said, names)
                if item is not None and on_labels is not None:
                    on_labels.add(i, item, said)
                    continue
                if first:
                    self._said.append(said)
                against.add(self._frames[i], (self._said[i], said))
        score = Score.of(on_labels) if on_labels is not None else against.scores()[1]
        return score, tuple(broken)

    def _count(self, item: LabelledFrame | None, said: Prediction, names: Sequence[str]) -> None:
        """Note the boxes of one frame's truth."""
        if item is not None and self._labelled is not None:
            classes = self._labelled.box_classes
            true = [classes[a["category_id"] - 1] for a in item.annotations if not a["iscrowd"]]
        else:
            true = [names[c] for c in said.shown.class_ids[said.shown.scores >= MIN_SCORE]]
        self._boxes.update(true)

    def _on_labels(self, spec: ModelSpec) -> FrameScorer | None:
        if self._labelled is None:
            return None
        classes = class_map(spec, self._labelled, self._renames, origin=spec.name)
        return FrameScorer(self._labelled, classes)


def _not_finite(predictor: Predictor) -> Iterator[str]:
    for name, values in predictor.outputs().items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            yield name
