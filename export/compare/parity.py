"""Whether two engines say the same on the same frames: numbers, limits, and what is not proven.

Raw outputs, boxes, masks and scores are compared; where an output is not finite, or the same for
every frame, no limit is asked. It opens no file and prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from edge.progress import counted
from edge.vision.types import Image
from engines.base import Array, Engine
from engines.errors import ExportError
from engines.spec import ModelSpec
from export.compare.agreement import AgainstFirst, Score
from export.compare.differences import PROOF_CONF, BoxDifference, Differences, Limits
from export.data.class_map import class_map
from export.data.labelled import LabelledData, LabelledFrame
from export.onnx.half import HalfEngine
from export.score.frame_scorer import FrameScorer
from export.score.predictor import MIN_SCORE, Prediction, Predictor


@dataclass(slots=True)
class OutputDifference:
    """One output tensor over all frames."""

    name: str
    largest: float = 0.0
    mean: float = 0.0
    equal: float = 1.0
    """Share of equal elements in the worst frame."""
    finite: bool = True
    constant: bool = False
    """The same for frames for which the reference's differs."""


@dataclass(frozen=True, slots=True)
class Parity:
    """The comparison; ``failures`` are limits that were missed, ``doubts`` what proves little."""

    frames: int
    outputs: tuple[OutputDifference, ...]
    boxes: BoxDifference | None
    masks: Mapping[str, float]
    """Mask name → share of equal labels in the worst frame."""
    truth: Literal["labels", "reference"]
    reference: Score
    candidate: Score
    failures: tuple[str, ...]
    doubts: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "passed": not self.failures and not self.doubts}

    def lines(self, limits: Limits) -> list[str]:
        """The numbers, for the user, with the limits they are held to."""
        rows = [f"{self.frames} frames"]
        for output in self.outputs:
            rows.append(
                f"output {output.name}: {'finite' if output.finite else 'NOT FINITE'}, difference "
                f"{output.largest:.3g} at most, {output.mean:.2g} in the mean"
                + (", THE SAME FOR EVERY FRAME" if output.constant else "")
            )
        if self.boxes is not None:
            boxes = self.boxes
            rows.append(
                f"boxes: {boxes.boxes} of both sides at score >= {PROOF_CONF:g}, {boxes.unmatched} "
                f"without a partner of IoU >= {limits.iou:g} and score within {limits.score:g} "
                f"(share allowed {limits.unmatched:g})"
            )
            rows.append(
                f"boxes: lowest IoU {boxes.min_iou:.4f}, largest score difference "
                f"{boxes.max_score:.4f}"
            )
        for name, share in self.masks.items():
            rows.append(
                f"mask {name}: {share:.3%} of labels equal in the worst frame{_limit(limits.mask)}"
            )
        against = "labels" if self.truth == "labels" else "what the first one says"
        for what, limit, one, two in _scores(limits, self.reference, self.candidate):
            if one is not None and two is not None:
                rows.append(
                    f"{what}: {one:.4f} and {two:.4f} against {against}, change {two - one:+.4f}"
                    f"{_limit(limit)}"
                )
        return rows


def compare(
    reference: Engine,
    candidate: Engine,
    frames: Sequence[Image],
    *,
    limits: Limits,
    labelled: LabelledData | None = None,
    renames: Mapping[str, str] | None = None,
    scored: bool = True,
) -> Parity:
    """Run both on ``frames`` (H, W, 3) BGR, or on the images of ``labelled``, and compare.

    ``renames`` maps names of the models' classes to those of ``labelled``; ``scored`` False leaves
    AP and mIoU out, which need a package that an app may do without. A single frame is joined
    by its mirror image, so that an output that ignores it is seen.

    Raises:
        ExportError: the two cannot be compared, the labelled data is broken, or a model knows none
            of its classes.
        EngineError: a run failed.
    """
    comparison = _Comparison(reference, candidate, limits, scored=scored)
    if labelled is not None:
        comparison.score_on(labelled, renames or {})
        for i in counted(range(labelled.count), "comparing", total=labelled.count):
            item = labelled.load(i)
            comparison.add(item.image, item)
        return comparison.parity()
    pictures = [*frames, np.ascontiguousarray(frames[0][:, ::-1])] if len(frames) == 1 else frames
    for frame in counted(pictures, "comparing", total=len(pictures)):
        comparison.add(frame)
    return comparison.parity()


@dataclass(slots=True)
class _Model:
    """One of the two, with what is noted of it from frame to frame."""

    whose: str
    predictor: Predictor
    overflowed: dict[str, None] = field(default_factory=dict)  # a set that keeps its order
    changing: set[str] = field(default_factory=set)
    """Outputs that were not always as in the first frame."""
    _first: dict[str, Array] | None = None

    def predict(self, image: Image) -> Prediction:
        predicted, engine = self.predictor.predict(image), self.predictor.engine
        if isinstance(engine, HalfEngine):
            self.overflowed.update(dict.fromkeys(engine.overflowed))
        now = self.predictor.outputs()
        first = self._first = self._first or {n: a.copy() for n, a in now.items()}
        self.changing.update(n for n in now if not np.array_equal(now[n], first[n], equal_nan=True))
        return predicted


class _Comparison:
    """Takes one frame after another and keeps the worst values."""

    def __init__(
        self, reference: Engine, candidate: Engine, limits: Limits, *, scored: bool
    ) -> None:
        self._a = _Model("the reference's", Predictor(reference))
        self._b = _Model("the candidate's", Predictor(candidate))
        self._specs = reference.spec, candidate.spec
        _check_comparable(*self._specs)
        self._differences = Differences(limits)
        self._frames = 0
        self._outputs = {t.name: OutputDifference(t.name) for t in reference.spec.outputs}
        self._labelled: list[FrameScorer] = []
        names = self._a.predictor.class_names, self._b.predictor.class_names
        self._against = AgainstFirst(names) if scored else None

    def score_on(self, data: LabelledData, renames: Mapping[str, str]) -> None:
        """Score both against the labels of ``data`` rather than the second against the first."""
        names = [set(_class_names(spec)) for spec in self._specs]
        for spec, own in zip(self._specs, names, strict=True):
            # A name that only the other model has is no mistake.
            mine = {k: v for k, v in renames.items() if k in own or k not in names[0] | names[1]}
            classes = class_map(spec, data, mine, origin=spec.name)
            self._labelled.append(FrameScorer(data, classes))

    def add(self, image: Image, labelled: LabelledFrame | None = None) -> None:
        """Compare one frame."""
        self._frames += 1
        a, b = both = self._a.predict(image), self._b.predict(image)
        raw_a, raw_b = self._a.predictor.outputs(), self._b.predictor.outputs()
        for name, difference in self._outputs.items():
            _add_output(difference, raw_a[name], raw_b[name], self._frames)
        # Among candidates before NMS: of two boxes that nearly tie, either may survive it.
        differences = self._differences
        low = max(PROOF_CONF - differences.limits.score, MIN_SCORE)
        differences.boxes.of_reference += int((a.all.scores >= PROOF_CONF).sum())
        differences.add_boxes(a.all, self._b.predictor.candidates(low))
        differences.add_boxes(b.all, self._a.predictor.candidates(low))
        theirs = {(m.name, m.classes): m.labels for m in b.masks}
        for mask in a.masks:
            differences.add_mask(mask.name, mask.labels, theirs.get((mask.name, mask.classes)))
        if labelled is None and self._against is not None:
            self._against.add(image, both)
        for scorer, predicted in zip(self._labelled, both, strict=False):
            assert labelled is not None
            scorer.add(self._frames, labelled, predicted)

    def parity(self) -> Parity:
        """The verdict over all frames."""
        if not self._frames:
            raise ExportError("no frames to compare on. Name a source with --frames.")
        a = b = Score(None, {}, None)
        if self._labelled:
            a, b = map(Score.of, self._labelled)
        elif self._against is not None:
            a, b = self._against.scores()
        if self._frames > 1:
            for name, output in self._outputs.items():
                output.constant = name in self._a.changing and name not in self._b.changing
        failures = [*self._thresholds(), *self._broken(), *self._past_limits(a, b)]
        return Parity(
            frames=self._frames,
            outputs=tuple(self._outputs.values()),
            boxes=self._differences.boxes if self._specs[0].detection else None,
            masks=self._differences.masks,
            truth="labels" if self._labelled else "reference",
            reference=a,
            candidate=b,
            failures=tuple(failures),
            doubts=tuple(self._doubts(a)),
        )

    def _thresholds(self) -> Iterator[str]:
        """What the app would ask of the boxes, where the two files do not ask the same."""
        one, two = (spec.detection for spec in self._specs)
        if one is None or two is None:
            return
        for what, a, b in (("score", one.conf, two.conf), ("overlap", one.nms_iou, two.nms_iou)):
            if a != b:
                yield f"the threshold of {what} is {a} in the one file and {b} in the other"

    def _broken(self) -> Iterator[str]:
        for model in (self._a, self._b):
            if model.overflowed:
                first, *rest = model.overflowed
                more = f" and {len(rest)} behind it" if rest else ""
                yield f"{model.whose} float16 tensor {first!r}{more} leaves half's range"
        for output in self._outputs.values():
            if not output.finite:
                yield f"output {output.name} is not finite"
            if output.constant:
                yield f"output {output.name} ignores its input: it is the same for every frame"

    def _past_limits(self, a: Score, b: Score) -> Iterator[str]:
        yield from self._differences.failures()
        for what, limit, one, two in _scores(self._differences.limits, a, b):
            if limit is None or one is None:
                continue
            if two is None or not abs(two - one) <= limit:
                now = "gone" if two is None else f"{two:.4f}"
                yield f"{what} was {one:.4f} and is {now}, limit of the change {limit:g}"

    def _doubts(self, a: Score) -> Iterator[str]:
        limits, spec = self._differences.limits, self._specs[0]
        if self._frames == 1:
            yield "one frame cannot show that an output ignores its input"
        by_iou = limits.miou is not None and a.miou is not None
        if spec.masks and limits.mask is None and not by_iou:
            yield "masks were not judged: no labels are there for mIoU (--mask)"
        yield from self._differences.doubts(has_boxes=spec.detection is not None)
        for name in self._outputs:
            if self._frames > 1 and name not in self._a.changing:
                yield f"the reference's output {name} is the same for different frames"


def _scores(
    limits: Limits, a: Score, b: Score
) -> tuple[tuple[str, float | None, float | None, float | None], ...]:
    """(name, limit of the change, score of the reference, score of the candidate)."""
    return ("mIoU", limits.miou, a.miou, b.miou), ("AP50", limits.ap50, a.ap50, b.ap50)


def _add_output(difference: OutputDifference, a: Array, b: Array, frames: int) -> None:
    """Take in one frame's tensors; the mean is over all frames so far."""
    difference.finite &= bool(np.isfinite(a).all() and np.isfinite(b).all())
    with np.errstate(all="ignore"):
        apart = np.abs(a.astype(np.float64) - b)
    difference.largest = float(np.maximum(difference.largest, apart.max(initial=0.0)))
    difference.mean += (float(apart.mean()) - difference.mean) / frames
    difference.equal = min(difference.equal, float((a == b).mean()))


def _class_names(spec: ModelSpec) -> list[str]:
    boxes = spec.detection.classes if spec.detection else ()
    return [*boxes, *(name for mask in spec.masks for name in mask.classes)]


def _check_comparable(a: ModelSpec, b: ModelSpec) -> None:
    """Refuse two models of other tensors: there is nothing to compare.

    Raises:
        ExportError: names the tensor, and what each side has.
    """
    if (a.input.height, a.input.width) != (b.input.height, b.input.width):
        raise ExportError(
            f"the inputs differ: {a.input.height}x{a.input.width} and {b.input.height}x"
            f"{b.input.width} (height x width). Export both at one size."
        )
    one, two = ({t.name: (t.dtype, t.shape) for t in spec.outputs} for spec in (a, b))
    for name in {**one, **two}:
        if one.get(name) != two.get(name):
            raise ExportError(
                f"output {name!r} is {_text(one.get(name))} in the one and {_text(two.get(name))} "
                "in the other; wanted the same tensors under the same names."
            )


def _text(tensor: tuple[str, tuple[int, ...]] | None) -> str:
    return f"{tensor[0]}{list(tensor[1])}" if tensor else "missing"


def _limit(value: float | None) -> str:
    return "" if value is None else f", limit {value:g}"
