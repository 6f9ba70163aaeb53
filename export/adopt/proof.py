"""The proof of an adoption: the foreign file and the adopted one say the same on the same frames.

The foreign file gets a reference preprocessing and its boxes a reference decode, written plainly in
``export.adopt.reference`` and the families; the adopted file goes through the app's own letterbox
and decoders. Both run in ONNX Runtime at f32. It judges agreement only, not whether the net is any
good.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.vision.perception import Perception
from edge.vision.types import Detections, Image
from engines import open_engine
from engines.base import Array
from export.adopt.families.base import Family, Plan
from export.adopt.foreign import Float, ForeignNet, Outputs
from export.adopt.reference import Box, iou, reference_blob, reference_boxes, reference_labels
from export.onnx.session import open_session, run_session

IOU_LIMIT = 0.99
SCORE_LIMIT = 0.01
MASK_LIMIT = 0.999
"""Required: IoU and score of matched boxes, share of equal labels in every frame's mask."""
RAW_LIMIT = 1e-3
"""Largest difference of a raw head, as a share of the largest value of the same channel and of 1 at
least: float32 rounding through a deep net stays two orders of magnitude below it, a wrong mean or
channel order far above. By channel, because scores stand beside pixels."""
PROOF_CONF = 0.1
"""Boxes from this score on are compared: lower than the app shows, so that more of them count."""
SAME_SCORE = 1e-6
"""Scores this near to each other are one: rounding, not sight."""
FEWEST_BOXES = 10
MAX_BOXES = 300
"""Boxes compared a frame, the best first."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the comparison found; worst values over all frames.

    ``failures`` are limits that were missed, ``doubts`` are reasons why agreement proves little.
    """

    frames: int
    boxes: int
    min_iou: float
    max_score_difference: float
    raw_differences: dict[str, float]
    """raw head → largest difference, as a share of its channel's largest value."""
    mask_agreements: dict[str, float]
    failures: tuple[str, ...]
    doubts: tuple[str, ...]

    def lines(self) -> list[str]:
        """The numbers, for the user."""
        told = []
        for name, share in self.raw_differences.items():
            told.append(
                f"raw {name}: largest difference {share:.1e} of a channel's range "
                f"(limit {RAW_LIMIT:g})"
            )
        if self.boxes:
            told.append(
                f"boxes: {self.boxes} in {self.frames} frames at score >= {PROOF_CONF:g}, lowest "
                f"IoU {self.min_iou:.5f} (limit {IOU_LIMIT:g}), largest score difference "
                f"{self.max_score_difference:.5f} (limit {SCORE_LIMIT:g})"
            )
        for name, share in self.mask_agreements.items():
            told.append(
                f"mask {name}: {share:.4%} of labels equal in the worst frame "
                f"(limit {MASK_LIMIT:.1%})"
            )
        return told


def prove(
    net: ForeignNet, family: Family, plan: Plan, adopted: Path, frames: Sequence[Image]
) -> Proof:
    """Run both files on ``frames`` (H, W, 3) BGR and compare.

    Raises:
        ExportError: a file does not run.
        EngineError: the engine refuses the adopted file.
    """
    comparison = _Comparison(net, family, plan)
    session = open_session(adopted, origin=str(adopted))
    engine = open_engine(adopted, engine="onnxruntime", precision="f32")
    try:
        perception = Perception(engine, conf=PROOF_CONF, max_detections=MAX_BOXES)
        for frame in frames:
            perception.prepare(frame, 0)
            # A session of the proof's own shows the raw heads, which perception keeps to itself.
            inputs = {name: array.copy() for name, array in engine.inputs(0).items()}
            raw = run_session(session, inputs, origin=str(adopted))
            perception.submit(0)
            perception.wait(0)
            found, masks = perception.decode(0)
            labels = {mask.name: mask.labels for mask in masks}
            comparison.add(frame, raw, found, labels)
    finally:
        engine.close()
    comparison.probe()
    return comparison.proof()


class _Comparison:
    """Takes one frame after another and keeps the worst values."""

    def __init__(self, net: ForeignNet, family: Family, plan: Plan) -> None:
        self.net, self.family, self.plan = net, family, plan
        self.boxes = 0
        self.unmatched = 0
        self.min_iou = 1.0
        self.max_score = 0.0
        self.raw: dict[str, float] = {}
        self.masks: dict[str, float] = {}
        self.labels_seen: dict[str, set[int]] = {}
        self.wrong: dict[str, None] = {}  # a set that keeps its order
        self.seen: list[dict[str, Array]] = []
        self.scores: list[Float] = []
        self.heads = plan.heads

    def add(
        self, frame: Image, raw: Outputs, found: Detections, labels: Mapping[str, Array]
    ) -> None:
        """Compare one frame: the adopted file's raw heads, boxes and masks with the foreign's."""
        plan, net = self.plan, self.net
        wanted = net.run(reference_blob(frame, plan.preprocess, net.height, net.width))
        self.seen.append({name: wanted[name] for name in self.heads})
        for name in self.heads:
            if not np.isfinite(wanted[name]).all():
                self.wrong[f"the foreign file's own output {name} is not finite"] = None
                return
        if (reason := self.family.doubt(plan, wanted)) is not None:
            self.wrong[f"the foreign file is no {plan.family} net as supposed: {reason}"] = None
            return
        if plan.detection is not None:
            assert self.family.decode is not None
            # A net may give any number: exp of it, or its area, then has no place in a float.
            with np.errstate(over="ignore", invalid="ignore"):
                candidates = self.family.decode(net, plan, wanted)
                self.scores.append(candidates[1])
                self._add_raws(candidates[1], wanted, raw)
                boxes = reference_boxes(
                    frame, net, plan, *candidates, conf=PROOF_CONF, limit=MAX_BOXES
                )
            self._add_boxes(boxes, found)
        for mask in plan.masks:
            labels_wanted = reference_labels(mask, wanted[mask.raw])
            self._add_mask(mask.head.name, labels_wanted, labels[mask.head.name])

    def probe(self) -> None:
        """Run the foreign file on noise: a head that says the same as before ignores its input.

        So do scores, which may share an output with boxes that do not: of a net that was quantised
        wrongly they are 0.5, or 0, wherever it looks.
        """
        net = self.net
        noise = np.random.default_rng(0).integers(0, 256, (net.height, net.width, 3), np.uint8)
        outputs = net.run(reference_blob(noise, self.plan.preprocess, net.height, net.width))
        scores: Float | None = None
        if self.scores and self.family.decode is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                scores = self.family.decode(net, self.plan, outputs)[1]
        detection = self.plan.detection
        if (
            detection is not None
            and detection.family == "end2end"
            and scores is not None
            and not any(seen.any() for seen in (scores, *self.scores))
        ):
            return  # rows left empty in frames without what the net knows: told as too few boxes
        for name in self.heads:
            if all(np.array_equal(seen[name], outputs[name]) for seen in self.seen):
                self.wrong[
                    f"output {name} of the foreign file is the same for every frame and for noise, "
                    "so it ignores its input"
                ] = None
        if scores is None or self.wrong:
            return
        if all(
            seen.shape == scores.shape and np.abs(seen - scores).max(initial=0.0) <= SAME_SCORE
            for seen in self.scores
        ):
            self.wrong[
                f"the foreign file's scores are the same for every frame and for noise, at most "
                f"{scores.max(initial=0.0):.3g}: it finds nothing, as nets do that were quantised "
                "wrongly, or the frames show nothing that it knows; name others with --frames"
            ] = None

    def _add_raws(self, scores: Float, wanted: Outputs, raw: Outputs) -> None:
        """Compare the raw heads; of a list that the net has sorted by score, the sorted scores.

        Two boxes of all but equal scores may change places in it, which no one would notice.
        """
        assert self.plan.detection is not None
        for name in self.plan.detection.outputs:
            if self.plan.detection.family == "end2end":
                best = np.sort(scores.max(axis=1))
                self._add_raw(name, best, np.sort(raw[name][0, :, 4]))
            else:
                self._add_raw(name, wanted[name], raw[name])

    def _add_raw(self, name: str, wanted: Array, got: Array) -> None:
        channels = _by_channel(wanted)
        scale = np.maximum(np.abs(channels).max(axis=1), 1.0)
        share = float((np.abs(_by_channel(got) - channels).max(axis=1) / scale).max())
        if not share <= self.raw.get(name, 0.0):  # also where it is NaN
            self.raw[name] = share
        self.raw.setdefault(name, share)

    def _add_boxes(self, wanted: list[Box], found: Detections) -> None:
        got = list(zip(found.class_ids, found.scores, found.xyxy, strict=True))
        # A box at the threshold's very edge may be missing on one side: it needs no partner. So
        # may one among the last where there are more than are compared.
        edges = [scores[-1] for scores in ([b[1] for b in wanted], found.scores) if len(scores)]
        full = max(len(wanted), len(found)) >= MAX_BOXES
        sure = (max(float(e) for e in edges) if full else PROOF_CONF) + SCORE_LIMIT
        self.boxes += len(wanted)
        for box in wanted:
            self._add_match(box, got, needed=box[1] >= sure)
        for other in got:
            if not any(_agree(box, other) for box in wanted) and other[1] >= sure:
                self.unmatched += 1

    def _add_match(
        self,
        box: Box,
        others: list[tuple[np.int32, np.float32, Float]],
        *,
        needed: bool,
    ) -> None:
        same = [o for o in others if o[0] == box[0]]
        # A net without NMS may give a place twice: of those there, the one of the nearest score.
        nearest = max(
            same,
            key=lambda o: (min(iou(box[2], o[2]), IOU_LIMIT), -abs(float(o[1]) - box[1])),
            default=None,
        )
        overlap = iou(box[2], nearest[2]) if nearest is not None else 0.0
        if not needed and overlap < IOU_LIMIT:
            return
        self.min_iou = min(self.min_iou, overlap)
        if nearest is not None and overlap >= IOU_LIMIT:
            self.max_score = max(self.max_score, abs(float(nearest[1]) - box[1]))
        self.unmatched += not any(_agree(box, o) for o in same)

    def _add_mask(self, name: str, wanted: Array, labels: Array) -> None:
        share = float((wanted == labels).mean()) if wanted.shape == labels.shape else 0.0
        self.masks[name] = min(self.masks.get(name, 1.0), share)
        self.labels_seen.setdefault(name, set()).update(np.unique(wanted).tolist())

    def proof(self) -> Proof:
        """The verdict over all frames."""
        return Proof(
            frames=len(self.seen),
            boxes=self.boxes,
            min_iou=self.min_iou,
            max_score_difference=self.max_score,
            raw_differences=self.raw,
            mask_agreements=self.masks,
            failures=(*self.wrong, *self._missed_limits()),
            doubts=tuple(self._doubts()),
        )

    def _missed_limits(self) -> Iterator[str]:
        for name, share in self.raw.items():
            if not share <= RAW_LIMIT:
                yield (
                    f"raw head {name} differs by {share:.3g} of a channel's range, "
                    f"limit {RAW_LIMIT:g}"
                )
        if self.unmatched:
            yield (
                f"{self.unmatched} boxes have no partner with IoU >= {IOU_LIMIT:g} and a score "
                f"within {SCORE_LIMIT:g}, of {self.boxes} of the foreign file; lowest IoU "
                f"{self.min_iou:.3f}, largest score difference {self.max_score:.3f}"
            )
        for name, share in self.masks.items():
            if not share >= MASK_LIMIT:
                yield f"mask {name} agrees in {share:.3%} of its labels, limit {MASK_LIMIT:.1%}"

    def _doubts(self) -> Iterator[str]:
        if self.plan.detection is not None and self.boxes < FEWEST_BOXES:
            yield f"{self.boxes} boxes were found, wanted {FEWEST_BOXES} or more"
        for name, seen in self.labels_seen.items():
            if len(seen) < 2:
                yield f"mask {name} shows one class only"
        first, *others = self.seen or [{}]
        for name, array in first.items():
            if others and all(np.array_equal(o[name], array) for o in others):
                yield f"output {name} is the same for different frames"


def _by_channel(head: Array) -> Array:
    """(channels, everything else): of (1, A, B) the shorter side, cells being more than numbers."""
    if head.ndim == 3 and head.shape[1] > head.shape[2]:
        head = head.transpose(0, 2, 1)
    return head.reshape(head.shape[1] if head.ndim > 1 else 1, -1)


def _agree(box: Box, other: tuple[np.int32, np.float32, Float]) -> bool:
    return (
        box[0] == other[0]
        and abs(box[1] - float(other[1])) <= SCORE_LIMIT
        and iou(box[2], other[2]) >= IOU_LIMIT
    )
