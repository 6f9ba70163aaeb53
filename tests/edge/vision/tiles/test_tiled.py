"""Tests of tiles through a real network: what the whole frame is too coarse for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.vision.perception import Perception
from edge.vision.tiles.tiled import open_perception
from edge.vision.types import Detections, Mask
from engines import open_engine
from engines.base import Engine
from engines.errors import SettingsError
from tests.edge.vision.test_perception import Row, frame, replay
from tests.tiny_models import grey, paint, tiny_mask, tiny_street

CENTRE = ((0.3, 0.0), (0.7, 0.0), (0.7, 1.0), (0.3, 1.0))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """64x96, of which each pure 8x8 cell is a box."""
    tiny_street(tmp_path / "tiny.onnx")
    opened = open_engine(tmp_path / "tiny.onnx", engine="onnxruntime", precision="f32")
    yield opened
    opened.close()


def see(
    perception: Perception, image: NDArray[np.uint8], slot: int = 0
) -> tuple[Detections, tuple[Mask, ...]]:
    perception.choose_letterbox(image, slot)
    perception.prepare(image, slot)
    perception.submit(slot)
    perception.wait(slot)
    return perception.decode(slot)


def street() -> NDArray[np.uint8]:
    """172x64: tiles of 96 px, so that a tile is an input and 8 px in it are a cell."""
    image = grey(100, height=64, width=172)
    paint(image, (64, 16, 72, 24), 0)  # in the left tile; the right one begins at 76
    return paint(image, (132, 32, 140, 40), 1)  # 56 px into the right tile: a cell there


def test_1x1_is_the_perception_without_tiles(engine: Engine) -> None:
    assert type(open_perception(engine)) is Perception


def test_tiles_find_what_the_whole_frame_is_too_coarse_for(engine: Engine) -> None:
    # In the whole frame the second rectangle is 4.5 px, less than a cell.
    coarse, _ = see(Perception(engine), street())
    assert 1 not in coarse.class_ids
    found, _ = see(open_perception(engine, tiles="2x1"), street())
    boxes = found.xyxy[found.class_ids == 1]
    # An anchor of 8 px about the cell's centre, (136, 36).
    np.testing.assert_allclose((boxes[:, :2] + boxes[:, 2:]) / 2, [[136, 36]], atol=1)


def test_an_object_in_the_overlap_has_one_box() -> None:
    # 115 px in two tiles of 64, at 0 and 51: 53 to 61 is whole in both.
    engine = replay([(57, 32, 8, 8, 0.8, 0)], [(6, 32, 8, 8, 0.7, 0)], [])
    found, _ = see(open_perception(engine, tiles="2x1"), frame(115, 64))
    np.testing.assert_allclose(found.xyxy, [[53, 28, 61, 36]])


def test_of_an_object_that_both_tiles_cut_the_whole_frame_has_the_box() -> None:
    # 50 to 70: the left tile ends at 64, the right one begins at 51. The frame is halved, about:
    # (50, 70)·64/115 = 27.83, 38.96; 36 rows of 64, so (8, 16)·0.5625 + 14 = 18.5, 23.
    left, right = (57, 12, 14, 8, 0.9, 0), (9.5, 12, 19, 8, 0.9, 0)
    engine = replay([left], [right], [(33.3913, 20.75, 11.1304, 4.5, 0.4, 0)])
    found, _ = see(open_perception(engine, tiles="2x1"), frame(115, 64))
    np.testing.assert_allclose(found.xyxy, [[50, 8, 70, 16]], atol=0.01)
    np.testing.assert_allclose(found.scores, [0.4])


def test_slots_hold_the_tiles_of_two_frames_at_once() -> None:
    first: Row = (20, 32, 8, 8, 0.8, 0)
    second: Row = (40, 32, 8, 8, 0.7, 1)
    # Both frames are submitted before the first is waited for: their left tiles run first.
    engine = replay([first], [second], [], [], [], [], slots=2)
    perception = open_perception(engine, tiles="2x1")
    for slot in (0, 1):
        perception.prepare(frame(115, 64), slot)
        perception.submit(slot)
    for slot in (0, 1):
        perception.wait(slot)
    np.testing.assert_allclose(perception.decode(0)[0].xyxy, [[16, 28, 24, 36]])
    np.testing.assert_allclose(perception.decode(1)[0].xyxy, [[36, 28, 44, 36]])


def test_the_mask_is_that_of_the_whole_frame(engine: Engine) -> None:
    image = street()
    _, (wanted,) = see(Perception(engine), image)
    _, (got,) = see(open_perception(engine, tiles="2x1"), image)
    np.testing.assert_array_equal(got.labels, wanted.labels)
    assert got.letterbox == wanted.letterbox


def test_nothing_in_any_tile_is_an_empty_array(engine: Engine) -> None:
    found, masks = see(open_perception(engine, tiles="2x2"), grey(100, height=64, width=172))
    assert len(found) == 0
    assert len(masks) == 1


def test_frames_of_other_sizes_follow_one_another(engine: Engine) -> None:
    perception = open_perception(engine, tiles="2x1")
    first, _ = see(perception, street())
    see(perception, grey(100, height=50, width=71))
    again, _ = see(perception, street())
    np.testing.assert_array_equal(first.xyxy, again.xyxy)


def test_regions_to_ignore_are_of_the_frame_and_can_change(engine: Engine) -> None:
    perception = open_perception(engine, tiles="2x1", ignore=(CENTRE,))
    found, _ = see(perception, street())
    # 68/172 lies between 0.3 and 0.7, 136/172 does not.
    assert found.class_ids.tolist() == [1]
    perception.keep(conf=None, classes=None, nms_iou=None, max_detections=1)
    assert len(perception.decode(0)[0]) == 1
    assert len(perception.decode(0, conf=1.0)[0]) == 0


def test_what_only_a_tile_shows_is_blurred_too(engine: Engine) -> None:
    name = engine.spec.detection.classes[1] if engine.spec.detection else ""
    perception = open_perception(engine, tiles="2x1", blur=(name,))
    see(perception, street())
    hidden = perception.to_blur(0)
    assert hidden is not None
    assert any(x0 <= 136 <= x1 and y0 <= 36 <= y1 for x0, y0, x1, y1 in hidden)


def test_a_model_with_masks_alone_sees_the_whole_frame_once(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_mask(tmp_path / "mask.onnx")
    masks = open_engine(tmp_path / "mask.onnx", engine="onnxruntime", precision="f32")
    runs: list[Engine] = []
    submit = type(masks).submit

    def counted(one: Engine, slot: int) -> None:
        runs.append(one)
        submit(one, slot)

    monkeypatch.setattr(type(masks), "submit", counted)
    try:
        found, seen = see(open_perception([masks, engine], tiles="2x1"), street())
        _, (wanted,) = see(Perception(masks), street())
    finally:
        masks.close()
    assert (runs.count(masks), runs.count(engine)) == (1 + 1, 3)
    assert set(found.class_ids.tolist()) == {0, 1}
    np.testing.assert_array_equal(seen[0].labels, wanted.labels)


def test_a_model_without_boxes_is_refused_with_the_next_step(tmp_path: Path) -> None:
    tiny_mask(tmp_path / "mask.onnx")
    engine = open_engine(tmp_path / "mask.onnx", engine="onnxruntime", precision="f32")
    with pytest.raises(
        SettingsError, match=r'got "2x1" for a model without boxes.*Leave tiles out'
    ):
        open_perception(engine, tiles="2x1")
    engine.close()
