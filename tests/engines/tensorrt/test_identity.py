"""Sidecars: what is written reads back, what was edited does not, and every difference is named."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from engines.cuda.context import Device
from engines.errors import EngineMismatch
from engines.spec import DetectionHead, InputSpec, ModelSpec, TensorSpec
from engines.tensorrt.identity import (
    BUILT,
    Identity,
    Sidecar,
    built_folder,
    built_path,
    check_identity,
    find_built,
    read_sidecar,
    sidecar_path,
    sidecar_text,
)

ORIN = Device("Orin", "8.7", 8, "linux-aarch64", "10.3.0", driver="540.4.0", l4t="36.4.0")
PLAN = b"a plan"


def network(weight: float) -> ModelProto:
    """A network of one weight and nothing else."""
    values = numpy_helper.from_array(np.array([weight], np.float32), "w")
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", ["w"], ["y"])
    return helper.make_model(helper.make_graph([node], "g", [], [output], [values]))


ONNX, HALF, TRAINED = (network(weight).SerializeToString() for weight in (1.0, 1.5, 2.0))


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


SPEC = ModelSpec(
    "a model",
    InputSpec("image", 64, 96),
    (TensorSpec("boxes", (1, 9, 6), "float32"),),
    DetectionHead("yolov5", ("boxes",), ("car",)),
)
SIDECAR = Sidecar(
    SPEC,
    Identity(
        plan_sha256=sha(PLAN),
        onnx_sha256=sha(ONNX),
        fp16_sha256=sha(HALF),
        device=ORIN,
        options={"workspace_mb": 1024, "profiling_verbosity": "detailed"},
        recipe="fp16",
        onnx_name="street.onnx",
    ),
    {"frames": 12, "worst_iou": 0.97, "finite": True},
)


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "street.engine"
    path.write_bytes(PLAN)
    sidecar_path(path).write_text(sidecar_text(SIDECAR))
    (tmp_path / "street.onnx").write_bytes(ONNX)
    return path


def test_a_sidecar_reads_back_as_it_was_written(engine: Path) -> None:
    assert sidecar_path(engine).name == "street.engine.json"
    assert read_sidecar(engine) == SIDECAR


def test_layout_and_order_of_the_keys_do_not_count_as_an_edit(engine: Path) -> None:
    path = sidecar_path(engine)
    sidecar = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(sidecar.items())), separators=(",", ":")))
    assert read_sidecar(engine) == SIDECAR


def edit_device(sidecar: dict[str, Any]) -> None:
    sidecar["identity"]["device"]["gpu"] = "NVIDIA GeForce RTX 4090"


def edit_spec(sidecar: dict[str, Any]) -> None:
    sidecar["spec"]["detection"]["conf"] = 0.9


def edit_proof(sidecar: dict[str, Any]) -> None:
    sidecar["proof"]["worst_iou"] = 0.99


@pytest.mark.parametrize("edit", [edit_device, edit_spec, edit_proof])
def test_an_edited_sidecar_is_refused(engine: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    sidecar = json.loads(sidecar_path(engine).read_text())
    edit(sidecar)
    sidecar_path(engine).write_text(json.dumps(sidecar))
    with pytest.raises(EngineMismatch, match=r"was edited or damaged.*edge-export build"):
        read_sidecar(engine)


def test_a_missing_sidecar_is_refused_with_the_reason_and_the_command(engine: Path) -> None:
    sidecar_path(engine).unlink()
    with pytest.raises(EngineMismatch, match=r"plan is code.*edge-export build") as caught:
        read_sidecar(engine)
    assert "street.engine.json" in str(caught.value)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "not whole JSON"),
        (sidecar_text(SIDECAR)[:200].encode(), "not whole JSON"),
        (b"\xff\xfe\x00", "not whole JSON"),
        (b"[" * 100_000, "not whole JSON"),
        (b"[]", "no 'sha256'"),
        (b'{"identity": 1}', "no 'sha256'"),
        (b'{"sha256": 7}', "no 'sha256'"),
    ],
)
def test_what_is_no_sidecar_is_refused(engine: Path, text: bytes, said: str) -> None:
    sidecar_path(engine).write_bytes(text)
    with pytest.raises(EngineMismatch, match=said):
        read_sidecar(engine)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda sidecar: sidecar["identity"].pop("recipe"), "identity.recipe: Field required"),
        (lambda sidecar: sidecar["identity"]["device"].pop("sm_count"), "identity.device.sm_count"),
        (lambda sidecar: sidecar["identity"]["device"].update(sm_count="8"), "valid integer"),
        (lambda sidecar: sidecar.update(version=2), "version"),
        (lambda sidecar: sidecar.update(colour="red"), "colour"),
        (lambda sidecar: sidecar["spec"].update(outputs=[]), "spec contradicts itself"),
    ],
)
def test_a_sidecar_of_another_version_is_refused_by_field(
    engine: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    sidecar = json.loads(sidecar_path(engine).read_text())
    del sidecar["sha256"]
    change(sidecar)
    canonical = json.dumps(sidecar, sort_keys=True, separators=(",", ":")).encode()
    sidecar_path(engine).write_text(json.dumps({**sidecar, "sha256": sha(canonical)}))
    with pytest.raises(EngineMismatch) as caught:
        read_sidecar(engine)
    assert said in str(caught.value)


def test_an_engine_of_this_machine_and_file_passes_without_a_word(engine: Path) -> None:
    onnx = engine.with_name("street.onnx")
    assert check_identity(SIDECAR, engine, ORIN, onnx=onnx) == []
    assert check_identity(SIDECAR, engine, ORIN, onnx=None) == []


def test_the_fp16_file_that_it_was_built_from_is_the_same_model(engine: Path) -> None:
    fp16 = engine.with_name("street_fp16.onnx")
    fp16.write_bytes(HALF)
    assert check_identity(SIDECAR, engine, ORIN, onnx=fp16) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gpu": "Thor"}, "GPU is Thor, built for Orin"),
        ({"compute_capability": "11.0"}, "compute capability is 11.0, built for 8.7"),
        ({"sm_count": 16}, "SM count is 16, built for 8"),
        ({"system": "linux-x86_64"}, "system is linux-x86_64, built for linux-aarch64"),
        ({"tensorrt": "10.16.1"}, "TensorRT is 10.16.1, built for 10.3.0"),
    ],
)
def test_each_difference_of_the_machine_is_refused(
    engine: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(EngineMismatch) as caught:
        check_identity(SIDECAR, engine, replace(ORIN, **change), onnx=None)
    assert said in str(caught.value)
    assert str(caught.value).endswith("edge-export build street.onnx")


def test_all_differences_stand_in_one_message(engine: Path) -> None:
    engine.write_bytes(PLAN[:-1])
    onnx = engine.with_name("street.onnx")
    onnx.write_bytes(TRAINED)
    here = replace(ORIN, gpu="Thor", tensorrt="11.4.0", sm_count=20, driver="590.1")
    with pytest.raises(EngineMismatch) as caught:
        check_identity(SIDECAR, engine, here, onnx=onnx)
    for said in (
        "GPU is Thor",
        "SM count is 20",
        "TensorRT is 11.4.0",
        "truncated or another one",
        f"street.onnx has SHA-256 {sha(TRAINED)[:12]}…, built from {sha(ONNX)[:12]}…",
        f"edge-export build {onnx}",
    ):
        assert said in str(caught.value)
    assert "driver" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"), [({"driver": "550.1"}, "driver is 550.1"), ({"l4t": ""}, "L4T is unknown")]
)
def test_another_driver_or_l4t_is_a_warning(
    engine: Path, change: dict[str, Any], said: str
) -> None:
    warnings = check_identity(SIDECAR, engine, replace(ORIN, **change), onnx=None)
    assert len(warnings) == 1
    assert said in warnings[0]


def test_an_engine_is_found_by_the_content_of_its_onnx_file(tmp_path: Path) -> None:
    folder = tmp_path / "built"
    folder.mkdir()
    onnx = tmp_path / "street.onnx"
    onnx.write_bytes(ONNX)
    assert find_built(onnx, folder) is None
    engine = built_path(folder, onnx)
    assert engine.name == f"street-{sha(ONNX)[:12]}.engine"
    engine.write_bytes(PLAN)
    assert find_built(onnx, folder) == engine
    assert find_built(onnx.rename(tmp_path / "renamed.onnx"), folder) == engine
    onnx.write_bytes(TRAINED)
    assert find_built(onnx, folder) is None


def test_weights_beside_the_onnx_file_are_part_of_its_content(tmp_path: Path) -> None:
    def save(weight: float) -> Path:
        path = tmp_path / "street.onnx"
        (tmp_path / "street.data").unlink(missing_ok=True)  # onnx would add to it
        onnx.save(network(weight), path, save_as_external_data=True, size_threshold=0,
                  location="street.data")  # fmt: skip
        return path

    before = save(1.0)
    alone, engine = before.read_bytes(), built_path(tmp_path, before)
    engine.write_bytes(PLAN)
    assert find_built(before, tmp_path) == engine
    trained = save(2.0)
    assert trained.read_bytes() == alone
    assert find_built(trained, tmp_path) is None
    identity = replace(SIDECAR.identity, onnx_sha256=sha(alone))
    with pytest.raises(EngineMismatch, match=r"street\.onnx has SHA-256"):
        check_identity(replace(SIDECAR, identity=identity), engine, ORIN, onnx=trained)


def test_a_sidecar_that_never_ends_is_refused(engine: Path) -> None:
    sidecar_path(engine).unlink()
    os.mkfifo(sidecar_path(engine))
    with pytest.raises(EngineMismatch, match="not a regular file"):
        read_sidecar(engine)


def test_no_folder_of_built_engines_is_none_built(tmp_path: Path) -> None:
    onnx = tmp_path / "street.onnx"
    onnx.write_bytes(ONNX)
    assert find_built(onnx, tmp_path / "none") is None


def test_the_environment_moves_the_folder_of_built_engines(tmp_path: Path) -> None:
    assert built_folder({"OUTRIDER_BUILT": str(tmp_path)}) == tmp_path
    assert built_folder({}) == BUILT
    assert BUILT.name == "built"
