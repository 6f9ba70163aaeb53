"""The log of a training: rows, what a resumed run keeps of them, and the plot."""

from __future__ import annotations

import csv
import resource
from pathlib import Path

import cv2
import pytest

from engines.errors import ExportError, ModelError
from export.train.log import COLUMNS, TrainingLog

LOSS = {"box": 0.5, "objectness": 0.25, "classes": 0.125, "mask": 2.0}
SCORES = {"val_miou": 0.5, "val_ap": 0.25, "val_ap50": 0.75}


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_epoch_is_a_row_and_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = TrainingLog(tmp_path, resume_after=0)
    log.add(1, 12.34, LOSS)
    log.add(2, 5.0, {**LOSS, **SCORES})
    first, second = rows(tmp_path)
    assert tuple(first) == COLUMNS
    assert (first["epoch"], first["seconds"], first["mask"]) == ("1", "12.3", "2.00000")
    assert first["val_miou"] == ""
    assert second["val_ap50"] == "0.75000"
    shown = capsys.readouterr().err.splitlines()
    assert shown[0].startswith("epoch 1  seconds 12.3  box 0.50000")
    assert shown[1].endswith("val_ap50 0.75000")


def test_a_resumed_run_drops_the_rows_after_its_checkpoint(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, resume_after=0)
    for epoch in (1, 2, 3):
        log.add(epoch, 1.0, LOSS)
    TrainingLog(tmp_path, resume_after=2).add(3, 9.0, LOSS)
    assert [(r["epoch"], r["seconds"]) for r in rows(tmp_path)] == [
        ("1", "1.0"),
        ("2", "1.0"),
        ("3", "9.0"),
    ]


def test_a_new_run_begins_with_an_empty_log(tmp_path: Path) -> None:
    TrainingLog(tmp_path, resume_after=0).add(1, 1.0, LOSS)
    TrainingLog(tmp_path, resume_after=0)
    assert rows(tmp_path) == []
    assert (tmp_path / "log.csv").read_text().strip() == ",".join(COLUMNS)


@pytest.mark.parametrize(
    "cut", ["2", "2,1.0,0.5", "2,1.0,0.5,0.2,0.1,", "x,y\n\xff,1,2", "1,2,,,,,,,,,,"]
)
def test_a_row_that_was_cut_off_is_dropped_and_stops_nothing(tmp_path: Path, cut: str) -> None:
    TrainingLog(tmp_path, resume_after=0).add(1, 1.0, LOSS)
    with (tmp_path / "log.csv").open("ab") as file:
        file.write(cut.encode("latin-1"))
    log = TrainingLog(tmp_path, resume_after=2)
    log.add(3, 1.0, LOSS)
    assert [r["epoch"] for r in rows(tmp_path)] == ["1", "3"]
    log.plot()


@pytest.mark.parametrize("epochs", [0, 1, 3])
@pytest.mark.parametrize("values", [LOSS, dict.fromkeys(LOSS, 0.0), {**LOSS, **SCORES}])
def test_the_plot_is_a_picture_for_any_number_of_epochs(
    tmp_path: Path, epochs: int, values: dict[str, float]
) -> None:
    log = TrainingLog(tmp_path, resume_after=0)
    for epoch in range(1, epochs + 1):
        log.add(epoch, 1.0, values)
    log.plot()
    picture = cv2.imread(str(tmp_path / "plot.png"))
    assert picture is not None
    assert picture.shape == (440, 1210, 3)  # 11 x 4 inches at 110 dpi


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match=r"log\.csv: cannot be written"):
        TrainingLog(tmp_path / "file", resume_after=0)


def test_a_full_disk_says_that_the_checkpoint_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = TrainingLog(tmp_path, resume_after=0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(",".join(COLUMNS)) + 2, hard))
    try:
        with pytest.raises(ExportError, match=r"log\.csv: cannot be written.*epoch 7 is kept"):
            log.add(7, 1.0, LOSS)
        with pytest.raises(ModelError, match=r"plot\.png: cannot be written"):
            log.plot()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert capsys.readouterr().err.startswith("epoch 7")  # the figures are not lost
    assert list(tmp_path.iterdir()) == [tmp_path / "log.csv"]
