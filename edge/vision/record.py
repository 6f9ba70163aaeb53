"""What was found on a frame as plain values, as lines of JSON and the page's events have it."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge.vision.types import Mask, Result


def as_record(result: Result, *, frame_age_ms: float) -> dict[str, Any]:
    """One frame as plain values: pixels to 0.01, scores to 0.0001, shares to 0.00001."""
    found = result.detections
    frame = result.frame
    return {
        "frame": frame.id,
        "t_capture_ns": frame.t_capture_ns,
        "clock": frame.clock,
        "media_ns": frame.media_ns,
        "source": frame.source,
        "wh": list(frame.wh),
        "frame_age_ms": round(frame_age_ms, 3),
        "source_delay_ms": round(frame.delay_ns / 1e6, 3),
        "dropped": result.dropped,
        "detections": [
            {
                "xyxy": xyxy,
                "score": score,
                "class_id": class_id,
                "class": result.classes[class_id],
                "track_id": track_id,
            }
            for xyxy, score, class_id, track_id in zip(
                # float64 first: rounding in float32 would print digits that are not there.
                found.xyxy.astype(np.float64).round(2).tolist(),
                found.scores.astype(np.float64).round(4).tolist(),
                found.class_ids.tolist(),
                found.track_ids.tolist(),
                strict=True,
            )
        ],
        "masks": [{"name": m.name, "share": share_by_class(m)} for m in result.masks],
    }


def share_by_class(mask: Mask) -> dict[str, float]:
    """The part of the frame that each class covers, 0..1; padding is not counted.

    Pixels whose label has no name count for the whole and for no class.
    """
    inside = mask.letterbox.mask_crop(mask.labels)  # (h, w)
    counts = np.bincount(inside.reshape(-1), minlength=256)
    return {
        name: round(int(counts[index]) / inside.size, 5) for index, name in enumerate(mask.classes)
    }
