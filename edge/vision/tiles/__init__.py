"""Frames in overlapping tiles: where they lie, how their boxes are joined, and the passes."""
