"""Outputs are refused before the work and written whole."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engines.errors import ExportError, SettingsError
from export.outputs import check_output, write_output
from tests.conftest import ROOT


def test_a_file_is_replaced_whole_and_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    check_output(path, "--html")
    assert list(tmp_path.iterdir()) == []
    write_output(path, "straße\n", "--html")
    write_output(path, "new\n", "--html")
    assert path.read_text() == "new\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_name_that_is_no_text_does_not_cost_the_report(tmp_path: Path) -> None:
    name = os.fsdecode(b"frame\xff.png")
    write_output(tmp_path / "report.html", name, "--html")
    assert (tmp_path / "report.html").read_text() == "frame?.png"


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    model = tmp_path / "a.onnx"
    model.write_text("model")
    (tmp_path / "link").symlink_to(model)
    for path in (model, tmp_path / ".." / tmp_path.name / "a.onnx", tmp_path / "link"):
        with pytest.raises(SettingsError, match=r"^--json .*: would be written over"):
            check_output(path, "--json", inputs=(model,))
    check_output(tmp_path / "other", "--json", inputs=(model,))


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.html").write_text("old")
    link = tmp_path / "link.html"
    link.symlink_to("real.html")
    write_output(link, "new", "--html")
    assert link.is_symlink()
    assert (tmp_path / "real.html").read_text() == "new"


@pytest.mark.parametrize(
    ("name", "reason"),
    [("", "Is a directory"), ("none/a.json", "No such file"), ("file/a.json", "Not a directory")],
)
def test_a_place_that_cannot_be_written_names_the_reason_and_the_option(
    name: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / name
    message = rf"cannot be written \({reason}.*\)\. Name a writable file with --json\."
    with pytest.raises(ExportError, match=message):
        check_output(path, "--json")
    with pytest.raises(ExportError, match=message):
        write_output(path, "{}", "--json")


def test_a_pipe_is_written_into_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_output(pipe, "--json")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_output(pipe, "{}", "--json")
    reader.join(10)
    assert read == ["{}"]
    assert pipe.is_fifo()


def test_the_file_that_standard_output_leads_to_is_written_through_it(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from export.outputs import check_reports, write_output\n"
        "print('before')\nfor name in ('/dev/stdout', 'out.json'):\n"
        "    check_reports({'--json': Path(name)}, ()); write_output(Path(name), '{}\\n', '--json')"
    )
    with (tmp_path / "out.json").open("w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, cwd=tmp_path, check=True,
                       env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before\n{}\n{}\n"]


def test_a_device_is_no_file_that_two_outputs_share() -> None:
    null = Path(os.devnull)
    check_output(null, "--json", inputs=(null,))


def test_a_full_disk_is_told() -> None:
    with pytest.raises(ExportError, match=r"/dev/full: cannot be written \(No space left"):
        write_output(Path("/dev/full"), "{}", "--json")
