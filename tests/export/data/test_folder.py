"""A folder of images and label maps as data: what is read, and each mistake by its name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import compress, crc32

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.errors import ExportError
from export.data.folder import folder_data
from tests.export.labelled_files import coco_dict, make_folder


def test_images_are_paired_with_labels_and_boxes_by_name(tmp_path: Path) -> None:
    labels = [np.full((64, 96), 1, np.uint8), np.full((64, 96), 255, np.uint8)]
    root = make_folder(tmp_path / "drive", labels=labels)
    (root / "boxes.json").write_text(json.dumps(coco_dict([{"image_id": 2}])))
    (root / "images" / ".hidden.png").write_bytes(b"")
    (root / "images" / "notes.txt").write_text("no image")
    data = folder_data(root)
    assert (data.name, data.source, data.count, data.ignore) == ("folder", "drive", 2, 255)
    assert data.mask_classes == ("sky", "road", "car")
    assert data.box_classes == ("auto", "walker")
    first, second = data.load(0), data.load(1)
    assert (first.name, second.name) == ("1.png", "2.png")
    assert first.labels is not None
    assert first.labels.shape == (64, 96)
    assert (first.labels == 1).all()
    assert (len(first.annotations), len(second.annotations)) == (0, 1)


def test_without_boxes_there_are_masks_alone(tmp_path: Path) -> None:
    data = folder_data(make_folder(tmp_path))
    assert data.box_classes == ()
    assert data.load(0).annotations == []


def strip(root: Path, coco: dict[str, Any] | None = None) -> None:
    """Take the label maps away, and put boxes there."""
    shutil.rmtree(root / "labels")
    (root / "classes.txt").unlink()
    if coco is not None:
        (root / "boxes.json").write_text(json.dumps(coco))


def test_boxes_alone_make_a_folder_without_masks(tmp_path: Path) -> None:
    root = make_folder(tmp_path)
    strip(root, coco_dict([{}, {"bbox": [8, 8, 0, 8]}]))
    data = folder_data(root)
    assert (data.count, data.mask_classes, data.box_classes) == (2, (), ("auto", "walker"))
    assert data.load(0).labels is None
    assert len(data.load(0).annotations) == 1
    assert len(data.left_out) == 1


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda r: r.rename(r.with_name("x")), "drive: wanted a folder with images/NAME"),
    "no maps": (
        lambda r: ((r / "labels").rename(r / "x"), (r / "boxes.json").write_text("{}")),
        r"classes\.txt: there are no label maps for it",
    ),
    "no classes": (lambda r: (r / "classes.txt").unlink(), r"classes\.txt: missing, wanted"),
    "images alone": (strip, r"neither label maps nor boxes, .*docs/TRAIN\.md"),
    "no box": (lambda r: strip(r, coco_dict()), "no box that can be used, and its images have"),
    "no area": (
        lambda r: strip(r, coco_dict([{"bbox": [8, 8, 0, 8]}])),
        "no box that can be used: annotation 0 has the box",
    ),
    "empty classes": (
        lambda r: (r / "classes.txt").write_text("\n"),
        "wanted 1 to 255 class names",
    ),
    "a class twice": (lambda r: (r / "classes.txt").write_text("a\na"), "none empty or twice"),
    "binary classes": (lambda r: (r / "classes.txt").write_bytes(b"\xff\xfe\xfa"), "as text"),
    "no images": (
        lambda r: [p.rename(p.with_name(f".{p.name}")) for p in (r / "images").iterdir()],
        r"holds no images\. Wanted images/NAME",
    ),
    "image alone": (lambda r: (r / "labels/2.png").unlink(), r"images/2\.png: has no label map"),
    "label alone": (lambda r: (r / "images/2.png").unlink(), r"labels/2\.png: has no image in"),
    "same stem": (
        lambda r: (r / "images/2.jpg").write_bytes(b""),
        r"images/2\.png: 2\.jpg has the same name",
    ),
    "box of no image": (
        lambda r: (r / "boxes.json").write_text(json.dumps(coco_dict([{}], images=3))),
        r"boxes\.json: lists 3\.png, which is not in",
    ),
    "image without entry": (
        lambda r: (r / "boxes.json").write_text(json.dumps(coco_dict([{}], images=1))),
        r"2\.png: not listed in .*boxes\.json",
    ),
    "broken boxes": (lambda r: (r / "boxes.json").write_text("{}"), "not a COCO file of boxes"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_folder_that_does_not_fit_together_is_refused_at_once(name: str, tmp_path: Path) -> None:
    spoil, message = MISTAKES[name]
    root = make_folder(tmp_path / "drive")
    spoil(root)
    with pytest.raises(ExportError, match=message) as caught:
        folder_data(root)
    assert "\n" not in str(caught.value)


def chunk(kind: bytes, data: bytes) -> bytes:
    checksum = crc32(kind + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + kind + data + checksum


def header(bits: int, colour: int) -> bytes:
    size = (96).to_bytes(4, "big") + (64).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + bytes([bits, colour, 0, 0, 0]))


def palette_png() -> bytes:
    """A PNG of 96x64 pixels with a palette, as Pascal VOC's labels are."""
    rows = b"".join(b"\0" + bytes([1] * 96) for _ in range(64))
    palette = chunk(b"PLTE", bytes([0, 0, 0, 128, 0, 0]))
    return header(8, 3) + palette + chunk(b"IDAT", compress(rows)) + chunk(b"IEND", b"")


def grey_png(*, bits: int) -> bytes:
    """A PNG of 96x64 grey pixels of so many bits, as imaging libraries save two classes."""
    rows = b"".join(b"\0" + bytes([1] * (96 * bits // 8)) for _ in range(64))
    return header(bits, 0) + chunk(b"IDAT", compress(rows)) + chunk(b"IEND", b"")


def png(array: NDArray[Any]) -> bytes:
    done, data = cv2.imencode(".png", array)
    assert done
    return data.tobytes()


WHOLE = png(np.random.default_rng(0).integers(0, 3, (64, 96)).astype(np.uint8))
LABELS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "damaged or no PNG"),
    "text": (b"label", "damaged or no PNG"),
    "cut off": (WHOLE[: len(WHOLE) // 2], "damaged or no PNG"),
    "a bit flipped": (
        WHOLE[:200] + bytes([WHOLE[200] ^ 1]) + WHOLE[201:],
        "damaged or no PNG",
    ),
    "another size": (png(np.zeros((32, 48), np.uint8)), r"got 48x32, wanted 96x64 as in 1\.png"),
    "colours": (png(np.zeros((64, 96, 3), np.uint8)), r"got uint8\[64, 96, 3\], wanted one 8-bit"),
    "16 bit": (png(np.zeros((64, 96), np.uint16)), r"got uint16\[64, 96\], wanted one 8-bit"),
    "1 bit": (grey_png(bits=1), "got 1 bits a pixel, wanted one 8-bit grey channel"),
    "4 bits": (grey_png(bits=4), "got 4 bits a pixel, wanted one 8-bit grey channel"),
    "palette": (palette_png(), "got a palette, wanted one 8-bit grey channel"),
    "outside the range": (
        png(np.full((64, 96), 3, np.uint8)),
        r"class index 3, wanted 0 to 2 as classes\.txt has, or 255",
    ),
}


@pytest.mark.parametrize("name", LABELS)
def test_a_wrong_label_map_is_refused_by_name(name: str, tmp_path: Path) -> None:
    content, message = LABELS[name]
    root = make_folder(tmp_path)
    (root / "labels" / "1.png").write_bytes(content)
    data = folder_data(root)
    with pytest.raises(ExportError, match=rf"labels/1\.png: .*{message}"):
        data.load(0)


def test_a_damaged_image_is_refused_by_name(tmp_path: Path) -> None:
    root = make_folder(tmp_path)
    (root / "images" / "1.png").write_bytes(b"no image")
    with pytest.raises(ExportError, match=r"images/1\.png: damaged or not an image"):
        folder_data(root).load(0)


def test_a_folder_that_cannot_exist_is_refused() -> None:
    with pytest.raises(ExportError, match="wanted a folder with images"):
        folder_data(Path("x" * 300))  # a name too long for any file system, which Path raises at
