"""Which letterbox is taken where an engine has one of its own: the faster, or the one asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from edge.vision.letterbox import Letterbox
from edge.vision.letterbox_place import LetterboxPlace
from edge.vision.perception import Perception
from edge.vision.types import Image
from engines.base import DeviceEngine
from engines.errors import DeviceError, EngineError
from engines.replay import ReplayEngine
from engines.spec import DetectionHead, InputSpec, Interpolation, ModelSpec, TensorSpec


class OwnLetterbox(ReplayEngine):
    """Recorded outputs, and a letterbox of its own by OpenCV that says what it was asked for."""

    def __init__(
        self, *, host_ms: int, device_ms: int, interpolation: Interpolation = "linear"
    ) -> None:
        spec = ModelSpec(
            "one",
            InputSpec("image", 64, 96, interpolation=interpolation),
            (TensorSpec("boxes", (1, 1, 6), "float32"),),
            DetectionHead("end2end", ("boxes",), ("car",), nms_iou=None),
        )
        row = np.array([[[[0, 0, 96, 64, 0.9, 0]]]], np.float32)  # (1 run, 1, 1, 6)
        super().__init__(spec, [row], precision="f16", slots=2)
        self.ms = {"host": host_ms, "device": device_ms}
        self.filled: list[str] = []
        self.refusal: EngineError | None = None
        self.loaded = 0
        self._frames: dict[int, Image] = {}

    def gpu_ns(self, slot: int) -> Mapping[str, int]:
        return {"infer": 3_000_000, "upload": 1_000_000}

    def load_letterbox(self) -> None:
        self.loaded += 1
        if self.refusal is not None:
            raise self.refusal

    def inputs(self, slot: int) -> dict[str, Image]:
        self.filled.append("host")
        return super().inputs(slot)

    def frame_input(self, slot: int, height: int, width: int) -> Image:
        if slot not in self._frames or self._frames[slot].shape != (height, width, 3):
            self._frames[slot] = np.zeros((height, width, 3), np.uint8)
        return self._frames[slot]

    def letterbox(
        self, slot: int, *, size_wh: tuple[int, int], pad_xy: tuple[int, int], pad_value: int
    ) -> None:
        self.filled.append("device")
        frame = self._frames[slot]
        box = Letterbox.fit((frame.shape[1], frame.shape[0]), self.spec.input)
        assert (size_wh, pad_xy, pad_value) == (box.resized_wh, (box.pad_x, box.pad_y), 114)
        box.apply(frame, super().inputs(slot)["image"])

    def time_input(self, slot: int, fill: Callable[[], None]) -> int:
        fill()
        return self.ms[self.filled[-1]] * 1_000_000


def frame(height: int, width: int, seed: int = 0) -> Image:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    image.flags.writeable = False
    return image


def letterboxed(engine: ReplayEngine, slot: int) -> Image:
    return ReplayEngine.inputs(engine, slot)["image"].copy()


def test_an_engine_with_a_letterbox_is_known_as_one() -> None:
    engine = OwnLetterbox(host_ms=1, device_ms=1)
    assert isinstance(engine, DeviceEngine)
    plain = ReplayEngine(engine.spec, [], precision="f32", slots=1)
    assert not isinstance(plain, DeviceEngine)


@pytest.mark.parametrize(
    ("host_ms", "device_ms", "taken"), [(3, 2, "device"), (2, 3, "host"), (2, 2, "host")]
)
def test_the_faster_letterbox_is_taken_and_told_once_a_size(
    caplog: pytest.LogCaptureFixture, host_ms: int, device_ms: int, taken: str
) -> None:
    engine = OwnLetterbox(host_ms=host_ms, device_ms=device_ms)
    perception = Perception(engine)
    with caplog.at_level(logging.INFO):
        for slot in (0, 1):
            perception.prepare(frame(50, 60), slot)
        assert engine.filled[-2:] == [taken, taken]
        assert len(engine.filled) == 2 * 5 + 2  # five of each on the first frame, then one a frame
        perception.prepare(frame(80, 60), 0)  # another camera: another choice
    assert len(caplog.messages) == 2
    assert f"{host_ms}.00 ms on the host and {device_ms}.00 ms" in caplog.messages[0]
    assert caplog.messages[0].endswith(f"on the {taken}")


def test_a_choice_made_beforehand_leaves_no_trials_to_the_first_frame() -> None:
    engine = OwnLetterbox(host_ms=3, device_ms=2)
    perception = Perception(engine)
    perception.choose_letterbox(frame(50, 60), 0)
    assert len(engine.filled) == 2 * 5
    perception.prepare(frame(50, 60), 0)
    perception.choose_letterbox(frame(50, 60), 1)
    perception.prepare(frame(50, 60), 1)
    assert engine.filled[10:] == ["device", "device"]


@pytest.mark.parametrize("place", ["host", "device"])
def test_the_place_that_is_asked_for_is_not_measured(place: LetterboxPlace) -> None:
    engine = OwnLetterbox(host_ms=1, device_ms=1)
    Perception(engine, letterbox=place).prepare(frame(50, 60), 0)
    assert engine.filled == [place]
    assert engine.loaded == (place == "device")


def test_both_places_give_the_same_input_and_the_same_boxes() -> None:
    seen = []
    places: tuple[LetterboxPlace, ...] = ("host", "device")
    for place in places:
        engine = OwnLetterbox(host_ms=1, device_ms=1)
        perception = Perception(engine, letterbox=place)
        perception.prepare(frame(50, 60, seed=1), 0)
        perception.submit(0)
        perception.wait(0)
        found, _ = perception.decode(0)
        seen.append((letterboxed(engine, 0), found.xyxy))
    np.testing.assert_array_equal(seen[0][0], seen[1][0])
    np.testing.assert_array_equal(seen[0][1], seen[1][1])


def test_an_engine_whose_letterbox_cannot_be_had_falls_back_to_the_host(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = OwnLetterbox(host_ms=2, device_ms=1)
    engine.refusal = EngineError("no compiler")
    with caplog.at_level(logging.INFO):
        Perception(engine).prepare(frame(50, 60), 0)
    assert engine.filled == ["host"]
    assert caplog.messages == ["letterboxing on the host: no compiler"]
    with pytest.raises(EngineError, match="letterbox = 'device': no compiler; wanted 'auto'"):
        Perception(engine, letterbox="device")


def test_frames_that_the_device_does_not_take_are_letterboxed_on_the_host(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = OwnLetterbox(host_ms=2, device_ms=1)
    perception = Perception(engine)

    def too_large(slot: int, **geometry: object) -> None:
        raise EngineError("frame of 20000x50")

    monkeypatch.setattr(engine, "letterbox", too_large)
    with caplog.at_level(logging.INFO):
        perception.prepare(frame(50, 60), 0)
    assert engine.filled[-1] == "host"
    assert caplog.messages == ["letterboxing 60x50 on the host: frame of 20000x50"]


def test_a_device_that_is_lost_while_the_letterbox_is_made_ready_is_not_hidden() -> None:
    engine = OwnLetterbox(host_ms=2, device_ms=1)
    engine.refusal = DeviceError("out of memory")
    with pytest.raises(DeviceError):
        Perception(engine)


def test_only_bilinear_letterboxes_run_on_the_device() -> None:
    engine = OwnLetterbox(host_ms=2, device_ms=1, interpolation="area")
    Perception(engine).prepare(frame(50, 60), 0)
    assert (engine.filled, engine.loaded) == (["host"], 0)
    with pytest.raises(EngineError, match="'area', not 'linear'"):
        Perception(engine, letterbox="device")


def test_an_engine_on_the_host_cannot_be_asked_for_a_device() -> None:
    spec = OwnLetterbox(host_ms=1, device_ms=1).spec
    engine = ReplayEngine(spec, [np.zeros((1, 1, 1, 6), np.float32)], precision="f32", slots=1)
    with pytest.raises(EngineError, match="replay runs on the host; wanted 'auto' or 'host'"):
        Perception(engine, letterbox="device")
    assert Perception(engine).gpu_ns(0) == {}
    assert not Perception(engine).on_gpu


def test_gpu_times_of_several_engines_are_added() -> None:
    both = [OwnLetterbox(host_ms=1, device_ms=1) for _ in range(2)]
    assert Perception(both).gpu_ns(0) == {"infer": 6_000_000, "upload": 2_000_000}
    assert Perception(both).on_gpu
