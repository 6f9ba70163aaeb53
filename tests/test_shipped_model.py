"""The network that comes along: what it promises on its card, held to by the app's own path."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import onnx
import pytest

from edge.perception import Perception
from edge.settings import SHIPPED_MODEL
from edge.sources import open_source
from edge.sources.options import SourceOptions
from engines import open_engine
from engines.model_file import read_spec
from export.camvid import BOX_CLASSES, CLASSES
from export.evaluate import evaluate_model


def test_it_is_small_and_says_what_it_is() -> None:
    spec = read_spec(SHIPPED_MODEL)
    assert SHIPPED_MODEL.stat().st_size < 10_000_000
    assert (spec.input.height, spec.input.width) == (384, 640)
    assert spec.detection is not None
    assert spec.detection.classes == BOX_CLASSES
    assert [m.classes for m in spec.masks] == [CLASSES]
    assert "CamVid" in spec.notice


def test_it_has_at_most_two_million_parameters() -> None:
    model = onnx.load(str(SHIPPED_MODEL))
    assert sum(int(np.prod(t.dims)) for t in model.graph.initializer) <= 2_000_000


def test_its_card_names_the_file_that_is_shipped() -> None:
    from engines.model_file import sha256_of

    card = SHIPPED_MODEL.with_suffix(".md").read_text()
    assert sha256_of(SHIPPED_MODEL) in card


@pytest.mark.heavy
def test_it_finds_the_cars_of_streets_it_has_not_seen() -> None:
    report = evaluate_model(SHIPPED_MODEL, data="synthetic")
    assert report.recall50 is not None
    assert report.recall50["car"] is not None
    assert report.recall50["car"] >= 0.8


@pytest.mark.heavy
def test_it_scores_on_camvid_what_the_project_promises(shared: Path, tmp_path: Path) -> None:
    report = evaluate_model(
        SHIPPED_MODEL,
        root=shared / "data" / "camvid",
        split="test",
        test_log=tmp_path / "scores.jsonl",  # a check of a fixed file, no choice is made by it
    )
    assert report.precision == "f32"
    assert report.miou is not None
    assert report.miou >= 0.56
    assert report.ap50 is not None
    assert report.ap50["car"] is not None
    assert report.ap50["car"] >= 0.55


@pytest.mark.heavy
def test_on_the_highway_there_are_cars_and_road_under_the_road(shared: Path) -> None:
    source = open_source(
        str(shared / "data" / "videos" / "highway.mp4"),
        policy="wait",
        stop=threading.Event(),
        options=SourceOptions(),
    )
    engine = open_engine(SHIPPED_MODEL, precision="f32")
    perception = Perception(engine)
    with_car, road = 0, []
    frames = 0
    try:
        while (frame := source.read()) is not None:
            frames += 1
            perception.prepare(frame.image, 0)
            perception.submit(0)
            perception.wait(0)
            detections, (mask,) = perception.decode(0)
            with_car += bool((detections.class_ids == BOX_CLASSES.index("car")).any())
            # just ahead of the bonnet, between the lane lines
            ahead = mask.letterbox.mask_to_frame(mask.labels)[420:500, 420:560]
            road.append(float((ahead == CLASSES.index("road")).mean()))
    finally:
        source.close()
        engine.close()
    assert frames == 221
    assert with_car >= 0.9 * frames
    assert np.mean(road) > 0.9
