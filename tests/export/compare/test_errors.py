"""A quantised file may err in an engine as much as it does by itself, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edge.proven.engine import ERRS
from engines import open_engine
from engines.errors import ExportError, SettingsError
from engines.model_file import ModelFile
from export.commands.verify import verify
from export.compare import errors
from export.compare.errors import OutputError
from tests.export.planted import change, coarse, gain, pictures, plant
from tests.tiny_models import tiny_street, tiny_yolov8


@pytest.fixture
def frames(tmp_path: Path) -> str:
    return str(pictures(tmp_path / "frames"))


@pytest.fixture
def fp32(tmp_path: Path) -> Path:
    tiny_yolov8(tmp_path / "a.onnx")
    return tmp_path / "a.onnx"


def quantised(fp32: Path) -> Path:
    """The tiny net with int8 in front of its Reshapes."""
    target = fp32.with_name("int8.onnx")
    return change(fp32, target, lambda m: coarse(m, before="Reshape", step=0.01))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_engine_that_computes_what_the_file_says_passes(
    engine: str, fp32: Path, frames: str
) -> None:
    words = [str(fp32), str(quantised(fp32)), "--engine", engine, "--frames", frames]
    done = CliRunner().invoke(verify, words)
    assert done.exit_code == 0, done.exception
    assert f"{engine:<12} output output0 is " in done.output


def test_one_that_errs_more_is_refused_with_both_errors(
    fp32: Path, frames: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels that saturate are played by a file whose image is half as bright."""
    fine = quantised(fp32)
    dark = plant(fine, fp32.with_name("dark.onnx"), behind="Transpose", steps=[gain(0.5)])

    def wrong(file: ModelFile, **options: Any) -> object:
        return open_engine(ModelFile(dark) if file.path == fine else file, **options)

    monkeypatch.setattr(errors, "open_engine", wrong)
    words = [str(fp32), str(fine), "--engine", "openvino", "--frames", frames]
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


def test_files_that_have_nothing_to_do_with_each_other_are_refused(
    fp32: Path, frames: str, tmp_path: Path
) -> None:
    tiny_street(tmp_path / "b.onnx")
    words = [str(fp32), str(tmp_path / "b.onnx"), "--engine", "openvino", "--frames", frames]
    done = CliRunner().invoke(verify, words)
    assert isinstance(done.exception, ExportError)
    assert "b.onnx: has other outputs than" in str(done.exception)
    wrong = CliRunner().invoke(verify, [*words[:2], "--engine", "openvino", "--count", "3"])
    assert isinstance(wrong.exception, SettingsError)
