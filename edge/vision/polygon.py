"""What a polygon on the picture is; a module of its own, as settings import no arrays."""

from __future__ import annotations

from typing import TypeAlias

Polygon: TypeAlias = tuple[tuple[float, float], ...]
"""Corners x, y in parts of the picture's width and height, 0..1."""
