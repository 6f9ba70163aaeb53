"""``edge-export verify ENGINE``: what was built without a GPU is proven where there is one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest

from engines.tensorrt.identity import read_sidecar, sidecar_path, sidecar_text
from tests.cuda_host.build import HostCuda
from tests.engines.jetson import RTX_CARD
from tests.export.building import Workshop
from tests.export.planted import pictures
from tests.tiny_models import grey, tiny_street

BUILD = ("build", "tiny.onnx", "--for", "rtx", "--sm", "89", "--frames", "frames", "-o")
VERIFY = ("verify", "tiny.engine", "--frames", "frames")
NO_GPU: dict[str, Any] = {"fail": "init:100"}


@pytest.fixture(scope="module")
def built(host_cuda: HostCuda, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    made = Workshop(host_cuda, tmp_path_factory.mktemp("built"))
    tiny_street(made.folder / "tiny.onnx")
    pictures(made.folder / "frames")
    for engine, fault in (("tiny.engine", ""), ("wrong.engine", "swapped")):
        done = made.run(*BUILD, engine, double={"FAULT": fault}, **NO_GPU)
        assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def workshop(built: Workshop, tmp_path: Path) -> Workshop:
    """A folder with two engines that never ran, one of them wrong, and what they were made from."""
    shutil.copytree(built.folder, tmp_path / "own")
    return Workshop(built.host, tmp_path / "own")


def sidecar_of(workshop: Workshop, engine: str = "tiny.engine") -> bytes:
    return sidecar_path(workshop.folder / engine).read_bytes()


def test_the_proof_is_written_into_the_sidecar_and_nothing_else_changes(workshop: Workshop) -> None:
    engine = workshop.folder / "tiny.engine"
    before, plan = read_sidecar(engine), engine.read_bytes()
    assert before.proof["kind"] == "graph only"
    done = workshop.run(*VERIFY, "--json", "proof.json", **RTX_CARD)
    assert done.returncode == 0, done.stderr
    after = read_sidecar(engine)
    assert after.proof["passed"] is True
    assert after.proof["on"]["gpu"] == RTX_CARD["name"]
    assert after.proof["limits"] == before.proof["limits"]
    assert json.loads((workshop.folder / "proof.json").read_text()) == dict(after.proof)
    assert (after.identity, after.spec, after.network) == (
        before.identity, before.spec, before.network,
    )  # fmt: skip
    assert engine.read_bytes() == plan
    told = workshop.run("inspect", "tiny.engine")
    assert f"4 frames of frames on {RTX_CARD['name']}, against FP32" in told.stdout


def test_a_build_without_a_gpu_does_not_replace_what_was_proven(workshop: Workshop) -> None:
    assert workshop.run(*VERIFY, **RTX_CARD).returncode == 0
    proven = sidecar_of(workshop)
    done = workshop.run(*BUILD, "tiny.engine", **NO_GPU)
    assert done.returncode == 4
    assert "tiny.engine: was proven on NVIDIA GeForce RTX 4090, and what is built" in done.stderr
    assert sidecar_of(workshop) == proven
    newer = workshop.run(*BUILD, "tiny.engine", double={"RTX": "1.7.2"}, **NO_GPU)
    assert newer.returncode == 0, newer.stderr  # nothing there runs what 1.7.1 built
    again = workshop.run(*BUILD, "tiny.engine", **RTX_CARD)
    assert again.returncode == 0, again.stderr


def test_a_wrong_engine_is_refused_and_stays_unproven(workshop: Workshop) -> None:
    before = sidecar_of(workshop, "wrong.engine")
    done = workshop.run("verify", "wrong.engine", "--frames", "frames", **RTX_CARD)
    assert done.returncode == 4
    assert "refused, the engine does not do what tiny.onnx does" in done.stderr
    assert "Its sidecar is as it was." in done.stderr
    assert sidecar_of(workshop, "wrong.engine") == before


def test_frames_that_show_nothing_prove_nothing(workshop: Workshop) -> None:
    before = sidecar_of(workshop)
    for picture in (workshop.folder / "frames").iterdir():
        cv2.imwrite(str(picture), grey(120))
    done = workshop.run(*VERIFY, **RTX_CARD)
    assert done.returncode == 4
    assert "not proven" in done.stderr
    assert sidecar_of(workshop) == before


def test_a_card_that_is_left_out_unasked_is_built_for_where_it_is(workshop: Workshop) -> None:
    turing = RTX_CARD | {"cc": "7.5", "name": "Quadro RTX 4000"}
    done = workshop.run("build", "tiny.onnx", "--for", "rtx", "--frames", "frames", **turing)
    assert done.returncode == 0, done.stderr
    (engine,) = workshop.built.glob("*.rtx.engine")
    sidecar = read_sidecar(engine)
    assert "7.5" in sidecar.identity.targets
    assert sidecar.proof["passed"] is True


def test_the_file_it_was_made_from_is_looked_for_and_can_be_named(workshop: Workshop) -> None:
    folder = workshop.folder
    (folder / "elsewhere").mkdir()
    (folder / "tiny.onnx").rename(folder / "elsewhere" / "renamed.onnx")
    done = workshop.run(*VERIFY, **RTX_CARD)
    assert done.returncode == 2
    assert "was made from tiny.onnx with SHA-256" in done.stderr
    assert "edge-export verify tiny.engine --reference tiny.onnx" in done.stderr
    done = workshop.run(*VERIFY, "--reference", "elsewhere/renamed.onnx", **RTX_CARD)
    assert done.returncode == 0, done.stderr


def test_a_report_does_not_replace_the_file_that_was_found(workshop: Workshop) -> None:
    model = workshop.folder / "tiny.onnx"
    before = model.read_bytes()
    done = workshop.run(*VERIFY, "--json", "tiny.onnx", **RTX_CARD)
    assert done.returncode == 2
    assert "--json tiny.onnx: would be written over" in done.stderr
    assert model.read_bytes() == before


def test_another_file_is_no_reference(workshop: Workshop) -> None:
    tiny_street(workshop.folder / "tiny.onnx", height=96, width=64)
    for named in ((), ("--reference", "tiny.onnx")):
        done = workshop.run(*VERIFY, *named, **RTX_CARD)
        assert done.returncode == 2
        assert "was made from tiny.onnx with SHA-256" in done.stderr


def test_a_card_that_it_was_not_built_for_is_named_with_the_way_out(workshop: Workshop) -> None:
    h200 = RTX_CARD | {"cc": "9.0", "name": "NVIDIA H200"}
    done = workshop.run(*VERIFY, **h200)
    assert done.returncode == 4
    assert "compute capability is 9.0, built for 8.9" in done.stderr
    assert "edge-export build tiny.onnx --for rtx --sm 9.0" in done.stderr
    refused = workshop.run("build", "tiny.onnx", "--for", "rtx", "--sm", "9.0", **h200)
    assert refused.returncode == 2
    assert "got '9.0', wanted some of 75, 80" in refused.stderr


def test_a_build_says_that_there_is_no_code_for_the_card_that_is_here(workshop: Workshop) -> None:
    h200 = RTX_CARD | {"cc": "9.0", "name": "NVIDIA H200"}
    done = workshop.run(
        "build", "tiny.onnx", "--for", "rtx", "--frames", "frames", "-o", "b.engine", **h200
    )
    assert done.returncode == 0, done.stderr
    assert "NVIDIA H200 has compute capability 9.0, for which TensorRT for RTX" in done.stderr
    assert "has no code; native TensorRT has" in done.stderr


def test_on_another_card_than_that_of_the_proof_it_is_said_once_and_can_be_proven(
    workshop: Workshop,
) -> None:
    assert workshop.run(*VERIFY, **RTX_CARD).returncode == 0
    other = RTX_CARD | {"name": "NVIDIA RTX 4000 SFF Ada"}
    done = workshop.run(*VERIFY, **other)
    assert done.returncode == 0, done.stderr
    assert "was proven on NVIDIA GeForce RTX 4090, not on NVIDIA RTX 4000 SFF Ada" in done.stderr
    again = workshop.run(*VERIFY, **other)
    assert "was proven on" not in again.stderr


def test_without_a_card_nothing_is_proven(workshop: Workshop) -> None:
    done = workshop.run(*VERIFY, **NO_GPU)
    assert done.returncode == 6
    assert "no CUDA-capable device" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tiny.onnx",), "wanted a second model to compare with, or a built engine"),
        (("tiny.engine", "--miou", "0.1"), "--miou: goes with two models"),
        (("tiny.engine", "--data", "camvid"), "--data: goes with two models"),
        (("tiny.engine", "--map", "a=b"), "--map: goes with two models"),
        (
            ("tiny.onnx", "tiny.onnx", "--reference", "x"),
            "--reference x: goes with an engine alone",
        ),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    workshop: Workshop, arguments: tuple[str, ...], said: str
) -> None:
    done = workshop.run("verify", *arguments, **RTX_CARD)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize("command", ["verify", "inspect"])
@pytest.mark.parametrize("name", ["tiny.engine", "tiny.engine.json"])
def test_a_report_does_not_replace_the_engine(workshop: Workshop, command: str, name: str) -> None:
    before = (workshop.folder / name).read_bytes()
    done = workshop.run(command, "tiny.engine", "--json", name, **RTX_CARD)
    assert done.returncode == 2
    assert f"--json {name}: would be written over" in done.stderr
    assert (workshop.folder / name).read_bytes() == before


GOOD = {"iou": 0.98, "score": 0.02, "unmatched": 0.01, "mask": 0.99, "miou": None, "ap50": None}


@pytest.mark.parametrize(
    "limits", [None, [0.98], 1, GOOD | {"iou": None}, GOOD | {"mask": "0.99"}, GOOD | {"other": 1}]
)
def test_limits_that_are_none_are_refused(workshop: Workshop, limits: object) -> None:
    engine = workshop.folder / "tiny.engine"
    proof = {"kind": "graph only", "why": "", "limits": limits}
    text = sidecar_text(replace(read_sidecar(engine), proof=proof))
    sidecar_path(engine).write_text(text)
    done = workshop.run(*VERIFY, **RTX_CARD)
    assert done.returncode == 4
    assert "edge-export build tiny.onnx --for rtx" in done.stderr
    assert sidecar_path(engine).read_text() == text


@pytest.mark.parametrize(
    "proof", [{"on": 1}, {"on": {}}, {"outputs": 1}, {"outputs": [{}]}, {"boxes": 1}, {"masks": []}]
)
def test_a_proof_of_another_form_is_kept_and_shown_as_far_as_it_goes(
    workshop: Workshop, proof: dict[str, Any]
) -> None:
    engine = workshop.folder / "tiny.engine"
    sidecar_path(engine).write_text(sidecar_text(replace(read_sidecar(engine), proof=proof)))
    shown = workshop.run("inspect", "tiny.engine", **NO_GPU)
    assert shown.returncode == 0, shown.stderr
    assert "\nproof        " in shown.stdout
    done = workshop.run(*BUILD, "tiny.engine", **NO_GPU)
    assert done.returncode == 4
    assert "was proven on a device" in done.stderr
