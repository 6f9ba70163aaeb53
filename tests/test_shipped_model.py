"""The network that comes along: what it promises on its card, held to by the app's own path."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import onnx
import pytest

from edge.proven.adopt_cache import adopted
from edge.settings.settings import SHIPPED_MODEL
from edge.sources import open_source
from edge.sources.options import SourceOptions
from edge.vision.perception import Perception
from edge.vision.types import Detections, Mask
from engines import open_engine
from engines.model_file import read_spec
from export.data.camvid import BOX_CLASSES, CLASSES
from export.score.scores import iou_matrix
from tests.export.labelled_files import score_on


def test_it_is_small_and_says_what_it_is() -> None:
    spec = read_spec(SHIPPED_MODEL)
    assert SHIPPED_MODEL.stat().st_size < 10_000_000
    assert (spec.input.height, spec.input.width) == (384, 640)
    assert spec.detection is not None
    assert spec.detection.classes == BOX_CLASSES
    assert [m.classes for m in spec.masks] == [CLASSES]
    assert "CamVid" in spec.notice
    assert "Cityscapes" in spec.notice


def test_it_has_at_most_two_million_parameters() -> None:
    model = onnx.load(str(SHIPPED_MODEL))
    assert sum(int(np.prod(t.dims)) for t in model.graph.initializer) <= 2_000_000


def test_its_card_names_the_file_that_is_shipped() -> None:
    from engines.model_file import sha256_of

    card = SHIPPED_MODEL.with_suffix(".md").read_text()
    assert sha256_of(SHIPPED_MODEL) in card


@pytest.mark.slow
def test_it_finds_the_cars_of_streets_it_has_not_seen() -> None:
    report = score_on(SHIPPED_MODEL, "synthetic")
    assert report.recall50 is not None
    assert report.recall50["car"] is not None
    assert report.recall50["car"] >= 0.8


def test_it_scores_on_camvid_what_the_project_promises(shared: Path) -> None:
    # Not logged: a check of a fixed file, no choice is made by it.
    report = score_on(SHIPPED_MODEL, root=shared / "data" / "camvid", split="test")
    assert report.precision == "f32"
    assert report.miou is not None
    assert report.miou >= 0.66
    assert report.ap50 is not None
    assert report.ap50["car"] is not None
    assert report.ap50["car"] >= 0.75
    assert report.ap50["pedestrian"] is not None
    assert report.ap50["pedestrian"] >= 0.43


def seen_on(clip: Path, model: Path) -> list[tuple[Detections, tuple[Mask, ...]]]:
    """What a model says of every frame, at f32."""
    source = open_source(str(clip), policy="wait", stop=threading.Event(), options=SourceOptions())
    engine = open_engine(model, precision="f32")
    perception = Perception(engine)
    seen = []
    try:
        while (frame := source.read()) is not None:
            perception.prepare(frame.image, 0)
            perception.submit(0)
            perception.wait(0)
            seen.append(perception.decode(0))
    finally:
        source.close()
        engine.close()
    return seen


def test_on_the_highway_the_near_cars_are_boxed_and_the_road_is_road(shared: Path) -> None:
    clip = shared / "data" / "videos" / "highway.mp4"
    yolox = adopted(shared / "models" / "yolox_nano.onnx", str(clip))
    ours, theirs = seen_on(clip, SHIPPED_MODEL), seen_on(clip, yolox)
    assert len(ours) == 221
    coco = read_spec(yolox).detection
    assert coco is not None
    vehicles = [coco.classes.index(name) for name in ("car", "truck", "bus")]
    frames = whole = 0
    for (found, _), (reference, _) in zip(ours, theirs, strict=True):
        # near: 40 px of the clip's 540 high, sure enough for a COCO-trained net
        high = reference.xyxy[:, 3] - reference.xyxy[:, 1] >= 40
        near = high & np.isin(reference.class_ids, vehicles) & (reference.scores >= 0.4)
        cars = found.xyxy[found.class_ids == BOX_CLASSES.index("car")]
        boxed = iou_matrix(reference.xyxy[near], cars).max(1, initial=0.0) >= 0.5
        frames += bool(near.any())
        whole += bool(near.any() and boxed.all())
    assert frames >= 200
    assert whole >= 0.9 * frames, (whole, frames)
    # just ahead of the bonnet, between the lane lines
    ahead = [m.letterbox.mask_to_frame(m.labels)[420:500, 420:560] for _, (m,) in ours]
    assert np.mean([(a == CLASSES.index("road")).mean() for a in ahead]) > 0.9
