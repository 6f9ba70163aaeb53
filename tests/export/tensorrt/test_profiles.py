"""Open shapes are found in the file; what a profile of sizes says is NVIDIA's to judge."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from engines.errors import SettingsError
from export.tensorrt.check.check import check_file
from export.tensorrt.check.findings import Finding
from export.tensorrt.profiles import Profile, parse_profiles
from tests.export.trt_graphs import F, Tensor, f32, judged, model, node
from tests.rtx_here import needs_rtx

SMALL, USUAL, LARGE = (1, 4, 8, 12), (2, 4, 8, 12), (4, 4, 8, 12)
OPEN: dict[str, Tensor] = {"x": (F, ["batch", 4, 8, 12])}


def opened(made: onnx.ModelProto, folder: Path) -> list[Finding]:
    path = folder / "a.onnx"
    path.write_bytes(made.SerializeToString())
    return list(check_file(path, judge=None, release=None).findings)


def net(shape: Tensor, folder: Path) -> list[Finding]:
    return opened(model(node("Relu", "x", "y"), inputs={"x": shape}), folder)


@pytest.mark.parametrize(
    ("text", "name", "profile"),
    [
        ("x=1x3x8x8", "x", Profile((1, 3, 8, 8), (1, 3, 8, 8), (1, 3, 8, 8))),
        ("a=b=1,2,4", "a=b", Profile((1,), (2,), (4,))),
        ("x=1x2,2x2,8x2", "x", Profile((1, 2), (2, 2), (8, 2))),
    ],
)
def test_profiles_are_read_as_written(text: str, name: str, profile: Profile) -> None:
    assert parse_profiles([text]) == {name: profile}


@pytest.mark.parametrize(
    "text", ["", "x", "=1x2", "x=", "x=1x2,1x2", "x=0x2", "x=1xN", "x=-1x2", "x=1x\u0663"]
)
def test_a_profile_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="wanted NAME=MIN,OPT,MAX"):
        parse_profiles([text])


@pytest.mark.parametrize("size", [1 << 31, 10**30])
def test_a_size_beyond_those_of_tensorrt_is_refused(size: int) -> None:
    with pytest.raises(SettingsError, match=f"got size {size}, wanted 2147483647 at most"):
        parse_profiles([f"x=1x{size}"])


def test_a_profile_given_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="given twice"):
        parse_profiles(["x=1x2", "x=1x3"])


@pytest.mark.parametrize(
    ("shape", "way_out"),
    [
        ([None, 4], "x=Nx4"),
        (["batch", 4], "x=Nx4"),
        ([1, -1], "x=1xN"),  # exporters write -1 for a size that they do not know
        (None, "x=1x3x384x640"),
    ],
)
def test_an_open_size_is_found_with_a_profile_to_give(
    tmp_path: Path, shape: list[int | str | None] | None, way_out: str
) -> None:
    (found,) = net((F, shape), tmp_path)
    assert (found.level, found.node) == ("error", "input x")
    assert found.way_out.endswith(f"--profile {way_out}")


def test_fixed_sizes_empty_tensors_and_initialisers_listed_as_inputs_need_none(
    tmp_path: Path,
) -> None:
    assert net((F, [1, 0, 4]), tmp_path) == []
    assert net((F, []), tmp_path) == []
    both: dict[str, Tensor] = {"x": (F, [1, 4]), "w": (F, ["N"])}
    made = model(node("Add", "x w", "y"), inputs=both, w=f32(4))
    assert opened(made, tmp_path) == []


@needs_rtx
def test_an_open_batch_is_built_with_its_profile_and_not_without(tmp_path: Path) -> None:
    made = model(node("Relu", "x", "y"), inputs=OPEN)
    assert judged(made, tmp_path, x=Profile(SMALL, USUAL, LARGE)).findings == ()
    (found,) = judged(made, tmp_path).errors
    assert found.problem == "has an open shape, (batch, 4, 8, 12), and no profile"


@needs_rtx
@pytest.mark.parametrize(
    ("profile", "says"),
    [
        (Profile(LARGE, USUAL, SMALL), "satisfy MIN<=OPT<=MAX"),
        (Profile((1, 4), (1, 4), (1, 4)), "4 dimensions but profile 0 has 2 dimensions"),
        (Profile(SMALL, (1, 3, 8, 12), LARGE), "MIN<=OPT<=MAX"),
        (Profile(*[(1, 3, 8, 12)] * 3), "but tensor has 4"),
    ],
)
def test_a_profile_that_contradicts_the_file_or_itself_is_refused(
    tmp_path: Path, profile: Profile, says: str
) -> None:
    found, *_ = judged(model(node("Relu", "x", "y"), inputs=OPEN), tmp_path, x=profile).errors
    assert found.problem.startswith("the profile contradicts the file: ")
    assert says in found.problem
    assert "--profile NAME=MIN,OPT,MAX" in found.way_out
