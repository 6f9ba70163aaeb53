"""An int8 file stands in for a model only where it was made of it and held the gate."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from edge.proven.int8_beside import gated_beside
from engines.model_file import ModelFile
from engines.spec import ModelSpec
from tests.tiny_models import tiny_street

GATE = "mIoU -0.001, car -0.002 on 20 frames"


def made(path: Path, spec: ModelSpec, source: Path) -> Path:
    """What the int8 command leaves, as far as its spec goes."""
    sha256 = ModelFile(source).sha256
    tiny_street(path, spec=replace(spec, precision="int8", source_sha256=sha256, gate=GATE))
    return path


def test_both_kinds_are_found_beside_the_model_they_were_made_of(tmp_path: Path) -> None:
    street = tmp_path / "street.onnx"
    spec = tiny_street(street)
    assert gated_beside(ModelFile(street)) == []
    cpu = made(tmp_path / "street.int8-cpu.onnx", spec, street)
    any_engine = made(tmp_path / "street.int8.onnx", spec, street)
    made(tmp_path / "street.int8-mine.onnx", spec, street)
    assert [file.path for file in gated_beside(ModelFile(street))] == [any_engine, cpu]


def test_one_beside_a_foreign_file_goes_with_what_that_was_adopted_into(tmp_path: Path) -> None:
    foreign, adopted = tmp_path / "mine.onnx", tmp_path / "cache" / "mine-0123.onnx"
    adopted.parent.mkdir()
    tiny_street(foreign, height=96)
    spec = tiny_street(adopted)
    for source in (foreign, adopted):
        path = made(tmp_path / "mine.int8.onnx", spec, source)
        assert [f.path for f in gated_beside(ModelFile(adopted), foreign)] == [path]
    assert gated_beside(ModelFile(adopted)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source_sha256": "0" * 64}, r"was not made of .*street\.onnx as it is now"),
        ({"gate": ""}, "does not say that it held the gate"),
        ({"precision": "fp32"}, "does not say that it held the gate"),
        ({"masks": ()}, "has other classes or settings than"),
        ({"outputs": ()}, "has other inputs or outputs than"),
        ({"gate": "a\nb"}, "cannot be printed"),
    ],
)
def test_any_other_is_told_with_the_command_and_left_out(
    change: dict[str, object], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    street, int8 = tmp_path / "street.onnx", tmp_path / "street.int8.onnx"
    spec = tiny_street(street)
    if change.get("outputs") == ():
        change = {"masks": (), "outputs": spec.outputs[:-1]}
    sha256 = ModelFile(street).sha256
    right = replace(spec, precision="int8", source_sha256=sha256, gate=GATE)
    tiny_street(int8, spec=replace(right, **change))  # type: ignore[arg-type]
    assert gated_beside(ModelFile(street)) == []
    (record,) = caplog.records
    told = record.getMessage()
    assert told.startswith(f"{int8}: ")
    assert re.search(said, told)
    assert "left out" in told


def test_a_damaged_one_is_told_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    street, int8 = tmp_path / "street.onnx", tmp_path / "street.int8.onnx"
    tiny_street(street)
    int8.write_bytes(street.read_bytes()[:100])
    assert gated_beside(ModelFile(street)) == []
    assert "street.int8.onnx: " in caplog.text
    assert "It is left out." in caplog.text
