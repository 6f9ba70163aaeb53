"""What a sink may ask of its run and change in it, from a thread of its own while frames go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.metrics.verdict import FEWEST
from edge.metrics.work import Work
from edge.run.app import run_app
from edge.settings.load import load_settings
from edge.sinks import SINKS
from engines.errors import SettingsError
from tests.edge.run import watching
from tests.edge.run.watching import WatchingSink
from tests.tiny_models import BOX_CLASSES, tiny_street

During = Callable[[Callable[[WatchingSink], None]], int]


@pytest.fixture
def during(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> During:
    """Do something beside a run; returns the run's exit code."""
    model = tmp_path / "tiny.onnx"
    tiny_street(model)
    monkeypatch.setitem(SINKS, "watching", watching.ENTRY)
    given = {"source.uri": "synthetic:96x64@60", "model.files": [str(model)]}
    settings = load_settings(None, {**given, "output.sinks": ["watching"], "detect.conf": 0.01})

    def do(beside: Callable[[WatchingSink], None]) -> int:
        monkeypatch.setattr(WatchingSink, "beside", beside, raising=False)
        monkeypatch.setattr(WatchingSink, "failed", None, raising=False)
        code = run_app(settings)
        if WatchingSink.failed is not None:
            raise WatchingSink.failed
        return code

    return do


def change(sink: WatchingSink, values: Mapping[str, Any]) -> None:
    sink.run.change(values).result(20)


def test_facts_and_figures_are_those_of_the_run(during: During) -> None:
    def beside(sink: WatchingSink) -> None:
        before = sink.run.now()
        sink.next()
        facts, now, times = sink.run.facts, sink.run.now(), sink.run.histograms()
        assert (facts.source, facts.classes) == ("synthetic:96x64@60", BOX_CLASSES)
        assert facts.models[0].endswith("tiny.onnx")
        assert facts.colours[facts.classes.index("car")] == "#1496ff"  # 20, 150, 255
        assert facts.masks == ("street",)
        assert (facts.conf, facts.nms_iou) == (0.25, 0.45)  # those of the file, not of the run
        assert facts.engine
        assert facts.precision
        assert now.counts.captured > before.counts.captured
        assert now.flowing
        assert now.age_ms is not None
        assert 0 < now.age_ms < 1e4
        assert (now.status, now.signal) == (None, None)  # not a source that comes and goes
        assert times.age.count == times.stages["sinks"].count >= 3

    assert during(beside) == 0


def test_the_rate_is_judged_by_what_the_run_is_made_of(during: During) -> None:
    def beside(sink: WatchingSink) -> None:
        while sink.run.histograms().work.frames < FEWEST:
            sink.next()
        setup, found = sink.run.setup, sink.run.verdict()
        assert (setup.drops, setup.live, setup.nominal_fps) == (True, True, 60.0)
        assert (setup.sinks, setup.inputs_wh, setup.slots) == (("watching",), ((96, 64),), 1)
        assert setup.overlaps == (sink.run.facts.engine == "openvino")
        assert setup.draws_masks
        change(sink, {"overlay.masks": False})
        assert not sink.run.setup.draws_masks
        assert found.frames >= FEWEST
        assert found.fps == pytest.approx(60, rel=0.5)
        assert sink.run.verdict(Work()).bound is None

    assert during(beside) == 0


def test_a_threshold_and_classes_change_from_the_next_frame_on(during: During) -> None:
    def beside(sink: WatchingSink) -> None:
        first, _ = sink.next()
        some = first.classes[first.detections.class_ids[0]]
        change(sink, {"detect.classes": [some]})
        assert sink.run.settings.detect.classes == (some,)
        found, _ = sink.next()
        assert {found.classes[i] for i in found.detections.class_ids} <= {some}
        change(sink, {"detect.classes": None, "detect.conf": 1})
        found, _ = sink.next()
        assert len(found.detections) == 0

    assert during(beside) == 0


def test_what_is_drawn_changes_too(during: During) -> None:
    def beside(sink: WatchingSink) -> None:
        parts = ("boxes", "masks", "legend", "readout")
        change(sink, {f"overlay.{part}": False for part in parts})
        result, picture = sink.next()
        assert np.array_equal(picture, result.frame.image)
        change(sink, {"overlay.masks": True, "overlay.mask_opacity": 1.0})
        result, picture = sink.next()
        assert not np.array_equal(picture, result.frame.image)

    assert during(beside) == 0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"detect.classes": ["dog"]}, "dog"),
        ({"detect.conf": 1.5}, "detect.conf: got 1.5"),
        ({"detect.conf": "0.5"}, "detect.conf: got"),
        ({"detect.conf": float("nan")}, "detect.conf"),
        ({"detect.conf": 0.5, "overlay.mask_opacity": -1}, "overlay.mask_opacity"),
        ({"overlay.colour": "red"}, "overlay.colour: unknown key"),
        ({"output.sinks": ["/tmp/elsewhere.mp4"]}, "output.sinks: cannot be changed from here"),
        ({"model.files": []}, "cannot be changed from here"),
        ({"nonsense": 1}, "nonsense: cannot be changed from here"),
        ({"detect": 1}, "detect"),
    ],
)
def test_nonsense_is_refused_and_the_run_goes_on_as_it_was(
    during: During, values: Mapping[str, Any], said: str
) -> None:
    def beside(sink: WatchingSink) -> None:
        before = sink.run.settings
        with pytest.raises(SettingsError, match=said):
            change(sink, values)
        assert sink.run.settings == before
        sink.next()

    assert during(beside) == 0


def test_who_waits_no_more_gets_nothing_changed_and_harms_nothing(during: During) -> None:
    def beside(sink: WatchingSink) -> None:
        before = sink.run.settings
        with sink.news:  # the main thread is held in the sink for so long
            asked = sink.run.change({"detect.conf": 0.9})
            assert asked.cancel()
        sink.next()
        assert sink.run.settings == before

    assert during(beside) == 0
