"""Quantising a file: what is written, what stays float and why, and what is refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from platform import machine
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

from edge.proven.int8_beside import gated_beside
from edge.settings.settings import SHIPPED_MODEL
from engines import open_engine
from engines.errors import ExportError, ModelError, OutriderError, SettingsError
from engines.model_file import ModelFile, is_quantized, read_spec, sha256_of
from export.commands.precision import int8
from export.fp16.convert import convert_file as to_fp16
from export.int8 import search
from export.int8.convert import FLOAT_KEY, Proof, convert_file
from export.int8.gate import AGREEMENT, ON_LABELS, Gate, Loss, Verdict
from tests.export.planted import Step, Steps, change, gain, pictures, plant
from tests.tiny_models import grey, paint, tiny_mask, tiny_street, tiny_yolov8

CLIP: Step = ("Clip", [np.array(0, np.float32), np.array(1e9, np.float32)])
LAST: Steps = [gain(1)]


def gains(*each: float) -> Step:
    """A 1×1 convolution with a gain of its own for each plane."""
    return "Conv", [np.diag(np.array(each, np.float32)).reshape(3, 3, 1, 1)]


UNEVEN: Steps = [gains(1, 1000, 1), CLIP, gains(1, 1 / 1000, 1)]
"""Between the two a step of the integers is 255·1000/127, more than the whole of two planes."""


def streets(folder: Path, count: int = 20) -> Path:
    """Grey streets with a block of each colour at whole cells."""
    folder.mkdir()
    for i in range(count):
        image = grey(25 * (1 + i % 9))
        for k in range(3):
            x = 32 * ((i + k) % 3)
            paint(image, (x, 0, x + 32, 32), k)
        cv2.imwrite(str(folder / f"{i:02}.png"), image)
    return folder


def planted(path: Path, steps: Steps, *, build: Any = tiny_street) -> Path:
    """A tiny model with convolutions in it."""
    bare = path.with_name("bare.onnx")
    build(bare)
    plant(bare, path, behind="Transpose", steps=steps)
    bare.unlink()
    return path


def convert(path: Path, frames: Path, target: Path | None = None) -> tuple[list[Path], list[str]]:
    said: list[str] = []
    proof = Proof(str(frames), None, {}, AGREEMENT)
    return convert_file(path, target, proof=proof, say=said.append), said


def float_layers(path: Path) -> dict[str, str]:
    (entry,) = [p for p in onnx.load(str(path)).metadata_props if p.key == FLOAT_KEY]
    return dict(json.loads(entry.value))


@pytest.mark.parametrize("build", [tiny_street, tiny_mask])
def test_both_files_are_written_beside_the_model_and_run_in_both_engines(
    tmp_path: Path, build: Any
) -> None:
    path = planted(tmp_path / "a.onnx", [gain(1), ("Relu", []), gain(1), *LAST], build=build)
    frames = streets(tmp_path / "frames")
    arguments = [str(path), "--frames", str(frames)]
    done = CliRunner().invoke(int8, arguments)
    assert done.exit_code == 0, done.exception
    made = {tmp_path / "a.int8.onnx": onnx.TensorProto.INT8}
    made[tmp_path / "a.int8-cpu.onnx"] = onnx.TensorProto.UINT8
    assert {p for p in tmp_path.iterdir() if p.is_file()} == {path, *made}
    assert [file.path for file in gated_beside(ModelFile(path))] == list(made)
    for file, kind in made.items():
        spec = read_spec(file)
        assert spec.precision == "int8"
        assert spec.source_sha256 == sha256_of(path)
        assert "on 10 frames" in spec.gate
        assert spec.outputs == read_spec(path).outputs
        assert list(float_layers(file)) == ["planted/Conv_3"]
        model = onnx.load(str(file))
        zeros = {t.name: t for t in model.graph.initializer if t.name.endswith("/zero")}
        of_maps = [t.data_type for n, t in zeros.items() if "weights" not in n]
        assert of_maps == [kind] * len(of_maps)
        assert of_maps
        assert is_quantized(model)
        for engine in ("onnxruntime", "openvino"):
            open_engine(file, engine=engine).close()
        assert f"speed        {file.name} " in done.output


def test_uneven_channels_are_equalised(tmp_path: Path) -> None:
    """The planes differ by 1000; behind Clip, which equalising leaves alone, nothing else helps."""
    steps = [gains(1, 1000, 1), gains(1, 1 / 1000, 1), *LAST]
    path = planted(tmp_path / "a.onnx", steps)
    made, said = convert(path, streets(tmp_path / "frames"))
    assert ", equalised" in read_spec(made[0]).gate
    assert not any("more in float" in line for line in said)


def test_layers_that_cost_too_much_stay_float_and_are_named(tmp_path: Path) -> None:
    path = planted(tmp_path / "a.onnx", [gain(1), gain(1), *UNEVEN, *LAST])
    made, said = convert(path, streets(tmp_path / "frames"))
    kept = float_layers(made[0])
    assert set(kept) == {"planted/Conv_4", "planted/Conv_5"}  # the last, and what reads the large
    assert kept["planted/Conv_4"].startswith("number 1 of 4 in harm: its int8 alone leaves")
    assert any("planted/Conv_4: number 1 of 4 in harm" in line for line in said)
    # in the uint8 form what makes the large values would write them in integers, too
    assert set(float_layers(made[1])) == {"planted/Conv_2", "planted/Conv_4", "planted/Conv_5"}


def test_what_loses_too_much_is_not_written_and_an_older_file_stays(tmp_path: Path) -> None:
    path = planted(tmp_path / "a.onnx", [*UNEVEN, *LAST])
    (tmp_path / "a.int8-cpu.onnx").write_bytes(b"an older one")
    with pytest.raises(ExportError, match=r"a\.int8-cpu\.onnx: .*may be lost") as refused:
        convert(path, streets(tmp_path / "frames"))
    assert refused.value.exit_code == 4
    assert "planted/Conv_" in str(refused.value)
    assert (tmp_path / "a.int8-cpu.onnx").read_bytes() == b"an older one"


def test_what_openvino_computes_otherwise_is_refused_with_what_it_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = planted(tmp_path / "a.onnx", [gain(1), *LAST])
    judge = Gate.judge

    def lossy(gate: Gate, file: Path, *, engine: str = "onnxruntime") -> Verdict:
        verdict = judge(gate, file, engine=engine)
        lost = replace(verdict, losses=(Loss("mIoU", 1.0, 0.5, 0.07),))
        return lost if engine == "openvino" else verdict

    monkeypatch.setattr(Gate, "judge", lossy)
    monkeypatch.setattr("export.int8.ranges.METHODS", ("min-max",))  # one way is enough
    monkeypatch.setattr("export.int8.convert.FORMS", {"int8": ""})
    with pytest.raises(ExportError, match=r"a\.int8\.onnx: in openvino mIoU 1\.0000 to 0\.5000"):
        convert(path, streets(tmp_path / "frames"))
    assert {p.name for p in tmp_path.iterdir()} == {"a.onnx", "frames"}


@pytest.mark.skipif(machine() != "x86_64", reason="plays a processor of x86 without VNNI")
def test_weights_have_seven_bits_where_an_engine_saturates_at_eight(tmp_path: Path) -> None:
    """Each plane eleven times: sums of bright ones overflow the 16 bits of AVX2 in OpenVINO."""

    def planes(rows: int, columns: int) -> Step:
        each = np.full((rows, columns), 1 / columns, np.float32)
        return "Conv", [np.kron(np.eye(3, dtype=np.float32), each)[:, :, None, None]]

    steps: Steps = [planes(11, 1), ("Relu", []), planes(11, 11), ("Relu", []), planes(1, 11)]
    path = planted(tmp_path / "a.onnx", [*steps, *LAST])
    proof = f"Proof({str(streets(tmp_path / 'frames'))!r}, None, {{}}, AGREEMENT)"
    code = (
        "from pathlib import Path; from export.int8 import convert\n"
        "from export.int8.convert import Proof; from export.int8.gate import AGREEMENT\n"
        "convert._say_times = lambda *_: None  # bf16 of AMX dies where AVX2 is played\n"
        f"convert.convert_file(Path({str(path)!r}), None, proof={proof}, say=print)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search("weights of 7 bits, as with 8 in openvino output .* is off by", done.stdout)
    graph = onnx.load(str(tmp_path / "a.int8.onnx")).graph
    weights = [numpy_helper.to_array(t) for t in graph.initializer if "weights/int" in t.name]
    assert max(int(np.abs(whole.astype(int)).max()) for whole in weights) == 63


def test_frames_that_show_nothing_to_judge_by_are_refused(tmp_path: Path) -> None:
    """A net of boxes alone, on frames without any."""
    path = planted(tmp_path / "a.onnx", [gain(1), *LAST], build=tiny_yolov8)
    folder = tmp_path / "frames"
    folder.mkdir()
    for i in range(24):
        image = grey(20 + 9 * i)
        image[0, 0] = 0  # of two colours
        cv2.imwrite(str(folder / f"{i:02}.png"), image)
    with pytest.raises(ExportError, match="the 12 frames that judge show too little"):
        convert(path, folder)


def test_a_conversion_that_is_ended_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = planted(tmp_path / "a.onnx", [gain(1), *LAST])
    frames = streets(tmp_path / "frames")

    def ended(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "mean_shifts", ended)
    with pytest.raises(KeyboardInterrupt):
        convert(path, frames)
    assert {p.name for p in tmp_path.iterdir()} == {"a.onnx", "frames"}


def test_frames_that_show_too_little_are_refused(tmp_path: Path) -> None:
    path = planted(tmp_path / "a.onnx", [gain(1), *LAST])
    few, plain = pictures(tmp_path / "few", 5), tmp_path / "plain"
    plain.mkdir()
    for i in range(24):
        cv2.imwrite(str(plain / f"{i:02}.png"), grey(10 * i))
    with pytest.raises(ExportError, match="3 frames to calibrate on, 0 of them of one colour"):
        convert(path, few)
    with pytest.raises(ExportError, match="12 frames to calibrate on, 12 of them of one colour"):
        convert(path, plain)


def test_what_cannot_be_quantised_is_refused(tmp_path: Path) -> None:
    frames = streets(tmp_path / "frames")
    tiny_street(tmp_path / "int8.onnx", quantize=True)
    tiny_mask(tmp_path / "bare.onnx")
    to_fp16(tmp_path / "bare.onnx", tmp_path / "half.onnx", frames=str(frames), say=lambda _: None)
    cases: list[tuple[str, str | None, type[OutriderError], str]] = [
        ("int8.onnx", None, ExportError, "is quantised already"),
        ("half.onnx", None, ExportError, "has float16 tensors inside"),
        ("bare.onnx", None, ExportError, "has no layer that could compute in int8"),
        ("none.onnx", None, ModelError, "no such model file"),
        ("bare.onnx", "bare.onnx", SettingsError, "would be written over"),
        ("bare.onnx", "bare.engine", SettingsError, "wanted a name that ends in .onnx"),
        ("bare.onnx", "no/folder/here.onnx", ExportError, "cannot be written"),
    ]
    before = sorted(tmp_path.rglob("*"))
    for name, target, kind, words in cases:
        with pytest.raises(kind, match=words):
            convert(tmp_path / name, frames, tmp_path / target if target else None)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_judge_of_a_film_is_not_written_over(tmp_path: Path) -> None:
    path, judge = planted(tmp_path / "a.onnx", [gain(1), *LAST]), tmp_path / "b.int8-cpu.onnx"
    tiny_yolov8(judge)
    before = judge.read_bytes()
    words = ["--data", "film", "--root", str(streets(tmp_path / "frames")), "--judge", str(judge)]
    ran = CliRunner().invoke(int8, [str(path), "-o", str(tmp_path / "b.int8.onnx"), *words])
    assert isinstance(ran.exception, SettingsError), ran.exception
    assert "would be written over" in str(ran.exception)
    assert judge.read_bytes() == before


def test_a_model_that_is_broken_already_is_refused(tmp_path: Path) -> None:
    path = planted(tmp_path / "a.onnx", [gain(1), *LAST])

    def break_it(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == "planted_0_0":
                tensor.CopyFrom(
                    onnx.numpy_helper.from_array(
                        np.full((3, 3, 1, 1), np.inf, np.float32), tensor.name
                    )
                )

    broken = change(path, tmp_path / "b.onnx", break_it)
    with pytest.raises(ExportError, match="not finite in FP32 already"):
        convert(broken, streets(tmp_path / "frames"))


def test_a_model_of_an_opset_without_scales_by_channel_is_brought_to_one_that_has_them(
    tmp_path: Path,
) -> None:
    path = planted(tmp_path / "a.onnx", [gain(1), *LAST], build=tiny_mask)
    old = onnx.load(str(path))
    del old.opset_import[:]
    old.opset_import.append(onnx.helper.make_opsetid("", 11))
    onnx.save(old, str(path))
    made, _ = convert(path, streets(tmp_path / "frames"))
    assert onnx.load(str(made[0])).opset_import[0].version == 13


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--split", "val"], "--split goes with --data"),
        (["--map", "a=b"], "--map goes with --data"),
        (["--judge", "b.onnx"], "--judge goes with --data"),
        (["--least-px", "9"], "--least-px goes with --data"),
        (["--test-log", "log"], "--test-log goes with --data"),
        (["--data", "camvid", "--split", "test"], "--split test: here scores choose"),
        (["--data", "folder", "--split", "val"], "--split val: folder has no splits"),
    ],
)
def test_what_would_be_ignored_or_must_not_choose_is_wrong_usage(
    arguments: list[str], said: str
) -> None:
    ran = CliRunner().invoke(int8, ["a.onnx", *arguments])
    assert isinstance(ran.exception, SettingsError), ran.exception
    assert said in str(ran.exception)


@pytest.mark.slow
def test_the_shipped_network_holds_the_gate(tmp_path: Path, shared: Path) -> None:
    """On the images that calibrate; few, as this tries it in twenty ways."""
    target = tmp_path / "street.int8.onnx"
    arguments = [str(SHIPPED_MODEL), "-o", str(target), "--limit", "12", "--data", "camvid"]
    arguments += ["--root", str(shared / "data" / "camvid")]
    done = CliRunner().invoke(int8, [*arguments, "--ap50", "0.03"])
    assert done.exit_code == 0, done.exception
    assert target.stat().st_size < 0.35 * SHIPPED_MODEL.stat().st_size
    assert ON_LABELS.miou == 0.005
    assert "mIoU" in read_spec(target).gate
