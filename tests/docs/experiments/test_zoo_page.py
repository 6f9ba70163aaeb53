"""The zoo's page: matrix, scores and fields by hand, and that it is as the code says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from docs.experiments.trunks import exported
from docs.experiments.zoo_measured import (
    Chain,
    dilated,
    effective,
    extent,
    matrix_of,
    nyquist_share,
    opened,
    pooled_and_back,
    slopes,
    untrained,
)
from docs.experiments.zoo_page import (
    FOUND,
    PAGE,
    PARTS,
    TRUTH,
    iou,
    matrix,
    milliseconds,
    nets,
    put,
    separable,
)
from engines.errors import ExportError
from export.score.scores import Confusion
from export.zoo.measure import receptive_field


def test_a_transposed_convolution_multiplies_by_the_transposed_matrix() -> None:
    kernel = torch.arange(1.0, 10).view(3, 3)
    c = matrix_of(kernel, 4)
    assert c.shape == (4, 16)
    # each row the kernel where one of the four pixels of the result looks
    assert c[0].tolist() == [1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0, 0, 0, 0]
    assert c[3].tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9]
    x = torch.tensor([1.0, 10, 100, 1000])
    # the kernel four times, times 1, 10, 100 and 1000, each a pixel on: at the corner 1·1; beside
    # it 2·1 + 1·10; below it 4·1 + 1·100; in the middle 5·1 + 4·10 + 2·100 + 1·1000
    by_hand = {0: 1, 1: 12, 4: 104, 5: 1245, 15: 9000}
    back = c.T @ x
    assert {at: int(back[at]) for at in by_hand} == by_hand
    layer = F.conv_transpose2d(x.view(1, 1, 2, 2), kernel[None, None])
    assert torch.equal(back.view(1, 1, 4, 4), layer)


def test_class_iou_of_25_pixels_by_hand() -> None:
    score = Confusion(("sky", "road", "car"), ignore=255)
    score.add(TRUTH, FOUND)
    # sky: ten pixels, one taken for road, and one of the car's taken for it: 9 / 11
    # road: six, one taken for car, one of the sky's: 5 / 7; car: seven, one lost, one won: 6 / 8
    by_hand = {"sky": 9 / 11, "road": 5 / 7, "car": 6 / 8}
    assert score.iou() == pytest.approx(by_hand)
    assert score.miou() == pytest.approx((9 / 11 + 5 / 7 + 6 / 8) / 3)


@pytest.mark.parametrize(
    ("net", "rows"),
    [
        (dilated((1, 1, 1, 1)), 9),  # 1 + 2 · 4
        (dilated((1, 2, 4, 8)), 31),  # 1 + 2 · (1 + 2 + 4 + 8)
        (dilated((2, 2, 2)), 13),
        (opened(Chain(nn.Conv2d(3, 4, 3, 1, 1), nn.MaxPool2d(2), nn.Conv2d(4, 2, 5, 1, 2))), 12),
    ],
)
def test_the_gradient_is_nonzero_from_end_to_end_of_the_computed_field(
    net: Chain, rows: int
) -> None:
    slope = slopes(net, 64, 64)
    # of a pooling only the largest pixel moves the result, which is one row of two
    pooled = any(isinstance(m, nn.MaxPool2d) for m in net.modules())
    assert rows - pooled <= extent(slope) <= rows
    assert receptive_field(net.to("meta")) == rows
    assert effective(slope) <= rows


def test_layers_of_dilation_2_look_at_every_other_pixel() -> None:
    slope = slopes(dilated((2, 2)), 21, 21)
    assert np.argwhere(slope > 0).tolist() == [
        [y, x] for y in range(6, 15, 2) for x in range(6, 15, 2)
    ]


def test_the_checkerboard_of_weights_that_are_one_by_hand() -> None:
    # along a row one weight and two in turn: 1.5 ± 0.5, so 0.9 of the energy is constant
    assert nyquist_share(untrained("k3", seed=None)) == pytest.approx(1 - 0.9**2)
    for way in ("k4", "resize"):
        assert nyquist_share(untrained(way, seed=None)) == pytest.approx(0, abs=1e-9)
    assert nyquist_share(untrained("resize", seed=1)) == pytest.approx(0, abs=1e-9)
    assert nyquist_share(untrained("k4", seed=1)) > 1e-3


def test_unpooling_keeps_each_largest_pixel_where_it_was() -> None:
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)) + 0.1
    back = pooled_and_back(image, 2)
    kept = back["unpooled"] > 0
    assert int(kept.sum()) == 16  # one of each 4×4
    assert torch.equal(back["unpooled"][kept], image[kept])
    assert bool((back["unpooled, mean of 7×7"] > 0).all())


def test_the_page_is_as_the_code_has_it() -> None:
    page = PAGE.read_text()
    for part, make in (("matrix", matrix), ("iou", iou)):
        assert put(page, part, make()) == page
    for timed in (nets, separable):
        for row in timed(False).splitlines()[2:]:  # with times, more columns follow
            assert row.removesuffix(" |") in page
    for picture in PAGE.with_name("zoo").iterdir():
        assert f"(zoo/{picture.name})" in page
        assert picture.stat().st_size < 150_000


def test_times_are_taken_in_every_engine() -> None:
    x = torch.rand(1, 8, 32, 32)
    few, many = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 256, 7, padding=3)
    took = milliseconds({"few": exported(few, x), "many": exported(many, x)}, x.numpy(), 3)
    for a, b in zip(took["few"], took["many"], strict=True):
        assert 0 < float(a) < float(b)


def test_a_page_without_the_marks_is_refused() -> None:
    assert put("<!-- iou -->\nold\n<!-- end of iou -->", "iou", "new").splitlines()[1] == "new"
    with pytest.raises(ExportError, match="no marks for iou"):
        put("nothing", "iou", "")
    assert "iou" in PARTS
