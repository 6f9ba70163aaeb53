"""Tests of perception: from an image to boxes in frame px, over slots and over engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.vision.perception import Perception
from edge.vision.types import Detections, Mask
from engines import open_engine
from engines.base import Engine
from engines.errors import SettingsError
from engines.replay import ReplayEngine
from engines.spec import DetectionHead, InputSpec, MaskHead, ModelSpec, TensorSpec
from tests.tiny_models import MASK_CLASSES, SCORE, grey, paint, tiny_mask, tiny_street

Row = tuple[float, float, float, float, float, float]


def replay(
    *runs: list[Row],
    classes: tuple[str, str] = ("car", "pedestrian"),
    slots: int = 1,
    conf: float = 0.25,
    wh: tuple[int, int] = (64, 64),
) -> ReplayEngine:
    """An engine that answers with rows cx, cy, w, h, score, score in input px, run after run."""
    count = max(1, *(len(rows) for rows in runs))
    array = np.zeros((len(runs), 1, 6, count), np.float32)
    for kept, rows in zip(array, runs, strict=True):
        for i, row in enumerate(rows):
            kept[0, :, i] = row
    spec = ModelSpec(
        name="recorded",
        input=InputSpec("image", wh[1], wh[0]),
        outputs=(TensorSpec("boxes", (1, 6, count), "float32"),),
        detection=DetectionHead("yolov8", ("boxes",), classes, conf=conf),
    )
    return ReplayEngine(spec, [array], precision="f32", slots=slots)


def see(
    perception: Perception, image: NDArray[np.uint8], slot: int = 0
) -> tuple[Detections, tuple[Mask, ...]]:
    perception.prepare(image, slot)
    perception.submit(slot)
    perception.wait(slot)
    return perception.decode(slot)


def frame(width: int, height: int) -> NDArray[np.uint8]:
    return np.zeros((height, width, 3), np.uint8)


def test_boxes_arrive_in_frame_px_by_falling_score() -> None:
    engine = replay([(32, 32, 8, 8, 0.5, 0), (16, 24, 8, 8, 0, 0.9)])
    # 128x64 in 64x64: half the size, 16 rows of bars above. (28, 28) → (56, (28 − 16)·2 = 24).
    found, masks = see(Perception(engine), frame(128, 64))
    np.testing.assert_allclose(found.xyxy, [[24, 8, 40, 24], [56, 24, 72, 40]])
    np.testing.assert_allclose(found.scores, [0.9, 0.5])
    assert found.class_ids.tolist() == [1, 0]
    assert found.track_ids.tolist() == [-1, -1]
    assert masks == ()
    assert found.xyxy.dtype == found.scores.dtype == np.float32
    assert found.class_ids.dtype == found.track_ids.dtype == np.int32


def test_nothing_found_is_an_empty_array() -> None:
    found, _ = see(Perception(replay([])), frame(128, 64))
    assert len(found) == 0
    assert found.xyxy.shape == (0, 4)


def test_boxes_are_clipped_and_those_in_the_padding_fall() -> None:
    # The bars above end at row 16: the second box lies in them, the first half.
    engine = replay([(2, 16, 8, 8, 0.9, 0), (32, 6, 8, 8, 0.8, 0), (32, 12, 8, 8, 0.7, 0)])
    found, _ = see(Perception(engine), frame(128, 64))
    # −2..6 → 0..12, 12..20 → 0..8. The third ends at row 16: it touches the frame and has no area.
    np.testing.assert_allclose(found.xyxy, [[0, 0, 12, 8]])


def test_conf_and_nms_iou_default_to_the_models_and_can_be_overridden() -> None:
    # IoU of the first two: 6·8 / (64 + 64 − 48) = 0.6.
    rows: list[Row] = [(32, 32, 8, 8, 0.9, 0), (34, 32, 8, 8, 0.8, 0), (50, 32, 8, 8, 0.3, 0)]
    engine = replay(rows, conf=0.4)
    image = frame(64, 64)
    assert len(see(Perception(engine), image)[0]) == 1
    assert len(see(Perception(engine, conf=0.2), image)[0]) == 2
    assert len(see(Perception(engine, conf=0.2, nms_iou=0.7), image)[0]) == 3
    assert len(see(Perception(engine, conf=0.2, nms_iou=0.7, max_detections=2), image)[0]) == 2


def test_classes_filter_by_name() -> None:
    engine = replay([(32, 32, 8, 8, 0.9, 0), (50, 32, 8, 8, 0, 0.8)])
    found, _ = see(Perception(engine, classes=["pedestrian"]), frame(64, 64))
    assert found.class_ids.tolist() == [1]


def test_which_boxes_are_kept_can_change_between_two_frames() -> None:
    rows: list[Row] = [(32, 32, 8, 8, 0.9, 0), (34, 32, 8, 8, 0.8, 0), (50, 32, 8, 8, 0, 0.3)]
    perception, image = Perception(replay(rows, conf=0.4), classes=["car"]), frame(64, 64)
    unset: Any = {"conf": None, "classes": None, "nms_iou": None}

    def kept() -> list[float]:
        return [round(float(score), 1) for score in see(perception, image)[0].scores]

    assert kept() == [0.9]
    perception.keep(conf=0.2, classes=["car", "pedestrian"], nms_iou=0.7, max_detections=300)
    assert kept() == [0.9, 0.8, 0.3]
    perception.keep(conf=0.2, classes=["pedestrian"], nms_iou=0.7, max_detections=300)
    assert kept() == [0.3]
    with pytest.raises(SettingsError, match="'bus' is not one"):
        perception.keep(conf=0.9, classes=["bus"], nms_iou=0.1, max_detections=1)
    assert kept() == [0.3]
    perception.keep(**unset, max_detections=300)  # what the model's author recommends
    assert kept() == [0.9]


RIGHT = ((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0))


def test_boxes_whose_centre_is_ignored_fall_and_do_not_count() -> None:
    # 128x64 in 64x64: half the size, 16 rows of bars above. x = 32 is the middle, where the region
    # begins; what reaches into it with its centre outside stays, in the order of scores.
    rows: list[Row] = [(40, 32, 8, 8, 0.9, 0), (31, 32, 8, 8, 0.8, 0), (10, 32, 8, 8, 0.7, 0)]
    rows += [(10, 20, 8, 8, 0.6, 0)]
    perception, image = Perception(replay(rows), ignore=[RIGHT], max_detections=2), frame(128, 64)

    def centres() -> list[float]:
        found = see(perception, image)[0].xyxy
        return ((found[:, 0] + found[:, 2]) / 4).tolist()  # type: ignore[no-any-return]

    assert centres() == [31, 10]
    unset: Any = {"conf": None, "classes": None, "nms_iou": None}
    perception.keep(**unset, max_detections=2)
    assert centres() == [40, 31]
    whole = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    perception.keep(**unset, max_detections=300, ignore=[RIGHT, whole])
    assert centres() == []


def test_what_is_ignored_is_blurred_all_the_same() -> None:
    perception = Perception(replay([(40, 32, 8, 8, 0.9, 0)]), ignore=[RIGHT], blur=["car"])
    assert not len(see(perception, frame(64, 64))[0])
    blur = perception.to_blur(0)
    assert blur is not None
    assert blur.tolist() == [[36, 28, 44, 36]]


def test_what_is_to_be_blurred_does_not_depend_on_what_is_kept() -> None:
    # Two pedestrians that overlap with IoU 6·8 / (64 + 64 − 48) = 0.6, one below the threshold, and
    # a car. 64x64 is the input's own size: frame px are input px.
    rows: list[Row] = [(20, 32, 8, 8, 0, 0.9), (22, 32, 8, 8, 0, 0.5), (50, 32, 8, 8, 0, 0.3)]
    rows.append((50, 50, 8, 8, 0.9, 0))
    perception = Perception(replay(rows, conf=0.4), blur=["pedestrian"], classes=["car"])
    both = [[16, 28, 24, 36], [18, 28, 26, 36]]

    def to_blur(conf: float | None) -> list[list[float]]:
        perception.keep(conf=conf, classes=["car"], nms_iou=0.0, max_detections=1)
        found, _ = see(perception, frame(64, 64))
        assert found.class_ids.tolist() == [0] * (conf != 1)
        blur = perception.to_blur(0)
        assert blur is not None
        boxes: list[list[float]] = blur.tolist()
        return boxes

    assert to_blur(None) == both
    assert to_blur(1.0) == both
    assert to_blur(0.2) == [*both, [46, 28, 54, 36]]


def test_without_classes_to_blur_nobody_asks_for_boxes_of_them() -> None:
    perception = Perception(replay([(32, 32, 8, 8, 0, 0.9)]))
    see(perception, frame(64, 64))
    assert perception.to_blur(0) is None
    nobody = Perception([replay([]), replay([], classes=("sign", "bus"))], blur=["bus"])
    see(nobody, frame(64, 64))
    blur = nobody.to_blur(0)
    assert blur is not None
    assert blur.shape == (0, 4)


def test_a_class_that_cannot_be_blurred_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^\[output\] blur: class 'face' is not one"):
        Perception(replay([]), blur=["pedestrian", "face"])
    tiny_mask(tmp_path / "m.onnx")
    engine = open_engine(tmp_path / "m.onnx", engine="onnxruntime")
    with pytest.raises(SettingsError, match=r"^\[output\] blur: class 'pedestrian'.*masks only"):
        Perception(engine, blur=["pedestrian"])


def test_an_unknown_class_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"'pedestrain'.*nearest is 'pedestrian'.*car"):
        Perception(replay([]), classes=["car", "pedestrain"])  # codespell:ignore pedestrain
    with pytest.raises(SettingsError, match="no model"):
        Perception([])


def test_each_slot_keeps_the_letterbox_of_its_own_frame() -> None:
    rows: list[Row] = [(32, 32, 8, 8, 0.9, 0)]
    perception = Perception(replay(rows, rows, slots=2))
    perception.prepare(frame(128, 128), 0)
    perception.submit(0)
    perception.prepare(frame(640, 640), 1)  # the source changes its size before slot 0 is decoded
    perception.submit(1)
    perception.wait(0)
    perception.wait(1)
    np.testing.assert_allclose(perception.decode(0)[0].xyxy, [[56, 56, 72, 72]])  # twice
    np.testing.assert_allclose(perception.decode(1)[0].xyxy, [[280, 280, 360, 360]])  # ten times


def test_a_slot_follows_frames_that_change_size() -> None:
    rows: list[Row] = [(32, 32, 8, 8, 0.9, 0)]
    perception = Perception(replay(rows))
    np.testing.assert_allclose(see(perception, frame(64, 64))[0].xyxy, [[28, 28, 36, 36]])
    np.testing.assert_allclose(see(perception, frame(128, 128))[0].xyxy, [[56, 56, 72, 72]])


def test_decoding_a_slot_that_was_not_waited_for_is_an_error() -> None:
    perception = Perception(replay([]))
    with pytest.raises(RuntimeError, match="before prepare"):
        perception.decode(0)
    see(perception, frame(64, 64))
    perception.submit(0)
    with pytest.raises(RuntimeError, match="before prepare"):
        perception.decode(0)


def test_raw_outputs_are_those_of_the_run_that_was_waited_for() -> None:
    first: list[Row] = [(32, 32, 8, 8, 0.9, 0)]
    engine = replay(first, [(8, 8, 8, 8, 0.7, 0)])
    perception = Perception([engine, replay(first, classes=("sign", "bus"))])
    with pytest.raises(RuntimeError, match="before prepare"):
        perception.outputs(0)
    see(perception, frame(64, 64))
    for index in (0, 1):
        np.testing.assert_allclose(
            perception.outputs(0, engine=index)["boxes"].ravel(), [32, 32, 8, 8, 0.9, 0]
        )
    perception.submit(0)
    with pytest.raises(RuntimeError, match="before prepare"):
        perception.outputs(0)
    perception.wait(0)
    np.testing.assert_allclose(perception.outputs(0)["boxes"].ravel(), [8, 8, 8, 8, 0.7, 0])


def test_the_same_outputs_can_be_decoded_at_another_threshold() -> None:
    # IoU of the first two 0.6, as above; the engine has one run to give.
    perception = Perception(
        replay([(32, 32, 8, 8, 0.9, 0), (34, 32, 8, 8, 0.8, 0), (50, 32, 8, 8, 0, 0.1)])
    )
    assert len(see(perception, frame(128, 128))[0]) == 1
    again, _ = perception.decode(0, conf=0.05)
    np.testing.assert_allclose(again.scores, [0.9, 0.1])
    assert perception.decode(0, conf=0.95)[0].scores.size == 0
    np.testing.assert_allclose(perception.decode(0)[0].scores, [0.9])


def test_candidates_are_what_nms_has_not_seen_yet() -> None:
    rows: list[Row] = [(34, 32, 8, 8, 0.8, 0), (32, 32, 8, 8, 0.9, 0), (50, 32, 8, 8, 0, 0.1)]
    perception = Perception(replay(rows))
    see(perception, frame(128, 128))
    found = perception.candidates(0, 0.5)
    np.testing.assert_allclose(found.xyxy, [[60, 56, 76, 72], [56, 56, 72, 72]])
    assert found.class_ids.tolist() == [0, 0]
    assert len(perception.candidates(0, 0.05)) == 3
    assert len(perception.candidates(0, 0.95)) == 0
    both = Perception([replay([(32, 32, 8, 8, 0.3, 0)]), replay(rows, classes=("sign", "bus"))])
    see(both, frame(64, 64))
    found = both.candidates(0, 0.2)
    np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.3])
    assert found.class_ids.tolist() == [2, 2, 0]


def test_two_engines_share_the_image_and_their_results_are_joined() -> None:
    first = replay([(32, 32, 8, 8, 0.5, 0)])
    second = replay(
        [(16, 16, 8, 8, 0, 0.7), (16, 16, 8, 8, 0.3, 0)], classes=("car", "sign"), wh=(32, 32)
    )
    perception = Perception([first, second])
    assert perception.class_names == ("car", "pedestrian", "car", "sign")
    found, _ = see(perception, frame(64, 64))
    # The second sees the frame at half its size: (12..20) → (24..40).
    np.testing.assert_allclose(found.xyxy, [[24, 24, 40, 40], [28, 28, 36, 36], [24, 24, 40, 40]])
    assert found.class_ids.tolist() == [3, 0, 2]
    np.testing.assert_allclose(found.scores, [0.7, 0.5, 0.3])
    assert len(see(Perception([first, second], max_detections=1), frame(64, 64))[0]) == 1


@pytest.fixture
def street(tmp_path: Path) -> Iterator[Engine]:
    tiny_street(tmp_path / "tiny.onnx")
    engine = open_engine(tmp_path / "tiny.onnx", engine="onnxruntime", threads=1)
    yield engine
    engine.close()


def test_a_real_engine_finds_the_painted_car_and_the_road(street: Engine) -> None:
    image = paint(grey(75), (32, 0, 64, 32), 0)  # one cell of stride 32, sixteen of stride 8
    found, masks = see(Perception(street), image)
    assert [32, 0, 64, 32] in found.xyxy.round(3).tolist()
    assert set(found.class_ids.tolist()) == {0}
    assert found.scores.max() == pytest.approx(SCORE, abs=1e-3)
    (mask,) = masks
    assert mask.name == "street"
    assert mask.classes[mask.labels[12, 2]] == "road"
    assert mask.letterbox.mask_to_frame(mask.labels).shape == (64, 96)
    kept = mask.labels.copy()
    see(Perception(street), grey(250))
    np.testing.assert_array_equal(mask.labels, kept)


def test_a_model_of_masks_alone_has_no_boxes(tmp_path: Path) -> None:
    tiny_mask(tmp_path / "tiny.onnx")
    engine = open_engine(tmp_path / "tiny.onnx", engine="onnxruntime", threads=1)
    perception = Perception(engine)
    found, masks = see(perception, grey(25 * MASK_CLASSES.index("tree")))
    assert len(found) == 0
    assert (masks[0].labels == MASK_CLASSES.index("tree")).all()
    with pytest.raises(SettingsError, match="masks only"):
        Perception(engine, classes=["car"])
    engine.close()


def test_masks_of_several_heads_keep_their_order() -> None:
    heads = (MaskHead("road", "a", ("no", "road")), MaskHead("lane", "b", ("no", "lane")))
    tensors = (TensorSpec("a", (1, 2, 2), "uint8"), TensorSpec("b", (1, 2, 2), "uint8"))
    spec = ModelSpec("two", InputSpec("image", 4, 4), tensors, masks=heads)
    runs = [np.zeros((1, 1, 2, 2), np.uint8), np.ones((1, 1, 2, 2), np.uint8)]
    engine = ReplayEngine(spec, list(runs), precision="f32", slots=1)
    _, masks = see(Perception(engine), frame(4, 4))
    assert [(mask.name, int(mask.labels.max())) for mask in masks] == [("road", 0), ("lane", 1)]
