"""``edge-export camvid-boxes``: what it writes and says."""

from __future__ import annotations

import shutil
from pathlib import Path

from click.testing import CliRunner

from engines.errors import ExportError
from export.commands.camvid_boxes import camvid_boxes
from tests.export.street_data import make_camvid


def test_boxes_are_written_where_there_are_none_and_told_on_stderr(tmp_path: Path) -> None:
    root = make_camvid(tmp_path, images=2)
    for kind in ("images", "labels"):
        shutil.copytree(root / kind / "val", root / kind / "test")
    done = CliRunner().invoke(camvid_boxes, [str(root)])
    assert done.exit_code == 0, done.exception
    assert "boxes_val.json: is there and stays; delete it to have it made anew" in done.stderr
    assert "boxes_test.json: 2 boxes in 2 images" in done.stderr
    assert done.stdout == ""
    assert (root / "boxes_test.json").exists()


def test_a_root_that_is_no_camvid_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(camvid_boxes, [str(tmp_path)])
    assert isinstance(done.exception, ExportError)
