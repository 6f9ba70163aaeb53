"""The synthetic street: frames with exact boxes and labels; it knows no sources and no models."""

from edge.scene.pens import BOX_CLASSES, LABELS, SceneTruth
from edge.scene.street import StreetScene

__all__ = ["BOX_CLASSES", "LABELS", "SceneTruth", "StreetScene"]
