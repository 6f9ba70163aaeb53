"""The synthetic street: frames with exact boxes and labels; it knows no sources and no models."""

from edge.street.pens import BOX_CLASSES, LABELS, SceneTruth
from edge.street.street import StreetScene

__all__ = ["BOX_CLASSES", "LABELS", "SceneTruth", "StreetScene"]
