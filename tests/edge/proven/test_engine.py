"""The engine that runs a model is proven once; one that is off is not taken, and that is said."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edge.proven import engine as proven
from edge.proven.adopt_cache import adopted
from edge.proven.child import Done
from edge.proven.engine import proven_engine
from engines.base import Precision
from engines.errors import ExportError, SettingsError
from engines.model_file import ModelFile, read_spec
from export.commands.verify import verify
from tests.export.planted import change, coarse, pictures
from tests.tiny_models import tiny_street, tiny_yolov8


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.fixture
def foreign(tmp_path: Path) -> ModelFile:
    tiny_yolov8(tmp_path / "a.onnx")
    return ModelFile(tmp_path / "a.onnx")


@pytest.fixture
def int8(tmp_path: Path) -> ModelFile:
    tiny_yolov8(tmp_path / "a.onnx")
    change(tmp_path / "a.onnx", tmp_path / "int8.onnx",
           lambda m: coarse(m, before="Reshape", step=0.01))  # fmt: skip
    return ModelFile(tmp_path / "int8.onnx")


class Verdicts:
    """Stands in for the other process: OpenVINO is right or wrong as its kernels are."""

    def __init__(self, code: int, last: str) -> None:
        self.done, self.asked = Done(code, last, ""), 0

    def __call__(self, *_: object, **__: object) -> Done:
        self.asked += 1
        return self.done


OFF = f"m.onnx: in openvino {proven.OFF}: 464 of 467 boxes have no partner."


def test_one_that_is_off_is_passed_over_told_and_remembered(
    foreign: ModelFile,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    verdicts = Verdicts(ExportError.exit_code, OFF)
    monkeypatch.setattr(proven, "proof", verdicts)

    def engine(asked: str = "auto") -> str:
        return proven_engine(foreign, asked, None, foreign=True, environ=environ)

    for asked in (1, 1, 1):
        caplog.clear()
        assert engine() == "onnxruntime"
        (said,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert said == OFF.rstrip(".") + "; onnxruntime runs it instead"
        assert verdicts.asked == asked
    caplog.clear()
    assert engine("openvino") == "openvino"
    assert "it runs there, as was asked" in caplog.text
    assert verdicts.asked == 1
    # a damaged verdict is asked for anew
    (kept,) = (Path(environ["XDG_CACHE_HOME"]) / "outrider" / "proven").iterdir()
    for damage in (b"", b"[1]", b"\xff"):
        kept.write_bytes(damage)
        assert engine() == "onnxruntime"
    kept.unlink()
    kept.mkdir()
    assert engine() == "onnxruntime"
    assert verdicts.asked == 5


@pytest.mark.parametrize(
    ("wrong", "taken", "said"),
    [
        ([], "auto", ""),
        (["openvino"], "onnxruntime", "onnxruntime runs it instead"),
        (["onnxruntime"], "openvino", "openvino runs it instead"),
        (["onnxruntime", "openvino"], "auto", "no engine here is right"),
    ],
)
def test_of_an_int8_file_each_engine_is_doubted(
    wrong: list[str], taken: str, said: str, int8: ModelFile, environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def proof(words: list[str], *_: object, **__: object) -> Done:
        last = f"m.onnx: in {words[-1]} {proven.ERRS}: much."
        return Done(4, last, "") if words[-1] in wrong else Done(0, "", "")

    monkeypatch.setattr(proven, "proof", proof)
    assert proven_engine(int8, "auto", None, foreign=False, environ=environ) == taken
    assert (said in caplog.text) if said else not caplog.text
    for engine in wrong:
        caplog.clear()
        assert proven_engine(int8, engine, None, foreign=False, environ=environ) == engine
        assert "it runs there, as was asked" in caplog.text


def test_one_that_cannot_be_compared_is_no_worse_for_it(
    int8: ModelFile, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(proven, "proof", Verdicts(4, "OpenVINO cannot compile it"))
    assert proven_engine(int8, "auto", None, foreign=False, environ=environ) == "auto"
    assert "was not proven in openvino: OpenVINO cannot compile it" in caplog.text


def test_what_costs_is_asked_only_of_what_may_be_off(
    foreign: ModelFile, tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = Verdicts(0, "")
    monkeypatch.setattr(proven, "proof", verdicts)
    plain, dynamic = foreign.path, tmp_path / "dynamic.onnx"
    tiny_street(dynamic, quantize=True)  # which 'auto' gives to ONNX Runtime
    for file, engine, is_foreign in (
        (ModelFile(plain), "auto", False),
        (ModelFile(plain), "onnxruntime", True),
        (ModelFile(dynamic), "auto", True),
        (ModelFile(tmp_path / "a.engine"), "auto", False),
    ):
        got = proven_engine(file, engine, None, foreign=is_foreign, environ=environ)
        assert got == engine
    assert verdicts.asked == 0
    assert proven_engine(ModelFile(plain), "auto", None, foreign=True, environ=environ) == "auto"
    assert verdicts.asked == 1


def test_a_built_engine_is_not_openvino_but_for_f32(
    int8: ModelFile, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = Verdicts(0, "")
    monkeypatch.setattr(proven, "proof", verdicts)
    monkeypatch.setattr("engines.cuda.context.device_names", lambda: ["RTX 4090"])
    monkeypatch.setattr("engines._built", lambda file: {"tensorrt": file.path})
    asked_at: list[tuple[Precision, int]] = [("default", 0), ("f32", 2)]
    for precision, asked in asked_at:
        proven_engine(int8, "auto", None, foreign=False, precision=precision, environ=environ)
        assert verdicts.asked == asked


def test_the_command_compares_what_a_file_says_in_another_engine(
    foreign: ModelFile, tmp_path: Path
) -> None:
    frames = str(pictures(tmp_path / "frames"))
    words = [str(foreign.path), "--engine", "openvino", "--frames", frames]
    done = CliRunner().invoke(verify, words)
    assert done.exit_code == 0, done.exception
    assert "0 without a partner" in done.output
    wrong = CliRunner().invoke(verify, [*words, "--count", "3"])
    assert isinstance(wrong.exception, SettingsError)


@pytest.mark.slow
def test_a_real_net_that_others_quantised_is_right_in_both_engines(
    shared: Path, tmp_path: Path, environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Scores of the two differ by up to a half: rounding. Seven bits saturate on no processor."""
    from onnxruntime import quantization

    made = adopted(shared / "models" / "yolo-fastest-1.1-xl.onnx", environ=environ)
    tensor = read_spec(made).input.tensor
    noise = np.random.default_rng(0).integers(0, 256, tensor.shape, np.uint8)

    class Images(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = [{tensor.name: noise}]

        def get_next(self) -> object:
            return self.left.pop() if self.left else None

    target = tmp_path / "int8.onnx"
    quantization.quantize_static(
        str(made), str(target), Images(), quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
        reduce_range=True,
    )  # fmt: skip
    video = str(shared / "data" / "videos" / "highway.mp4")
    caplog.set_level(logging.DEBUG)
    got = proven_engine(ModelFile(target), "auto", video, foreign=False, environ=environ)
    assert got == "auto", caplog.text
    assert caplog.text.count("is off by") == 4  # its two heads in each
