"""Pairs of images and label maps: what counts as an image, and sizes that differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.errors import ExportError
from export.data.pairs import check_size, find_pairs


def make(root: Path, images: list[str], labels: list[str]) -> tuple[Path, Path]:
    for folder, names in (("images", images), ("labels", labels)):
        (root / folder).mkdir()
        for name in names:
            (root / folder / name).write_bytes(b"")
    return root / "images", root / "labels"


def test_pairs_come_by_name_without_hidden_and_other_files(tmp_path: Path) -> None:
    images, labels = make(
        tmp_path, ["b.JPG", "a.png", ".c.png", "Thumbs.db"], ["a.png", "b.png", ".d.png", "e.txt"]
    )
    pairs = find_pairs(images, labels, layout="")
    assert [(p.name, q.name) for p, q in pairs] == [("a.png", "a.png"), ("b.JPG", "b.png")]


def test_a_folder_of_none_says_how_it_is_laid_out(tmp_path: Path) -> None:
    images, labels = make(tmp_path, [], ["a.png"])
    with pytest.raises(ExportError, match=r"images: holds no images\. Wanted this\."):
        find_pairs(images, labels, layout="Wanted this.")
    with pytest.raises(ExportError, match=r"none: cannot be listed \(No such .*\)\. Wanted this\."):
        find_pairs(tmp_path / "none", labels, layout="Wanted this.")


def test_a_size_that_differs_is_told_with_its_two_sides() -> None:
    pixels = np.zeros((2, 3), np.uint8)
    check_size(Path("a.png"), pixels, (3, 2), stated_in="b.jpg")
    with pytest.raises(ExportError, match=r"^a\.png: got 3x2, wanted 2x3 as in b\.jpg\. Restore"):
        check_size(Path("a.png"), pixels, (2, 3), stated_in="b.jpg")
