"""What is to be blurred is on no picture that leaves a run, whatever the other settings say."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge.metrics.ledger import Ledger
from edge.metrics.metrics import Metrics
from edge.run.renderer import Renderer
from edge.sinks.overlay.overlay import Overlay
from edge.sources.live.status import SourceStatus
from edge.sources.video.media import av
from edge.vision.types import Image, Result
from tests.edge.door import edge
from tests.edge.run.test_observers import Noted
from tests.edge.scripted import Script, ScriptedPerception, ScriptedSink, ScriptedSource, frame
from tests.edge.sink_values import result
from tests.tiny_models import grey, paint, tiny_street

BOX = np.array([(16, 250, 96, 310)], np.float32)
"""Below the text of the view of no signal."""


def striped(image: Image) -> Image:
    """Two saturated blocks with stripes of 4 px: a car on the left, a pedestrian on the right."""
    for left, class_id in ((0, 0), (64, 1)):
        paint(image, (left, 16, left + 32, 48), class_id)
        stripes = image[16:48, left : left + 32].reshape(32, 4, 8, 3)[:, :, 4:]
        stripes //= 2
    return image


def contrast(picture: Image, left: int) -> float:
    """Between the stripes of a block, in its brightest channel: 127 of its own."""
    block = picture[20:44, left + 4 : left + 28].max(axis=2).astype(int)  # (24, 24)
    return float(np.abs(block[:, 4:] - block[:, :-4]).mean())


@dataclass
class Pictures(ScriptedSink):
    """Keeps all pictures that a sink can get, the frames' own among them."""

    wants_image: bool = True
    seen: list[Image] = field(default_factory=list)

    def write(self, result: Result, image: Image | None, *, frame_age_ms: float) -> bool:
        assert image is not None
        self.seen += [result.frame.image, image.copy()]
        return True

    def signal(self, status: SourceStatus, image: Image | None, *, at_ns: int) -> bool:
        assert image is not None
        self.seen.append(image)
        return True


def test_overlay_frame_observers_and_the_view_of_no_signal_see_the_blur_alone() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)
    seen = replace(result(0), to_blur=BOX)
    seen = replace(seen, frame=replace(seen.frame, image=noise))
    now_ns, noted, sink = [time.monotonic_ns()], Noted(), Pictures()
    renderer = Renderer(Metrics(), clock=lambda: now_ns[0], observers=[noted])
    renderer.open([sink], lambda: Overlay(readout=False, legend=False))
    stage_ns = {"infer": 0}
    renderer.render(replace(seen, stage_ns=stage_ns), dropped=lambda: 0)
    now_ns[0] += 5_000_000_000
    status = SourceStatus("camera", "stalled", now_ns[0], "")
    renderer.watch(status, Ledger().counts(source_gaps=0), stall_s=1)
    (heard, times), *_ = noted.frames
    pictures = [*sink.seen, heard.frame.image]
    assert len(pictures) == 4
    for picture in pictures:
        assert picture[250:310, 16:96].std() < 8
    assert noise[250:310, 16:96].std() > 70
    np.testing.assert_array_equal(pictures[0][:240], noise[:240])
    assert pictures[2][250:310, 16:96].mean() > 20  # the view of no signal shows it, and blurred
    assert "overlay" in times.stage_ns


def test_where_nothing_is_to_be_blurred_the_frame_is_the_sources_own() -> None:
    for xyxy in (None, BOX[:0]):
        noted, taken = Noted(), frame(0)
        perception = ScriptedPerception(blur_xyxy=xyxy)
        Script(ScriptedSource([taken]), perception, observers=[noted]).pipeline().run()
        assert noted.frames[0][0].frame is taken


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """A run that looks at one picture with a car and a pedestrian, and is to hide the car."""
    tiny_street(tmp_path / "tiny.onnx")
    (tmp_path / "in").mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"in/{number}.png"), striped(grey(75)))
    path = tmp_path / "car.toml"
    path.write_text(
        '[source]\nuri = "in"\n[model]\nfiles = ["tiny.onnx"]\nengine = "onnxruntime"\n'
        '[detect]\nconf = 1.0\nclasses = ["pedestrian"]\nmax_detections = 1\n'
        "[record]\noverlay = false\n[overlay]\nmasks = false\nreadout = false\n"
        '[output]\nsinks = ["out.mp4", "record:rec"]\nblur = ["car"]\n'
    )
    return path


def test_no_setting_of_what_is_kept_uncovers_a_class(settings: Path, tmp_path: Path) -> None:
    done = edge("run", settings)
    assert done.returncode == 0, done.stderr
    pictures: list[Image] = []
    for path in (tmp_path / "out.mp4", *(tmp_path / "rec").rglob("*.mp4")):
        with av.open(str(path)) as film:
            pictures += (
                np.asarray(p.to_ndarray(format="bgr24"), np.uint8) for p in film.decode(video=0)
            )
    assert len(pictures) == 6
    for picture in pictures:
        assert contrast(picture, 64) > 100  # who is not asked for stays sharp
        assert contrast(picture, 0) < 20


def test_a_class_that_no_model_has_is_refused_before_a_frame(
    settings: Path, tmp_path: Path
) -> None:
    settings.write_text(settings.read_text().replace('blur = ["car"]', 'blur = ["face"]'))
    for command in ("run", "check"):
        done = edge(command, settings)
        assert done.returncode == 2
        assert "[output] blur: class 'face' is not one" in done.stdout + done.stderr
    assert not (tmp_path / "out.mp4").exists()
