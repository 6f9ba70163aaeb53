"""The page of an evaluation: what stands on it, and that names of anybody cannot break it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timezone
from html.parser import HTMLParser

import pytest

from export.score.gallery import Entry, Gallery, Panel
from export.score.html import html_report
from export.score.report import EvaluationReport, FrameScore, Table
from tests.export.score.reports import BOTH

WHEN = datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc)
FULL = replace(
    BOTH,
    images=1234,
    recall50={"car": 0.8125},
    recall75={"car": 0.1875},
    false_a_frame={"car": 1.25},
    precision50={"car": None},
    ap_of_area={"small": 0.125, "medium": None, "large": 0.4375},
    conf=0.2,
    latency_ms={
        "letterbox": {"p50": 0.5, "p90": 0.75},
        "infer": {"p50": 8.0, "p90": 12.25},
        "decode": {"p50": 1.5, "p90": 2.0},
    },
    renamed={"person": "pedestrian"},
    lacking={"boxes": ("sign",), "mask classes": ()},
    confusion_mask=Table(
        ("road", "car", "fence"), ("road", "car", "fence", "none of them"),
        ((3, 1, 0, 0), (5000, 5000, 0, 0), (0, 0, 0, 0)),
    ),
    confusion_boxes=Table(
        ("car", "sign", "nothing there"), ("car", "sign", "missed"),
        ((13, 0, 3), (2, 0, 5), (7, 0, 0)),
    ),
    worst={},
    curves={"car": (1.0, 0.5, 0.0)},
)  # fmt: skip
BOXES_ALONE = replace(FULL, miou=None, iou={}, confusion_mask=None)
MASK_ALONE = replace(
    FULL, ap=None, ap_of_class={}, ap50={}, ap50_400px={}, recall50=None, precision50=None,
    ap_of_area=None, conf=None, confusion_boxes=None, curves=None,
)  # fmt: skip


class Page(HTMLParser):
    """Text by section, tags, and that each tag is closed."""

    VOID = ("meta", "img", "line", "polyline")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += f" {data.strip()}"

    def words(self) -> str:
        return " ".join(self.text.split())


def page(report: EvaluationReport, gallery: Gallery | None = None) -> Page:
    return Page(html_report(report, gallery or Gallery(), made=WHEN))


def gallery() -> Gallery:
    made = Gallery()
    panel = Panel("truth", "data:image/jpeg;base64,AAAA", 640, 480)
    score = FrameScore(3, "0016.png", 0.25, 4, 5)
    made.entries["mask"].append(Entry(score, (panel,), (("road", "#ff0000"),)))
    made.entries["boxes"].append(Entry(score, (panel, panel)))
    return made


def test_boxes_of_a_single_frame_have_a_column_where_they_are_told() -> None:
    words = page(replace(FULL, single_a_frame={"car": 0.125}), gallery()).words()
    assert "car 0.625 0.312 0.375 0.875 0.438 0.812 – 0.188 1.250 0.125 16" in words


def test_every_figure_stands_on_the_page() -> None:
    words = page(FULL, gallery()).words()
    for text in (
        "street.onnx scored on CamVid val, 1,234 images, 2026-01-02 03:04 UTC",
        "0.500 mIoU mask, mean of 2 classes",
        "0.625 AP50 boxes, mean of 1 class",
        "0.375 AP boxes, IoU 0.50 to 0.95",
        "8.00 ms inference, p50; p90 is 12.2 ms",
        "road 0.750 car 0.250 fence –",
        "car 0.625 0.312 0.375 0.875 0.438 0.812 – 0.188 1.250 16",
        "small 0.125, medium –, large 0.438.",
        "letterbox 0.50 0.75 infer 8.00 12.2 decode 1.50 2.00",
        "0016.png mIoU 0.250 over the classes in it",
        "0016.png 4 missed, 5 false",
        "SHA-256 0123456789abcdef",
        "person counts as pedestrian",
        "boxes that the model does not know: sign; left out of AP",
    ):
        assert text in words, text


def test_confusions_show_shares_of_pixels_and_numbers_of_boxes() -> None:
    made = page(FULL)
    cells = {a["title"]: a for tag, a in made.tags if tag == "td" and a.get("title")}
    assert cells["road → car: 1 px (25.0%)"]["style"] == "--a:0.250"
    assert cells["car → car: 5,000 px (50.0%)"]["class"] == "hit"
    assert cells["road → road: 3 px (75.0%)"]["class"] == "hit"
    assert cells["sign → car: 2 boxes (28.6%)"]["class"] == "err"
    assert cells["nothing there → car: 7 boxes (100.0%)"]["class"] == "err deep"
    assert "fence → fence: 0 px (0.0%)" not in cells  # neither there nor said to be
    words = made.words()
    assert "road 75 25 car 50 50" in words
    assert "car 13 3 sign 2 5 nothing there 7" in words
    assert "none of them" not in words


def test_curves_are_points_of_recall_and_precision() -> None:
    lines = [a for tag, a in page(FULL).tags if tag == "polyline"]
    assert [line["points"] for line in lines] == ["0.0,0.0 220.0,135.0 440.0,270.0"]


def test_a_class_has_the_colour_of_its_curve_in_the_table_and_about_that_of_the_masks() -> None:
    names = ("sign", "car", "pedestrian")
    scores: dict[str, float | None] = dict.fromkeys(names, 0.5)
    made = html_report(
        replace(
            BOXES_ALONE, ap50={**scores, "lorry": None}, ap_of_class=scores,
            curves=dict.fromkeys(names, (1.0, 0.0)),
        ),
        Gallery(), made=WHEN,
    )  # fmt: skip
    chips = re.findall(r'background:(#\w+)"></span>(\w+)', made)
    assert {name: colour for colour, name in chips if name in names} == {
        "car": "#2f81f7", "pedestrian": "#e0533d", "sign": "#d4a017",
    }  # fmt: skip
    for name in names:
        assert len({colour for colour, other in chips if other == name}) == 1
    assert "lorry" in made
    assert "lorry" not in [name for _, name in chips]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_in_a_matrix_can_be_read_on_every_shade(scheme: str) -> None:
    """WCAG's contrast of 4.5 between text and background, at each share of a row."""
    source = html_report(FULL, Gallery(), made=WHEN)
    rules = re.findall(r":root \{([^}]*)\}", source)[scheme == "dark"]
    style = dict(re.findall(r"--(\w+):([^;]+);", rules))
    card = style["card"].lstrip("#")
    back = bytes.fromhex(card if len(card) == 6 else "".join(2 * c for c in card))
    for kind in ("hit", "err"):
        full = [int(n) for n in style[kind].split(",")]
        for share in range(101):
            shade = [f * share / 100 + b * (1 - share / 100) for f, b in zip(full, back)]  # noqa: B905
            text = style["deep" if share > 78 else "cell"]
            one, two = luminance(shade), luminance([255 * (text == "#fff")] * 3)
            assert (max(one, two) + 0.05) / (min(one, two) + 0.05) > 4.45, (kind, share)


def luminance(rgb: list[float]) -> float:
    """Relative luminance of sRGB (WCAG 2.2)."""
    shares = [v / 255 for v in rgb]
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_tables_name_their_columns() -> None:
    for tag, attributes in page(FULL).tags:
        if tag == "th" and "corner" not in str(attributes.get("class")):
            assert attributes.get("scope") in ("row", "col")


def test_a_part_that_the_model_lacks_has_no_section() -> None:
    words = page(BOXES_ALONE).words()
    assert "IoU by class" not in words
    assert "mIoU" not in words
    words = page(MASK_ALONE).words()
    assert "IoU by class" in words
    assert "Precision over recall" not in words
    assert "COCO" not in words


def test_it_has_no_link_no_script_and_nothing_from_outside() -> None:
    made = page(FULL, gallery())
    assert {"script", "link", "a", "iframe", "base"}.isdisjoint(tag for tag, _ in made.tags)
    for _, attributes in made.tags:
        for name, value in attributes.items():
            assert name not in ("href", "xlink:href", "srcset", "action")
            assert name != "src" or (value or "").startswith("data:image/")
    html = html_report(FULL, gallery(), made=WHEN)
    assert "url(" not in html
    assert "@import" not in html
    assert "http" not in html.replace("http-equiv", "")


def test_it_reads_on_a_phone_and_in_the_dark() -> None:
    html = html_report(FULL, gallery(), made=WHEN)
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in html
    assert "prefers-color-scheme: dark" in html
    images = [a for tag, a in page(FULL, gallery()).tags if tag == "img"]
    assert all(image["alt"] and image["width"] for image in images)


@pytest.mark.parametrize("evil", ["<script>x</script>", '"><img src=x onerror=y>', "{{ 7*7 }}"])
def test_names_of_anybody_are_text(evil: str) -> None:
    table = Table((evil, "nothing there"), (evil, "missed"), ((1, 2), (3, 0)))
    entry = Entry(
        FrameScore(0, evil, 0.5, 1, 1), (Panel(evil, "data:image/jpeg;base64,AA", 1, 1),),
        ((evil, "#000000"),),
    )  # fmt: skip
    pictures = Gallery()
    pictures.entries["mask"].append(entry)
    made = page(
        replace(
            FULL, model=evil, source=evil, data="folder", split=None, iou={evil: 0.5},
            ap50={evil: 0.5}, curves={evil: (1.0, 0.0)}, confusion_boxes=table,
            renamed={evil: evil}, lacking={"boxes": (evil,)},
        ),
        pictures,
    )  # fmt: skip
    assert "script" not in {tag for tag, _ in made.tags}
    assert not any("onerror" in attributes for _, attributes in made.tags)
    assert len([tag for tag, _ in made.tags if tag == "img"]) == 1
    assert evil in made.text


def test_many_classes_are_cut_to_what_can_be_read_and_it_says_so() -> None:
    names = tuple(f"c{i}" for i in range(80))
    counts = tuple(tuple(int(i == j) * i for j in range(81)) for i in range(81))
    table = Table((*names, "nothing there"), (*names, "missed"), counts)
    curves: dict[str, tuple[float, ...]] = dict.fromkeys(names, (1.0, 0.0))
    made = page(
        replace(BOXES_ALONE, confusion_boxes=table, ap50=dict.fromkeys(names, 0.5), curves=curves)
    )
    assert len([a for tag, a in made.tags if tag == "polyline"]) == 8
    assert len([a for tag, a in made.tags if (a.get("class") or "").startswith("hit")]) == 24
    assert "55 further classes are in the JSON" in made.words()  # 79 have a box, 24 are shown


def test_shares_of_the_steps_fill_the_bar() -> None:
    widths = [
        float(found[1])
        for _, a in page(FULL).tags
        if "background" in (a.get("style") or "")
        and (found := re.match(r"width:([\d.]+)%", a.get("style") or ""))
    ]
    assert widths == [5.0, 80.0, 15.0]
