"""Tests of edge.vision.decode.anchors with heads small enough to decode by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge.vision.decode import RawBoxes, build_decoder
from engines.errors import ModelError
from engines.spec import BoxCode, DetectionHead, InputSpec

INPUT = InputSpec("image", 32, 64)  # stride 16: 2 rows of 4 cells; stride 32: 1 row of 2
ANCHORS = (((10.0, 20.0), (30.0, 40.0)), ((50.0, 60.0),))
HEAD = DetectionHead(
    family="yolo-anchors",
    outputs=("fine", "coarse"),
    classes=("car", "pedestrian"),
    strides=(16, 32),
    anchors=ANCHORS,
    box_code="darknet",
)


def silent() -> dict[str, NDArray[np.float32]]:
    """Heads of which no cell fires: (1, 2·7, 2, 4) and (1, 1·7, 1, 2)."""
    one = np.array([0, 0, 0, 0, -20, -20, -20], np.float32)[None, :, None, None]
    return {"fine": np.tile(one, (1, 2, 2, 4)), "coarse": np.tile(one, (1, 1, 1, 2))}


def decode(
    outputs: dict[str, NDArray[np.float32]], conf: float = 0.25, code: BoxCode = "darknet"
) -> RawBoxes:
    return build_decoder(replace(HEAD, box_code=code), INPUT)(outputs, conf)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_no_cell_that_fires_gives_no_boxes() -> None:
    found = decode(silent())
    assert found.xyxy_in.shape == (0, 4)
    assert found.scores.shape == found.class_ids.shape == (0,)
    assert found.xyxy_in.dtype == np.float32
    assert found.class_ids.dtype == np.int32


def test_darknet_code_by_hand() -> None:
    outputs = silent()
    # Anchor 1 (30x40) begins at channel 7; row 1, column 2; tx, ty, tw, th, objectness, classes.
    outputs["fine"][0, 7:14, 1, 2] = [0, 0, math.log(2), 0, logit(0.9), logit(0.1), logit(0.8)]
    found = decode(outputs)
    # Centre (0.5 + 2)·16 = 40, (0.5 + 1)·16 = 24; size 30·2 = 60, 40·1 = 40.
    np.testing.assert_allclose(found.xyxy_in, [[10, 4, 70, 44]], rtol=1e-5)
    np.testing.assert_allclose(found.scores, [0.72], rtol=1e-5)  # 0.9·0.8
    assert found.class_ids.tolist() == [1]


def test_darknet_code_with_the_scale_of_yolov4_by_hand() -> None:
    outputs = silent()
    # Anchor 1 (30x40) at row 1, column 2 of stride 16; σ(logit 0.75) = 0.75.
    outputs["fine"][0, 7:14, 1, 2] = [logit(0.75), 0, 0, 0, 9, -9, 9]
    head = replace(HEAD, centre_scale=(1.2, 1.05))
    found = build_decoder(head, INPUT)(outputs, 0.25)
    # x (1.2·0.75 − 0.1 + 2)·16 = 44.8; y (1.2·0.5 − 0.1 + 1)·16 = 24: the middle stays.
    np.testing.assert_allclose(found.xyxy_in, [[29.8, 4, 59.8, 44]], rtol=1e-5)


def test_yolov5_code_by_hand() -> None:
    outputs = silent()
    outputs["coarse"][0, :, 0, 1] = [logit(0.75), 0, 0, logit(0.25), 9, 9, -9]
    found = decode(outputs, code="yolov5")
    # Centre x (2·0.75 − 0.5 + 1)·32 = 64, y (2·0.5 − 0.5 + 0)·32 = 16; width 50·(2·0.5)² = 50,
    # height 60·(2·0.25)² = 15.
    np.testing.assert_allclose(found.xyxy_in, [[39, 8.5, 89, 23.5]], rtol=1e-5)
    assert found.class_ids.tolist() == [0]


def test_boxes_of_all_strides_and_anchors_are_found() -> None:
    outputs = silent()
    hot = [0, 0, 0, 0, 9, 9, -9]
    outputs["fine"][0, 0:7, 0, 0] = hot
    outputs["fine"][0, 7:14, 1, 3] = hot
    outputs["coarse"][0, :, 0, 1] = hot
    found = decode(outputs)
    centres = (found.xyxy_in[:, :2] + found.xyxy_in[:, 2:]) / 2
    np.testing.assert_allclose(centres, [[8, 8], [56, 24], [48, 16]])
    sizes = found.xyxy_in[:, 2:] - found.xyxy_in[:, :2]
    np.testing.assert_allclose(sizes, [[10, 20], [30, 40], [50, 60]])


def test_the_threshold_is_on_the_score_not_on_the_objectness() -> None:
    outputs = silent()
    outputs["fine"][0, 0:7, 0, 0] = [0, 0, 0, 0, logit(0.8), logit(0.5), -9]  # score 0.4
    assert len(decode(outputs, conf=0.39).scores) == 1
    assert len(decode(outputs, conf=0.41).scores) == 0


@settings(deadline=None)  # a busy machine is no failure
@given(objectness=st.floats(-12, 12), best=st.floats(-12, 12), conf=st.floats(0.001, 0.999))
def test_the_logit_filter_never_drops_what_the_score_lets_pass(
    objectness: float, best: float, conf: float
) -> None:
    outputs = silent()
    outputs["coarse"][0, :, 0, 0] = [0, 0, 0, 0, objectness, best, -20]
    score = 1 / (1 + math.exp(-objectness)) / (1 + math.exp(-best))
    passed = len(decode(outputs, conf=conf).scores) == 1
    if abs(score - conf) > 1e-6:
        assert passed == (score > conf)


@pytest.mark.parametrize("conf", [0.001, 0.25, 0.5, 0.9, 0.999])
def test_an_objectness_just_above_the_threshold_passes_with_a_sure_class(conf: float) -> None:
    outputs = silent()
    outputs["coarse"][0, :, 0, 0] = [0, 0, 0, 0, logit(conf) + 1e-3, 30, -30]  # σ(30) is 1
    assert len(decode(outputs, conf=conf).scores) == 1
    outputs["coarse"][0, 4, 0, 0] = logit(conf) - 1e-3
    assert len(decode(outputs, conf=conf).scores) == 0


@pytest.mark.parametrize("conf", [0.0, 1.0])
def test_the_extreme_thresholds_work(conf: float) -> None:
    outputs = silent()
    outputs["coarse"][0, :, 0, 0] = [0, 0, 0, 0, 90, 90, -90]  # σ(90) is 1 in float32
    # At 0 every cell is a box: 2·8 + 2.
    assert len(decode(outputs, conf=conf).scores) == (18 if conf == 0 else 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channel", range(7))
def test_boxes_that_are_not_finite_fall_without_a_warning(channel: int, bad: float) -> None:
    outputs = silent()
    outputs["coarse"][0, :, 0, 0] = [0, 0, 0, 0, 9, 9, -9]
    outputs["coarse"][0, :, 0, 1] = [0, 0, 0, 0, 9, 9, -9]
    outputs["coarse"][0, channel, 0, 1] = bad
    found = decode(outputs)
    assert np.isfinite(found.xyxy_in).all()
    assert np.isfinite(found.scores).all()
    assert found.xyxy_in[0].tolist() == [-9, -14, 41, 46]  # centre (16, 16), 50x60
    if np.isnan(bad):
        assert len(found.scores) == 1


def test_a_head_whose_shape_contradicts_the_spec_is_named() -> None:
    outputs = silent()
    outputs["coarse"] = np.zeros((1, 7, 2, 2), np.float32)
    with pytest.raises(ModelError, match=r"'coarse' is \[1, 7, 2, 2\], wanted \[1, 7, 1, 2\]"):
        decode(outputs)
