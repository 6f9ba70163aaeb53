"""Open shapes: TensorRT wants every input fixed, or bounded by a profile of sizes."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import onnx

from engines.errors import SettingsError
from export.tensorrt.check.findings import Finding

FORM = "NAME=MIN,OPT,MAX with shapes like 1x3x384x640, or NAME=SHAPE"
_SHAPE = re.compile(r"[1-9]\d*(x[1-9]\d*)*", re.ASCII)
_LARGEST = 2**31 - 1
"""Of one size: TensorRT's profiles hold them in 32 bits."""


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
        if (largest := max(map(max, sizes))) > _LARGEST:
            raise SettingsError(
                f"--profile {text!r}: got size {largest}, wanted {_LARGEST} at most."
            )
        profiles[name] = Profile(*sizes)
    return profiles


def check_inputs(model: onnx.ModelProto, profiles: Collection[str]) -> Iterator[Finding]:
    """Inputs of an open shape that have no profile.

    Raises:
        SettingsError: a profile is for an input that the file does not have.
    """
    constants = {t.name for t in model.graph.initializer}
    inputs = {i.name: i.type.tensor_type for i in model.graph.input if i.name not in constants}
    for name in profiles:
        if name not in inputs:
            raise SettingsError(
                f"--profile {name!r}: the file has no such input; it has {', '.join(inputs)}."
            )
    for name, tensor in inputs.items():
        sizes = [
            str(d.dim_value) if d.HasField("dim_value") and d.dim_value >= 0 else d.dim_param or "?"
            for d in tensor.shape.dim  # exporters mean open sizes by those below 0
        ]
        known = tensor.HasField("shape")
        if not tensor.elem_type or name in profiles or (known and all(map(str.isdigit, sizes))):
            continue
        shape = "x".join(s if s.isdigit() else "N" for s in sizes) if known else "1x3x384x640"
        yield Finding(
            "error", "shape", f"input {name}", "",
            f"has {'an open shape' if known else 'no shape'}, ({', '.join(sizes)}), and no profile",
            f"fix it in the export, or give --profile {name}={shape}",
        )  # fmt: skip
