"""The gate: losses by hand, what is judged and what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engines.errors import ExportError, SettingsError
from export.data.labelled import LabelledData, LabelledFrame, annotation
from export.int8.gate import Allowed, Gate, Loss, Verdict
from tests.export.planted import change
from tests.tiny_models import BOX_CLASSES, MASK_CLASSES, grey, paint, tiny_street

ALLOWED = Allowed(0.005, 0.01)


def test_a_loss_is_a_share_of_what_may_be_lost_and_a_gain_is_none() -> None:
    loss = Loss("mIoU", 0.65, 0.646, 0.005)
    assert loss.share == pytest.approx(0.8)
    assert str(loss) == "mIoU 0.6500 to 0.6460 (-0.0040)"
    better = Loss("car AP50", 0.5, 0.6, 0.01)
    assert better.share == pytest.approx(-10)
    assert Verdict((loss, better), (), 3).holds
    worse = Loss("sign AP50", 0.5, 0.489, 0.01)
    verdict = Verdict((loss, worse), ("boxes",), 3)
    assert not verdict.holds
    assert list(verdict.failures()) == [
        "output boxes is not finite",
        "sign AP50 0.5000 to 0.4890 (-0.0110), 0.01 may be lost",
    ]
    assert not Verdict((loss,), ("boxes",), 3).holds
    assert not Verdict((), (), 3).holds  # nothing was judged


def labelled(count: int = 5) -> LabelledData:
    """Frames of road with two cars, of which the tiny street finds both, and a sign, which none."""

    def load(i: int) -> LabelledFrame:
        image = grey(75)
        for x in (0, 64):
            paint(image, (x, 0, x + 32, 32), 0)
        labels = grey(3)[:, :, 0]
        cars = [(x, 0, x + 32, 32) for x in (0, 64)]
        truth = [annotation(np.array(c, np.float32), 0) for c in cars]
        return LabelledFrame(str(i), image, labels, truth)

    return LabelledData("made", count, load, MASK_CLASSES, 255, BOX_CLASSES)


def test_classes_of_fewer_than_ten_boxes_are_told_and_not_judged(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    tiny_street(path)
    for count, few in ((4, ["car"]), (5, [])):
        gate = Gate(path, [], labelled=labelled(count), renames={}, allowed=ALLOWED)
        assert gate.not_judged == few  # 2 cars in each frame
        verdict = gate.judge(path)
        assert [x.name for x in verdict.losses] == ["mIoU", *(["car AP50"] if not few else [])]
        assert verdict.worst == 0
        assert verdict.frames == count


def test_without_labels_what_fp32_says_is_the_truth(tmp_path: Path) -> None:
    path, off = tmp_path / "a.onnx", tmp_path / "b.onnx"
    tiny_street(path)

    def brighter(model: onnx.ModelProto) -> None:
        """Every grey level looks half as bright again: of another label."""
        for tensor in model.graph.initializer:
            value = numpy_helper.to_array(tensor)
            if value.size == 1 and value.item() == pytest.approx(1 / 25):
                tensor.CopyFrom(numpy_helper.from_array(value * 1.5, tensor.name))

    change(path, off, brighter)
    gate = Gate(path, [grey(75), grey(100)], labelled=None, renames={}, allowed=ALLOWED)
    assert gate.judge(path).worst == 0
    verdict = gate.judge(off)
    assert [(x.name, x.before, x.after) for x in verdict.losses] == [("mIoU", 1.0, 0.0)]


def test_data_without_the_models_classes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    tiny_street(path)
    ships = LabelledData("ships", 1, labelled().load, box_classes=("ship",))
    with pytest.raises(ExportError, match="nothing to score"):
        Gate(path, [], labelled=ships, renames={}, allowed=ALLOWED)
    with pytest.raises(SettingsError, match="'boat' is no class of the model"):
        Gate(path, [], labelled=ships, renames={"boat": "ship"}, allowed=ALLOWED)
