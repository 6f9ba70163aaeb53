"""Anchors: k-means over boxes whose clusters can be seen by eye."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from docs.experiments.anchors import k_means_anchors, main
from engines.errors import ExportError
from tests.conftest import ROOT
from tests.export.street_data import make_camvid


def boxes(*wh: tuple[float, float]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array(wh, np.float32).reshape(-1, 2)


@pytest.mark.parametrize("seed", range(6))
def test_two_clusters_give_their_medians_by_area_whatever_the_seed(seed: int) -> None:
    wh = boxes((100, 50), (120, 50), (110, 50), (10, 20), (14, 20), (12, 20))
    assert k_means_anchors(wh, 2, seed=seed).tolist() == [[12, 20], [110, 50]]


def test_boxes_are_near_by_iou_not_by_pixels() -> None:
    # seed 1 starts from the first two, 2x2 and 12x12. IoU of 6x6 with them: 4/36 and 36/144, so it
    # joins the larger, though in pixels it is nearer to the smaller. Median of 6 and 12: 9.
    wh = boxes((2, 2), (12, 12), (6, 6))
    assert k_means_anchors(wh, 2, seed=1).tolist() == [[2, 2], [9, 9]]


def test_wide_and_tall_boxes_of_one_area_part() -> None:
    found = k_means_anchors(boxes((40, 10), (10, 40), (42, 10), (10, 42)), 2, seed=0)
    assert sorted(found.tolist()) == [[10, 41], [41, 10]]


def test_as_many_anchors_as_boxes_are_the_boxes() -> None:
    assert k_means_anchors(boxes((8, 8), (2, 3)), 2, seed=0).tolist() == [[2, 3], [8, 8]]
    assert k_means_anchors(boxes((8, 5)), 1, seed=0).tolist() == [[8, 5]]


def test_identical_boxes_give_that_shape_every_time() -> None:
    found = k_means_anchors(boxes(*[(30, 20)] * 12), 9, seed=0)
    assert found.dtype == np.float32
    assert found.tolist() == [[30, 20]] * 9


@pytest.mark.parametrize("count", [0, 2])
def test_fewer_boxes_than_anchors_are_refused(count: int) -> None:
    with pytest.raises(ExportError, match=f"got {count} boxes, wanted 3 or more"):
        k_means_anchors(boxes(*[(5, 5)] * count), 3, seed=0)


def test_a_box_without_a_side_is_refused() -> None:
    with pytest.raises(ExportError, match="no width or no height"):
        k_means_anchors(boxes((5, 5), (5, 0)), 1, seed=0)


def test_the_table_is_at_the_scale_of_the_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_CAMVID", str(make_camvid(tmp_path, images=9)))
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 0, result.exception
    # nine cars of 80x40; times 384/360: 85.3x42.7
    assert result.output == "((85.0, 43.0), (85.0, 43.0), (85.0, 43.0))\n" * 3


def test_too_few_boxes_end_the_script_with_a_message_and_no_traceback(tmp_path: Path) -> None:
    make_camvid(tmp_path, images=2)
    done = subprocess.run(
        [sys.executable, "-m", "docs.experiments.anchors"],
        env={"OUTRIDER_CAMVID": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 4
    assert "got 2 boxes, wanted 9 or more" in done.stderr
    assert "Traceback" not in done.stderr
