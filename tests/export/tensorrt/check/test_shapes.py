"""Open shapes need a profile, and a profile fits its input."""

from __future__ import annotations

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import SettingsError
from export.tensorrt.check.shapes import Profile, parse_profiles
from tests.export.trt_graphs import F, check, found, i64, model, node

SHAPES = st.lists(st.integers(1, 9999), min_size=1, max_size=5).map(tuple)


def net(*shape: int | str | None) -> onnx.ModelProto:
    return model(node("Relu", "x", "y"), inputs={"x": (F, list(shape))})


def same(*shape: int) -> dict[str, Profile]:
    return {"x": Profile(shape, shape, shape)}


@given(least=SHAPES, usual=SHAPES, largest=SHAPES)
def test_profiles_are_read_as_written(
    least: tuple[int, ...], usual: tuple[int, ...], largest: tuple[int, ...]
) -> None:
    three = ",".join("x".join(map(str, s)) for s in (least, usual, largest))
    one = "x".join(map(str, usual))
    assert parse_profiles([f"a=b={three}", f"c={one}"]) == {
        "a=b": Profile(least, usual, largest),
        "c": Profile(usual, usual, usual),
    }


@pytest.mark.parametrize(
    "text", ["", "x", "x=", "=1x2", "x=1x2,1x2", "x=1x0", "x=1x-1", "x=1xN", "x=1x2x", "x=1,2,3,4"]
)
def test_a_profile_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="wanted NAME=MIN,OPT,MAX"):
        parse_profiles([text])


def test_a_profile_given_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="given twice"):
        parse_profiles(["x=1", "x=2"])


def test_a_fixed_shape_needs_no_profile_and_takes_its_own() -> None:
    assert found(net(1, 3, 8, 12)) == []
    assert found(net(1, 3, 8, 12), profiles=same(1, 3, 8, 12)) == []


@pytest.mark.parametrize("shape", [("n", 3), (None, 3), (1, -1)])
def test_an_open_size_without_a_profile_is_found(shape: tuple[int | str | None, ...]) -> None:
    assert found(net(*shape)) == [("shape", "input x")]


def test_an_input_of_unknown_rank_is_found_and_a_profile_fixes_it() -> None:
    made = model(node("Relu", "x", "y"), inputs={"x": (F, None)})
    assert found(made) == [("shape", "input x")]
    assert found(made, profiles=same(1, 3)) == []


@pytest.mark.parametrize(
    "profile",
    [
        Profile((1, 3), (2, 3), (4, 3)),  # an open size may vary
        Profile((2, 3), (2, 3), (2, 3)),
    ],
)
def test_an_open_size_with_a_profile_passes(profile: Profile) -> None:
    assert check(net("n", 3), profiles={"x": profile}).findings == ()


@pytest.mark.parametrize(
    ("profile", "says"),
    [
        (Profile((1, 3, 1), (2, 3, 1), (4, 3, 1)), "another number of dimensions"),
        (Profile((1, 3), (2, 3), (4, 3, 1)), "another number of dimensions"),
        (Profile((4, 3), (2, 3), (1, 3)), "not ordered"),
        (Profile((1, 3), (5, 3), (4, 3)), "not ordered"),
        (Profile((1, 3), (2, 4), (4, 5)), "changes a size that is fixed"),
    ],
)
def test_a_profile_that_contradicts_is_found(profile: Profile, says: str) -> None:
    (finding,) = check(net("n", 3), profiles={"x": profile}).errors
    assert (finding.rule, finding.node) == ("shape", "input x")
    assert says in finding.problem


def test_the_way_out_shows_a_profile_to_give() -> None:
    (finding,) = check(net("n", 3, 8, 12)).errors
    assert "--profile x=Nx3x8x12" in finding.way_out


def test_initialisers_listed_as_inputs_need_none() -> None:
    made = model(node("Reshape", "x n", "y"), inputs={"x": (F, [1, 4])}, n=i64(2, -1))
    made.graph.input.append(onnx.helper.make_tensor_value_info("n", 7, ["open"]))
    assert found(made) == []


def test_an_output_whose_size_depends_on_the_data_is_a_warning() -> None:
    made = model(node("NonZero", "x", "y"), outputs={"y": (7, None)})
    report = check(made)
    assert report.taken
    assert [(f.level, f.rule, f.node) for f in report.findings] == [
        ("warning", "shape", "output y")
    ]


def test_nine_dimensions_are_too_many() -> None:
    eight, nine = ([1] * n for n in (8, 9))
    for shape, expected in ((eight, []), (nine, [("shape", "y")])):
        made = model(node("Reshape", "x n", "y"), inputs={"x": (F, [1])}, n=i64(*shape))
        assert found(made) == expected


def test_a_sequence_is_told_once_by_its_type() -> None:
    made = model(node("Relu", "x", "y"))
    kind = onnx.helper.make_tensor_type_proto(F, ["n"])
    sequence = onnx.helper.make_sequence_type_proto(kind)
    made.graph.input.append(onnx.helper.make_value_info("s", sequence))
    assert found(made) == [("type", "input s")]
