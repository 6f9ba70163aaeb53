"""The measurements of ``edge bench``, in process, on a tiny model and few frames."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import psutil
import pytest

from edge.machine.bench import Bench, machine, scheduling_bound_ms, soak
from edge.machine.bench_parts import Cost
from engines.errors import ModelError, SourceError
from engines.openvino import OpenVinoEngine
from tests.edge.door import DEADLINE_S
from tests.edge.media_files import write_video
from tests.tiny_models import tiny_street


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """As the command sets them."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    tiny_street(path)
    return path


@pytest.fixture
def bench(model: Path) -> Bench:
    return Bench("synthetic:96x64@30", model, frames=20)


@pytest.mark.parametrize(
    ("bare", "reading", "cores", "bound_ms"),
    [
        # The engine's wall time is the longer way: (8 + 1 + 2) / 2 = 5.5 < 6.
        (Cost(wall_ms=6, cpu_ms=8), Cost(wall_ms=9, cpu_ms=1), 2, 6.0),
        # The cores are: (10 + 4 + 2) / 2 = 8 > 6.
        (Cost(wall_ms=6, cpu_ms=10), Cost(wall_ms=4, cpu_ms=4), 2, 8.0),
        # One core does everything: 5 + 0 + 2 = 7.
        (Cost(wall_ms=5, cpu_ms=5), Cost(wall_ms=0, cpu_ms=0), 1, 7.0),
        # Both ways are equally long: (9 + 1 + 2) / 2 = 6.
        (Cost(wall_ms=6, cpu_ms=9), Cost(wall_ms=1, cpu_ms=1), 2, 6.0),
    ],
)
def test_the_bound_is_the_longer_of_engine_and_cores(
    bare: Cost, reading: Cost, cores: int, bound_ms: float
) -> None:
    assert scheduling_bound_ms(bare, reading, cores=cores) == bound_ms


def test_frames_are_read_up_to_the_number_asked_for(bench: Bench) -> None:
    images, cost = bench.read_frames()
    assert len(images) == 20
    assert {image.shape for image in images} == {(64, 96, 3)}
    assert cost.wall_ms > 0


def test_a_video_shorter_than_asked_for_is_measured_as_it_is(model: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", count=3, wh=(96, 64))
    bench = Bench(str(video), model, frames=50)
    assert len(bench.read_frames()[0]) == 3
    assert bench.pipeline(overlay=False)["frames"]["rendered"] == 3


def test_a_single_frame_has_no_rate(model: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", count=1, wh=(96, 64))
    with pytest.raises(SourceError, match=r"a\.mp4: has 1 frames, wanted at least 2"):
        Bench(str(video), model).read_frames()


def test_the_pipeline_renders_every_frame_with_and_without_the_picture(bench: Bench) -> None:
    for overlay in (False, True):
        report = bench.pipeline(overlay=overlay)
        assert report["frames"]["rendered"] == 20
        assert report["stages"]["overlay"]["count"] == (20 if overlay else 0)


def test_a_pipeline_with_tiles_renders_every_frame_and_is_bound_by_every_pass(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench.passes == 1
    tiled = replace(bench, tiles="3x2")
    assert tiled.passes == 7  # six tiles and the whole
    assert Cost(2.0, 3.0).times(7) == Cost(14.0, 21.0)
    runs: list[int] = []
    submit = OpenVinoEngine.submit

    def counted(engine: OpenVinoEngine, slot: int) -> None:
        runs.append(slot)
        submit(engine, slot)

    monkeypatch.setattr(OpenVinoEngine, "submit", counted)
    report = replace(tiled, engine="openvino").pipeline(overlay=False)
    assert report["frames"]["rendered"] == 20
    assert len(runs) >= 7 * 20


def test_the_apps_own_cpu_is_measured_on_recorded_outputs(bench: Bench, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for i, (height, width) in enumerate([(64, 96), (100, 40), (48, 48)]):
        cv2.imwrite(str(folder / f"{i}.png"), np.full((height, width, 3), 90, np.uint8))
    images, _ = Bench(str(folder), bench.model).read_frames()
    report = bench.own_cpu(images)  # pictures of different sizes, too
    assert report["engine"] == "replay"
    assert report["frames"]["rendered"] == 300
    assert 0 < report["cpu_ms_per_frame"] < 50


def test_faster_than_it_can_be_inferred_frames_are_dropped_and_ages_kept(bench: Bench) -> None:
    images, _ = bench.read_frames()
    report, ages = bench.camera(images, fps=50_000, frames=40)
    assert report["frames"]["rendered"] == len(ages) == 40
    assert report["frames"]["dropped_overwritten"] > 0
    assert all(age >= 0 for age in ages)


def test_engine_and_peers_are_timed_by_name(bench: Bench) -> None:
    images, _ = bench.read_frames()
    found = bench.bare(images, [bench.model])
    assert list(found) == ["default", "f32", str(bench.model)]
    assert all(cost.wall_ms > 0 and cost.cpu_ms > 0 for cost in found.values())
    assert list(bench.stages(images)) == ["letterbox", "decode", "overlay"]


def test_where_an_int8_file_runs_f32_is_the_model_that_it_was_made_of(
    model: Path, tmp_path: Path
) -> None:
    int8 = tmp_path / "tiny.int8.onnx"
    tiny_street(int8, height=96)
    bench = Bench("synthetic:96x64@30", int8, plain=model)
    for engine, height in ((bench.open(), 96), (bench.open(precision="f32"), 64)):
        assert engine.spec.input.height == height
        engine.close()


def _dynamic(path: Path) -> Path:
    """A model whose batch size is open."""
    tensors = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3]) for name in "xy"
    ]
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "dynamic", tensors[:1], tensors[1:])
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.onnx", "--peer .*none.onnx: no such file"),
        ("bad.onnx", "bad.onnx: not an ONNX model"),
        ("open.onnx", "open.onnx: has an input whose shape is open"),
    ],
)
def test_a_peer_that_cannot_be_timed_is_refused(
    name: str, message: str, bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "bad.onnx").write_text("no model")
    _dynamic(tmp_path / "open.onnx")
    images, _ = bench.read_frames()
    with pytest.raises(ModelError, match=message):
        bench.bare(images, [tmp_path / name])


def test_memory_is_watched_after_the_first_thousand_frames(model: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", count=3, wh=(96, 64))  # comes round and round
    found = soak(Bench(str(video), model, frames=20), frames=2000)
    assert found["frames"] == 2000
    after, end, growth = (
        float(found[name] or 0) for name in ("rss_after_1000_mb", "rss_at_end_mb", "growth_mb")
    )
    assert 20 < after < 2000
    assert growth == pytest.approx(end - after, abs=0.011)
    # A frame of 96x64 that stayed would be 18 kB: 18 MB after another 1,000.
    assert growth < 9


SOAK = """
import sys
from pathlib import Path
from edge.machine.bench import Bench, soak
if __name__ == "__main__":
    try:
        soak(Bench("synthetic:96x64@30", Path(sys.argv[1])), frames=1_000_000)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def test_an_interrupted_soak_does_not_wait_for_its_process(model: Path, tmp_path: Path) -> None:
    program = tmp_path / "soak.py"
    program.write_text(SOAK)
    process = subprocess.Popen([sys.executable, program, model], stderr=subprocess.PIPE, text=True)
    seen = psutil.Process(process.pid)
    # Its children are multiprocessing's own tracker and the worker, which starts the app's threads.
    children: list[psutil.Process] = []
    while not any(child.num_threads() > 3 for child in children):
        children = seen.children()
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    stderr = process.communicate(timeout=DEADLINE_S)[1]
    assert (process.returncode, stderr) == (130, "")
    assert psutil.wait_procs(children, timeout=DEADLINE_S)[1] == []


def test_the_machine_is_named_with_its_versions() -> None:
    assert f"OpenCV {cv2.__version__}, NumPy {np.__version__}" in machine()
