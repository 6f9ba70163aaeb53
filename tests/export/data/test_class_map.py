"""Which class of a model is which of the data, by name, alias and option."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge.vision.letterbox import Letterbox
from edge.vision.types import Mask
from engines.errors import ExportError, SettingsError
from engines.spec import DetectionHead, InputSpec, MaskHead, ModelSpec
from export.data.class_map import class_map, parse_renames
from export.data.labelled import LabelledData, LabelledFrame
from export.data.streets import COCO_ALIASES

INPUT = InputSpec("image", 32, 32)


def never(index: int) -> LabelledFrame:
    raise AssertionError("no frame is needed to match names")


def model(
    boxes: tuple[str, ...] = (), *masks: tuple[str, ...], background: tuple[str, ...] = ()
) -> ModelSpec:
    heads = tuple(MaskHead(f"m{i}", f"o{i}", c, background) for i, c in enumerate(masks))
    head = DetectionHead("yolov8", ("o",), boxes) if boxes else None
    return ModelSpec("m", INPUT, (), head, heads)


def data(boxes: tuple[str, ...] = (), masks: tuple[str, ...] = ()) -> LabelledData:
    return LabelledData("camvid", 1, never, masks, 255, boxes, aliases=COCO_ALIASES)


def test_names_meet_and_aliases_help_where_the_data_lacks_a_name() -> None:
    spec = model(("person", "truck", "car", "kite"))
    own = class_map(spec, data(("car", "pedestrian")), {}, origin="m")
    assert own.boxes == (1, 0, 0, -1)
    assert own.renamed == {"person": "pedestrian", "truck": "car"}
    coco = class_map(spec, data(("person", "truck", "car", "dog")), {}, origin="m")
    assert coco.boxes == (0, 1, 2, -1)  # a truck stays a truck where the data knows trucks
    assert coco.lacking_boxes == ("dog",)
    assert coco.renamed == {}


def test_of_other_data_than_camvid_no_alias_is_known() -> None:
    own = replace(data(("car", "pedestrian")), name="folder", aliases={})
    made = class_map(model(("person", "truck", "car")), own, {}, origin="m")
    assert made.boxes == (-1, -1, 0)
    assert made.renamed == {}
    assert made.lacking_boxes == ("pedestrian",)


def test_a_rename_goes_before_name_and_alias() -> None:
    made = class_map(
        model(("person", "truck")), data(("pedestrian", "car", "lorry")),
        {"truck": "lorry", "person": "car"}, origin="m",
    )  # fmt: skip
    assert made.boxes == (1, 2)


def test_a_rename_of_an_unknown_name_tells_the_nearest() -> None:
    with pytest.raises(SettingsError, match=r"'trck' is no class of the model; .* 'truck'"):
        class_map(model(("truck",)), data(("car",)), {"trck": "car"}, origin="m")
    with pytest.raises(SettingsError, match=r"'cat' is no class of the data; .* 'car'"):
        class_map(model(("truck",)), data(("car",)), {"truck": "cat"}, origin="m")


@pytest.mark.parametrize("text", ["car", "=car", "car=", ""])
def test_a_rename_has_two_sides(text: str) -> None:
    with pytest.raises(SettingsError, match="wanted MODEL_NAME=DATA_NAME"):
        parse_renames([text])


def test_a_rename_comes_once() -> None:
    assert parse_renames(["a=b", "c=b=d"]) == {"a": "b", "c": "b=d"}
    with pytest.raises(SettingsError, match="each MODEL_NAME once"):
        parse_renames(["a=b", "a=c"])


def test_a_background_in_common_is_no_class_in_common() -> None:
    lanes = model((), ("background", "lane"), background=("background",))
    with pytest.raises(ExportError, match=r"m\.onnx: its classes are background, lane; wanted"):
        class_map(lanes, data((), ("background", "cat")), {}, origin="m.onnx")
    made = class_map(lanes, data((), ("background", "lane")), {}, origin="m.onnx")
    assert made.masks["m0"][:3].tolist() == [0, 1, 2]
    assert not made.has_boxes


def test_boxes_are_not_scored_on_masks_nor_masks_on_boxes() -> None:
    with pytest.raises(ExportError, match="wanted a mask with some of car"):
        class_map(model(("car",)), data((), ("car",)), {}, origin="m")
    with pytest.raises(ExportError, match="wanted one of the boxes car"):
        class_map(model((), ("road", "car")), data(("car",)), {}, origin="m")


def test_long_lists_of_names_are_cut() -> None:
    many = tuple(f"c{i}" for i in range(1000))
    with pytest.raises(ExportError) as caught:
        class_map(model(many), data(("car",)), {}, origin="m")
    assert len(str(caught.value)) < 300


def test_a_later_mask_lies_over_an_earlier_one_but_its_background_does_not() -> None:
    spec = model((), ("background", "drivable"), ("background", "lane"), background=("background",))
    made = class_map(spec, data((), ("background", "drivable", "lane")), {}, origin="m")
    box = Letterbox.fit((4, 1), replace(INPUT, height=1, width=4))
    labels = (np.array([[0, 1, 1, 0]], np.uint8), np.array([[0, 0, 1, 1]], np.uint8))
    masks = [
        Mask(h.name, h.classes, h.background, pixels, box)
        for h, pixels in zip(spec.masks, labels, strict=True)
    ]
    joint = made.labels(masks)
    assert joint is not None
    assert joint.tolist() == [[0, 1, 2, 2]]
    assert joint.dtype == np.uint8
    assert made.labels([]) is None
