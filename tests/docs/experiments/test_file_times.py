"""Times of files beside each other: every file in every engine."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from docs.experiments.file_times import main
from tests.tiny_models import tiny_mask, tiny_street


def test_every_file_is_timed_in_every_engine(tmp_path: Path) -> None:
    files = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    tiny_street(files[0])
    tiny_mask(files[1])
    done = CliRunner().invoke(main, [*map(str, files), "--default", "--calls", "2"])
    assert done.exit_code == 0, done.exception
    head, _, *rows = done.output.split("\n\n")[0].splitlines()
    assert head == "| file | openvino f32, ms | onnxruntime f32, ms | openvino default, ms |"
    for file, row in zip(files, rows, strict=True):
        name, *times = (cell.strip() for cell in row.strip("|").split("|"))
        assert name == str(file)
        assert len([float(ms) for ms in times]) == 3
