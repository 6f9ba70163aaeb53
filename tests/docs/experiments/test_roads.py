"""Looks at roads without labels: places by hand, sheets of pictures, a net at another size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper

from docs.experiments.roads import drawn, main
from engines.errors import ExportError, ModelError
from tests.tiny_models import grey, tiny_street


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Two frames of 96x64, all of road's grey."""
    folder = tmp_path / "clip"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), grey(75))
    cv2.imwrite(str(folder / "1.png"), grey(75))
    return folder


def test_places_are_given_for_960x540_and_fit_any_frame() -> None:
    half = drawn([((0, 0), (480, 0), (480, 540), (0, 540))], (54, 96))
    assert half[:, :48].all()
    assert not half[:, 50:].any()
    assert not drawn([], (54, 96)).any()


def test_what_places_are_called_is_told_in_shares(clip: Path, tmp_path: Path) -> None:
    tiny_street(tmp_path / "tiny.onnx")
    shown = run("places", "highway", clip, tmp_path / "tiny.onnx").output.splitlines()
    assert shown[2:] == [
        f"| tiny.onnx | {place} | {right} | road 100.0%, sky 0.0%, building 0.0% |"
        for place, right in (
            ("sky", "0.0%"), ("hills", "0.0%"), ("trees", "0.0%"), ("verge", "0.0%"),
            ("road", "100.0%"),
        )
    ] + ["| tiny.onnx | signs where none are | 0.00 boxes | 0 px |"]  # fmt: skip
    cv2.imwrite(str(clip / "1.png"), grey(150))  # the mask's class 6, in one of two frames
    shown = run("places", "highway", clip, tmp_path / "tiny.onnx").output.splitlines()
    assert "| tiny.onnx | road | 50.0% | road 50.0%, sign 50.0%, sky 0.0% |" in shown
    # half of 96 x 64 px less those of the two boxes that hold signs
    known = drawn([((250, 255), (620, 255), (620, 305), (250, 305))], (64, 96)).sum()
    known += drawn([((620, 0), (960, 0), (960, 60), (620, 60))], (64, 96)).sum()
    assert (
        shown[-1]
        == f"| tiny.onnx | signs where none are | 0.00 boxes | {(6144 - known) / 2:.0f} px |"
    )
    city = run("places", "city", clip, tmp_path / "tiny.onnx").output
    assert "| tiny.onnx | bonnet | – | road 50.0%, sign 50.0%, sky 0.0% |" in city


def test_a_sheet_has_a_row_for_each_frame_and_a_column_for_each_model(
    clip: Path, tmp_path: Path
) -> None:
    tiny_street(tmp_path / "tiny.onnx")
    out = tmp_path / "sheet.jpg"
    models = [tmp_path / "tiny.onnx"] * 3
    done = run("pictures", out, *models, "--frames", clip, "--count", "2", "--stretch", "2")
    assert done.exit_code == 0
    sheet = cv2.imread(str(out))
    assert sheet is not None
    assert sheet.shape == (2 * 64, 3 * 192, 3)


def test_what_makes_no_sheet_is_refused(clip: Path, tmp_path: Path) -> None:
    tiny_street(tmp_path / "tiny.onnx")
    for out in ("sheet.foo", "none/sheet.jpg"):
        done = run("pictures", tmp_path / out, tmp_path / "tiny.onnx", "--frames", clip)
        assert isinstance(done.exception, ExportError)
    cv2.imwrite(str(clip / "1.png"), grey(75, width=64))
    done = run("pictures", tmp_path / "sheet.jpg", tmp_path / "tiny.onnx", "--frames", clip)
    assert "got frames of the sizes [(64, 64), (96, 64)], wanted one" in str(done.exception)


def test_a_net_is_written_for_another_size(tmp_path: Path) -> None:
    flat = numpy_helper.from_array(np.array([1, 3, -1], np.int64), "flat")
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "flat"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 64])],
        [flat],
    )
    net, out = tmp_path / "net.onnx", tmp_path / "out.onnx"
    onnx.save(helper.make_model(graph), net)
    assert run("at-size", net, "16x8", out).exit_code == 0
    made = onnx.load(out).graph
    assert [d.dim_value for d in made.input[0].type.tensor_type.shape.dim] == [1, 3, 16, 8]
    assert [d.dim_value for d in made.output[0].type.tensor_type.shape.dim] == [1, 3, 128]
    for given in (tmp_path / "none.onnx", Path(__file__)):
        assert isinstance(run("at-size", given, "16x8", out).exception, ModelError)
    assert isinstance(run("at-size", net, "16x8", tmp_path / "a/b.onnx").exception, ModelError)
