"""The command as a whole: who judges, what it prints, what passes, and files that are none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.settings.settings import SHIPPED_MODEL
from engines.errors import ExportError, ModelError, OutriderError, SettingsError
from engines.model_file import sha256_of
from engines.tensorrt.library import installed
from export.commands.check_tensorrt import check_tensorrt
from export.fp16.convert import convert_file
from export.fp16.typed import KEPT_KEY, to_float16
from export.onnx.graph import fold_constants, name_nodes
from export.tensorrt.check.check import Report, check_file, report_lines
from export.tensorrt.check.operators import RELEASES
from export.tensorrt.profiles import Profile
from tests.cuda_host.build import HostCuda
from tests.export.building import Workshop
from tests.export.test_cli import edge_export
from tests.export.trt_graphs import I64, F, H, Tensor, f32, judged, listed, model, node, rtx_judge
from tests.foreign_models import FOREIGN
from tests.rtx_here import needs_rtx
from tests.tiny_models import TINY_MODELS

OPEN: dict[str, Tensor] = {"y": (F, None)}
WIDE: dict[str, Tensor] = {"x": (F, [1, 4, 8, 12])}


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(check_tensorrt, [str(a) for a in arguments])


def saved(made: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "a.onnx"
    onnx.save(made, str(path))
    return path


@pytest.fixture(autouse=True)
def no_native(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same judge on a machine that has the native TensorRT, too."""
    rtx = installed("rtx")
    monkeypatch.setattr("export.tensorrt.check.judge.installed", lambda f: f == "rtx" and rtx)


@pytest.fixture
def no_tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no TensorRT is installed."""
    monkeypatch.setattr("export.tensorrt.check.judge.installed", lambda flavour: False)


def test_a_report_does_not_replace_the_model(tmp_path: Path) -> None:
    path = saved(model(node("Relu", "x", "y"), inputs=WIDE), tmp_path)
    before = path.read_bytes()
    done = edge_export("check-tensorrt", path, "--json", path)
    assert done.returncode == 2
    assert "would be written over" in done.stderr
    assert path.read_bytes() == before


def test_a_report_does_not_replace_the_weights_beside_the_model(tmp_path: Path) -> None:
    made = model(node("Add", "x w", "y"), inputs=WIDE)
    held = onnx.numpy_helper.from_array(np.ones((1, 1, 1, 1024), np.float32), "w")
    made.graph.initializer.append(held)
    path, weights = tmp_path / "a.onnx", tmp_path / "w.bin"
    onnx.save(made, str(path), save_as_external_data=True, location=weights.name)
    before = weights.read_bytes()
    done = edge_export("check-tensorrt", path, "--json", weights)
    assert done.returncode == 2
    assert weights.read_bytes() == before


def test_names_of_a_file_do_not_command_the_terminal(tmp_path: Path) -> None:
    made = model(node("Nothing", "x", "y"), inputs=WIDE)
    made.graph.node[0].name = "a\x1b[31m\nb"
    done = edge_export("check-tensorrt", saved(made, tmp_path), "--trt", "10.3")
    assert done.returncode == 4
    assert r"a\x1b[31m\nb" in done.stderr
    assert "\x1b" not in done.stderr


@needs_rtx
def test_the_name_of_a_file_need_not_be_text(tmp_path: Path) -> None:
    path = saved(model(node("Relu", "x", "y"), inputs=WIDE), tmp_path)
    assert run(path.rename(tmp_path / os.fsdecode(b"stra\xe9.onnx"))).exit_code == 0


# What passes


@needs_rtx
def test_the_shipped_network_is_taken_by_nvidia_itself() -> None:
    done = edge_export("check-tensorrt", SHIPPED_MODEL)
    assert done.returncode == 0, done.stderr
    first, second, last = done.stderr.splitlines()
    assert first.startswith("judged by    TensorRT for RTX 1.7")
    assert "parser and builder for compute capability 8.9: says nothing of native" in first
    assert second.startswith("graph        opset 17, ")
    assert last.startswith("taken        nothing found that TensorRT for RTX 1.7")
    assert done.stdout == ""


@needs_rtx
def test_of_its_fp16_form_every_convolution_is_fp16_in_nvidias_network(tmp_path: Path) -> None:
    target = tmp_path / "street.fp16.onnx"
    convert_file(SHIPPED_MODEL, target, say=lambda _: None)
    done = run(target, "--trt", "10.3")
    assert done.exit_code == 0, done.output
    nodes = onnx.load(str(target)).graph.node
    n = sum(node.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm") for node in nodes)
    assert n >= 50
    assert f"nodes, FP16, {n} of {n} convolutions and matrix products in FP16\n" in done.output
    assert "and by       a table of operators and types for TensorRT 10.3" in done.output


def as_half(made: onnx.ModelProto) -> onnx.ModelProto:
    """As ``edge-export fp16`` writes it, without the proof."""
    name_nodes(made)
    fold_constants(made, origin="a test")
    return to_float16(made, (), origin="a test")


@needs_rtx
@pytest.mark.parametrize("family", TINY_MODELS)
def test_every_family_passes_in_fp32_and_fp16(tmp_path: Path, family: str) -> None:
    TINY_MODELS[family](tmp_path / "tiny.onnx")
    made = onnx.load(str(tmp_path / "tiny.onnx"))
    half = as_half(onnx.load(str(tmp_path / "tiny.onnx")))
    for one in (made, half):
        assert judged(one, tmp_path).findings == ()
        assert all(listed(one, trt) == [] for trt in RELEASES)
    assert judged(half, tmp_path).precision.startswith("FP16, ")


@needs_rtx
@pytest.mark.parametrize("name", FOREIGN)
def test_every_foreign_net_passes_once_its_open_sizes_are_fixed(tmp_path: Path, name: str) -> None:
    for opset in (13, 20):
        made = FOREIGN[name](64, 96, opset=opset)
        sizes = {i.name: i.type.tensor_type.shape.dim for i in made.graph.input}
        least = {n: tuple(max(d.dim_value, 1) for d in dims) for n, dims in sizes.items()}
        fixed = {n: least[n] for n, dims in sizes.items() if any(d.dim_value < 1 for d in dims)}
        profiles = {n: Profile(shape, shape, shape) for n, shape in fixed.items()}
        assert judged(made, tmp_path, **profiles).findings == ()
        assert [f.node for f in judged(made, tmp_path).errors] == [f"input {n}" for n in fixed]
        assert listed(made) == []


@needs_rtx
@pytest.mark.parametrize(
    "name", ["nanodet_m_416", "twinlitenet_360x640", "yolo-fastest-1.1-xl", "yolox_nano"]
)
def test_real_float_models_pass(shared: Path, name: str) -> None:
    path = shared / "models" / f"{name}.onnx"
    assert check_file(path, judge=rtx_judge(), release="10.3").findings == ()


@needs_rtx
def test_the_dynamic_int8_model_is_refused_in_a_short_table(shared: Path) -> None:
    path = shared / "models" / "yolov8n_int8.onnx"
    report = check_file(path, judge=rtx_judge(), release="10.3")
    assert len(report.findings) == 59 + 64  # one a node, which the table does not tell again
    assert report.precision == "int8 in parts"
    told = [line for line in report_lines(report) if line.startswith("error")]
    assert told == [
        "error        59 × DynamicQuantizeLinear: TensorRT for RTX does not have this operator",
        "error        64 × ConvInteger: TensorRT for RTX does not have this operator",
    ]


# FP32 among FP16


def stray(*, kept: bool) -> onnx.ModelProto:
    """Two convolutions, the second in FP32; named as such where ``kept``."""
    return model(
        node("Cast", "x", "a", to=H), node("Conv", "a w", "first"),
        node("Cast", "first", "b", to=F), node("Conv", "b v", "second"),
        inputs=WIDE, w=f32(4, 4, 1, 1).astype(np.float16), v=f32(4, 4, 1, 1),
        metadata={KEPT_KEY: json.dumps({"second": "chosen"})} if kept else None,
    )  # fmt: skip


@needs_rtx
def test_a_convolution_left_in_fp32_is_told_unless_the_file_names_it(tmp_path: Path) -> None:
    report = judged(stray(kept=False), tmp_path)
    assert report.taken  # TensorRT builds it; edge-export build does not
    (found,) = report.findings
    assert (found.level, found.rule) == ("warning", "precision")
    assert "1 of 2 convolutions and matrix products are not FP16" in found.problem
    assert "second (fp32) first" in found.problem
    report = judged(stray(kept=True), tmp_path)
    assert report.findings == ()
    assert report.precision.endswith("1 of 2 convolutions and matrix products in FP16, 1 in FP32 "
                                     "as the file says")  # fmt: skip


# The command


@needs_rtx
def test_a_refused_file_exits_4_with_the_node_and_the_way_out(tmp_path: Path) -> None:
    made = model(*(node("Det", "x", f"d{i}") for i in range(5)))
    done = edge_export("check-tensorrt", saved(made, tmp_path))
    assert done.returncode == 4
    assert "error        5 × Det: TensorRT for RTX does not have this operator\n" in done.stderr
    assert "             d0, d1, d2 and 2 more\n" in done.stderr
    assert "             way out: export the model without it" in done.stderr
    assert "will not take it: 5 places, told above with the way out of each." in done.stderr
    assert "Traceback" not in done.stderr


@needs_rtx
def test_an_older_release_is_asked_after_the_judge(tmp_path: Path) -> None:
    made = model(node("HannWindow", "n", "h"), node("Det", "h", "d"), opset=17,
                 n=np.array(4, np.int32), outputs={"h": (F, None)})  # fmt: skip
    made.graph.node.pop()
    assert run(saved(made, tmp_path)).exit_code == 0
    done = run(saved(made, tmp_path), "--trt", "10.3")
    assert isinstance(done.exception, ExportError)
    assert "1 × HannWindow: is not taken by TensorRT 10.3" in done.output
    assert "and the table of TensorRT 10.3 will not take it" in str(done.exception)


@needs_rtx
def test_the_report_as_json_names_every_node_and_the_judge(tmp_path: Path) -> None:
    path, target = saved(model(node("Det", "x", "d")), tmp_path), tmp_path / "report.json"
    done = run(path, "--json", target, "--trt", "11.4")
    assert isinstance(done.exception, ExportError)
    report = json.loads(target.read_text())
    assert report["sha256"] == sha256_of(path)
    assert report["taken"] is False
    assert report["judge"]["flavour"] == "rtx"
    assert "compute capability 8.9" in report["judge"]["asked"]
    assert (report["tensorrt"], report["opset"], report["nodes"]) == ("11.4", 17, 1)
    (found,) = report["findings"]
    assert (found["rule"], found["node"], found["operator"]) == ("parser", "d", "Det")
    assert found["said"] == "false"  # as NVIDIA says it
    again = run(path, "--json", "-")
    assert json.loads(again.stdout)["findings"]


@pytest.mark.usefixtures("no_tensorrt")
def test_without_any_tensorrt_the_table_alone_judges_for_10_3_and_says_so() -> None:
    done = run(SHIPPED_MODEL)
    assert done.exit_code == 0, done.output
    first = done.output.splitlines()[0]
    assert first.startswith("judged by    a table of operators and types for TensorRT 10.3 (Jetson")
    assert "it sees no shapes and no attributes" in first
    assert "pip install" in first


@pytest.mark.usefixtures("no_tensorrt")
def test_the_table_alone_refuses_what_the_release_lacks(tmp_path: Path) -> None:
    path = saved(model(node("Det", "x", "d")), tmp_path)
    done = run(path, "--json", "-")
    assert isinstance(done.exception, ExportError)
    assert "the table of TensorRT 10.3 will not take it: 1 place" in str(done.exception)
    assert json.loads(done.stdout)["judge"] is None
    assert str(done.exception).endswith("told above with the way out of each.")


@needs_rtx
def test_a_native_one_that_has_no_device_is_told_and_the_other_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("export.tensorrt.check.judge.installed", lambda flavour: True)
    done = run(SHIPPED_MODEL)
    assert done.exit_code == 0, done.output
    first, second, *_ = done.output.splitlines()
    assert first.startswith("judged by    TensorRT for RTX")
    assert second.startswith("note         TensorRT is not installed here")


def test_where_the_native_one_opens_its_parser_judges(host_cuda: HostCuda, tmp_path: Path) -> None:
    workshop = Workshop(host_cuda, tmp_path)
    done = workshop.run("check-tensorrt", SHIPPED_MODEL)
    assert done.returncode == 0, done.stderr
    first = done.stderr.splitlines()[0]
    assert first.startswith("judged by    TensorRT 10.3.0, parser: says nothing of the builder")
    done = workshop.run("check-tensorrt", SHIPPED_MODEL, double={"FAULT": "parser:Conv"})
    assert done.returncode == 4
    assert "× Conv: NVIDIA says: planted" in done.stderr


@pytest.mark.parametrize("content", [b"", b"no model", None])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.onnx"
    if content is not None:
        path.write_bytes(content)
    assert isinstance(run(path).exception, ModelError)


def test_one_file_beyond_2_gb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 31)  # of holes, which take no room
    done = run(path)
    assert isinstance(done.exception, ModelError)
    assert "got 2147483648 bytes, and one ONNX file holds 2 GB at most" in str(done.exception)
    assert "weights in a file beside it" in str(done.exception)


@needs_rtx
def test_weights_beside_the_file_are_read_and_told_where_they_are_cut_short(
    tmp_path: Path,
) -> None:
    path, beside = tmp_path / "a.onnx", tmp_path / "a.bin"
    made = model(node("Add", "x c", "y"), c=f32(1, 4, 8, 12))
    onnx.save(made, str(path), save_as_external_data=True, location=beside.name, size_threshold=0)
    assert run(path).exit_code == 0
    beside.write_bytes(beside.read_bytes()[:100])
    done = run(path)
    assert isinstance(done.exception, ExportError)
    assert "the file: weights cannot be read: c" in done.output


def test_a_report_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    done = run(SHIPPED_MODEL, "--json", tmp_path / "none" / "report.json")
    assert isinstance(done.exception, ExportError)
    assert "cannot be written" in str(done.exception)
    assert "Name a writable file with --json" in str(done.exception)


def test_a_profile_for_no_input_is_a_wrong_setting() -> None:
    done = run(SHIPPED_MODEL, "--profile", "imago=1x3x8x8")
    assert isinstance(done.exception, SettingsError)
    assert "no such input; it has image" in str(done.exception)


# Damaged files

TINY = model(
    node("Conv", "x w", "c"), node("Relu", "c", "r"),
    node("MaxPool", "r", "y", kernel_shape=[2, 2]),
    w=f32(4, 4, 1, 1),
).SerializeToString()  # fmt: skip


@needs_rtx
def test_a_file_that_ends_nvidias_parser_is_refused_by_a_message(tmp_path: Path) -> None:
    made = model(node("ConstantOfShape", "s", "y"), inputs={"s": (I64, [])}, outputs=OPEN)
    done = run(saved(made, tmp_path))
    assert isinstance(done.exception, ExportError)
    assert "the file: ends NVIDIA's parser by SIGSEGV: a node has too few inputs" in done.output
    assert "way out: export the model again" in done.output


@needs_rtx
@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(TINY) - 1), st.integers(0, 255)), max_size=6))
@example([])
@example([(52, 128), (66, 0)])  # a name that is not UTF-8
@example([(13, 128)])  # a node without outputs, which ends NVIDIA's parser
@example([(182, 29)])  # a type that ONNX does not have
def test_a_damaged_file_is_reported_or_refused_and_never_a_fault_of_ours(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(TINY)
    for at, value in changes:
        data[at] = value
    path = tmp_path_factory.mktemp("damaged") / "a.onnx"
    path.write_bytes(data)
    try:
        report: Any = check_file(path, judge=rtx_judge()._replace(apart=True), release="10.3")
    except OutriderError:
        return
    assert isinstance(report, Report)
    assert report_lines(report)
