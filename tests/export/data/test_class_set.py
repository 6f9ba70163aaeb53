"""Class sets: what a choice of CamVid's classes says, and what is refused."""

from __future__ import annotations

import pytest

from engines.errors import SettingsError
from export.data.camvid import BOX_CLASSES, CLASSES
from export.data.class_set import Classes, ClassSet
from export.data.labelled import UNLABELLED


def test_nothing_said_is_camvids_own() -> None:
    classes = Classes.parse()
    assert (classes.boxes.names, classes.mask.names) == (BOX_CLASSES, CLASSES)
    assert classes.label_table()[:12].tolist() == [*range(11), UNLABELLED]
    assert Classes.parse(",".join(BOX_CLASSES)) == classes
    assert Classes.parse("car") != classes
    # the same names in another order are another set
    assert Classes.parse("sign,bicyclist,pedestrian,car") != classes


def test_classes_are_chosen_merged_and_the_rest_taken_together() -> None:
    classes = Classes.parse(
        "vehicle = car, person = pedestrian+bicyclist", "road,person=pedestrian+bicyclist,other=*"
    )
    assert classes.boxes.names == ("vehicle", "person")
    assert classes.boxes.table(BOX_CLASSES, missing=-1).tolist() == [0, 1, 1, -1]
    # sky building pole road pavement tree sign fence car pedestrian bicyclist unlabelled
    expected = [2, 2, 2, 0, 2, 2, 2, 2, 2, 1, 1, UNLABELLED]
    assert classes.label_table()[:12].tolist() == expected


def test_a_class_that_no_one_takes_is_unlabelled() -> None:
    table = Classes.parse("", "sky,road").label_table()
    assert table[:5].tolist() == [0, UNLABELLED, UNLABELLED, 1, UNLABELLED]
    assert (table[11:] == UNLABELLED).all()


def test_the_text_reads_back_as_the_same_set() -> None:
    first = ClassSet.parse("a=sky + road ,tree, b=*", of=CLASSES, option="--mask-classes")
    assert ClassSet.parse(first.text, of=CLASSES, option="--mask-classes") == first


@pytest.mark.parametrize(
    ("boxes", "mask", "says"),
    [
        ("bus", "", r"--box-classes bus: 'bus' is none of car, pedestrian, bicyclist, sign or \*"),
        ("car=", "", "'' is none of car"),
        ("=car", "", "a class without a name"),
        ("car,", "", "a class without a name"),
        ("car,car", "", "'car' is given twice"),
        ("a=car,a=sign", "", "'a' is given twice"),
        ("a=car+sign,b=sign", "", "'sign' is given twice"),
        ("a=*,b=*", "", r"'\*' is given twice"),
        ("car,pedestrian,bicyclist,sign,rest=*", "", r"no class is left for \*"),
        ("", "all=*", "--mask-classes all=*: a mask of one class, wanted two or more"),
    ],
)
def test_a_set_that_makes_no_sense_is_refused(boxes: str, mask: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says.replace("=*:", r"=\*:")):
        Classes.parse(boxes, mask)
