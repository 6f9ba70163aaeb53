"""Shapes: TensorRT wants every input fixed, or bounded by a profile of sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx

from engines.errors import SettingsError
from export.tensorrt.check.net import Fault, Finding, Net, Node, has_shape, inputs_of, shape_of

_DIMENSIONS = 8
"""``Dims.MAX_DIMS`` of all releases."""
FORM = "NAME=MIN,OPT,MAX with shapes like 1x3x384x640, or NAME=SHAPE"


@dataclass(frozen=True, slots=True)
class Profile:
    """Shapes of one input between which an engine works, and the one it is tuned to."""

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
        if info.type.HasField("tensor_type"):  # else a sequence or the like, refused by its type
            for problem, way_out in _shape_faults(info, profiles.get(info.name)):
                yield Finding("error", "shape", f"input {info.name}", "", problem, way_out)


def _shape_faults(info: onnx.ValueInfoProto, profile: Profile | None) -> Iterator[tuple[str, str]]:
    shape = shape_of(info) if has_shape(info) else None
    if profile is None:
        if shape is None or None in shape:
            yield (
                f"has an open shape, {_text(info)}, and no profile",
                f"fix it in the export, or give --profile {_example(info)}",
            )
        return
    three = (profile.least, profile.usual, profile.largest)
    if len({len(s) for s in (*three, *(() if shape is None else (shape,)))}) > 1:
        yield (
            f"is {_text(info)}, its profile of another number of dimensions",
            f"give one like {_example(info)}",
        )
    elif any(not a <= b <= c for a, b, c in zip(*three, strict=True)):
        yield (
            "has a profile that is not ordered: least, usual, largest",
            "give the three shapes in that order",
        )
    elif shape is not None and any(
        n is not None and n != size for s in three for n, size in zip(shape, s, strict=True)
    ):
        yield (
            f"is {_text(info)}, and its profile changes a size that is fixed",
            "profile the open sizes alone, or export the model with open ones",
        )


def check_ranks(node: Node) -> Iterator[Fault]:
    """TensorRT has a limit of dimensions."""
    for name in node.proto.output:
        shape = node.scope.shapes.get(name, ())
        if len(shape) > _DIMENSIONS:
            yield Fault(
                f"makes {name!r} of {len(shape)} dimensions; TensorRT has {_DIMENSIONS}",
                "merge some with a Reshape before it",
            )


def check_outputs(net: Net, profiles: Mapping[str, Profile]) -> Iterator[Finding]:
    """Outputs whose size depends on what the network sees."""
    if any(not p.fixed for p in profiles.values()):
        return
    if any(None in shape_of(i) for i in net.inputs):
        return  # check_inputs says it
    for info in net.outputs:
        shape = net.scope.shapes.get(info.name, ())
        if None in shape:
            yield Finding(
                "warning", "shape", f"output {info.name}", "",
                "has a size that is known only after the run; an engine of the app wants it fixed",
                "leave NonZero, NonMaxSuppression and the like to the host",
            )  # fmt: skip


def _text(info: onnx.ValueInfoProto) -> str:
    if not has_shape(info):
        return "of unknown rank"
    dims = info.type.tensor_type.shape.dim
    sizes = [d.dim_param or (str(d.dim_value) if d.dim_value > 0 else "?") for d in dims]
    return f"({', '.join(sizes)})"


def _example(info: onnx.ValueInfoProto) -> str:
    shape = "x".join(str(n or "N") for n in shape_of(info)) if has_shape(info) else "1x3x384x640"
    return f"{info.name}={shape}"
