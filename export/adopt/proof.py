"""The proof of an adoption: the foreign file and the adopted one say the same on the same frames.

The foreign file gets a reference preprocessing and its boxes a reference decode, written plainly in
``export.adopt.reference`` and the families; the adopted file goes through the app's own letterbox
and decoders. Both run in ONNX Runtime at f32. It judges agreement only, not whether the net is any
good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.progress import counted
from edge.vision.perception import Perception
from edge.vision.types import Detections, Image, Mask
from engines import open_engine
from engines.base import Array
from export.adopt.families.base import Family, Plan
from export.adopt.foreign import Float, ForeignNet, Outputs
from export.adopt.reference import reference_blob, reference_boxes, reference_labels
from export.compare.differences import PROOF_CONF, BoxDifference, Differences, Limits

LIMITS = Limits(iou=0.99, score=0.01, unmatched=0.0, mask=0.999)
"""Only the preprocessing moves into the graph, so not one box may change."""
RAW_LIMIT = 1e-3
"""Largest difference of a raw head, as a share of the largest value of the same channel and of 1 at
least: float32 rounding through a deep net stays two orders of magnitude below it, a wrong mean or
channel order far above. By channel, because scores stand beside pixels."""
SAME_SCORE = 1e-6
"""Scores this near to each other are one: rounding, not sight."""
MAX_BOXES = 300
"""Boxes compared a frame, the best first."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the comparison found; worst values over all frames.

    ``failures`` are limits that were missed, ``doubts`` are reasons why agreement proves little.
    """

    frames: int
    raw: dict[str, float]
    """Raw head → largest difference, as a share of its channel's largest value."""
    boxes: BoxDifference
    masks: dict[str, float]
    """Mask name → share of equal labels in the worst frame."""
    failures: tuple[str, ...]
    doubts: tuple[str, ...]

    def lines(self) -> list[str]:
        """The numbers, for the user."""
        rows = [
            f"raw {name}: largest difference {share:.1e} of a channel's range (limit {RAW_LIMIT:g})"
            for name, share in self.raw.items()
        ]
        boxes = self.boxes
        if boxes.of_reference:
            rows.append(
                f"boxes: {boxes.of_reference} in {self.frames} frames at score >= {PROOF_CONF:g}, "
                f"lowest IoU {boxes.min_iou:.5f} (limit {LIMITS.iou:g}), largest score difference "
                f"{boxes.max_score:.5f} (limit {LIMITS.score:g})"
            )
        rows += [
            f"mask {name}: {share:.4%} of labels equal in the worst frame (limit {LIMITS.mask:.1%})"
            for name, share in self.masks.items()
        ]
        return rows


def prove(
    net: ForeignNet, family: Family, plan: Plan, adopted: Path, frames: Sequence[Image]
) -> Proof:
    """Run both files on ``frames`` (H, W, 3) BGR and compare.

    Raises:
        ExportError: a file does not run.
        EngineError: the engine refuses the adopted file.
    """
    comparison = _Comparison(net, family, plan)
    engine = open_engine(adopted, engine="onnxruntime", precision="f32")
    try:
        perception = Perception(engine, conf=PROOF_CONF, max_detections=MAX_BOXES)
        for frame in counted(frames, "proving", total=len(frames)):
            perception.prepare(frame, 0)
            perception.submit(0)
            perception.wait(0)
            comparison.add(frame, perception.outputs(0), *perception.decode(0))
    finally:
        engine.close()
    comparison.probe()
    return comparison.proof()


class _Comparison:
    """Takes one frame after another and keeps the worst values."""

    def __init__(self, net: ForeignNet, family: Family, plan: Plan) -> None:
        self.net, self.family, self.plan = net, family, plan
        self.raw: dict[str, float] = {}
        self.differences = Differences(LIMITS)
        self.wrong: dict[str, None] = {}  # a set that keeps its order
        self.outputs: list[dict[str, Array]] = []
        self.scores: list[Float] = []

    def add(
        self, frame: Image, raw: Mapping[str, Array], found: Detections, masks: Sequence[Mask]
    ) -> None:
        """Compare one frame: the adopted file's raw heads, boxes and masks with the foreign's."""
        plan, net = self.plan, self.net
        wanted = net.run(reference_blob(frame, plan.preprocess, net.height, net.width))
        self.outputs.append({name: wanted[name] for name in plan.heads})
        for name in plan.heads:
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
        labels = {mask.name: mask.labels for mask in masks}
        for wanted_mask in plan.masks:
            name = wanted_mask.head.name
            expected = reference_labels(wanted_mask, wanted[wanted_mask.raw])
            self.differences.add_mask(name, expected, labels[name])

    def probe(self) -> None:
        """Run the foreign file on noise: a head that says the same as before ignores its input.

        So do scores, which may share an output with boxes that do not: of a net that was quantised
        wrongly they are 0.5, or 0, wherever it looks.
        """
        net, plan = self.net, self.plan
        noise = np.random.default_rng(0).integers(0, 256, (net.height, net.width, 3), np.uint8)
        outputs = net.run(reference_blob(noise, plan.preprocess, net.height, net.width))
        scores: Float | None = None
        if self.scores and self.family.decode is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                scores = self.family.decode(net, plan, outputs)[1]
        if (
            plan.detection is not None
            and plan.detection.family == "end2end"
            and scores is not None
            and not any(seen.any() for seen in (scores, *self.scores))
        ):
            return  # rows left empty in frames without what the net knows: seen as too few boxes
        for name in plan.heads:
            if all(np.array_equal(seen[name], outputs[name]) for seen in self.outputs):
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

    def _add_raws(self, scores: Float, wanted: Outputs, raw: Mapping[str, Array]) -> None:
        """Compare the raw heads; of a list that the net has sorted by score, the sorted scores.

        Two boxes of all but equal scores may change places in it, which no one would notice.
        """
        assert self.plan.detection is not None
        for name in self.plan.detection.outputs:
            if self.plan.detection.family == "end2end":
                best = np.sort(scores.max(axis=1))
                self._add_raw(name, best, np.sort(raw[name][0, :, 4]))
            else:
                foreign = wanted[self.plan.split.get(name, name)]
                if foreign.ndim == 5:
                    foreign = foreign.transpose(0, 1, 4, 2, 3).reshape(raw[name].shape)
                self._add_raw(name, foreign, raw[name])

    def _add_raw(self, name: str, wanted: Array, got: Array) -> None:
        channels = _by_channel(wanted)
        scale = np.maximum(np.abs(channels).max(axis=1), 1.0)
        share = float((np.abs(_by_channel(got) - channels).max(axis=1) / scale).max())
        if not share <= self.raw.get(name, 0.0):  # also where it is NaN
            self.raw[name] = share
        self.raw.setdefault(name, share)

    def _add_boxes(self, wanted: Detections, found: Detections) -> None:
        # A box at the threshold's very edge may be missing on one side: it needs no partner. So
        # may one among the last where there are more than are compared.
        edge = PROOF_CONF
        if max(len(wanted), len(found)) >= MAX_BOXES:
            edge = max(float(side.scores[-1]) for side in (wanted, found) if len(side))
        self.differences.boxes.of_reference += len(wanted)
        self.differences.add_boxes(wanted, found, sure=edge + LIMITS.score)
        self.differences.add_boxes(found, wanted, sure=edge + LIMITS.score)

    def proof(self) -> Proof:
        """The verdict over all frames."""
        differences = self.differences
        past_limit = (
            f"raw head {name} differs by {share:.3g} of a channel's range, limit {RAW_LIMIT:g}"
            for name, share in self.raw.items()
            if not share <= RAW_LIMIT
        )
        first, *others = self.outputs or [{}]
        constant = (
            f"output {name} is the same for different frames"
            for name, array in first.items()
            if others and all(np.array_equal(o[name], array) for o in others)
        )
        has_boxes = self.plan.detection is not None
        return Proof(
            frames=len(self.outputs),
            raw=self.raw,
            boxes=differences.boxes,
            masks=differences.masks,
            failures=(*self.wrong, *past_limit, *differences.failures()),
            doubts=(*differences.doubts(has_boxes=has_boxes), *constant),
        )


def _by_channel(head: Array) -> Array:
    """(channels, everything else): of (1, A, B) the shorter side, cells being more than numbers."""
    if head.ndim == 3 and head.shape[1] > head.shape[2]:
        head = head.transpose(0, 2, 1)
    return head.reshape(head.shape[1] if head.ndim > 1 else 1, -1)
