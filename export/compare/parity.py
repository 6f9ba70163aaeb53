"""Whether two engines say the same on the same frames: numbers, limits, and what is not proven.

Raw outputs, boxes, masks and scores are compared; where an output is not finite, or the same for
every frame, no limit is asked. It opens no file and prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge.vision.types import Detections, Image, Mask
from engines.base import Array, Engine
from engines.errors import ExportError
from engines.spec import ModelSpec
from export.adopt.proof import FEWEST_BOXES, PROOF_CONF
from export.compare.agreement import AgainstFirst, Score
from export.compare.sides import Side
from export.data.class_map import class_map
from export.data.labelled import LabelledData, LabelledFrame
from export.score.frame_scorer import MIN_SCORE, FrameScorer
from export.score.scores import iou_matrix


@dataclass(frozen=True, slots=True)
class Limits:
    """What two engines may differ by; None is reported and not judged.

    Two boxes of a class are the same where their IoU and scores are within ``iou`` and ``score``;
    ``unmatched`` is the share of boxes that may have no such partner. ``mask`` is the share of
    equal labels in the worst frame, ``miou`` and ``ap50`` the change of the score, up or down.
    """

    iou: float = 0.99
    score: float = 0.01
    unmatched: float | None = None
    mask: float | None = None
    miou: float | None = 0.005
    ap50: float | None = 0.005


SAME = Limits(unmatched=0.005, mask=0.995, miou=None, ap50=None)
"""For a conversion that must not change what a model says.

The shipped network in FP16 on the 233 images of CamVid test: 9 of 12866 boxes (0.07 %) without a
partner, where two classes nearly tie or the IoU is 0.989; largest score difference 0.0047; masks
equal in 99.86 % in the worst frame. Below 200 boxes not one may be without.
"""


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


@dataclass(slots=True)
class BoxDifference:
    """Boxes of either side from ``PROOF_CONF`` on, each looked up among the other's candidates.

    Before NMS, so that two boxes which nearly tie do not count as a difference where the other one
    of them survived.
    """

    boxes: int = 0
    """Of both sides."""
    of_reference: int = 0
    min_iou: float = 1.0
    max_score: float = 0.0
    unmatched: int = 0
    """Boxes without a partner of the class within IoU and score."""


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


def compare(
    reference: Engine,
    candidate: Engine,
    frames: Sequence[Image],
    *,
    limits: Limits,
    labelled: LabelledData | None = None,
    renames: Mapping[str, str] | None = None,
) -> Parity:
    """Run both on ``frames`` (H, W, 3) BGR, or on the images of ``labelled``, and compare.

    ``renames`` maps names of the models' classes to those of ``labelled``. A single frame is joined
    by its mirror image, so that an output that ignores it is seen.

    Raises:
        ExportError: the two cannot be compared, the labelled data is broken, or a model knows none
            of its classes.
        EngineError: a run failed.
    """
    comparison = _Comparison(reference, candidate, limits)
    if labelled is not None:
        comparison.score_on(labelled, renames or {})
    if labelled is not None:
        for i in range(labelled.count):
            item = labelled.load(i)
            comparison.add(item.image, item)
        return comparison.parity()
    pictures = [*frames, np.ascontiguousarray(frames[0][:, ::-1])] if len(frames) == 1 else frames
    for frame in pictures:
        comparison.add(frame)
    return comparison.parity()


class _Comparison:
    """Takes one frame after another and keeps the worst values."""

    def __init__(self, reference: Engine, candidate: Engine, limits: Limits) -> None:
        self._a, self._b = Side(reference), Side(candidate)
        _check_comparable(self._a.spec, self._b.spec)
        self._limits = limits
        self._frames = 0
        self._outputs = {t.name: OutputDifference(t.name) for t in self._a.spec.outputs}
        self._boxes = BoxDifference()
        self._masks: dict[str, float] = {}
        self._classes_seen: dict[str, set[int]] = {}
        self._first: tuple[dict[str, Array], dict[str, Array]] | None = None
        self._differs: tuple[set[str], set[str]] = (set(), set())
        self._labelled: list[FrameScorer] = []
        self._against = AgainstFirst((self._a.class_names, self._b.class_names))

    def score_on(self, data: LabelledData, renames: Mapping[str, str]) -> None:
        """Score both against the labels of ``data`` rather than the second against the first."""
        names = [set(_class_names(spec)) for spec in (self._a.spec, self._b.spec)]
        self._labelled = [
            FrameScorer(
                data,
                # what the other one alone has is no mistake
                class_map(
                    spec,
                    data,
                    {k: v for k, v in renames.items() if k in own or k not in names[0] | names[1]},
                    origin=spec.name,
                ),
            )
            for spec, own in zip((self._a.spec, self._b.spec), names, strict=True)
        ]

    def add(self, image: Image, labelled: LabelledFrame | None = None) -> None:
        """Compare one frame."""
        self._frames += 1
        (raw_a, seen_a), (raw_b, seen_b) = self._a.see(image), self._b.see(image)
        for name, difference in self._outputs.items():
            _add_output(difference, raw_a[name], raw_b[name], self._frames)
        self._note_changes(raw_a, raw_b)
        low = max(PROOF_CONF - self._limits.score, MIN_SCORE)
        self._boxes.of_reference += int((seen_a.all.scores >= PROOF_CONF).sum())
        self._add_boxes(seen_a.all, self._b.candidates(image, raw_b, low))
        self._add_boxes(seen_b.all, self._a.candidates(image, raw_a, low))
        theirs = {m.name: m for m in seen_b.masks}
        for mask in seen_a.masks:
            self._add_mask(mask, theirs.get(mask.name))
        if labelled is None:
            self._against.add(image, (seen_a, seen_b))
        else:
            for scorer, seen in zip(self._labelled, (seen_a, seen_b), strict=True):
                scorer.add(self._frames, labelled, seen)

    def _note_changes(self, raw_a: dict[str, Array], raw_b: dict[str, Array]) -> None:
        if self._first is None:
            self._first = (raw_a, raw_b)
            return
        for now, first, differs in zip((raw_a, raw_b), self._first, self._differs, strict=True):
            differs.update(n for n in now if not np.array_equal(now[n], first[n], equal_nan=True))

    def _add_boxes(self, found: Detections, others: Detections) -> None:
        shown = found.scores >= PROOF_CONF
        xyxy, scores, ids = found.xyxy[shown], found.scores[shown], found.class_ids[shown]
        difference = self._boxes
        difference.boxes += len(scores)
        for box, score, class_id in zip(xyxy, scores, ids, strict=True):
            same = others.class_ids == class_id
            iou, off = _nearest(
                box, float(score), others.xyxy[same], others.scores[same], limit=self._limits.iou
            )
            close = iou >= self._limits.iou
            difference.min_iou = min(difference.min_iou, iou)
            if close:
                difference.max_score = max(difference.max_score, off)
            difference.unmatched += not close or off > self._limits.score

    def _add_mask(self, mask: Mask, other: Mask | None) -> None:
        comparable = (
            other is not None
            and other.classes == mask.classes
            and other.labels.shape == mask.labels.shape
        )
        same = float((other.labels == mask.labels).mean()) if other and comparable else 0.0
        self._masks[mask.name] = min(self._masks.get(mask.name, 1.0), same)
        seen = self._classes_seen.setdefault(mask.name, set())
        seen.update(np.unique(mask.labels).tolist())

    def parity(self) -> Parity:
        """The verdict over all frames."""
        if not self._frames:
            raise ExportError("no frames to compare on. Name a source with --frames.")
        a, b = map(Score.of, self._labelled) if self._labelled else self._against.scores()
        if self._frames > 1:
            for name, difference in self._outputs.items():
                difference.constant = name in self._differs[0] and name not in self._differs[1]
        failures = [*self._thresholds(), *self._broken(), *self._past_limits(a, b)]
        return Parity(
            frames=self._frames,
            outputs=tuple(self._outputs.values()),
            boxes=self._boxes if self._a.spec.detection else None,
            masks=self._masks,
            truth="labels" if self._labelled else "reference",
            reference=a,
            candidate=b,
            failures=tuple(failures),
            doubts=tuple(self._doubts(a)),
        )

    def _thresholds(self) -> Iterator[str]:
        """What the app would ask of the boxes, where the two files do not ask the same."""
        one, two = self._a.spec.detection, self._b.spec.detection
        if one is None or two is None:
            return
        for what, a, b in (("score", one.conf, two.conf), ("overlap", one.nms_iou, two.nms_iou)):
            if a != b:
                yield f"the threshold of {what} is {a} in the one file and {b} in the other"

    def _broken(self) -> Iterator[str]:
        for side, whose in ((self._a, "the reference's"), (self._b, "the candidate's")):
            if side.overflowed:
                first, *rest = side.overflowed
                more = f" and {len(rest)} behind it" if rest else ""
                yield f"{whose} float16 tensor {first!r}{more} leaves half's range"
        for output in self._outputs.values():
            if not output.finite:
                yield f"output {output.name} is not finite"
            if output.constant:
                yield f"output {output.name} ignores its input: it is the same for every frame"

    def _past_limits(self, a: Score, b: Score) -> Iterator[str]:
        limits, boxes = self._limits, self._boxes
        if limits.unmatched is not None and not boxes.unmatched <= limits.unmatched * boxes.boxes:
            yield (
                f"{boxes.unmatched} of {boxes.boxes} boxes have no partner with IoU >= "
                f"{limits.iou:g} and a score within {limits.score:g}; lowest IoU "
                f"{boxes.min_iou:.3f}, largest score difference {boxes.max_score:.3f}"
            )
        for name, share in self._masks.items():
            if limits.mask is not None and not share >= limits.mask:
                yield f"mask {name} agrees in {share:.2%} of its labels, limit {limits.mask:.2%}"
        for what, limit, one, two in (
            ("mIoU", limits.miou, a.miou, b.miou),
            ("AP50", limits.ap50, a.ap50, b.ap50),
        ):
            if limit is None or one is None:
                continue
            if two is None or not abs(two - one) <= limit:
                now = "gone" if two is None else f"{two:.4f}"
                yield f"{what} was {one:.4f} and is {now}, limit of the change {limit:g}"

    def _doubts(self, a: Score) -> Iterator[str]:
        limits, found = self._limits, self._boxes.of_reference
        if self._frames == 1:
            yield "one frame cannot show that an output ignores its input"
        by_ap = limits.ap50 is not None and a.ap50 is not None
        if self._a.spec.detection is not None and limits.unmatched is None and not by_ap:
            yield "boxes were not judged: none of a known class is there for AP50 (--unmatched)"
        by_iou = limits.miou is not None and a.miou is not None
        if self._a.spec.masks and limits.mask is None and not by_iou:
            yield "masks were not judged: no labels are there for mIoU (--mask)"
        if self._a.spec.detection is not None and found < FEWEST_BOXES:
            yield f"{found} boxes were found, wanted {FEWEST_BOXES} or more"
        for name, seen in self._classes_seen.items():
            if len(seen) < 2:
                yield f"mask {name} shows one class only"
        for name in self._outputs:
            if self._frames > 1 and name not in self._differs[0]:
                yield f"the reference's output {name} is the same for different frames"


def _add_output(difference: OutputDifference, a: Array, b: Array, frames: int) -> None:
    """Take in one frame's tensors; the mean is over all frames so far."""
    difference.finite &= bool(np.isfinite(a).all() and np.isfinite(b).all())
    with np.errstate(all="ignore"):
        apart = np.abs(a.astype(np.float64) - b)
    difference.largest = float(np.maximum(difference.largest, apart.max(initial=0.0)))
    difference.mean += (float(apart.mean()) - difference.mean) / frames
    difference.equal = min(difference.equal, float((a == b).mean()))


def _nearest(
    box: NDArray[np.float32],
    score: float,
    xyxy: NDArray[np.float32],
    scores: NDArray[np.float32],
    *,
    limit: float,
) -> tuple[float, float]:
    """IoU and score difference of the partner: of those within ``limit`` the nearest in score."""
    if not len(xyxy):
        return 0.0, 1.0
    overlaps = iou_matrix(box[None], xyxy)[0]
    off = np.abs(scores - score)
    best = int(np.where(overlaps >= limit, off, np.inf).argmin())
    if overlaps[best] < limit:
        best = int(overlaps.argmax())
    return float(overlaps[best]), float(off[best])


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
