"""The project's own table says what the published one says, and what came after it."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
import pytest

from export.tensorrt.check.operators import RELEASES, TABLE, release, type_name
from tests.export.trt_graphs import I32, check, found, model, node

MISPRINTS = {"INF64": "INT64"}


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
        entry = own["operators"][op]
        assert entry.get("supported", True) == said["supported"], op
        assert entry.get("types", []) == [MISPRINTS.get(t, t) for t in said["types"] if t], op
        assert ("rules" in entry) == bool(said["restrictions"]), op


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


def test_each_inputs_name_in_a_rule_is_one_that_onnx_knows(own: dict[str, Any]) -> None:
    for op, entry in [*own["operators"].items(), *own["eased"].items()]:
        for rule in entry.get("rules", []):
            formal = rule.partition(":")[2]
            schemas = [s for s in onnx.defs.get_all_schemas_with_history() if s.name == op]
            if formal:
                assert formal in {i.name for s in schemas for i in s.inputs}, (op, rule)


def test_every_release_is_known_and_later_ones_take_no_less() -> None:
    names = list(RELEASES)
    for before, after in pairwise(names):
        one, two = release(before), release(after)
        assert two.at_least(before)
        assert not one.at_least(after)
        assert one.opsets[0] == two.opsets[0]
        assert one.opsets[1] < two.opsets[1]
        for op, entry in one.operators.items():
            assert two.operators[op].supported >= entry.supported
            assert set(two.operators[op].types) >= set(entry.types)


@pytest.mark.parametrize(
    ("op", "first"), [("STFT", "10.16"), ("HannWindow", "10.16"), ("Attention", "10.16")]
)
def test_operators_that_came_later_are_taken_from_then_on(op: str, first: str) -> None:
    before = release("10.3").operators.get(op)
    assert before is None or not before.supported
    assert release(first).operators[op].supported
    assert release("11.4").operators[op].supported


def test_powers_of_integers_came_later() -> None:
    assert "INT64" not in release("10.3").operators["Pow"].types
    assert "INT64" in release("10.16").operators["Pow"].types


def test_types_are_called_as_users_write_them() -> None:
    assert [type_name(k) for k in (1, 2, 7, 10, 11, 16)] == [
        "float32", "uint8", "int64", "float16", "float64", "bfloat16",
    ]  # fmt: skip


def test_the_table_is_packed_with_the_code() -> None:
    root = TABLE.parents[3]
    name = TABLE.relative_to(root / "export").as_posix()
    assert f'"{name}"' in (root / "pyproject.toml").read_text()


def test_a_window_is_judged_by_what_it_makes_and_not_by_its_size() -> None:
    made = model(node("HannWindow", "n", "y"), inputs={"n": (I32, [])})
    assert check(made, "10.16").findings == ()
    assert found(made, "10.3") == [("operator", "y")]
