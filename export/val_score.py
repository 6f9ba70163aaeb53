"""Scores a model of any class set on CamVid, whose labels and boxes are merged as its classes are.

It keeps to the protocol of ``export.evaluate``, which scores CamVid's own classes alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.perception import Perception
from engines import open_engine
from export.camvid import IGNORE, Split, load_index
from export.class_set import Classes, ClassSet
from export.evaluate import MIN_SCORE
from export.scores import Confusion, box_scores, coco_results, mean, with_bicyclists_ignored


def score_classes(model: Path, classes: Classes, *, root: Path, split: Split) -> dict[str, float]:
    """Mean IoU, AP and AP50 over the classes, of the exported file at f32.

    Raises:
        ExportError: the data is missing or broken.
        ModelError: the file is refused.
        EngineError: the engine cannot run it.
    """
    index = load_index(root, split)
    coco = merged(index.coco, classes.boxes)
    names = classes.boxes.names
    confusion = Confusion(classes.mask.names, ignore=IGNORE)
    table = classes.label_table()
    results: list[dict[str, Any]] = []
    engine = open_engine(model, precision="f32")
    try:
        perception = Perception(engine, conf=MIN_SCORE)
        for item in index.items:
            perception.prepare(item.image(), 0)
            perception.submit(0)
            perception.wait(0)
            detections, masks = perception.decode(0)
            results += coco_results(
                detections,
                image_id=item.image_id,
                category_of_class={i: i + 1 for i in range(len(names))},
            )
            predicted = masks[0].letterbox.mask_to_frame(masks[0].labels)
            confusion.add(table[item.labels()], predicted)
    finally:
        engine.close()
    boxes = box_scores(coco, results, scored=names)
    return {
        "val_miou": confusion.miou() or 0.0,
        "val_ap": boxes.ap or 0.0,
        "val_ap50": mean(boxes.ap50.values()) or 0.0,
    }


def merged(coco: Mapping[str, Any], classes: ClassSet) -> dict[str, Any]:
    """A COCO dictionary in the classes of ``classes``, ids from 1; boxes of no class are left out.

    A bicyclist is an ignored pedestrian too, except where one class takes in both.
    """
    both = with_bicyclists_ignored(coco)
    name_of = {c["id"]: c["name"] for c in coco["categories"]}
    rider = classes.index_of("bicyclist")
    annotations: list[dict[str, Any]] = []
    for i, annotation in enumerate(both["annotations"]):
        mine = classes.index_of(name_of[annotation["category_id"]])
        added = i >= len(coco["annotations"])
        if mine is not None and not (added and mine == rider):
            # from 1 on: the scorer takes an id of 0 for no match
            numbered = {"id": len(annotations) + 1, "category_id": mine + 1}
            annotations.append({**annotation, **numbered})
    return {
        "images": both["images"],
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": n} for i, n in enumerate(classes.names)],
    }
