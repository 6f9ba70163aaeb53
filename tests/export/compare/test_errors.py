"""Rounding may cost a quantised file in an engine what it costs by itself, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper

from edge.proven.engine import ERRS
from engines import open_engine
from engines.errors import ExportError, SettingsError
from engines.model_file import ModelFile
from engines.onnxruntime import open_session
from export.commands.verify import verify
from export.compare import errors
from export.compare.errors import OutputError
from tests.export.planted import change, coarse, gain, pictures, plant
from tests.tiny_models import tiny_yolov8


@pytest.fixture
def frames(tmp_path: Path) -> str:
    return str(pictures(tmp_path / "frames"))


@pytest.fixture
def fine(tmp_path: Path) -> Path:
    """The tiny net with int8 in front of its Reshapes."""
    tiny_yolov8(tmp_path / "a.onnx")
    return change(tmp_path / "a.onnx", tmp_path / "int8.onnx",
                  lambda m: coarse(m, before="Reshape", step=0.01))  # fmt: skip


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_engine_that_computes_what_the_file_says_passes(
    engine: str, fine: Path, frames: str
) -> None:
    words = [str(fine), "--engine", engine, "--frames", frames]
    done = CliRunner().invoke(verify, words)
    assert done.exit_code == 0, done.exception
    assert f"{engine:<12} output output0 is " in done.output


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_weights_may_lie_behind_links(engine: str, fine: Path, frames: str) -> None:
    cache, snapshot = fine.parent / "cache", fine.parent / "snapshot"
    cache.mkdir()
    snapshot.mkdir()
    onnx.save(
        onnx.load(str(fine)), str(cache / "model"), save_as_external_data=True, location="w",
        size_threshold=100,
    )  # fmt: skip
    linked = snapshot / "linked.onnx"
    linked.symlink_to("../cache/model")
    (snapshot / "w").symlink_to("../cache/w")
    done = CliRunner().invoke(verify, [str(linked), "--engine", engine, "--frames", frames])
    assert done.exit_code == 0, done.exception


def test_one_that_errs_more_is_refused_with_both_errors(
    fine: Path, frames: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels that saturate are played by a file whose image is half as bright."""
    dark = plant(fine, fine.with_name("dark.onnx"), behind="Transpose", steps=[gain(0.5)])

    def wrong(file: ModelFile, **options: Any) -> object:
        return open_engine(ModelFile(dark) if file.path == fine else file, **options)

    monkeypatch.setattr(errors, "open_engine", wrong)
    words = [str(fine), "--engine", "openvino", "--frames", frames]
    done = CliRunner().invoke(verify, words)
    assert isinstance(done.exception, ExportError)
    assert f"in openvino {ERRS}: output output0 is" in str(done.exception)


@pytest.mark.parametrize(
    ("own", "engine", "size", "fails"),
    [
        (0.2, 0.25, 0.0, False),  # 1.25 times
        (0.2, 0.26, 0.0, True),
        (0.2, 0.26, 10.0, False),  # 0.25 + 10/1000
        (0.0, 0.0, 1.0, False),
        (0.0, 0.002, 1.0, True),
        (0.2, float("nan"), 1.0, True),
        (0.2, float("inf"), 1.0, True),
    ],
)
def test_the_limit_is_a_quarter_more(own: float, engine: float, size: float, fails: bool) -> None:
    assert OutputError("a", own, engine, size).fails is fails


@pytest.mark.parametrize("more", [["--count", "3"], ["b.onnx"]])
def test_another_file_or_option_is_refused(fine: Path, more: list[str]) -> None:
    wrong = CliRunner().invoke(verify, [str(fine), "--engine", "openvino", *more])
    assert isinstance(wrong.exception, SettingsError)


def pair(zero: np.ndarray[Any, Any] | None, scale: float = 0.5) -> onnx.ModelProto:
    """a → integers → b, six numbers."""
    where = ["scale"] if zero is None else ["scale", "zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["a", *where], ["whole"]),
        helper.make_node("DequantizeLinear", ["whole", *where], ["b"]),
    ]
    ports = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [6]) for n in "ab"]
    held = [numpy_helper.from_array(np.array(scale, np.float32), "scale")]
    held += [] if zero is None else [numpy_helper.from_array(zero, "zero")]
    graph = helper.make_graph(nodes, "pair", ports[:1], ports[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize(
    ("zero", "low", "high"),
    [
        (np.array(0, np.int8), -64.0, 63.5),  # 0.5 · (-128), 0.5 · 127
        (np.array(10, np.uint8), -5.0, 122.5),  # 0.5 · (0 - 10), 0.5 · (255 - 10)
        (np.array([0], np.uint8), 0.0, 127.5),
        (None, 0.0, 127.5),
    ],
)
def test_without_rounding_maps_are_cut_to_their_integers_range(
    zero: np.ndarray[Any, Any] | None, low: float, high: float
) -> None:
    model = pair(zero)
    onnx.checker.check_model(model)
    given = np.array([-1000, -0.3, 0, 0.7, 9.9, 1000], np.float32)
    session = open_session(errors.without_rounding(model).SerializeToString())
    (got,) = session.run(None, {"a": given})
    np.testing.assert_array_equal(got, np.clip(given, low, high))


def test_integers_may_have_their_type_from_an_attribute() -> None:
    model = pair(None)
    how = helper.make_attribute("output_dtype", onnx.TensorProto.INT8)
    model.graph.node[0].attribute.append(how)
    model.opset_import[0].version = 21
    onnx.checker.check_model(model)
    given = np.array([-1000, -0.3, 0, 0.7, 9.9, 1000], np.float32)
    session = open_session(errors.without_rounding(model).SerializeToString())
    (got,) = session.run(None, {"a": given})
    np.testing.assert_array_equal(got, np.clip(given, -64, 63.5))


def test_integers_that_others_read_stay() -> None:
    """A Reshape between the two of a pair, say."""
    model = pair(None)
    model.graph.node[0].output[0] = "still"
    model.graph.node.insert(1, helper.make_node("Identity", ["still"], ["whole"]))
    onnx.checker.check_model(model)
    session = open_session(errors.without_rounding(model).SerializeToString())
    (got,) = session.run(None, {"a": np.array([-1, 0.7, 0.8, 9.9, 30, 1000], np.float32)})
    assert got.tolist() == [0, 0.5, 1, 10, 30, 127.5]
