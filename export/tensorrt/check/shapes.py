"""Shapes: every input is fixed or has a profile of least, usual and largest sizes; it fixes none.

TensorRT tunes an engine to its shapes, so it refuses a network with open ones that no profile
bounds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx

from engines.errors import SettingsError
from export.tensorrt.check.net import Finding, Net, shape_of

_DIMENSIONS = 8
"""``Dims.MAX_DIMS`` of all three bindings."""
FORM = "NAME=MIN,OPT,MAX with shapes like 1x3x384x640, or NAME=SHAPE"


@dataclass(frozen=True, slots=True)
class Profile:
    """Shapes of one input between which an engine has to work, and the one it is tuned to."""

    least: tuple[int, ...]
    usual: tuple[int, ...]
    largest: tuple[int, ...]

    @property
    def fixed(self) -> bool:
        """Whether the three are one."""
        return self.least == self.usual == self.largest


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


_SHAPE = re.compile(r"[1-9]\d*(x[1-9]\d*)*")


def inputs_of(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """What the caller feeds: inputs that are no initialisers."""
    constants = {t.name for t in model.graph.initializer}
    return [i for i in model.graph.input if i.name not in constants]


def fixed_shapes(
    model: onnx.ModelProto, profiles: Mapping[str, Profile]
) -> dict[str, tuple[int, ...]]:
    """Shapes of the inputs whose profile leaves no choice.

    Raises:
        SettingsError: a profile is for an input that the file does not have.
    """
    names = [i.name for i in inputs_of(model)]
    for name in profiles:
        if name not in names:
            raise SettingsError(
                f"--profile {name!r}: the file has no such input; it has {', '.join(names)}."
            )
    return {name: p.usual for name, p in profiles.items() if p.fixed}


def check_inputs(model: onnx.ModelProto, profiles: Mapping[str, Profile]) -> Iterator[Finding]:
    """Open shapes without a profile, and profiles that contradict the file or themselves."""
    for info in inputs_of(model):
        if not info.type.HasField("tensor_type"):
            continue  # a sequence or the like, told by its type
        known = info.type.tensor_type.HasField("shape")
        shape = shape_of(info) if known else None
        profile = profiles.get(info.name)
        if profile is None:
            if shape is None or None in shape:
                yield _finding(
                    info, f"has an open shape, {_text(info)}, and no profile",
                    f"fix it in the export, or give --profile {_example(info)}",
                )  # fmt: skip
            continue
        three = (profile.least, profile.usual, profile.largest)
        if len({len(s) for s in three} | ({len(shape)} if shape is not None else set())) > 1:
            yield _finding(
                info, f"is {_text(info)}, its profile of another number of dimensions",
                f"give one like {_example(info)}",
            )  # fmt: skip
        elif any(not a <= b <= c for a, b, c in zip(*three, strict=True)):
            yield _finding(
                info, "has a profile that is not ordered: least, usual, largest",
                "give the three shapes in that order",
            )  # fmt: skip
        elif shape is not None and any(
            n is not None and n != size for s in three for n, size in zip(shape, s, strict=True)
        ):
            yield _finding(
                info, f"is {_text(info)}, and its profile changes a size that is fixed",
                "profile the open sizes alone, or export the model with open ones",
            )  # fmt: skip


def check_shapes(net: Net, profiles: Mapping[str, Profile]) -> Iterator[Finding]:
    """Too many dimensions, and outputs whose size depends on what the network sees."""
    for node in net.nodes:
        for name in node.proto.output:
            shape = node.scope.shapes.get(name, ())
            if len(shape) > _DIMENSIONS:
                yield Finding(
                    "error", "shape", node.name, node.operator,
                    f"makes {name!r} of {len(shape)} dimensions; TensorRT has {_DIMENSIONS}",
                    "merge some with a Reshape before it",
                )  # fmt: skip
    if any(not p.fixed for p in profiles.values()):
        return
    if any(None in shape_of(i) for i in net.inputs):
        return  # told already
    for info in net.outputs:
        shape = net.scope.shapes.get(info.name, ())
        if None in shape:
            yield Finding(
                "warning", "shape", f"output {info.name}", "",
                "has a size that is known only after the run; an engine of the app wants it fixed",
                "leave NonZero, NonMaxSuppression and the like to the host",
            )  # fmt: skip


def _finding(info: onnx.ValueInfoProto, problem: str, way_out: str) -> Finding:
    return Finding("error", "shape", f"input {info.name}", "", problem, way_out)


def _text(info: onnx.ValueInfoProto) -> str:
    if not info.type.tensor_type.HasField("shape"):
        return "of unknown rank"
    dims = info.type.tensor_type.shape.dim
    sizes = [d.dim_param or (str(d.dim_value) if d.dim_value > 0 else "?") for d in dims]
    return f"({', '.join(sizes)})"


def _example(info: onnx.ValueInfoProto) -> str:
    known = info.type.tensor_type.HasField("shape")
    shape = "x".join(str(n or "N") for n in shape_of(info)) if known else "1x3x384x640"
    return f"{info.name}={shape}"
