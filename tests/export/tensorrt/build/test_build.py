"""Building engines through the command, with the TensorRT double on the host driver.

The double builds nothing: what is tested is the way to the builder and from it to a published file.
"""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from edge.settings.settings import SHIPPED_MODEL
from engines.model_file import ModelFile, read_spec, save_model, sha256_of, write_spec
from export.fp16.convert import convert_file
from tests.cuda_host.build import HostCuda
from tests.export.building import BUILDING, DEADLINE_S, Workshop, sidecar, until
from tests.export.planted import coarse, gain, pictures, plant
from tests.tiny_models import tiny_mask, tiny_street

VERSIONS = ("10.3.0", "10.16.1.11", "11.4.0.106")


BUILD = ("build", "tiny.onnx", "--frames", "frames")


@pytest.fixture
def workshop(host_cuda: HostCuda, tmp_path: Path) -> Workshop:
    """A folder with a tiny model and frames, and nothing built."""
    tiny_street(tmp_path / "tiny.onnx")
    pictures(tmp_path / "frames")
    return Workshop(host_cuda, tmp_path)


@pytest.fixture(scope="module")
def built_once(host_cuda: HostCuda, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    made = Workshop(host_cuda, tmp_path_factory.mktemp("built"))
    tiny_street(made.folder / "tiny.onnx")
    pictures(made.folder / "frames")
    done = made.run(*BUILD)
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def used(built_once: Workshop, tmp_path: Path) -> Workshop:
    """The same with an engine of the model, and the timings of its build."""
    folder = tmp_path / "used"
    shutil.copytree(built_once.folder, folder)
    return Workshop(built_once.host, folder)


def engine_of(workshop: Workshop, model: str = "tiny.onnx") -> Path:
    path = workshop.folder / model
    return workshop.built / f"{path.stem}-{sha256_of(path)[:12]}.engine"


def contents(workshop: Workshop) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in workshop.built.iterdir()}


# What comes out


def test_the_shipped_model_is_built_proven_and_published(
    host_cuda: HostCuda, tmp_path: Path
) -> None:
    workshop = Workshop(host_cuda, tmp_path)
    done = workshop.run("build", SHIPPED_MODEL)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    (engine,) = workshop.built.glob("*.engine")
    assert engine.name == f"street-{sha256_of(SHIPPED_MODEL)[:12]}.engine"
    assert workshop.left() == [engine.name, f"{engine.name}.json"]
    held = sidecar(engine)
    assert held["identity"]["recipe"] == "fp16"
    assert held["proof"]["passed"] is True
    assert held["proof"]["boxes"]["boxes"] > 100


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_one_code_builds_with_later_releases_too(workshop: Workshop, version: str) -> None:
    done = workshop.run(*BUILD, double={"VERSION": version})
    assert done.returncode == 0, done.stderr
    assert sidecar(engine_of(workshop))["identity"]["device"]["tensorrt"] == version
    # each release has timings of its own
    assert [version in path.name for path in workshop.timings] == [True]


def test_the_sidecar_holds_spec_identity_and_proof(workshop: Workshop) -> None:
    done = workshop.run(*BUILD, "--optimization-level", "1", "--workspace", "64",
                        "--profiling-verbosity", "none")  # fmt: skip
    assert done.returncode == 0, done.stderr
    engine = engine_of(workshop)
    held = sidecar(engine)
    identity = held["identity"]
    made = convert_file(workshop.folder / "tiny.onnx", frames=str(workshop.folder / "frames"),
                        say=lambda line: None)  # fmt: skip
    assert identity["plan_sha256"] == sha256_of(engine)
    assert identity["onnx_sha256"] == sha256_of(workshop.folder / "tiny.onnx")
    assert identity["fp16_sha256"] == sha256_of(made.target)
    assert identity["onnx_name"] == "tiny.onnx"
    assert identity["options"] == {
        "workspace_mb": 64,
        "optimization_level": 1,
        "profiling_verbosity": "none",
    }
    assert {"gpu", "compute_capability", "sm_count", "system", "tensorrt", "driver", "l4t"} == set(
        identity["device"]
    )
    assert held["spec"]["precision"] == "fp16"
    assert held["spec"]["outputs"][0]["name"] == "boxes_8"
    shown = b'"level": 1, "workspace": 67108864'  # by the double: what its builder was given
    assert shown in engine.read_bytes()
    assert "against tiny.onnx in FP32" in done.stderr
    assert held["proof"]["limits"]["iou"] == 0.98
    assert held["proof"]["frames"] == 4
    for line in ("device       Orin", "graph        opset", "proof        ", "gate         ",
                 "building     100%", "published    "):  # fmt: skip
        assert line in done.stderr


def test_nodes_left_in_fp32_are_the_recipe(workshop: Workshop) -> None:
    # 255 · 1000 is past half
    steps = [gain(1000), ("Relu", []), gain(1 / 1000)]
    plant(workshop.folder / "tiny.onnx", workshop.folder / "large.onnx",
          behind="Transpose", steps=steps)  # fmt: skip
    done = workshop.run("build", "large.onnx", "--frames", "frames", "-o", "large.engine")
    assert done.returncode == 0, done.stderr
    recipe = sidecar(workshop.folder / "large.engine")["identity"]["recipe"]
    assert recipe == "fp16 mixed, fp32: planted/Conv_0, planted/Relu_1, planted/Conv_2"
    assert workshop.left() == []  # nothing where the app looks, as -o said


def test_an_fp16_file_is_proven_against_the_fp32_file_that_is_named(workshop: Workshop) -> None:
    model = workshop.folder / "tiny.onnx"
    made = convert_file(model, frames=str(workshop.folder / "frames"), say=lambda line: None)
    refused = workshop.run("build", made.target, "--frames", "frames")
    assert refused.returncode == 2
    assert "is FP16 already" in refused.stderr
    assert "--reference FP32.onnx" in refused.stderr
    done = workshop.run("build", made.target, "--reference", model, "--frames", "frames")
    assert done.returncode == 0, done.stderr
    assert "against tiny.onnx in FP32" in done.stderr
    engine = engine_of(workshop, made.target.name)
    identity = sidecar(engine)["identity"]
    assert identity["onnx_sha256"] == sha256_of(model)
    assert identity["fp16_sha256"] == sha256_of(made.target)
    assert workshop.left() == [engine.name, f"{engine.name}.json"]


def in_int8(workshop: Workshop, gate: str) -> Path:
    """A model whose image is rounded to int8 on its way in, and what its file says of a gate."""
    path = workshop.folder / "tiny.int8.onnx"
    model = onnx.load(str(workshop.folder / "tiny.onnx"))
    coarse(model, before="Transpose", step=255 / 127)
    spec = read_spec(workshop.folder / "tiny.onnx")
    write_spec(model, replace(spec, precision="int8", gate=gate))
    save_model(model, path)
    return path


def test_an_int8_file_that_held_its_gate_is_built_as_it_is(workshop: Workshop) -> None:
    model = in_int8(workshop, "mIoU -0.001")
    done = workshop.run("build", model, "--frames", "frames")
    assert done.returncode == 0, done.stderr
    assert "int8 as the file says" in done.stderr
    identity = sidecar(engine_of(workshop, model.name))["identity"]
    assert identity["recipe"] == "int8"
    assert identity["onnx_sha256"] == identity["fp16_sha256"] == sha256_of(model)


def test_an_int8_file_without_a_gate_or_with_a_reference_is_refused(workshop: Workshop) -> None:
    done = workshop.run("build", in_int8(workshop, ""), "--frames", "frames")
    assert (done.returncode, "does not say that it held a gate" in done.stderr) == (4, True)
    model = in_int8(workshop, "mIoU -0.001")
    done = workshop.run("build", model, "--frames", "frames", "--reference", "tiny.onnx")
    assert (done.returncode, "Leave --keep and --reference out" in done.stderr) == (2, True)
    assert workshop.left() == []


def without_spec(path: Path) -> None:
    tiny_street(path)
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("make", "code", "says"),
    [
        (lambda path: tiny_street(path, height=96), 2, "has another input or other outputs than"),
        (tiny_mask, 2, "has another input or other outputs than"),
        (without_spec, 4, "a valid ONNX file without an Outrider spec"),
    ],
)
def test_another_networks_reference_is_refused_before_anything_is_built(
    workshop: Workshop, make: Callable[[Path], object], code: int, says: str
) -> None:
    model, other = workshop.folder / "tiny.onnx", workshop.folder / "other.onnx"
    made = convert_file(model, frames=str(workshop.folder / "frames"), say=lambda line: None)
    make(other)
    done = workshop.run("build", made.target, "--reference", other, "--frames", "frames")
    assert done.returncode == code, done.stderr
    assert f"{other}: {says}" in done.stderr
    assert "building" not in done.stderr


def test_engines_agree_when_every_float16_tensor_is_rounded_to_half(workshop: Workshop) -> None:
    done = workshop.run(*BUILD, double={"HALF": "1"})
    assert done.returncode == 0, done.stderr


def test_verify_takes_a_built_engine(used: Workshop) -> None:
    done = used.run("verify", "tiny.onnx", engine_of(used), "--frames", "frames")
    assert done.returncode == 0, done.stderr
    assert ", tensorrt f16" in done.stderr


# The gate


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("constant", "ignores its input"),
        ("swapped", "boxes have no partner"),
        ("nan", "is not finite"),
        ("plan", "TensorRT deserialize_cuda_engine: The plan is not for"),
    ],
)
def test_a_wrong_engine_is_refused_and_the_old_one_stays(
    used: Workshop, fault: str, says: str
) -> None:
    before = contents(used)
    done = used.run(*BUILD, double={"FAULT": fault})
    assert done.returncode == 4
    assert says in done.stderr
    assert "published" not in done.stderr
    assert contents(used) == before
    if fault != "plan":
        assert f"{engine_of(used).name} is as it was" in done.stderr


def test_frames_that_show_nothing_prove_nothing(workshop: Workshop) -> None:
    made = convert_file(workshop.folder / "tiny.onnx", frames=str(workshop.folder / "frames"),
                        say=lambda line: None)  # fmt: skip
    import cv2
    import numpy as np

    cv2.imwrite(str(workshop.folder / "grey.png"), np.full((64, 96, 3), 75, np.uint8))
    done = workshop.run("build", made.target, "--reference", "tiny.onnx", "--frames", "grey.png")
    assert done.returncode == 4
    assert "not proven: 0 boxes were found" in done.stderr
    assert "Nothing was published" in done.stderr
    assert workshop.left() == []


# TensorRT's refusals


def test_every_error_of_the_parser_is_told_with_its_node(workshop: Workshop) -> None:
    done = workshop.run(*BUILD, double={"FAULT": "parser:Concat"})
    assert done.returncode == 4
    (shown,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert shown == "error        6 × Concat: NVIDIA says: planted"
    assert "tiny.onnx: TensorRT 10.3.0 will not take it: " in done.stderr
    assert workshop.left() == []


@pytest.mark.parametrize(
    ("fault", "code", "says"),
    [
        ("build", 4, "Could not implement node planted; more memory may help: --workspace MB"),
        ("memory", 6, "Could not allocate: out of memory; free device memory"),
    ],
)
def test_none_from_the_builder_is_an_error_with_what_it_logged(
    workshop: Workshop, fault: str, code: int, says: str
) -> None:
    done = workshop.run(*BUILD, double={"FAULT": fault})
    assert done.returncode == code
    assert says in done.stderr
    assert workshop.left() == []


def test_a_graph_that_tensorrt_does_not_take_is_refused_before_anything_is_built(
    workshop: Workshop,
) -> None:
    tiny_street(workshop.folder / "int8.onnx", quantize=True)
    done = workshop.run(
        "build", "int8.onnx", "--frames", "frames", double={"FAULT": "parser:DynamicQuantizeLinear"}
    )
    assert done.returncode == 4
    assert "TensorRT 10.3.0 will not take it" in done.stderr
    assert "× DynamicQuantizeLinear: " in done.stderr
    assert "way out: take the FP32 model that this one was quantised from" in done.stderr
    assert BUILDING not in done.stderr


def test_a_release_that_is_too_old_is_refused(workshop: Workshop) -> None:
    done = workshop.run(*BUILD, double={"VERSION": "8.6.1"})
    assert done.returncode == 4
    assert "TensorRT 8.6.1 is installed, wanted 10.3 or later" in done.stderr


def test_without_tensorrt_the_command_says_what_to_install(workshop: Workshop) -> None:
    absent = "import sys; sys.modules['tensorrt'] = None"
    done = workshop.run(*BUILD, before=absent)
    assert done.returncode == 4
    assert "TensorRT is not installed here" in done.stderr
    assert workshop.left() == []


def test_without_the_scorer_nothing_is_built_that_could_not_be_proven(workshop: Workshop) -> None:
    done = workshop.run(*BUILD, before="import sys; sys.modules['faster_coco_eval'] = None")
    assert done.returncode == 4
    assert "AP needs faster-coco-eval, which is not installed here" in done.stderr
    assert BUILDING not in done.stderr
    assert workshop.left() == []


@pytest.mark.parametrize("version", VERSIONS)
def test_without_a_dla_its_core_is_refused_by_name_of_what_has_one(
    workshop: Workshop, version: str
) -> None:
    done = workshop.run(*BUILD, "--dla-core", "0", double={"VERSION": version})
    assert done.returncode == 4
    assert f"TensorRT {version} finds no DLA on this machine" in done.stderr
    assert "TensorRT 10.3 of JetPack 6 on Orin has it" in done.stderr
    assert workshop.left() == []


def test_where_there_is_a_dla_the_engine_is_for_the_core_that_was_named(
    workshop: Workshop,
) -> None:
    done = workshop.run(*BUILD, "--dla-core", "1", double={"DLA": "2"})
    assert done.returncode == 0, done.stderr
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("dla ")]
    assert re.fullmatch(r"dla +takes \d\d of 55 layers; to the GPU: \d+ × IDENTITY", told)
    assert sidecar(engine_of(workshop))["identity"]["options"]["dla_core"] == 1
    done = workshop.run(*BUILD, "--dla-core", "2", double={"DLA": "2"})
    assert done.returncode == 2
    assert "--dla-core 2: this machine has 2, wanted 0 to 1" in done.stderr


# Interrupted, killed, twice, full


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "timeout"]
)
def test_a_signal_ends_the_build_and_leaves_nothing(
    used: Workshop, number: signal.Signals, code: int
) -> None:
    before = contents(used)
    with used.started(*BUILD, double={"FAULT": "forever"}) as process:
        until(process, BUILDING)
        process.send_signal(number)
        assert process.wait(DEADLINE_S) == code
        assert process.stderr is not None
        said = process.stderr.read()
    assert "stopping     at the builder's next step" in said
    assert "did not finish" in said
    assert "Traceback" not in said
    assert contents(used) == before


def test_a_killed_build_leaves_the_old_engine_and_the_next_one_clears_up(
    used: Workshop,
) -> None:
    before = contents(used)
    with used.started(*BUILD, double={"FAULT": "forever"}) as process:
        until(process, BUILDING)
        process.kill()
        process.wait(DEADLINE_S)
    left = contents_of_files(used)
    assert left == before  # beside it a hidden folder
    done = used.run(*BUILD)
    assert done.returncode == 0, done.stderr
    assert used.left() == sorted(before)


def contents_of_files(used: Workshop) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in used.built.iterdir() if path.is_file()}


def test_two_builds_of_one_engine_at_once_are_refused(workshop: Workshop) -> None:
    with workshop.started(*BUILD, double={"FAULT": "forever"}) as process:
        until(process, BUILDING)
        done = workshop.run(*BUILD)
        assert done.returncode == 4
        assert "another build of this engine, or its proof, is at work" in done.stderr
        elsewhere = workshop.run(*BUILD, "-o", "other.engine")
        assert elsewhere.returncode == 0, elsewhere.stderr
        assert process.poll() is None


SMALL_DISK = """
import resource, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
"""


def test_a_disk_that_fills_under_the_plan_leaves_the_old_engine(used: Workshop) -> None:
    before = contents(used)
    plan = len(before[engine_of(used).name])
    done = used.run(str(plan - 1), *BUILD, before=SMALL_DISK)
    assert done.returncode == 4
    assert "cannot be written (File too large)" in done.stderr
    assert "What was there before is as it was" in done.stderr
    assert contents(used) == before


def test_a_disk_with_too_little_room_is_refused_before_the_build(workshop: Workshop) -> None:
    full = "import shutil\nshutil.disk_usage = lambda path: shutil._ntuple_diskusage(9, 9, 1000)"
    done = workshop.run(*BUILD, before=full)
    assert done.returncode == 4
    assert "0 MB are free on its disk, a build needs about 67 MB there" in done.stderr
    assert workshop.left() == []


def test_a_host_without_memory_is_refused_before_the_build(workshop: Workshop) -> None:
    before = (
        "import psutil\nfrom types import SimpleNamespace\n"
        "psutil.virtual_memory = lambda: SimpleNamespace(available=100 << 20)"
    )
    done = workshop.run(*BUILD, before=before)
    assert done.returncode == 4
    assert "105 MB of memory are free, a build of tiny.onnx needs about 537 MB" in done.stderr


def test_weights_beside_the_file_count_for_memory_and_for_what_an_engine_is_of(
    workshop: Workshop,
) -> None:
    tiny = workshop.folder / "tiny.onnx"
    onnx.save(onnx.load(tiny), tiny, save_as_external_data=True, size_threshold=0,
              location="tiny.data")  # fmt: skip
    done = workshop.run(*BUILD)
    assert done.returncode == 0, done.stderr
    (engine,) = workshop.built.glob("*.engine")
    assert sidecar(engine)["identity"]["onnx_sha256"] == ModelFile(tiny).sha256 != sha256_of(tiny)
    with (workshop.folder / "tiny.data").open("ab") as file:
        file.truncate(1 << 40)  # sparse: takes no room
    hashed = "from engines.model_file import ModelFile; ModelFile.sha256 = '0' * 64"
    large = workshop.run(*BUILD, before=hashed)
    assert large.returncode == 4
    assert "a build needs about 16493" in large.stderr


def test_a_device_without_memory_is_refused_and_what_is_advised_works(workshop: Workshop) -> None:
    done = workshop.run(*BUILD, memory_mb=64)
    assert done.returncode == 6
    assert "MB of its memory are free, this build may take" in done.stderr
    advised = done.stderr.rpartition("--workspace ")[2].strip()
    done = workshop.run(*BUILD, "--workspace", advised, memory_mb=64)
    assert done.returncode == 0, done.stderr


# Timings


def test_timings_are_kept_and_a_broken_file_of_them_is_told_and_replaced(
    used: Workshop,
) -> None:
    (kept,) = used.timings
    assert kept.name == "tensorrt-10.3.0-orin-sm87x8.timings"
    good = kept.read_bytes()
    assert "note" not in used.run(*BUILD).stderr
    kept.write_bytes(good[:-3])
    done = used.run(*BUILD)
    assert done.returncode == 0, done.stderr
    assert f"{kept}: TensorRT does not take it; every kernel is timed anew" in done.stderr
    assert kept.read_bytes() == good


def test_timings_of_another_device_are_not_taken(used: Workshop) -> None:
    (kept,) = used.timings
    done = used.run(*BUILD, cc="8.9")
    assert done.returncode == 0, done.stderr
    (theirs,) = set(used.timings) - {kept}
    shutil.copy(theirs, kept)
    assert "TensorRT does not take it" in used.run(*BUILD).stderr


def test_without_the_timing_cache_none_is_made(workshop: Workshop) -> None:
    done = workshop.run(*BUILD, "--no-timing-cache")
    assert done.returncode == 0, done.stderr
    assert workshop.timings == []


# Arguments


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["none.onnx"], 4, "none.onnx: no such model file"),
        (["tiny.engine"], 2, "It is built already; to look at it: edge-export inspect tiny.engine"),
        (["run.pt"], 2, "Export the checkpoint first: edge-export onnx run.pt"),
        (["tiny.onnx", "-o", "out.plan"], 2, "-o out.plan: an engine's file ends in .engine"),
        (["tiny.onnx", "-o", "none/a.engine"], 4, "none: cannot be written (No such file"),
        (["tiny.onnx", "--reference", "tiny.onnx"], 2, "is no FP16 file"),
        (["tiny.onnx", "--keep", "nonsense"], 2, "--keep 'nonsense': none of the graph's"),
        (["tiny.onnx", "--frames", "none.mp4"], 3, "none.mp4"),
        (["tiny.onnx", "--optimization-level", "6"], 2, "Usage: edge-export build"),
        (["bare.onnx"], 4, "edge-export adopt bare.onnx"),
    ],
)
def test_wrong_arguments_are_one_message(
    workshop: Workshop, arguments: list[str], code: int, says: str
) -> None:
    import onnx

    bare = onnx.load(str(workshop.folder / "tiny.onnx"))
    del bare.metadata_props[:]
    save_model(bare, workshop.folder / "bare.onnx")
    done = workshop.run("build", *arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert workshop.left() == []
