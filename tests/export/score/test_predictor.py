"""One model on single frames: what the app shows, what AP counts, and one run behind both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.vision.perception import Perception
from edge.vision.types import Image
from engines import open_engine
from engines.base import Engine
from export.score.predictor import Predictor
from tests.tiny_models import grey, paint, tiny_street


def test_boxes_are_those_of_the_app_and_go_down_to_the_lowest_score(tmp_path: Path) -> None:
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    engine = open_engine(model, engine="onnxruntime", precision="f32")
    image = paint(grey(75), (40, 16, 48, 24), 0)
    image[40:48, 8:16] = (200, 100, 100)  # objectness 20·(100/255 − 0.5) = −2.2: score 0.1 · 0.99
    predictor = Predictor(engine)
    predicted = predictor.predict(image)
    assert predicted.shown.xyxy.tolist() == [[40, 16, 48, 24]]
    assert predicted.all.xyxy[:2].tolist() == [[40, 16, 48, 24], [8, 40, 16, 48]]
    assert 0.05 < predicted.all.scores[1] < 0.15
    assert len(predicted.masks) == 1
    again = predictor.predict(grey(75))
    assert (len(again.shown), len(again.all)) == (0, 0)
    engine.close()


def test_a_frame_is_letterboxed_and_run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_street(tmp_path / "tiny.onnx")
    engine = open_engine(tmp_path / "tiny.onnx", engine="onnxruntime", precision="f32")
    counted: list[str] = []
    prepare, submit = Perception.prepare, type(engine).submit

    def counted_prepare(perception: Perception, image: Image, slot: int) -> None:
        counted.append("letterbox")
        prepare(perception, image, slot)

    def counted_submit(self: Engine, slot: int) -> None:
        counted.append("run")
        submit(self, slot)

    monkeypatch.setattr(Perception, "prepare", counted_prepare)
    monkeypatch.setattr(type(engine), "submit", counted_submit)
    predictor = Predictor(engine)
    predictor.predict(grey(75))
    predictor.outputs()
    predictor.candidates(0.1)
    engine.close()
    assert counted == ["letterbox", "run"]


def test_outputs_and_candidates_are_of_the_last_frame(tmp_path: Path) -> None:
    tiny_street(tmp_path / "tiny.onnx")
    engine = open_engine(tmp_path / "tiny.onnx", engine="onnxruntime", precision="f32")
    predictor = Predictor(engine)
    predictor.predict(grey(75))
    assert len(predictor.candidates(0.5)) == 0
    before = predictor.outputs()["boxes_8"].copy()
    predictor.predict(paint(grey(75), (40, 16, 48, 24), 0))
    assert predictor.candidates(0.5).xyxy[0].tolist() == [40, 16, 48, 24]
    assert not np.array_equal(predictor.outputs()["boxes_8"], before)
    engine.close()
