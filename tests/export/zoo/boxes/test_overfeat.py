"""OverFeat's point: run over a whole image, it gives what it gives on each window alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from export.zoo.boxes.overfeat import SCALES, OverFeat, Windows

FIGURE_5 = {"steps": ((5, 1, 4, 2),), "full": 5, "wide": 8}
"""14×14 → convolution 5×5 → 10×10 → pooling → 5×5 → all of it → 1×1 (arXiv 1312.6229)."""


def settled(net: Windows, side: int) -> Windows:
    """Norms with statistics that are not those they begin with."""
    torch.manual_seed(0)
    for _ in range(3):
        net(torch.rand(4, 3, side, side))
    return net.eval().double()


def test_the_window_of_figure_5_and_of_the_network_by_hand() -> None:
    toy, own = Windows(**FIGURE_5), Windows()  # type: ignore[arg-type]
    assert (toy.window, toy.strides) == (14, (2,))
    # 3 → 5 → 2·5 = 10 → 12 → 24 → 2·23 + 6 = 52, a pooling of 1 changes nothing
    assert (own.window, own.strides) == (52, (8,))
    for net in (toy.eval(), own.eval()):
        assert net(torch.zeros(1, 3, net.window, net.window))[0].shape[2:] == (1, 1)
        with pytest.raises(RuntimeError):
            net(torch.zeros(1, 3, net.window - 1, net.window))


def test_an_image_of_16_gives_the_four_windows_of_14() -> None:
    net = settled(Windows(**FIGURE_5), 14)  # type: ignore[arg-type]
    image = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        dense = net(image)[0]  # (1, 8, 2, 2)
        assert dense.shape == (1, 8, 2, 2)
        for row in range(2):
            for column in range(2):
                y, x = 2 * row, 2 * column
                alone = net(image[:, :, y : y + 14, x : x + 14])[0]
                torch.testing.assert_close(dense[:, :, row, column], alone[:, :, 0, 0])
    assert dense.std() > 0


def test_the_network_gives_at_each_place_of_each_scale_what_that_window_gives() -> None:
    torch.manual_seed(0)
    net = OverFeat("plain", 2).eval().double()
    with torch.no_grad():
        image = torch.rand(1, 3, 224, 256, dtype=torch.float64)
        places, logits, _ = net.at_places(image)
        for i in (0, 1, 25, 26, 572, 573, 580, len(places) - 1):
            x0, y0, x1, y1 = (int(v) for v in places[i])
            scale = (x1 - x0) // 52
            assert scale in SCALES
            window = F.avg_pool2d(image[:, :, y0:y1, x0:x1], scale)
            alone = net.class_out(net.backbone(window)[0])[0, :, 0, 0]
            # the logits go to float32 on their way
            torch.testing.assert_close(logits[0, i], alone.float())


def test_places_lie_where_windows_do() -> None:
    with torch.no_grad():
        places, logits, numbers = OverFeat("plain", 2).eval().at_places(torch.zeros(1, 3, 208, 220))
    # (208 - 52) / 8 + 1 by (220 - 52) / 8 + 1, then of 104x110 and of 52x55
    counts = [20 * 22, 7 * 8, 1]
    assert len(places) == sum(counts)
    assert logits.shape == (1, sum(counts), 3)
    assert numbers.shape == (1, sum(counts), 4)
    assert places[0].tolist() == [0, 0, 52, 52]
    assert places[1].tolist() == [8, 0, 60, 52]
    assert places[counts[0] + 1].tolist() == [16, 0, 120, 104]
    assert places[-1].tolist() == [0, 0, 208, 208]
