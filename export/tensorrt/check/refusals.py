"""What NVIDIA's parser and builder say against a file, in words and with a way out.

Their texts are often conditions of their source. ``_KNOWN`` has words for those that were met, with
the node tests of ONNX and with planted faults; what it does not know is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from export.tensorrt.check.findings import STANDARD, Finding, usual_way_out

if TYPE_CHECKING:
    import tensorrt

_CONSTANT = "write that value into the file, or fold the constants: edge-export fp16 does"
_CAST = "cast to float32 or float16 before it, or export it so"
_AGAIN = "export the model again"
_EDGE = "cast the image to float32 before any other node, and to uint8 behind the last"
_PROFILE = "give --profile NAME=MIN,OPT,MAX in that order, other sizes for the open ones alone"
_NATIVE_ALONE = ("DeformConv", "NMS", "NonMaxSuppression", "NonZero", "RoiAlign")
"""Operators, and NVIDIA's name of one, that the table of the native TensorRT has."""
_NAME = 3
"""Letters of a name that is looked for in a text: 'a' is a word."""
_KNOWN: tuple[tuple[str, str, str], ...] = (
    (r"^false$", "{trt} does not have this operator", ""),
    (r"[Pp]lugin", "{trt} does not have this operator, and no plugin for it is loaded", STANDARD),
    (r"dedicated kernel", "{trt} has no kernel for this attention",
     "export it as MatMul, Softmax and MatMul"),
    (r"has no runners", "{trt} has no code for it", ""),
    (r"IRecurrenceLayer must", "a loop carries a tensor whose shape changes: {said}",
     "keep the shape the same over all turns"),
    (r"equal ranks when", "its branches differ in rank: {said}", "give both the same rank"),
    (r"build-time constant|constant-foldable|an initializer|is not a constant",
     "NVIDIA wants a constant: {said}", _CONSTANT),
    (r"isInFlight", "wants one of its inputs as a constant", _CONSTANT),
    (r"no optimization profile|is a shape tensor and must have type",
     "an input of the network decides a shape inside it",
     "write that input into the file as a constant"),
    (r"profile", "the profile contradicts the file: {said}", _PROFILE),
    (r"Failed to convert ONNX date type", "is of a type that TensorRT does not have",
     "export it as float32, or as int32 where it counts"),
    (r"data type for the Cast", "casts to a type that TensorRT does not have",
     "cast to float32, float16, int32 or int64"),
    (r"UINT8|(?:type is|has type) UInt8",
     "uses uint8 inside the network; TensorRT has it at inputs and outputs alone", _EDGE),
    (r"are of types (\w+) and (\w+)|type is (\w+) but \S+ is of type (\w+)", "mixes {types}",
     "cast one of them; edge-export fp16 writes such casts"),
    (r"has datatype (\w+) but is not (?:produced|consumed)",
     "{types} outside of quantisation", "leave FP8, FP4 and INT4 to QuantizeLinear, "
     "DequantizeLinear and the weights between them"),
    (r"input has type|[Tt]ype is (?!an )|input types?\b|data ?type",
     "NVIDIA says: {said}", _CAST),
    (r"null tensor|sort the model", "the graph is broken: {said}", _AGAIN),
    (r"at least one output", "the graph has no output", _AGAIN),
    (r"ONNX dimensions|MAX_DIMS", "has more than the 8 dimensions that TensorRT has",
     "merge some with a Reshape before it"),
    (r"initializer: (?:.*initializer: )?(.+)", "weights cannot be read: {types}",
     "copy model and weights again, or export the model again"),
    (r"(?:than|with) (?:1|one) outputs?", "gives more than its first output",
     "compute the others with nodes of their own, or on the host"),
)  # fmt: skip
"""Pattern in the text, the problem in words, and its way out, empty for the usual one."""


def of_parser(parser: tensorrt.OnnxParser, trt: str) -> list[Finding]:
    """The parser's errors, each once; ``trt`` is the library's name."""
    found = []
    for i in range(parser.num_errors):
        error: tensorrt.ParserError = parser.get_error(i)
        operator, node = error.node_operator(), error.node_name()
        inner = re.fullmatch(r"(?:check|import)([A-Z]\w+)", error.func())
        if error.func() == "importInput":
            operator, node = "", f"input {error.file()}"  # where it has a file's name elsewhere
        elif not operator and inner and inner[1] not in ("Initializers", "Inputs"):
            operator = inner[1]  # of a node in a branch or a loop
        node = node or (f"{operator} {error.node()}" if error.node() >= 0 else operator)
        found.append(_finding("parser", node or "the file", operator, error.desc(), trt))
    nothing = Finding("error", "parser", "the file", "", "is refused without a reason", _AGAIN)
    return list(dict.fromkeys(found)) or [nothing]


def of_crash(by: str) -> Finding:
    """Of a file that ended the process that parsed it; ``by`` is the signal."""
    problem = (
        f"ends NVIDIA's parser by {by}: a node has too few inputs or outputs, or works on a scalar "
        "where it wants dimensions"
    )
    return Finding("error", "parser", "the file", "", problem, _AGAIN, by)


def of_builder(said: Iterable[str], layers: Iterable[tuple[str, str]], trt: str) -> list[Finding]:
    """The builder's errors, each once; ``layers`` are names and kinds of those in the network."""
    named = sorted(
        (layer for layer in layers if len(layer[0]) >= _NAME), key=lambda layer: -len(layer[0])
    )
    texts = [text for text in said if "catchCudaError" not in text]
    found = []
    for text in texts or ["nothing"]:
        node, kind = next((n for n in named if n[0] in text.split()), ("the network", ""))
        found.append(_finding("builder", node, kind, text, trt))
    return found


def _finding(
    rule: Literal["parser", "builder"], node: str, operator: str, text: str, trt: str
) -> Finding:
    said = _cleaned(text, node)
    problem, way_out = f"NVIDIA says: {said}", ""
    for pattern, words, known in _KNOWN:
        if found := re.search(pattern, said):
            types = " and ".join(filter(None, found.groups()))
            problem, way_out = words.format(trt=trt, said=said, types=types), known
            break
    usual = usual_way_out(operator)
    if "quantised" in usual:
        way_out = usual
    if trt != "TensorRT" and operator in _NATIVE_ALONE and way_out in ("", STANDARD):
        problem = f"{trt} does not have this operator; the native TensorRT lists it"
        way_out = f"ask a machine with the native TensorRT; else {usual}"
    return Finding("error", rule, node, operator, problem, way_out or usual, text)


def _cleaned(text: str, node: str) -> str:
    """The text without the places in NVIDIA's source and without the node's name."""
    lines = [line for line in text.splitlines() if "catchCudaError" not in line] or [text]
    called = re.match(r"Invalid Node - (.*)", lines[0]) if len(lines) > 1 else None
    text = lines[1] if called else lines[0]  # those behind it follow from it
    text = re.sub(r"\.? *In \S+ at /\S+?(?=[ )]|$)", "", text)
    text = re.sub(r"^\[\S+\] |^I\w+::\w+: ", "", text)
    text = re.sub(r"^Error Code \d+: ", "", text)
    text = re.sub(r"^[\w ]+ Error \((.*)\)$", r"\1", text)
    text = re.sub(r'^.*&& "(.*)"$', r"\1", text).replace('" "', "")
    text = re.sub(r"^Assertion failed: .*?: (?=\S)", "", text)
    for name in filter(None, (node, called[1] if called else "")):
        text = re.sub(rf"^{re.escape(name)}\w*: ", "", text)
        if len(name) >= _NAME:
            text = text.replace(name, "it")
    return text.strip().rstrip(".!")
