"""A comparison of two engines as lines of text; it judges nothing."""

from __future__ import annotations

from export.adopt.proof import PROOF_CONF
from export.compare.parity import Limits, Parity


def lines(parity: Parity, limits: Limits) -> list[str]:
    """The numbers, for the user, with the limits they are held to."""
    told = [f"{parity.frames} frames"]
    for output in parity.outputs:
        told.append(
            f"output {output.name}: {'finite' if output.finite else 'NOT FINITE'}, difference "
            f"{output.largest:.3g} at most, {output.mean:.2g} in the mean"
            + (", THE SAME FOR EVERY FRAME" if output.constant else "")
        )
    if parity.boxes is not None:
        boxes = parity.boxes
        told.append(
            f"boxes: {boxes.boxes} of both sides at score >= {PROOF_CONF:g}, {boxes.unmatched} "
            f"without a partner of IoU >= {limits.iou:g} and score within {limits.score:g}"
            + ("" if limits.unmatched is None else f" (share allowed {limits.unmatched:g})")
        )
        told.append(
            f"boxes: lowest IoU {boxes.min_iou:.4f}, largest score difference {boxes.max_score:.4f}"
        )
    for name, share in parity.masks.items():
        told.append(
            f"mask {name}: {share:.3%} of labels equal in the worst frame{_limit(limits.mask)}"
        )
    against = "labels" if parity.truth == "labels" else "what the first one says"
    for what, limit, one, two in (
        ("mIoU", limits.miou, parity.reference.miou, parity.candidate.miou),
        ("AP50", limits.ap50, parity.reference.ap50, parity.candidate.ap50),
    ):
        if one is not None and two is not None:
            told.append(
                f"{what}: {one:.4f} and {two:.4f} against {against}, change {two - one:+.4f}"
                f"{_limit(limit)}"
            )
    return told


def _limit(value: float | None) -> str:
    return "" if value is None else f", limit {value:g}"
