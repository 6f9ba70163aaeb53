"""What TensorRT's parser wants of single operators, by the names of rules in ``operators.json``.

A rule looks at one node, and yields nothing where the graph does not tell. What holds between
nodes, types above all, stands in ``strong_types.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from onnx import numpy_helper

from export.tensorrt.check.net import Fault, Finding, Level, Net, Node, Shape, has_shape, shape_of
from export.tensorrt.check.operators import Release

Faults = Iterator[tuple[str, str]]
"""What is wrong, and the way out."""
Rule = Callable[[Node], Faults]

_COORDINATES = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric",
                "align_corners")  # fmt: skip
_RESIZES = ("nearest", "linear")
_ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
_LARGEST_K = 3840
_ACTIVATIONS = {"GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "RNN": ("Tanh",)}
"""ONNX's defaults of one direction."""
_SYMMETRIC = "quantise symmetrically, to int8 with zero points of 0"
_EVALUATION = "export the model in evaluation mode"


def check_restrictions(net: Net, trt: Release) -> Iterator[Finding]:
    """What the table restricts, and what the parser refuses beyond it."""
    for node in net.nodes:
        entry = trt.operators.get(node.operator)
        names = entry.rules if entry else ()
        if node.operator == "BatchNormalization":
            names = ("no-training-mode", *(() if trt.at_least("10.7") else ("one-type",)))
        for name in names:
            for fault in _apply(name, node, net):
                level: Level = "warning" if name == "seed-ignored" else "error"
                yield node.finding(level, name, Fault(*fault))


def _apply(name: str, node: Node, net: Net) -> Faults:
    rule, _, formal = name.partition(":")
    if rule == "initializer":
        return _constant(node, formal)
    if rule == "constant":
        return _constant(node, formal, net.folded)
    if rule == "zero":
        return _zero(node, formal)
    return RULES[rule](node)


def _constant(node: Node, formal: str, folded: frozenset[str] = frozenset()) -> Faults:
    name = node.named(formal)
    if name and name not in folded and name not in node.scope.constants:
        yield (
            f"{formal!r} is no constant, and TensorRT wants one",
            f"export it with {formal!r} written out, or fold the constants: edge-export fp16 does",
        )


def _zero(node: Node, formal: str, wrong: str = "is not 0", way_out: str = _SYMMETRIC) -> Faults:
    if name := node.named(formal):
        held = node.scope.constants.get(name)
        if held is None:
            yield f"{formal!r} is no constant", way_out
        elif numpy_helper.to_array(held).astype("float64").any():
            yield f"{formal!r} {wrong}", way_out


def _spatial(*wanted: int) -> Rule:
    def rule(node: Node) -> Faults:
        shape = node.shape()
        if shape is not None and len(shape) - 2 not in wanted:
            yield (
                f"has {_many(len(shape) - 2, 'spatial dimension')}, wanted "
                f"{' or '.join(map(str, wanted))}",
                "reshape to (N, C, H, W) before it and back behind it",
            )

    return rule


def _ones(node: Node) -> Faults:
    dilations = node.attribute("dilations", [])
    if any(d != 1 for d in dilations):
        yield f"pools with dilations {dilations}", "export it without dilation"


def _outputs(count: int, way_out: str) -> Rule:
    def rule(node: Node) -> Faults:
        more = [o for o in node.proto.output[count:] if o]
        if more:
            yield f"gives {', '.join(map(repr, more))} beside its first output", way_out

    return rule


def _attribute(name: str, *wanted: Any, default: Any, way_out: str) -> Rule:
    def rule(node: Node) -> Faults:
        got = node.attribute(name, default)
        if got not in wanted:
            yield f"has {name} {got!r}, wanted {' or '.join(map(repr, wanted))}", way_out

    return rule


def _dense(node: Node) -> Faults:
    for name in ("sparse_value", "value_string", "value_strings"):
        if node.attribute(name) is not None:
            yield f"holds its value as {name}", "export it as a dense tensor of numbers"


def _pads(node: Node) -> Faults:
    pads = node.attribute("pads", [])
    if pads[: len(pads) // 2] != pads[len(pads) // 2 :]:
        yield f"pads {pads}, not the same on both sides", "pad before it, with a Pad of its own"


def _training(node: Node) -> Faults:
    return _zero(node, "training_mode", "is true", _EVALUATION)


def _static_input(node: Node) -> Faults:
    shape = node.shape()
    if shape is not None and None in shape:
        yield f"takes a shape that is open, {_text(shape)}", "give its input a fixed shape"


def _static_axis(node: Node) -> Faults:
    shape, axis = node.shape(), int(node.attribute("axis", -1))
    if shape and -len(shape) <= axis < len(shape) and shape[axis] is None:
        yield f"works along axis {axis}, which is open in {_text(shape)}", "fix that size"


def _rank_4(node: Node) -> Faults:
    shape = node.shape()
    if shape is not None and len(shape) != 4:
        yield f"takes {_many(len(shape), 'dimension')}, wanted 4", "reshape to (N, C, H, W)"


def _same_activations(node: Node) -> Faults:
    if node.attribute("direction", "forward") != "bidirectional":
        return
    default = {"activations": list(_ACTIVATIONS[node.operator] * 2)}
    for name in ("activations", "activation_alpha", "activation_beta"):
        got = node.attribute(name, default.get(name, []))
        if got[: len(got) // 2] != got[len(got) // 2 :]:
            yield f"has {name} {got}: the two directions differ", "train with the same in both"


def _branches(node: Node) -> Faults:
    one, two = (node.attribute(name) for name in ("then_branch", "else_branch"))
    if one is None or two is None or node.constant(0) is not None:
        return  # with a constant condition the parser reads one branch only
    for a, b in zip(one.output, two.output, strict=False):
        if a.name == b.name:
            yield f"both branches call an output {a.name!r}", "rename it in one of them"
        if has_shape(a) and has_shape(b) and len(shape_of(a)) != len(shape_of(b)):
            yield (
                f"its branches give {_text(shape_of(a))} and {_text(shape_of(b))}",
                "give both the same rank",
            )


def _scan(node: Node) -> Faults:
    body = node.attribute("body")
    carried = max(len(node.proto.input) - 2, 0)
    stacked = body is not None and len(body.output) - 1 > carried
    if stacked and node.input(0) not in node.scope.constants:
        yield (
            "stacks an output over a number of turns that is not constant",
            "give the loop a constant trip count, or unroll it",
        )


def _carried(node: Node) -> Faults:
    body = node.attribute("body")
    if body is None:
        return
    for before, after in zip(list(body.input)[2:], list(body.output)[1:], strict=False):
        if has_shape(before) and has_shape(after):
            one, two = shape_of(before), shape_of(after)
            if len(one) != len(two) or any(
                a != b for a, b in zip(one, two, strict=True) if a is not None and b is not None
            ):
                yield (
                    f"carries {before.name!r} as {_text(one)} into a turn and {_text(two)} out",
                    "keep the shape the same over all turns",
                )


def _resize_rounding(node: Node) -> Faults:
    if node.attribute("mode", "nearest") == "nearest":
        yield from _attribute(
            "nearest_mode", *_ROUNDINGS, default="round_prefer_floor",
            way_out="export it with another",
        )(node)  # fmt: skip


def _resize_axes(node: Node) -> Faults:
    axes, shape = node.attribute("axes"), node.shape()
    if axes and shape and node.named("scales") and axes != list(range(len(shape))):
        yield f"scales along axes {axes} alone", "give a scale for every axis, 1 for the others"


def _k(node: Node) -> Faults:
    held = node.constant(1) if len(node.proto.input) > 1 else node.attribute("k")
    k = int(np.max(held, initial=0)) if held is not None else 0
    if k >= _LARGEST_K:
        yield f"asks for the best {k}, wanted fewer than {_LARGEST_K}", "ask for fewer"


def _seed(node: Node) -> Faults:
    if node.attribute("seed") is not None:
        yield "has a seed, which TensorRT ignores", "feed the random numbers as an input"


def _one_type(node: Node) -> Faults:
    kinds = {node.type(name) for name in node.proto.input if name} - {0}
    if len(kinds) > 1:
        yield (
            "has statistics of another type than its data, which TensorRT takes from 10.7 on",
            "write them in the type of the data, or fold it into the convolution before it",
        )


def _text(shape: Shape) -> str:
    return f"({', '.join('?' if n is None else str(n) for n in shape)})"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


_LAYOUT = "export it with layout 0, sequence first"
_ANOTHER = "export it with another, and train with that"
RULES: Mapping[str, Rule] = {
    "spatial-2-or-3": _spatial(2, 3),
    "spatial-1-or-2": _spatial(1, 2),
    "dilations-1": _ones,
    "no-indices": _outputs(1, "compute the indices on the host, or export it without them"),
    "first-output-only": _outputs(1, "compute mean and deviation with nodes of their own"),
    "dense-numbers": _dense,
    "symmetric-pads": _pads,
    "no-training": _training,
    "no-training-mode": _attribute("training_mode", 0, default=0, way_out=_EVALUATION),
    "static-input": _static_input,
    "static-axis": _static_axis,
    "rank-4": _rank_4,
    "same-activations": _same_activations,
    "no-input-forget": _attribute("input_forget", 0, default=0, way_out="train without it"),
    "no-layout": _attribute("layout", 0, default=0, way_out=_LAYOUT),
    "branches-alike": _branches,
    "static-scan": _scan,
    "static-carried": _carried,
    "resize-coordinates": _attribute(
        "coordinate_transformation_mode", *_COORDINATES, default="half_pixel", way_out=_ANOTHER
    ),
    "resize-mode": _attribute("mode", *_RESIZES, default="nearest", way_out=_ANOTHER),
    "resize-nearest": _resize_rounding,
    "resize-aspect": _attribute(
        "keep_aspect_ratio_policy", "stretch", default="stretch",
        way_out="give it the sizes that the policy comes to",
    ),
    "resize-axes": _resize_axes,
    "no-antialias": _attribute("antialias", 0, default=0, way_out="export it without antialias"),
    "no-reduction": _attribute(
        "reduction", "none", default="none", way_out="add or multiply behind it instead"
    ),
    "sorted": _attribute("sorted", 1, default=1, way_out="export it sorted"),
    "k-below-3840": _k,
    "seed-ignored": _seed,
    "one-type": _one_type,
}  # fmt: skip
"""Rules by name; ``initializer:…``, ``constant:…`` and ``zero:…`` name an input beside."""
