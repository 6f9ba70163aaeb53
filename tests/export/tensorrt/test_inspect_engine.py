"""What 'edge-export inspect' tells of an engine, with TensorRT and without."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engines.errors import EngineError
from engines.model_file import sha256_of
from export.tensorrt.inspect_engine import EngineLayer, layer_lines, parse_layers
from tests.cuda_host.build import HostCuda
from tests.export.building import Workshop, sidecar
from tests.export.planted import pictures
from tests.tiny_models import tiny_street


@pytest.fixture(scope="module")
def built(host_cuda: HostCuda, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    made = Workshop(host_cuda, tmp_path_factory.mktemp("inspect"))
    tiny_street(made.folder / "tiny.onnx")
    pictures(made.folder / "frames")
    done = made.run("build", "tiny.onnx", "--frames", "frames", "-o", "tiny.engine")
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def workshop(built: Workshop, tmp_path: Path) -> Workshop:
    folder = tmp_path / "own"
    shutil.copytree(built.folder, folder)
    return Workshop(built.host, folder)


def test_identity_spec_proof_and_layers_are_told(workshop: Workshop) -> None:
    done = workshop.run("inspect", "tiny.engine", "--json", "told.json")
    assert done.returncode == 0, done.stderr
    held = sidecar(workshop.folder / "tiny.engine")
    for text in (
        held["identity"]["plan_sha256"],
        sha256_of(workshop.folder / "tiny.onnx"),
        "Orin, compute capability 8.7, 8 SMs",
        "TensorRT 10.3.0",
        "optimization_level 3",
        "precision    fp16",
        "input 64x96 (height x width)",
        "output       boxes_8 float32[1, 27, 8, 12]",
        "car, pedestrian, bicyclist, sign",
        "proof        4 frames of frames on Orin, against FP32",
        "0 without a partner",
        "mask street: 100.000% of labels equal",
    ):
        assert text in done.stdout
    reported = json.loads((workshop.folder / "told.json").read_text())
    assert reported["identity"] == held["identity"]
    assert reported["layers_not_shown"] == ""
    precisions = {layer["name"]: layer["precision"] for layer in reported["layers"]}
    # the graph's first node makes half of the image, its last ones give FP32 boxes, uint8 labels
    assert set(precisions.values()) >= {"fp16", "fp32", "uint8"}
    assert f"layers       {len(precisions)}: " in done.stdout
    assert all(name in done.stdout for name in precisions)


def test_without_tensorrt_the_sidecar_is_told_and_why_there_is_no_more(workshop: Workshop) -> None:
    absent = "import sys; sys.modules['tensorrt'] = None"
    done = workshop.run("inspect", "tiny.engine", "--json", "-", before=absent)
    assert done.returncode == 0, done.stderr
    reported = json.loads(done.stdout)
    assert reported["layers"] is None
    assert "TensorRT is not installed here" in reported["layers_not_shown"]
    done = workshop.run("inspect", "tiny.engine", before=absent)
    assert "precision    fp16" in done.stdout
    assert "layers       not shown: TensorRT is not installed here" in done.stdout


def test_an_engine_for_another_machine_is_told_but_never_loaded(workshop: Workshop) -> None:
    done = workshop.run("inspect", "tiny.engine", cc="8.9", double={"VERSION": "10.16.1.11"})
    assert done.returncode == 0, done.stderr
    assert "precision    fp16" in done.stdout
    assert "layers       not shown: tiny.engine: this engine does not fit" in done.stdout
    assert "compute capability is 8.9, built for 8.7" in done.stdout
    assert "TensorRT is 10.16.1.11, built for 10.3.0" in done.stdout


@pytest.mark.parametrize(
    ("verbosity", "says"),
    [
        ("layer_names_only", "names only: built with --profiling-verbosity layer_names_only"),
        ("none", "built with --profiling-verbosity none and tells none"),
    ],
)
def test_an_engine_that_was_built_to_tell_less_says_so(
    workshop: Workshop, verbosity: str, says: str
) -> None:
    done = workshop.run("build", "tiny.onnx", "--frames", "frames", "-o", "less.engine",
                        "--profiling-verbosity", verbosity)  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = workshop.run("inspect", "less.engine")
    assert done.returncode == 0, done.stderr
    assert says in done.stdout


def truncated(folder: Path) -> None:
    plan = folder / "tiny.engine"
    plan.write_bytes(plan.read_bytes()[:-100])


def edited(folder: Path) -> None:
    path = folder / "tiny.engine.json"
    path.write_text(path.read_text().replace("Orin", "Thor"))


def alone(folder: Path) -> None:
    (folder / "tiny.engine.json").unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (truncated, "the plan is truncated or another one"),
        (edited, "was edited or damaged"),
        (alone, "tiny.engine.json: no such file"),
    ],
)
def test_damage_is_an_error(workshop: Workshop, damage: object, says: str) -> None:
    damage(workshop.folder)  # type: ignore[operator]
    done = workshop.run("inspect", "tiny.engine")
    assert done.returncode == 4
    assert says in done.stderr
    assert "edge-export build" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("none.engine", 4, "none.engine: cannot be read (No such file"),
        ("tiny.onnx", 2, "tiny.onnx: wanted a built engine, NAME.engine"),
    ],
)
def test_what_is_no_engine_is_refused(workshop: Workshop, name: str, code: int, says: str) -> None:
    done = workshop.run("inspect", name)
    assert done.returncode == code
    assert says in done.stderr


# What inspectors of several releases write


def layer(*formats: str) -> str:
    outputs = [{"Name": f"o{i}", "Format/Datatype": f} for i, f in enumerate(formats)]
    return json.dumps({"Layers": [{"Name": "a", "LayerType": "Conv", "Outputs": outputs}]})


@pytest.mark.parametrize(
    ("formats", "precision"),
    [
        (["Row major linear FP16 format"], "fp16"),
        (["Half"], "fp16"),
        (["Channel major FP16 format where channel % 8 == 0"], "fp16"),
        (["Row major linear FP32"], "fp32"),
        (["Float"], "fp32"),
        (["Half", "Float"], "fp16+fp32"),
        (["Half", "Half"], "fp16"),
        (["Row major linear UInt8"], "uint8"),
        (["BFloat16"], "BFloat16"),
        ([], ""),
    ],
)
def test_precisions_are_read_from_the_formats_of_outputs(
    formats: list[str], precision: str
) -> None:
    assert parse_layers(layer(*formats)) == [EngineLayer("a", "Conv", precision)]


def test_an_engine_of_no_layers_tells_none() -> None:
    assert parse_layers('{"Layers": [], "Bindings": []}') == []
    assert "tells none" in layer_lines([])[0]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"Layers": [{}]}', '{"Layers": [1]}'])
def test_an_inspector_that_writes_otherwise_is_an_error(text: str) -> None:
    with pytest.raises(EngineError, match="inspector said what cannot be read"):
        parse_layers(text)
