"""The project's own table says what the published one says, and what came after it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from export.tensorrt.check.operators import RELEASES, TABLE, check_operators, release
from tests.export.trt_graphs import F64, I32, I64, U8, F, Tensor, listed, model, node

MISPRINTS = {"INF64": "INT64"}
IMAGE: dict[str, Tensor] = {"image": (U8, [1, 8, 8, 3])}


@pytest.fixture
def published(shared: Path) -> dict[str, Any]:
    text = (shared / "tensorrt" / "onnx_operators_10.1.json").read_text()
    return dict(json.loads(text)["operators"])


@pytest.fixture
def own() -> dict[str, Any]:
    return dict(json.loads(TABLE.read_text()))


def test_the_table_says_of_every_operator_what_the_published_one_says(
    published: dict[str, Any], own: dict[str, Any]
) -> None:
    assert set(own["operators"]) == set(published)
    for op, said in published.items():
        types = [MISPRINTS.get(t, t) for t in said["types"] if t] if said["supported"] else []
        assert own["operators"][op] == types, op
        assert bool(types) == said["supported"], op


def test_the_table_is_of_the_release_and_opsets_that_it_names(
    shared: Path, own: dict[str, Any]
) -> None:
    source = json.loads((shared / "tensorrt" / "onnx_operators_10.1.json").read_text())["source"]
    assert f"release {own['release']}" in source
    first, last = own["opsets"][own["release"]]
    assert f"opset {first} to {last}" in source
    assert own["licence"] in (TABLE.parents[3] / "NOTICE").read_text().replace(
        "Apache License, Version 2.0", "Apache-2.0"
    )


def test_later_releases_take_no_less() -> None:
    for before, after in pairwise(RELEASES):
        one, two = release(before), release(after)
        assert one.opsets[0] == two.opsets[0]
        assert one.opsets[1] < two.opsets[1]
        for op, types in one.operators.items():
            assert set(two.operators[op]) >= set(types)


@pytest.mark.parametrize("op", ["STFT", "HannWindow", "Attention"])
def test_operators_that_came_later_are_taken_from_then_on(op: str) -> None:
    assert not release("10.3").operators.get(op)
    assert release("10.16").operators[op]
    assert release("11.4").operators[op]


def test_powers_of_integers_came_later() -> None:
    assert "INT64" not in release("10.3").operators["Pow"]
    assert "INT64" in release("10.16").operators["Pow"]


def test_the_table_is_packed_with_the_code() -> None:
    root = TABLE.parents[3]
    name = TABLE.relative_to(root / "export").as_posix()
    assert f'"{name}"' in (root / "pyproject.toml").read_text()


def test_a_window_is_judged_by_what_it_makes_and_not_by_its_size() -> None:
    made = model(node("HannWindow", "n", "y"), inputs={"n": (I32, [])})
    assert listed(made, "10.16") == []
    assert listed(made, "10.3") == [("operator", "y")]


def test_float64_counts_as_float32_which_tensorrt_takes_it_for() -> None:
    wide: dict[str, Tensor] = {"x": (F64, [1, 4])}
    assert listed(model(node("Abs", "x", "y"), inputs=wide, outputs={"y": (F64, None)})) == []


def test_what_the_table_does_not_name_is_a_warning() -> None:
    (found,) = check_operators(model(node("Swish", "x", "y"), opset=24), release("10.16"))
    assert (found.level, found.node, found.rule) == ("warning", "y", "operator")


def test_an_operator_of_a_later_opset_is_refused_and_the_opset_itself_a_warning() -> None:
    found = check_operators(model(node("Swish", "x", "y"), opset=24), release("10.3"))
    assert [(f.level, f.rule) for f in found] == [("warning", "opset"), ("error", "operator")]
    assert "came after the opsets that TensorRT 10.3 is documented for" in found[1].problem


def test_unknown_operators_and_domains_are_refused() -> None:
    made = model(node("Blorp", "x", "a"), node("Foo", "a", "y", domain="acme"), domains=["acme"],
                 outputs={"y": (F, [1])})  # fmt: skip
    assert listed(made) == [("operator", "a"), ("operator", "y")]


def test_branches_are_looked_into_with_the_types_around_them() -> None:
    branch = helper.make_graph(
        [node("Det", "x", "d"), node("Abs", "n", "m")], "branch", [],
        [helper.make_tensor_value_info("m", TensorProto.INT16, [2])],
    )  # fmt: skip
    made = model(
        helper.make_node("If", ["c"], ["y"], "if", then_branch=branch, else_branch=branch),
        inputs={"c": (TensorProto.BOOL, []), "x": (F, [2, 2]), "n": (TensorProto.INT16, [2])},
        outputs={"y": (TensorProto.INT16, [2])},
    )
    assert listed(made) == [("operator", "d"), ("type", "m")] * 2


def test_a_function_of_the_file_is_looked_into() -> None:
    opset = [helper.make_opsetid("", 17)]
    inner = helper.make_function(
        "own", "Twice", ["a"], ["b"], [node("Det", "a", "b")], opset_imports=opset
    )
    made = model(helper.make_node("Twice", ["x"], ["y"], "call", domain="own"), domains=["own"])
    made.functions.append(inner)
    assert [rule for rule, _ in listed(made)] == ["operator"]


def test_the_model_is_left_as_it_was() -> None:
    made = model(helper.make_node("Relu", ["x"], ["y"]))
    before = made.SerializeToString()
    listed(made)
    assert made.SerializeToString() == before


# uint8, as TensorRT 10 documents it


@pytest.mark.parametrize("kind", [F, TensorProto.FLOAT16])
def test_uint8_is_cast_from_and_to_floats_at_the_edge(kind: int) -> None:
    made = model(
        node("Cast", "image", "a", to=kind), node("Abs", "a", "b"), node("Cast", "b", "y", to=U8),
        inputs=IMAGE, outputs={"y": (U8, None)},
    )  # fmt: skip
    assert listed(made) == []


@pytest.mark.parametrize(
    ("nodes", "fault"),
    [
        ([node("Cast", "image", "a", to=I32), node("Cast", "a", "y", to=F)], ("uint8", "a")),
        ([node("Transpose", "image", "a"), node("Cast", "a", "y", to=F)], ("type", "a")),
        ([node("Cast", "image", "a", to=F), node("Cast", "a", "b", to=U8),
          node("Cast", "b", "y", to=F)], ("uint8", "b")),
        ([node("Cast", "image", "a", to=F), node("ArgMax", "a", "b"),
          node("Cast", "b", "c", to=U8), node("Cast", "c", "y", to=F)], ("uint8", "c")),
    ],
)  # fmt: skip
def test_uint8_is_used_nowhere_else(nodes: list[Any], fault: tuple[str, str]) -> None:
    assert listed(model(*nodes, inputs=IMAGE))[0] == fault


def test_labels_go_to_uint8_over_floats() -> None:
    made = model(node("ArgMax", "x", "a"), node("Cast", "a", "y", to=U8), outputs={"y": (U8, None)})
    assert listed(made) == [("uint8", "y")]
    assert listed(model(node("Abs", "n", "y"), inputs={"n": (I64, [1])},
                        outputs={"y": (I64, [1])})) == []  # fmt: skip
