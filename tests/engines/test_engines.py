"""Every engine keeps the same contract; each test runs on each entry of ENGINES."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from engines import ENGINES, open_engine
from engines.base import Engine, EngineOptions
from engines.errors import EngineError, ModelError, SettingsError
from engines.model_file import ModelFile
from engines.openvino import open_openvino
from engines.replay import SUFFIX, record
from engines.spec import ModelSpec
from tests.tiny_models import TINY_MODELS, grey, paint, tiny_street, tiny_yolov8

Image = NDArray[np.uint8]
Open = Callable[..., Engine]


def scenes() -> list[Image]:
    """Two different inputs, (1, 64, 96, 3)."""
    return [paint(grey(75), (32, 0, 64, 32), 0)[None], paint(grey(200), (8, 8, 16, 16), 1)[None]]


UNDER_TEST = os.environ.get("OUTRIDER_ENGINE_UNDER_TEST")
"""Set by tensorrt/test_engine.py to the TensorRT of the machine that it runs this file on."""
OF_GPUS = ("tensorrt", "rtx")


@pytest.fixture(params=[name for name in ENGINES if name not in OF_GPUS or name == UNDER_TEST])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens a tiny model by family with the engine under test; closes it after the test."""
    name: str = request.param
    engines: list[Engine] = []

    def opener(
        family: str = "yolo-anchors", *, slots: int = 1, threads: int | None = None
    ) -> Engine:
        path = tmp_path / f"{family}.onnx"
        TINY_MODELS[family](path)
        if name == "replay":
            source = open_engine(path, engine="onnxruntime")
            record(source, scenes(), path.with_suffix(SUFFIX))
            source.close()
        if name in OF_GPUS:
            from tests.engines.jetson import MAKE

            path, onnx = path.with_suffix(".engine"), path
            subprocess.run([sys.executable, "-c", MAKE, onnx, path, name], check=True)
        engines.append(
            open_engine(path, engine=name, precision="f32", slots=slots, threads=threads)
        )
        return engines[-1]

    yield opener
    for engine in engines:
        engine.close()


def run(engine: Engine, image: Image, slot: int = 0) -> dict[str, NDArray[np.generic]]:
    engine.inputs(slot)[engine.spec.input.name][...] = image
    engine.submit(slot)
    return {name: array.copy() for name, array in engine.wait(slot).items()}


@pytest.mark.parametrize("family", TINY_MODELS)
def test_outputs_have_the_names_shapes_and_dtypes_of_the_spec(opened: Open, family: str) -> None:
    engine = opened(family)
    outputs = run(engine, scenes()[0])
    assert list(outputs) == [t.name for t in engine.spec.outputs]
    for tensor in engine.spec.outputs:
        got = outputs[tensor.name]
        assert (got.shape, got.dtype.name) == (tensor.shape, tensor.dtype)


def test_a_blue_block_lights_exactly_its_own_cells(opened: Open) -> None:
    outputs = run(opened(), scenes()[0])
    # x 32..64, y 0..32: cells 4..7 and rows 0..3 at stride 8, 2..3 and 0..1 at 16, 1 and 0 at 32.
    for name, rows, columns in (
        ("boxes_8", slice(0, 4), slice(4, 8)),
        ("boxes_16", slice(0, 2), slice(2, 4)),
        ("boxes_32", slice(0, 1), slice(1, 2)),
    ):
        objectness = outputs[name][0, 4]  # channel 4 of anchor 0
        wanted = np.full_like(objectness, -10)
        wanted[rows, columns] = 10
        np.testing.assert_allclose(objectness, wanted, atol=1e-4)


def test_another_image_gives_another_mask(opened: Open) -> None:
    engine = opened()
    first, second = scenes()
    # Grey 75 / 25 = 3, and pure blue's mean of 85 rounds to 3 too; grey 200 / 25 = 8.
    assert np.unique(run(engine, first)["labels"]).tolist() == [3]
    labels = run(engine, second)["labels"]
    assert labels[0, 10, 10] == 8
    assert labels[0, 2, 2] == 3  # pure green


def test_slots_have_memory_of_their_own(opened: Open) -> None:
    engine = opened(slots=2)
    first, second = scenes()
    name = engine.spec.input.name
    assert not np.shares_memory(engine.inputs(0)[name], engine.inputs(1)[name])
    engine.inputs(0)[name][...] = first
    engine.inputs(1)[name][...] = second
    engine.submit(0)
    engine.submit(1)
    one, two = engine.wait(0)["labels"], engine.wait(1)["labels"]
    assert one[0, 10, 10] == 3
    assert two[0, 10, 10] == 8


class _SignalStack(ctypes.Structure):
    """``stack_t`` of sigaltstack(2)."""

    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def _signal_stack() -> tuple[int | None, int]:
    stack = _SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    return stack.sp, stack.size


def test_the_stack_that_the_caller_takes_signals_on_stays_its_own(opened: Open) -> None:
    # A library that lends its own and takes it back out of turn leaves one that is gone: the next
    # signal would end the process.
    before = _signal_stack()
    first, second = opened(), opened()
    run(first, scenes()[0])
    run(second, scenes()[0])
    assert _signal_stack() == before


def test_inputs_and_outputs_stay_at_one_place_and_outputs_are_read_only(opened: Open) -> None:
    engine = opened()
    name = engine.spec.input.name
    before = engine.inputs(0)[name].ctypes.data
    run(engine, scenes()[0])
    assert engine.inputs(0)[name].ctypes.data == before
    engine.submit(0)
    outputs = engine.wait(0)
    assert not any(array.flags.writeable for array in outputs.values())


def test_a_slot_submitted_twice_is_refused_and_can_still_be_waited_for(opened: Open) -> None:
    engine = opened()
    engine.submit(0)
    with pytest.raises(EngineError, match="submitted twice"):
        engine.submit(0)
    engine.wait(0)


def test_waiting_without_a_submit_is_refused(opened: Open) -> None:
    engine = opened()
    with pytest.raises(EngineError, match="was not submitted"):
        engine.wait(0)
    run(engine, scenes()[0])
    with pytest.raises(EngineError, match="was not submitted"):
        engine.wait(0)


@pytest.mark.parametrize("slot", [-1, 2])
def test_a_slot_out_of_range_is_refused_by_every_call(opened: Open, slot: int) -> None:
    engine = opened(slots=2)
    for call in (engine.inputs, engine.submit, engine.wait):
        with pytest.raises(EngineError, match="wanted 0 to 1"):
            call(slot)


def test_closing_twice_is_safe_and_a_closed_engine_refuses_every_call(opened: Open) -> None:
    engine = opened()
    engine.submit(0)  # closed in flight
    engine.close()
    engine.close()
    for call in (engine.inputs, engine.submit, engine.wait):
        with pytest.raises(EngineError, match="closed"):
            call(0)


def test_an_engine_says_its_name_precision_slots_and_spec(opened: Open) -> None:
    engine = opened(slots=3, threads=1)
    assert engine.name in ENGINES
    # What a plan computes in was settled when it was built.
    assert engine.precision == ("f16" if engine.name in OF_GPUS else "f32")
    assert engine.slots == 3
    assert engine.spec.name == "tiny-street"


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("size", [(32, 32), (64, 96), (96, 64)])
def test_both_runtimes_compute_the_same(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    path = tmp_path / "model.onnx"
    tiny_street(path, *size)
    image = np.random.default_rng(7).integers(0, 256, (1, *size, 3), np.uint8)
    engine = open_engine(path, engine=name, precision="f32")
    outputs = run(engine, image)
    engine.close()
    # Straight from the definition: the mean of each channel over the first 8x8 cell.
    mean = image[0, :8, :8].astype(np.float64).mean(axis=(0, 1))
    objectness = 20 * ((mean.max() - mean.min()) / 255 - 0.5)
    assert outputs["boxes_8"][0, 4, 0, 0] == pytest.approx(objectness, abs=1e-3)
    level = image[0, :4, :4].astype(np.float64).mean() / 25
    assert outputs["labels"][0, 0, 0] == round(level)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: replace(s, input=replace(s.input, name="frame")), "has no input 'frame'"),
        (lambda s: replace(s, input=replace(s.input, width=128)), r"wants uint8\[1, 64, 128, 3\]"),
        (
            lambda s: replace(s, outputs=(replace(s.outputs[0], dtype="float16"),)),
            "head tensor 'output0' is float16, wanted float32",
        ),
        (
            lambda s: replace(s, outputs=(replace(s.outputs[0], shape=(1, 8, 99)),)),
            r"is float32\[1, 8, 126\], but its spec wants float32\[1, 8, 99\]",
        ),
        (
            lambda s: replace(s, outputs=(*s.outputs, replace(s.outputs[0], name="more"))),
            "has no output 'more'",
        ),
    ],
)
def test_a_graph_that_differs_from_its_spec_is_refused_by_tensor(
    tmp_path: Path, name: str, change: Callable[[ModelSpec], ModelSpec], message: str
) -> None:
    path = tmp_path / "model.onnx"
    true = tiny_yolov8(path)
    tiny_yolov8(path, spec=change(true))
    with pytest.raises(ModelError, match=message):
        open_engine(path, engine=name)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_an_input_without_an_element_type_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.onnx"
    tiny_street(path)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.elem_type = 0
    onnx.save(model, path)
    with pytest.raises((ModelError, EngineError)):
        open_engine(path, engine=name)


def test_an_output_that_the_spec_does_not_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    true = tiny_street(path)
    tiny_street(path, spec=replace(true, outputs=true.outputs[:-1], masks=()))
    with pytest.raises(ModelError, match="has output 'labels', which its spec does not name"):
        open_engine(path)


def test_auto_is_openvino_for_onnx_and_onnxruntime_for_dynamically_quantised_files(
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.onnx"
    tiny_street(path)
    plain = open_engine(path)
    tiny_street(path, quantize=True)
    quantised = open_engine(path)
    assert (plain.name, quantised.name, quantised.precision) == ("openvino", "onnxruntime", "int8")
    assert np.unique(run(quantised, scenes()[0])["labels"]).tolist() == [3]
    plain.close()
    quantised.close()


def test_auto_replays_a_recording_by_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    tiny_street(path)
    source = open_engine(path, engine="openvino", precision="f32")
    recording = tmp_path / "run.replay.npz"
    assert record(source, scenes(), recording) == 2
    source.close()
    engine = open_engine(recording)
    levels = [run(engine, grey(0)[None])["labels"][0, 10, 10] for _ in range(3)]
    assert (engine.name, levels) == ("replay", [3, 8, 3])  # cycles, whatever it is given
    engine.close()


def test_an_unknown_engine_and_impossible_numbers_are_settings_errors(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    tiny_street(path)
    with pytest.raises(SettingsError, match="wanted one of auto, openvino"):
        open_engine(path, engine="openvinoo")
    with pytest.raises(SettingsError, match="0 engine slots"):
        open_engine(path, slots=0)
    with pytest.raises(SettingsError, match="0 engine threads"):
        open_engine(path, threads=0)


@pytest.mark.parametrize(("slots", "threads", "streams"), [(1, 2, 1), (2, 2, 2), (3, 2, 2)])
def test_openvino_runs_as_many_slots_side_by_side_as_it_has_threads(
    slots: int, threads: int, streams: int, tmp_path: Path
) -> None:
    # Requests of one stream run one after the other, however many are in flight.
    tiny_street(tmp_path / "a.onnx")
    engine = open_openvino(
        ModelFile(tmp_path / "a.onnx"), EngineOptions(slots=slots, threads=threads)
    )
    try:
        assert engine.streams == streams
    finally:
        engine.close()


def test_errors_files_and_redaction_are_imported_without_numpy_or_a_backend() -> None:
    # Every command needs them, and 0.2 s of NumPy and pydantic with them would show in each.
    program = (
        "import sys\nfrom engines import ENGINES, open_engine, errors, files, redact\n"
        "print({'numpy', 'pydantic', 'onnx', 'engines.base', *ENGINES} & {*sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (run.stdout.strip(), run.stderr) == ("set()", "")
