"""``edge-export ensure``: what a vehicle does at every boot, above all after a JetPack upgrade."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from engines.files import lock
from engines.tensorrt.identity import built_path, read_sidecar
from export.tensorrt.build.place import building
from tests.cuda_host.build import HostCuda
from tests.export.building import BUILDING, DEADLINE_S, Workshop, until
from tests.export.planted import pictures
from tests.tiny_models import tiny_street

NO_GPU: dict[str, Any] = {"fail": "init:100"}
NEWER = {"VERSION": "10.16.1.11"}
NOTED = "import os; os.environ['RUNTIME_DIRECTORY'] = 'notes'"


@pytest.fixture
def workshop(host_cuda: HostCuda, tmp_path: Path) -> Workshop:
    """A folder with a tiny model, frames and settings that name both, and nothing built."""
    tiny_street(tmp_path / "tiny.onnx")
    pictures(tmp_path / "frames")
    (tmp_path / "notes").mkdir()
    settings(tmp_path, 'files = ["tiny.onnx"]')
    return Workshop(host_cuda, tmp_path)


def settings(folder: Path, model: str) -> None:
    text = f'[source]\nuri = "frames"\n[model]\n{model}\n[output]\nsinks = ["null"]\n'
    (folder / "cam.toml").write_text(text)


def ensure(workshop: Workshop, **how: Any) -> subprocess.CompletedProcess[str]:
    return workshop.run("ensure", "cam.toml", **how)


def engine(workshop: Workshop) -> Path:
    (made,) = workshop.built.glob("*.engine")
    return made


def test_a_missing_engine_is_built_once_and_anew_after_an_upgrade(workshop: Workshop) -> None:
    first = ensure(workshop)
    assert first.returncode == 0, first.stderr
    assert BUILDING in first.stderr
    assert read_sidecar(engine(workshop)).proof["passed"] is True

    again = ensure(workshop)
    assert (again.returncode, again.stderr) == (0, f"tiny.onnx: {engine(workshop).name} fits\n")

    upgraded = ensure(workshop, double=NEWER)
    assert upgraded.returncode == 0, upgraded.stderr
    assert "TensorRT is 10.16.1.11, built for 10.3.0" in upgraded.stderr
    assert read_sidecar(engine(workshop)).identity.device.tensorrt == "10.16.1.11"


def test_an_engine_that_the_settings_name_is_built_anew_of_its_own_file(workshop: Workshop) -> None:
    named = workshop.folder / "mine.engine"
    built = workshop.run(
        "build", "tiny.onnx", "--frames", "frames", "--iou", "0.9", "-o", "mine.engine"
    )
    assert built.returncode == 0, built.stderr
    settings(workshop.folder, 'files = ["mine.engine"]')
    assert ensure(workshop).stderr == "mine.engine: fits\n"

    upgraded = ensure(workshop, double=NEWER)
    assert upgraded.returncode == 0, upgraded.stderr
    made = read_sidecar(named)
    assert made.identity.device.tensorrt == "10.16.1.11"
    assert made.proof["limits"]["iou"] == 0.9  # as the one before it
    assert workshop.left() == []


def test_an_engine_whose_file_is_gone_is_told_and_stays(workshop: Workshop) -> None:
    built = workshop.run("build", "tiny.onnx", "--frames", "frames", "-o", "mine.engine")
    assert built.returncode == 0, built.stderr
    (workshop.folder / "tiny.onnx").unlink()
    settings(workshop.folder, 'files = ["mine.engine"]')
    before = (workshop.folder / "mine.engine").read_bytes()
    refused = ensure(workshop, double=NEWER)
    assert refused.returncode == 4
    assert "TensorRT is 10.16.1.11, built for 10.3.0" in refused.stderr
    assert "It cannot be built anew here: " in refused.stderr
    assert "was made from tiny.onnx with SHA-256" in refused.stderr
    assert (workshop.folder / "mine.engine").read_bytes() == before


def test_what_was_refused_is_not_tried_again_before_the_next_boot(workshop: Workshop) -> None:
    wrong = {"FAULT": "swapped"}
    first = ensure(workshop, before=NOTED, double=wrong)
    assert first.returncode == 4
    assert "the engine does not do what tiny.onnx does" in first.stderr
    again = ensure(workshop, before=NOTED, double=wrong)
    assert again.returncode == 4
    assert BUILDING not in again.stderr
    assert "was refused already since this machine was booted" in again.stderr
    assert "the engine does not do what tiny.onnx does" in again.stderr

    other = ensure(workshop, before=NOTED, double=NEWER)  # another TensorRT is another try
    assert other.returncode == 0, other.stderr
    (note,) = (workshop.folder / "notes").iterdir()
    note.unlink()  # as a boot does
    assert BUILDING in ensure(workshop, before=NOTED, double=wrong).stderr


def test_services_that_share_a_model_wait_for_the_one_that_builds_it(workshop: Workshop) -> None:
    # Held as by a first service, so that two more come at once.
    with (workshop.folder / "tiny.onnx").open("rb") as held:
        assert lock(held.fileno(), wait=True)
        with (
            workshop.started("ensure", "cam.toml", double={}) as one,
            workshop.started("ensure", "cam.toml", double={}) as other,
        ):
            for waiting in (one, other):
                until(waiting, "tiny.onnx: an engine of it is being built for another service")
            held.close()
            said = [process.communicate(timeout=DEADLINE_S)[1] for process in (one, other)]
            assert (one.returncode, other.returncode) == (0, 0), said
    assert sorted(BUILDING in text for text in said) == [False, True]
    assert sorted(text.endswith(f"{engine(workshop).name} fits\n") for text in said) == [
        False,
        True,
    ]


def test_what_says_nothing_of_the_model_is_tried_again_at_the_next_start(
    workshop: Workshop,
) -> None:
    place = built_path(workshop.built, workshop.folder / "tiny.onnx")
    workshop.built.mkdir()
    with building(place):  # by hand
        refused = ensure(workshop, before=NOTED)
    assert refused.returncode == 4
    assert "another build of this engine, or its proof, is at work" in refused.stderr
    place.mkdir()
    refused = ensure(workshop, before=NOTED)
    assert refused.returncode == 4
    assert "is a folder" in refused.stderr
    place.rmdir()
    done = ensure(workshop, before=NOTED)
    assert done.returncode == 0, done.stderr


def test_a_model_that_is_refused_does_not_keep_another_from_its_engine(workshop: Workshop) -> None:
    settings(workshop.folder, 'files = ["none.engine", "tiny.onnx"]')
    done = ensure(workshop)
    assert done.returncode == 4
    assert "none.engine: no such engine" in done.stderr
    assert engine(workshop).name.startswith("tiny-")


@pytest.mark.parametrize(
    ("model", "driver", "why"),
    [
        ('files = ["tiny.onnx"]', NO_GPU, "no CUDA device opens here"),
        ('files = ["tiny.onnx"]\nengine = "openvino"', {}, "[model] engine is openvino"),
        ('files = ["tiny.onnx"]\nprecision = "f32"', {}, "[model] precision is f32"),
    ],
)
def test_where_nothing_is_to_be_done_one_line_says_so(
    workshop: Workshop, model: str, driver: dict[str, Any], why: str
) -> None:
    settings(workshop.folder, model)
    done = ensure(workshop, **driver)
    assert (done.returncode, done.stderr) == (0, f"tiny.onnx: no engine is needed: {why}\n")
    assert workshop.left() == []


def test_tensorrt_that_is_asked_for_and_not_there_is_refused(workshop: Workshop) -> None:
    settings(workshop.folder, 'files = ["tiny.onnx"]\nengine = "tensorrt"')
    refused = ensure(workshop, **NO_GPU)
    assert refused.returncode == 6  # a device that is gone may come back
    assert "no CUDA-capable device is detected" in refused.stderr


def test_settings_that_do_not_load_are_refused_as_the_app_refuses_them(workshop: Workshop) -> None:
    settings(workshop.folder, "flies = []")
    refused = ensure(workshop)
    assert refused.returncode == 2
    assert "cam.toml" in refused.stderr
