"""What `auto` opens is timed once, kept by all that it depends on, and proven where it is int8."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edge.proven import engine as proven
from edge.proven import fastest as trial
from edge.proven.fastest import Choice, fastest
from engines.base import Engine, EngineOptions, Precision
from engines.errors import EngineError, ExportError, ModelError
from engines.files import keep
from engines.model_file import ModelFile, write_spec
from engines.onnxruntime import open_onnxruntime
from tests.edge.proven.test_engine import OFF, Verdicts
from tests.export.planted import Step, plant
from tests.tiny_models import grey, tiny_street

WIDE = np.zeros((512, 3, 1, 1), np.float32)
WIDE[:3, :, 0, 0] = np.eye(3)
WORK: list[Step] = [("Conv", [WIDE]), ("Conv", [np.ascontiguousarray(WIDE.transpose(1, 0, 2, 3))])]
"""Gives its input back for 2 · 3 · 512 multiplications a pixel, 19 million on 64x96."""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


@pytest.fixture
def street(tmp_path: Path) -> ModelFile:
    tiny_street(tmp_path / "street.onnx")
    return ModelFile(tmp_path / "street.onnx")


@pytest.fixture
def slow(tmp_path: Path) -> ModelFile:
    """A model that takes many times as long as the gated int8 file beside it."""
    spec = tiny_street(tmp_path / "light.onnx")
    plant(tmp_path / "light.onnx", tmp_path / "slow.onnx", behind="Transpose", steps=WORK * 20)
    file = ModelFile(tmp_path / "slow.onnx")
    made = replace(spec, precision="int8", source_sha256=file.sha256, gate="mIoU -0.001")
    tiny_street(tmp_path / "slow.int8.onnx", spec=made)
    return file


def choose(
    file: ModelFile,
    environ: dict[str, str],
    *,
    engine: str = "auto",
    threads: int | None = 1,
    precision: Precision = "default",
    anew: bool = False,
) -> Choice:
    """What is chosen; an engine that the trial has open is closed."""
    choice = fastest(
        ModelFile(file.path), engine, None, named=file.path, threads=threads,
        precision=precision, anew=anew, environ=environ,
    )  # fmt: skip
    if choice.opened is not None:
        choice.opened.close()
    return choice


def kept(environ: dict[str, str]) -> list[Path]:
    return sorted((Path(environ["XDG_CACHE_HOME"]) / "outrider" / "fastest").glob("*"))


def test_the_first_start_times_both_engines_and_the_next_takes_what_is_kept(
    street: ModelFile, environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = fastest(street, "auto", None, named=street.path, threads=1, environ=environ)
    assert [row.engine for row in first.timed] == ["openvino", "onnxruntime"]
    assert all(row.model == "street.onnx" and row.ms > 0 for row in first.timed)
    (taken,) = [row for row in first.timed if row.chosen]
    assert first.opened is not None
    assert (first.opened.name, first.opened.precision) == (taken.engine, taken.precision)
    (image,) = first.opened.inputs(0).values()
    image[...] = grey(75)
    first.opened.submit(0)
    assert np.unique(first.opened.wait(0)["labels"]).tolist() == [3]
    first.opened.close()
    (said,) = [r.getMessage() for r in caplog.records]
    assert said.startswith(f"auto: {taken} a frame; ")
    assert said.endswith("(timed once)")
    caplog.clear()
    again = fastest(street, "auto", None, named=street.path, threads=1, environ=environ)
    assert (again, again.opened) == (first, None)
    (said,) = [r.getMessage() for r in caplog.records]
    assert said.endswith("(as timed before)")
    assert len(kept(environ)) == 1
    assert choose(street, environ, anew=True).timed != first.timed


def test_another_setting_library_machine_or_file_is_timed_by_itself(
    street: ModelFile, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(street, environ)
    choose(street, environ, threads=2)
    assert len(kept(environ)) == 2
    choose(street, environ, precision="f32")
    assert len(kept(environ)) == 3
    with monkeypatch.context() as patch:
        patch.setattr(trial, "version", lambda name: "99.1")
        choose(street, environ)
        assert len(kept(environ)) == 4
    with monkeypatch.context() as patch:
        patch.setattr(trial, "cpu_identity", lambda: "model name: VIA Nano")
        choose(street, environ)
        assert len(kept(environ)) == 5
    tiny_street(street.path, height=96)
    choose(street, environ)
    assert len(kept(environ)) == 6
    choose(street, environ)
    assert len(kept(environ)) == 6


def test_a_torn_choice_and_one_of_other_files_are_made_anew(
    street: ModelFile, environ: dict[str, str]
) -> None:
    first = choose(street, environ)
    (place,) = kept(environ)
    whole = place.read_bytes()
    other = json.dumps([{"model": "gone.onnx", "engine": "openvino", "precision": "f32", "ms": 1,
                         "chosen": True}]).encode()  # fmt: skip
    damaged = [b"", whole[:-3], whole[32:], b"\xff" * 99]
    for damage in damaged:
        place.write_bytes(damage)
        assert choose(street, environ).timed != first.timed
        assert place.read_bytes() != damage
    for text in (b"", b"[]", b"{}", b"[1]", b'[{"ms": 1}]', b"not JSON", other):
        keep(place, text)
        assert len(choose(street, environ).timed) == 2
    place.unlink()
    place.mkdir()
    assert len(choose(street, environ).timed) == 2
    assert place.is_file()


def test_where_nothing_can_be_kept_it_runs_and_says_so(
    street: ModelFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    assert len(choose(street, {"XDG_CACHE_HOME": str(tmp_path / "file")}).timed) == 2
    assert "the engine's choice is not kept" in caplog.text


def test_nothing_is_timed_where_there_is_nothing_to_choose(
    street: ModelFile, tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dynamic = tmp_path / "dynamic.onnx"
    tiny_street(dynamic, quantize=True)  # for ONNX Runtime alone
    for file, engine in (
        (street, "openvino"),
        (street, "onnxruntime"),
        (ModelFile(tmp_path / "a.npz"), "auto"),
        (ModelFile(tmp_path / "a.engine"), "auto"),
        (ModelFile(dynamic), "auto"),
    ):
        choice = choose(file, environ, engine=engine)
        assert (choice.engine, choice.timed) == (engine, ())
    with monkeypatch.context() as patch:
        patch.setattr("engines.find_module", lambda name: name == "openvino" or None)
        assert choose(street, environ) == Choice(ModelFile(street.path), "auto")
    monkeypatch.setattr("engines.cuda.context.device_names", lambda: ["RTX 4090"])
    monkeypatch.setattr("engines._built", lambda file: {"tensorrt": file.path})
    assert choose(street, environ).timed == ()  # the GPU's is preferred
    assert len(choose(street, environ, precision="f32").timed) == 2
    assert len(kept(environ)) == 1


def test_a_device_without_a_built_engine_is_told_at_every_start(
    street: ModelFile, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr("engines.cuda.context.device_names", lambda: ["RTX 4090"])
    for _ in range(2):
        caplog.clear()
        choose(street, environ)
        assert "there is a CUDA device (RTX 4090), but no TensorRT engine" in caplog.text


def test_a_gated_int8_file_that_is_faster_and_proven_runs(
    slow: ModelFile, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verdicts = Verdicts(0, "")
    monkeypatch.setattr(proven, "proof", verdicts)
    for _ in range(2):
        choice = choose(slow, environ)
        assert choice.file.path.name == "slow.int8.onnx"
        assert [row.model for row in choice.timed] == ["slow.onnx"] * 2 + ["slow.int8.onnx"] * 2
        assert verdicts.asked == 1
    assert {row.model for row in choose(slow, environ, precision="f32").timed} == {"slow.onnx"}
    # another int8 file, which was made of another model: told, and timed without it
    tiny_street(slow.path.with_name("slow.int8.onnx"))
    assert choose(slow, environ).file.path == slow.path


@pytest.mark.slow
def test_the_proof_of_an_int8_file_is_a_real_one(
    slow: ModelFile, environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    choice = choose(slow, environ)
    assert choice.file.path.name == "slow.int8.onnx", caplog.text
    assert f"proving what it says in {choice.engine} once" in caplog.text


@pytest.mark.parametrize(
    ("verdicts", "asked"),
    [(Verdicts(ExportError.exit_code, OFF), 2), (Verdicts(5, "no memory"), 4)],
)
def test_one_that_is_off_or_not_proven_does_not(
    verdicts: Verdicts, asked: int, slow: ModelFile, environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(proven, "proof", verdicts)
    for _ in range(2):  # a verdict is kept, its lack is not
        assert choose(slow, environ).file.path == slow.path
    assert verdicts.asked == asked
    assert ("it is not taken" if asked == 2 else "was not proven in") in caplog.text


def test_the_slower_of_two_is_not_chosen_whatever_the_order(
    slow: ModelFile, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The int8 file is here the one with the work: it has nothing to show for its loss."""
    quick = ModelFile(slow.path.with_name("light.onnx"))
    model = onnx.load(slow.path)
    spec = replace(
        slow.required_spec(), precision="int8", source_sha256=quick.sha256, gate="mIoU 0"
    )
    write_spec(model, spec)
    onnx.save(model, quick.path.with_name("light.int8.onnx"))
    monkeypatch.setattr(proven, "proof", Verdicts(0, ""))
    choice = choose(quick, environ)
    assert choice.file.path == quick.path
    assert len(choice.timed) == 4


def test_a_stop_ends_the_trial_and_keeps_nothing(
    street: ModelFile, environ: dict[str, str]
) -> None:
    stop = threading.Event()
    stop.set()
    choice = fastest(street, "auto", None, named=street.path, stop=stop, environ=environ)
    assert (choice.engine, choice.timed, choice.opened) == ("auto", (), None)
    assert kept(environ) == []


def test_an_engine_that_cannot_run_it_is_told_and_the_other_taken(
    street: ModelFile, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def fails(*_: object) -> Engine:
        raise EngineError("OpenVINO cannot compile it")

    monkeypatch.setattr("engines.openvino.open_openvino", fails)
    for _ in range(2):
        caplog.clear()
        choice = choose(street, environ)
        assert (choice.engine, choice.timed) == ("onnxruntime", ())
        assert "OpenVINO cannot compile it; it is not timed" in caplog.text

    def fails_but_for_int8(file: ModelFile, options: EngineOptions) -> Engine:
        return open_onnxruntime(file, options) if "int8" in file.path.name else fails()

    monkeypatch.setattr("engines.onnxruntime.open_onnxruntime", fails_but_for_int8)
    spec = replace(street.required_spec(), precision="int8", source_sha256=street.sha256, gate="0")
    tiny_street(street.path.with_name("street.int8.onnx"), spec=spec)
    with pytest.raises(EngineError, match="cannot compile it"):
        choose(street, environ)


def test_an_engine_that_fails_as_it_runs_is_told_and_the_other_taken(
    street: ModelFile, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def fails(_: int) -> None:
        raise EngineError("OpenVINO: the run failed")

    def opens(file: ModelFile, options: EngineOptions) -> Engine:
        engine = open_onnxruntime(file, options)
        monkeypatch.setattr(engine, "submit", fails)
        return engine

    monkeypatch.setattr("engines.openvino.open_openvino", opens)
    choice = choose(street, environ)
    assert (choice.engine, choice.timed) == ("onnxruntime", ())
    assert "the run failed; it is not timed" in caplog.text
    assert kept(environ) == []


def test_of_int8_files_one_that_is_damaged_does_not_hide_that_another_has_changed(
    slow: ModelFile, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proven, "proof", Verdicts(0, ""))
    light = slow.path.with_name("slow.int8.onnx")
    spec = ModelFile(light).required_spec()
    light.rename(slow.path.with_name("slow.int8-cpu.onnx"))
    light.write_bytes(b"damaged")
    assert choose(slow, environ).file.path.name == "slow.int8-cpu.onnx"
    tiny_street(slow.path.with_name("slow.int8-cpu.onnx"), spec=replace(spec, gate=""))
    assert choose(slow, environ).file.path == slow.path


def test_a_file_that_contradicts_its_spec_is_refused(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    true = tiny_street(tmp_path / "a.onnx")
    tiny_street(tmp_path / "a.onnx", spec=replace(true, outputs=true.outputs[:-1], masks=()))
    with pytest.raises(ModelError, match="has output 'labels', which its spec does not name"):
        choose(ModelFile(tmp_path / "a.onnx"), environ)
