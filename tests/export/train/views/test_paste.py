"""Pasting of rare objects: pixels, labels and boxes arrive together, and nothing else changes."""

from __future__ import annotations

import torch

from export.data.class_set import Classes
from export.train.batch import Batch
from export.train.dataset import TrainingSet
from export.train.recipe import OBJECTS
from export.train.views.paste import Paste, find_cutouts

PEDESTRIAN, POLE, ROAD, CAR = 9, 2, 3, 8
CAMVID = Classes.parse()


def a_set() -> TrainingSet:
    """Four frames of 40x60: two pedestrians (one a crowd), a pole, a car's box in the last.

    Every pedestrian's pixel is (9, x, y) in its own frame, so that its origin can be told.
    """
    n, h, w = 4, 40, 60
    images = torch.zeros(n, 3, h, w, dtype=torch.uint8)
    labels = torch.full((n, h, w), ROAD, dtype=torch.uint8)
    images[:, 1] = torch.arange(w, dtype=torch.uint8)
    images[:, 2] = torch.arange(h, dtype=torch.uint8)[:, None]
    boxes = torch.zeros(n, 2, 4)
    ids = torch.full((n, 2), -1)
    crowd = torch.zeros(n, 2, dtype=torch.bool)
    labels[0, 10:30, 20:26] = PEDESTRIAN
    labels[0, 10, 20] = ROAD  # a corner of the box shows the road
    images[0, 0, 10:30, 20:26] = PEDESTRIAN
    boxes[0, 0], ids[0, 0] = torch.tensor([20.0, 10, 26, 30]), 1
    labels[1, 5:25, 30:40] = PEDESTRIAN
    boxes[1, 0], ids[1, 0], crowd[1, 0] = torch.tensor([30.0, 5, 40, 25]), 1, True
    labels[2, 2:38, 5:8] = POLE
    boxes[3, 0], ids[3, 0] = torch.tensor([0.0, 8, 60, 32]), 0
    labels[3, 8:32] = CAR
    return TrainingSet(images, labels, boxes, ids, crowd, n)


def test_cutouts_are_the_rare_objects_that_stand_alone() -> None:
    found = find_cutouts(a_set(), CAMVID)
    assert found.image.tolist() == [2, 0]
    assert found.label.tolist() == [POLE, PEDESTRIAN]
    assert found.box.tolist() == [[5, 2, 8, 38], [20, 10, 26, 30]]
    assert found.box_class.tolist() == [-1, 1]
    assert (found.start.tolist(), found.count.tolist()) == ([0, 1], [1, 1])


def test_cutouts_follow_the_classes_that_are_learnt() -> None:
    data = a_set()
    merged = Classes.parse("person=pedestrian+bicyclist", "person=pedestrian+bicyclist,other=*")
    data = TrainingSet(
        data.images, merged_labels(data.labels, merged), data.boxes,
        torch.where(data.class_ids == 1, 0, -1), data.crowd, data.real,
    )  # fmt: skip
    found = find_cutouts(data, merged)  # the pole is part of other, which is not rare
    assert (found.image.tolist(), found.label.tolist(), found.box_class.tolist()) == ([0], [0], [0])


def merged_labels(labels: torch.Tensor, classes: Classes) -> torch.Tensor:
    return torch.from_numpy(classes.label_table())[labels.long()]


def pasted(*, chance: float = 1.0, seed: int = 0, count: int = 8) -> tuple[Batch, Batch]:
    data = a_set()
    batch = data.batch(torch.full((count,), 3))
    paste = Paste(data, CAMVID, chance=chance)
    return batch, paste(batch, generator=torch.Generator().manual_seed(seed))


def test_a_pasted_pedestrian_has_its_pixels_labels_and_box_at_its_own_height() -> None:
    before, after = pasted()
    seen = 0
    for i in range(len(after.images)):
        people = after.class_ids[i] == 1
        assert (after.labels[i] == PEDESTRIAN).any() == people.any()
        cover = torch.zeros(40, 60, dtype=torch.bool)
        for x0, y0, x1, y1 in after.boxes[i][people].int().tolist():
            assert (y0, y1, x1 - x0) == (10, 30, 6)
            assert 0 <= x0 < x1 <= 60
            cover[y0:y1, x0:x1] = True
            seen += 1
        there = after.labels[i] == PEDESTRIAN
        assert not (there & ~cover).any()
        red, column, row = after.images[i][:, there]
        assert (red == PEDESTRIAN).all()  # cut out along its label, without the corner of road
        assert ((column >= 20) & (column < 26)).all()
        assert torch.equal(row.long(), torch.nonzero(there)[:, 0])
        untouched = (after.labels[i] == before.labels[i]) & (after.labels[i] != PEDESTRIAN)
        assert torch.equal(after.images[i][:, untouched], before.images[i][:, untouched])
    assert seen > 4


def test_some_objects_are_mirrored() -> None:
    _, after = pasted(count=16)
    runs = set()
    for i in range(16):
        for x0, y0, x1, _ in after.boxes[i][after.class_ids[i] == 1].int().tolist():
            row = after.images[i][:, y0 + 5, x0:x1]
            if (row[0] == PEDESTRIAN).all():
                runs.add(int(row[1][0]))
    assert runs == {20, 25}  # from the first column on, or from the last


def test_a_pole_is_pasted_without_a_box() -> None:
    _, after = pasted()
    poles = (after.labels == POLE).flatten(1).any(1)
    assert poles.any()
    assert set(after.class_ids.flatten().tolist()) == {-1, 0, 1}


def test_chance_zero_changes_nothing_and_the_seed_alone_decides() -> None:
    before, after = pasted(chance=0.0)
    assert torch.equal(before.images, after.images)
    assert torch.equal(before.labels, after.labels)
    assert (after.class_ids[:, -OBJECTS:] == -1).all()
    one, same, other = (pasted(seed=s)[1] for s in (1, 1, 2))
    assert torch.equal(one.images, same.images)
    assert torch.equal(one.boxes, same.boxes)
    assert not torch.equal(one.images, other.images)


def test_an_object_that_is_mostly_hidden_becomes_a_region_that_no_loss_counts() -> None:
    data = a_set()
    data.boxes[3, 0] = torch.tensor([0.0, 12, 60, 14])  # a thin box: no pedestrian hides half
    data.boxes[3, 1], data.class_ids[3, 1] = torch.tensor([25.0, 15, 28, 20]), 3
    paste = Paste(data, CAMVID, chance=1.0)
    after = paste(data.batch(torch.full((64,), 3)), generator=torch.Generator().manual_seed(0))
    assert not after.crowd[:, 0].any()
    for boxes, crowd in zip(after.boxes, after.crowd[:, 1], strict=True):
        shared = (boxes[2:, 2].clamp(max=28) - boxes[2:, 0].clamp(min=25)).clamp(min=0) / 3
        assert bool(crowd) == bool((shared > 0.5).any())
    assert 0 < after.crowd[:, 1].sum() < 64


def test_a_set_without_rare_objects_is_left_as_it_is() -> None:
    data = a_set()
    data.labels[:] = ROAD
    paste = Paste(data, CAMVID, chance=1.0)
    batch = data.batch(torch.tensor([0, 1]))
    assert paste(batch, generator=torch.Generator()) is batch
