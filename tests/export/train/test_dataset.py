"""The training set in memory: what lies in it, and what batches and weights come out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from engines.errors import ExportError
from export.data.by_name import class_names
from export.train.dataset import (
    SIZE_WH,
    TrainingSet,
    class_weights,
    load_folder,
    load_training_set,
    load_training_sets,
)
from export.train.loss import StreetLoss
from export.train.net.street import ANCHORS, StreetNet
from export.train.recipe import Recipe
from export.train.trainer import Trainer
from export.train.views.augment import Augment
from tests.export.labelled_files import coco_dict, make_folder
from tests.export.street_data import make_camvid, make_cityscapes, painted

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_camvid(tmp_path_factory.mktemp("camvid"))


def of_labels(labels: torch.Tensor, *, real: int) -> TrainingSet:
    """A set of which only the labels (N, H, W) matter."""
    n, h, w = labels.shape
    return TrainingSet(
        torch.zeros(n, 3, h, w, dtype=torch.uint8),
        labels,
        torch.zeros(n, 0, 4),
        torch.zeros(n, 0, dtype=torch.long),
        torch.zeros(n, 0, dtype=torch.bool),
        real,
    )


def test_a_photograph_lies_in_it_as_rgb_with_its_labels_and_boxes(root: Path) -> None:
    data = load_training_set(root, Recipe(synthetic=0), device=CPU)
    assert (len(data), data.real) == (4, 4)
    assert data.images.shape == (4, 3, 360, 480)
    x0, y0, x1, y1 = data.boxes[0, 0].int().tolist()
    assert (x1 - x0, y1 - y0) == (80, 40)
    assert (data.labels[0, y0:y1, x0:x1] == 8).all()
    # the car is drawn in BGR (20, 20, 230)
    red, _, blue = data.images[0, :, y0 + 20, x0 + 40].tolist()
    assert red > 180
    assert blue < 80


def test_a_batch_holds_the_images_of_its_index_in_that_order(root: Path) -> None:
    data = load_training_set(root, Recipe(synthetic=0), device=CPU)
    batch = data.batch(torch.tensor([2, 0]))
    assert torch.equal(batch.images, data.images[[2, 0]])
    assert torch.equal(batch.boxes, data.boxes[[2, 0]])
    assert torch.equal(batch.labels[1], data.labels[0])
    assert data.batch(torch.tensor([], dtype=torch.long)).images.shape == (0, 3, 360, 480)


def test_synthetic_frames_stand_beside_the_photographs(root: Path) -> None:
    data = load_training_set(root, Recipe(splits=("train", "val"), synthetic=3, seed=1), device=CPU)
    assert (data.real, len(data)) == (8, 11)
    assert data.images.shape == (11, 3, 360, 480)
    assert (data.class_ids[8:] >= 0).any()
    assert ((data.labels < 11) | (data.labels == 255)).all()
    boxes = data.boxes[data.class_ids >= 0]
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= SIZE_WH[0]).all()
    assert (boxes[:, 3] <= SIZE_WH[1]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_the_seed_alone_decides_the_synthetic_frames(root: Path) -> None:
    one, same, other = (
        load_training_set(root, Recipe(synthetic=2, seed=seed), device=CPU) for seed in (1, 1, 2)
    )
    assert torch.equal(one.images, same.images)
    assert torch.equal(one.boxes, same.boxes)
    assert not torch.equal(one.images, other.images)


def test_a_whole_box_of_the_street_lies_on_the_labels_of_its_class(root: Path) -> None:
    data = load_training_set(root, Recipe(synthetic=6, seed=3), device=CPU)
    seen = 0
    for i in range(data.real, len(data)):
        for box, class_id, crowd in zip(
            data.boxes[i], data.class_ids[i], data.crowd[i], strict=True
        ):
            x0, y0, x1, y1 = box.round().int().tolist()
            if class_id == 0 and not crowd and (x1 - x0) * (y1 - y0) > 400:
                seen += 1
                # a window cut at the wrong place would put the box beside its car
                assert (data.labels[i, y0:y1, x0:x1] == 8).float().mean() > 0.3
    assert seen > 2


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    small = make_camvid(tmp_path, images=1, wh=(320, 240))
    with pytest.raises(ExportError, match=r"320x240.*wanted 480x360"):
        load_training_set(small, Recipe(synthetic=0), device=CPU)


def test_a_set_without_a_single_box_still_trains(tmp_path: Path) -> None:
    make_camvid(tmp_path, images=2)
    path = tmp_path / "boxes_train.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    data = load_training_set(tmp_path, Recipe(synthetic=0), device=CPU)
    assert data.class_ids.shape == (2, 0)
    view = Augment(size_hw=(64, 96))
    batch = view(data.batch(torch.tensor([0, 1])), generator=torch.Generator().manual_seed(0))
    total, parts = StreetLoss(ANCHORS, class_weights([data], 11))(StreetNet()(batch.images), batch)
    total.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(total)
    assert parts["box"].item() == parts["classes"].item() == 0


def test_class_weights_are_the_inverse_root_of_frequency_with_mean_one() -> None:
    labels = torch.full((2, 1, 6), 1, dtype=torch.uint8)
    labels[0, 0] = torch.tensor([0, 0, 0, 0, 1, 255])  # the second is synthetic: not counted
    # frequencies 4/5 and 1/5, unlabelled aside: 1/√0.8 = 1.118, 1/√0.2 = 2.236, mean 1.677
    weights = class_weights([of_labels(labels, real=1)], 2)
    assert weights.tolist() == pytest.approx([2 / 3, 4 / 3])


def test_a_class_that_never_appears_has_a_finite_weight() -> None:
    weights = class_weights([of_labels(torch.zeros(1, 2, 2, dtype=torch.uint8), real=1)], 2)
    # frequency 0 counts as 1e-4: 1 to 100
    assert (weights[1] / weights[0]).item() == pytest.approx(100)


def test_labels_that_are_all_unlabelled_weigh_every_class_alike() -> None:
    labels = torch.full((1, 2, 2), 255, dtype=torch.uint8)
    assert class_weights([of_labels(labels, real=1)], 3).tolist() == pytest.approx([1, 1, 1])


def test_a_few_images_are_drawn_by_the_seed_and_more_hold_the_fewer(tmp_path: Path) -> None:
    root = make_camvid(tmp_path, images=6)

    def boxes(seed: int, images: int) -> set[tuple[float, ...]]:
        wanted = Recipe(splits=("train", "val"), synthetic=0, seed=seed, images=images)
        data = load_training_set(root, wanted, device=CPU)
        assert len(data) == data.real == images
        return {(float(b[0]), float(b[1])) for b in data.boxes[:, 0]}

    assert boxes(0, 3) == boxes(0, 3)
    assert boxes(0, 3) < boxes(0, 5)
    assert len({frozenset(boxes(seed, 3)) for seed in range(4)}) > 1


def test_more_images_than_there_are_and_a_set_of_none_are_refused(root: Path) -> None:
    with pytest.raises(ExportError, match=r"--images 9: CamVid train, val has 8 images"):
        load_training_set(root, Recipe(splits=("train", "val"), synthetic=0, images=9), device=CPU)
    with pytest.raises(ExportError, match="without images"):
        load_training_set(root, Recipe(splits=(), synthetic=0), device=CPU)


def test_images_are_chosen_of_a_folder_that_has_the_street_beside_it(tmp_path: Path) -> None:
    mine = make_folder(tmp_path, classes=("sky", "road"))
    recipe = Recipe(
        data=((str(mine), 1),), images=1, synthetic=2, mask_names=("sky", "road"), box_names=()
    )
    sets = load_training_sets({"camvid": tmp_path}, recipe, device=CPU)
    assert [(len(data), data.real) for data in sets] == [(2, 0), (1, 1)]
    with pytest.raises(ExportError, match=r"--images 9: .* has 2 images"):
        load_training_sets({"camvid": tmp_path}, replace(recipe, images=9), device=CPU)


def test_a_teacher_parts_the_cars_of_each_set_and_what_came_of_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    camvid = make_camvid(tmp_path / "camvid", images=1)
    coco = json.loads((camvid / "boxes_train.json").read_text())
    x, y = coco["annotations"][0]["bbox"][:2]
    coco["annotations"][0]["iscrowd"] = 1
    (camvid / "boxes_train.json").write_text(json.dumps(coco))
    city = make_cityscapes(tmp_path / "city", painted(car=(40, 60, 160, 80)), split="train")
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    for name, frame, left, top, wh in (
        ("camvid", "f0.jpg", x, y, (80, 40)), ("cityscapes", "0001.jpg", 40, 60, (120, 20)),
    ):  # fmt: skip
        middle, right, low = left + wh[0] / 2, left + wh[0], top + wh[1]
        halves = [[left, top, middle, low, "car", 0.9], [middle, top, right, low, "car", 0.9]]
        (teacher / f"{name}_train.json").write_text(json.dumps({frame: halves}))
    recipe = Recipe(data=(("camvid", 1), ("cityscapes", 1)), synthetic=0)
    roots = {"camvid": camvid, "cityscapes": city}
    whole = load_training_sets(roots, recipe, device=CPU)
    assert [data.crowd.tolist() for data in whole] == [[[True]]] * 2
    assert capsys.readouterr().err == ""
    parted = load_training_sets(roots, recipe, device=CPU, teacher=teacher)
    assert [data.crowd.tolist() for data in parted] == [[[False, False]]] * 2
    assert capsys.readouterr().err.splitlines() == [
        f"edge-export: {name} train: 2 cars that the teacher saw; on the labels 2 cars, and 0 "
        "crowds that it left"
        for name in ("CamVid", "Cityscapes")
    ]


def test_labels_and_boxes_come_in_the_classes_that_are_learnt(root: Path) -> None:
    plain = load_training_set(root, Recipe(synthetic=3), device=CPU)
    recipe = Recipe(
        synthetic=3, box_classes="person=pedestrian+bicyclist,car", mask_classes="road,rest=sky+car"
    )
    data = load_training_set(root, recipe, device=CPU)
    assert torch.equal(data.images, plain.images)
    for old, new in ((3, 0), (0, 1), (8, 1), (1, 255), (5, 255), (255, 255)):
        assert (data.labels[plain.labels == old] == new).all()
    # of the street: cars 0 → 1, pedestrians 1 → 0, bicyclists 2 → 0, signs 3 → none
    for old, new in zip(plain.class_ids, data.class_ids, strict=True):
        kept = old[(old >= 0) & (old != 3)]
        moved = torch.where(kept == 0, 1, 0)
        assert new[new >= 0].tolist() == moved.tolist()
    assert (data.class_ids == 1).any()


def test_a_folder_of_images_of_several_sizes_lies_in_one_canvas(tmp_path: Path) -> None:
    root = make_folder(tmp_path, classes=("sky", "road"))
    assert cv2.imwrite(str(root / "images/2.png"), np.full((40, 20, 3), 200, np.uint8))
    assert cv2.imwrite(str(root / "labels/2.png"), np.zeros((40, 20), np.uint8))
    boxes = [{"image_id": 2, "bbox": [5, 10, 10, 20]}, {"bbox": [40, 16, 8, 8], "iscrowd": 1}]
    coco = coco_dict(boxes)
    coco["images"][1] |= {"width": 20, "height": 40}
    (root / "boxes.json").write_text(json.dumps(coco))
    recipe = Recipe(box_names=("walker", "auto"), mask_names=("road", "sky"), synthetic=0)
    data = load_folder(root, recipe, device=CPU)
    assert data.images.shape == (2, 3, 384, 640)
    assert (data.real, data.scale_xy, data.known) == (2, (1.0, 1.0), None)
    # 96x64 fills the height: 576 wide, 6 times as large, 32 px of grey left and right
    assert (data.labels[0, :, 32:608] == 0).all()
    assert (data.labels[0, :, :32] == 255).all()
    assert (data.images[0, :, :, :32] == 114).all()
    assert data.boxes[0, 0].tolist() == [272, 96, 320, 144]
    assert data.crowd[0, 0]
    # 20x40: 192 wide, 9.6 times as large, 224 px of grey
    assert (data.labels[1, :, 224:416] == 1).all()
    assert (data.images[1, :, :, 224:416] == 200).all()
    assert data.boxes[1, 0].tolist() == pytest.approx([272, 96, 368, 288])
    assert data.class_ids.tolist() == [[1], [1]]


def test_sets_say_which_classes_they_label_where_one_lacks_some(root: Path, tmp_path: Path) -> None:
    mine = make_folder(tmp_path / "mine", classes=("kerb", "road"))
    boxes, mask = class_names(["camvid", str(mine)])
    recipe = Recipe(
        synthetic=0, data=(("camvid", 1), (str(mine), 3)), box_names=boxes, mask_names=mask
    )
    camvid, own = load_training_sets({"camvid": root}, recipe, device=CPU)
    assert own.times == 3
    assert camvid.known is not None
    assert own.known is not None
    assert [mask[i] for i in camvid.known.mask[0].nonzero()[:, 0]] == list(mask[:11])
    assert [mask[i] for i in own.known.mask[0].nonzero()[:, 0]] == ["road", "kerb"]
    assert camvid.known.boxes.all()
    assert not own.known.boxes.any()
    trainer = Trainer(replace(recipe, batch=2, height=96, width=128), [camvid, own], device=CPU)
    batch = trainer.views(torch.tensor([5, 0, 4]), torch.Generator().manual_seed(0))
    assert batch.known is not None
    assert torch.equal(batch.known.mask[1], camvid.known.mask[0])
    assert torch.equal(batch.known.boxes[[0, 2]], own.known.boxes.expand(2, -1))
    mosaic = replace(recipe, batch=4, mosaic=0.5)
    with pytest.raises(ExportError, match="--mosaic: the data sets label different classes"):
        Trainer(mosaic, [camvid, own], device=CPU)
    # of classes that both have, nothing has to be said
    roads = replace(recipe, mask_classes="road,way=pavement+kerb", box_classes="sign")
    some = load_training_sets({"camvid": root}, roads, device=CPU)
    assert some[0].known is not None  # the folder has no signs
    assert some[1].known is not None
    assert some[1].known.mask.all()


def test_a_folder_of_which_nothing_is_labelled_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blank = np.full((64, 96), 255, np.uint8)
    root = make_folder(tmp_path, labels=[blank, blank])
    recipe = Recipe(mask_names=("sky", "road", "car"), box_names=("walker", "auto"))
    with pytest.raises(ExportError, match=r"not a pixel and not a box in 2 images .* Label some"):
        load_folder(root, recipe, device=CPU)
    coco = coco_dict([{}, {"bbox": [8, 8, 0, 8]}])
    (root / "boxes.json").write_text(json.dumps(coco))
    assert len(load_folder(root, recipe, device=CPU)) == 2
    told = capsys.readouterr().err
    assert (
        "2 images, 0 of them with labelled pixels, 1 boxes; 1 boxes left out: annotation 1" in told
    )
