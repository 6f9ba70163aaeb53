"""Profiles: the sizes between which an input of open shape may lie, as the builder wants them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from engines.errors import SettingsError

FORM = "NAME=MIN,OPT,MAX with shapes like 1x3x384x640, or NAME=SHAPE"
_SHAPE = re.compile(r"[1-9]\d*(x[1-9]\d*)*")


class Profile(NamedTuple):
    """Shapes of one input between which an engine works, and the one it is tuned to."""

    least: tuple[int, ...]
    usual: tuple[int, ...]
    largest: tuple[int, ...]


def parse_profiles(texts: Sequence[str]) -> dict[str, Profile]:
    """Profiles by input name, from the command line.

    Raises:
        SettingsError: a text has another form, or names an input twice.
    """
    profiles: dict[str, Profile] = {}
    for text in texts:
        name, _, right = text.rpartition("=")
        shapes = right.split(",")
        if not name or len(shapes) not in (1, 3) or not all(map(_SHAPE.fullmatch, shapes)):
            raise SettingsError(f"--profile {text!r}: wanted {FORM}.")
        if name in profiles:
            raise SettingsError(f"--profile {name!r}: is given twice; give it once.")
        sizes = [tuple(map(int, s.split("x"))) for s in shapes * (4 - len(shapes))][:3]
        profiles[name] = Profile(*sizes)
    return profiles
