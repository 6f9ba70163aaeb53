"""Views with one object: what is in them, and a score by hand."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from docs.experiments.single_objects import VIEW_WH, alone, main, views
from engines.errors import ExportError
from export.data.folder import folder_data
from tests.tiny_models import tiny_street


def test_a_window_holds_its_object_whole_and_no_other() -> None:
    boxes = np.array([[100, 100, 200, 180], [600, 300, 700, 360], [300, 100, 330, 120]], np.float32)
    rng = np.random.default_rng(0)
    for _ in range(50):
        window = alone(boxes, 0, rng)
        assert window is not None
        x, y, w, h = window
        assert 0 <= x <= 100
        assert 0 <= y <= 100
        assert 200 <= x + w <= 300  # where the third begins, which is as high
        assert y + h >= 180
        assert w / h == pytest.approx(320 / 192, abs=0.02)
    assert alone(boxes, 2, rng) is None  # 30 px
    assert alone(np.array([[0, 0, 1280, 720]], np.float32), 0, rng) is None  # nothing is larger


def test_a_view_is_the_same_for_the_same_seed_and_its_box_lies_in_it() -> None:
    for (view, box, name), (again, _, _) in zip(islice(views(3), 4), views(3), strict=False):
        assert view.shape == (VIEW_WH[1], VIEW_WH[0], 3)
        assert (view == again).all()
        assert (box[2:] > box[:2] + 5).all()
        assert (box >= -0.5).all()
        assert (box <= [320.5, 193.0] * 2).all()
        assert name


def test_a_folder_is_written_and_scored(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    done = CliRunner().invoke(main, [str(folder), "--views", "6"])
    assert done.exit_code == 0, done.exception
    for place, count in ((folder, 6), (folder / "val", 1)):
        data = folder_data(place)
        assert data.count == count
        assert not data.left_out
        assert all(len(data.load(i).annotations) == 1 for i in range(count))
    tiny_street(tmp_path / "tiny.onnx")  # it says the same box of every image
    done = CliRunner().invoke(main, [str(folder), "--model", str(tmp_path / "tiny.onnx")])
    assert done.exit_code == 0, done.exception
    assert done.output.startswith("tiny.onnx: mean IoU 0.")
    again = CliRunner().invoke(main, [str(folder), "--views", "6"])
    assert isinstance(again.exception, ExportError)
    boxes = folder / "val" / "boxes.json"
    coco = json.loads(boxes.read_text())
    coco["annotations"].append({**coco["annotations"][0], "id": 1, "bbox": [0, 0, 9, 9]})
    boxes.write_text(json.dumps(coco))
    twice = CliRunner().invoke(main, [str(folder), "--model", str(tmp_path / "tiny.onnx")])
    assert isinstance(twice.exception, ExportError)
    assert "2 objects, wanted one" in str(twice.exception)
