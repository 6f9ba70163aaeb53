"""TensorRT for RTX on the host driver as an RTX card, and the double: what differs from the native.

Kernels are compiled where the engine is opened; the double counts how often.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.tensorrt.identity import (
    GRAPH_ONLY,
    built_path,
    read_sidecar,
    sidecar_path,
    sidecar_text,
)
from engines.tensorrt.library import Flavour
from tests.cuda_host.build import HostCuda
from tests.engines.jetson import DOUBLE, ON_CPU, RTX_CARD, Jetson
from tests.export.building import Workshop
from tests.export.planted import pictures
from tests.tiny_models import tiny_street

RUN = ("run", "--source", "synthetic:96x64@30", "--policy", "wait", "--sink", "null")
FLAVOURS: tuple[Flavour, ...] = ("tensorrt", "rtx")


@pytest.fixture(scope="module")
def card(host_cuda: HostCuda) -> Jetson:
    return Jetson(host_cuda, card=RTX_CARD)


@pytest.fixture(scope="module")
def made(card: Jetson, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.onnx, and rtx.engine and tensorrt.engine of it, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    tiny_street(folder / "tiny.onnx")
    for flavour in FLAVOURS:
        card.build(folder / "tiny.onnx", folder / f"{flavour}.engine", flavour)
    return folder


class Desk:
    """A folder of one's own on that machine; ``compiled`` counts plans that were compiled."""

    def __init__(self, card: Jetson, folder: Path) -> None:
        self.card, self.folder = card, folder
        self.onnx, self.engine = folder / "tiny.onnx", folder / "rtx.engine"

    def edge(
        self, *arguments: str | Path, env: dict[str, str] | None = None, **card: object
    ) -> subprocess.CompletedProcess[str]:
        places = {
            "OUTRIDER_BUILT": str(self.folder / "built"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "OUTRIDER_DOUBLE_COMPILED": str(self.folder / "compiled"),
        }
        return self.card.edge(*RUN, *arguments, "--frames", "2", env=places | (env or {}), **card)

    def refused(self, *arguments: str | Path, **how: object) -> str:
        """The one line of a run that ends with 4."""
        run = self.edge(*arguments, **how)  # type: ignore[arg-type]
        assert run.returncode == 4, run.stderr
        (line,) = run.stderr.strip().splitlines()
        return line

    def ran(self, run: subprocess.CompletedProcess[str]) -> str:
        """The engine that the table of a run names."""
        assert run.returncode == 0, run.stderr
        named = re.search(r"^model: .* on (\S+) at", run.stderr, re.MULTILINE)
        assert named is not None, run.stderr
        return named[1]

    def publish(self, flavour: Flavour) -> None:
        place = built_path(self.folder / "built", self.onnx, flavour)
        place.parent.mkdir(exist_ok=True)
        shutil.copy(self.folder / f"{flavour}.engine", place)
        shutil.copy(sidecar_path(self.folder / f"{flavour}.engine"), sidecar_path(place))

    @property
    def compiled(self) -> int:
        path = self.folder / "compiled"
        return len(path.read_text().splitlines()) if path.exists() else 0

    @property
    def caches(self) -> list[Path]:
        return sorted((self.folder / "cache" / "outrider" / "rtx").glob("*"))


@pytest.fixture
def desk(card: Jetson, made: Path, tmp_path: Path) -> Desk:
    for path in made.iterdir():
        shutil.copy(path, tmp_path)
    return Desk(card, tmp_path)


# Which engine


def test_an_onnx_file_runs_on_the_engine_of_the_flavour_that_is_named(desk: Desk) -> None:
    line = desk.refused("--model", desk.onnx, "--engine", "rtx")
    assert "no TensorRT for RTX engine was built from this file" in line
    assert line.endswith(f"edge-export build {desk.onnx} --for rtx")
    desk.publish("rtx")
    line = desk.refused("--model", desk.onnx, "--engine", "tensorrt")
    assert "no TensorRT engine was built from this file. Build one here" in line
    desk.publish("tensorrt")
    for flavour in FLAVOURS:
        assert desk.ran(desk.edge("--model", desk.onnx, "--engine", flavour)) == flavour


def test_auto_takes_what_is_built_and_the_native_one_first(desk: Desk) -> None:
    desk.publish("rtx")
    assert desk.ran(desk.edge("--model", desk.onnx)) == "rtx"
    desk.publish("tensorrt")
    assert desk.ran(desk.edge("--model", desk.onnx)) == "tensorrt"

    other = desk.edge("--model", desk.onnx, name="NVIDIA RTX 4000 Ada", sms=48)
    assert desk.ran(other) == "rtx"
    assert "built for NVIDIA GeForce RTX 4090" in other.stderr
    assert "trying the one of TensorRT for RTX instead" in other.stderr

    neither = desk.edge("--model", desk.onnx, name="NVIDIA H200", cc="9.0")
    assert desk.ran(neither) == "openvino"
    assert "compute capability is 9.0, built for 8.6, 8.9" in neither.stderr
    assert "running on the CPU instead" in neither.stderr


def test_where_only_this_flavour_is_installed_its_build_is_what_is_told(desk: Desk) -> None:
    alone = desk.folder / "site"
    alone.mkdir()
    (alone / "tensorrt_rtx_bindings").symlink_to(DOUBLE / "tensorrt_rtx_bindings")
    path = f"{alone}:{desk.card.host.environment()['PYTHONPATH']}"
    run = desk.edge("--model", desk.onnx, env={"PYTHONPATH": path})
    assert desk.ran(run) in ON_CPU
    assert f" edge-export build {desk.onnx} --for rtx\n" in run.stderr
    assert desk.ran(desk.edge("--model", desk.engine, env={"PYTHONPATH": path})) == "rtx"


@pytest.mark.parametrize(("built", "named"), [FLAVOURS, FLAVOURS[::-1]])
def test_a_plan_of_the_other_flavour_is_refused_and_runs_by_its_own(
    desk: Desk, built: Flavour, named: Flavour
) -> None:
    engine = desk.folder / f"{built}.engine"
    names = {"tensorrt": "TensorRT", "rtx": "TensorRT for RTX"}
    line = desk.refused("--model", engine, "--engine", named)
    assert f"is an engine of {names[built]}, which {names[named]} cannot run" in line
    assert line.endswith(f"or say --engine {built}.")
    assert desk.ran(desk.edge("--model", engine)) == built


def test_an_architecture_that_it_was_not_built_for_is_refused_before_it_is_loaded(
    desk: Desk,
) -> None:
    line = desk.refused("--model", desk.engine, name="NVIDIA GeForce RTX 5090", cc="12.0")
    assert "compute capability is 12.0, built for 8.6, 8.9" in line
    assert line.endswith("edge-export build tiny.onnx --for rtx --sm 12.0")
    assert "deserialize" not in line


def test_another_release_is_refused_and_another_card_of_the_family_is_not(desk: Desk) -> None:
    line = desk.refused("--model", desk.engine, env={"OUTRIDER_DOUBLE_RTX": "1.6.1.120"})
    assert "TensorRT for RTX is 1.6.1.120, built for 1.7.1.116" in line
    run = desk.edge("--model", desk.engine, name="NVIDIA RTX A2000", cc="8.6", sms=26)
    assert desk.ran(run) == "rtx"
    assert "the engine was built under" not in run.stderr


def test_an_engine_that_never_ran_is_refused_until_it_is_trusted(desk: Desk) -> None:
    sidecar = replace(read_sidecar(desk.engine), proof={"kind": GRAPH_ONLY})
    sidecar_path(desk.engine).write_text(sidecar_text(sidecar))
    digest = hashlib.sha256(desk.engine.read_bytes()).hexdigest()
    line = desk.refused("--model", desk.engine)
    assert "was built where no device could run it" in line
    assert f"edge-export verify {desk.engine}" in line
    assert line.endswith(f"--trust {digest}")
    assert desk.ran(desk.edge("--model", desk.engine, "--trust", digest)) == "rtx"
    desk.publish("rtx")
    auto = desk.edge("--model", desk.onnx)
    assert desk.ran(auto) == "openvino"
    assert "edge-export verify" in auto.stderr


def test_without_a_sidecar_tensorrt_itself_refuses_what_does_not_fit(desk: Desk) -> None:
    shutil.copy(desk.onnx, desk.folder / "rtx.onnx")
    shutil.copy(desk.onnx, desk.folder / "tensorrt.onnx")
    trust = {}
    for flavour in FLAVOURS:
        plan = desk.folder / f"{flavour}.engine"
        sidecar_path(plan).unlink()
        trust[flavour] = ("--trust", hashlib.sha256(plan.read_bytes()).hexdigest())
    command = ("--model", desk.engine, *trust["rtx"], "--engine", "rtx")
    assert desk.ran(desk.edge(*command)) == "rtx"
    line = desk.refused(*command, cc="12.0")
    assert "TensorRT for RTX deserialize_cuda_engine: The plan is not for compute" in line
    native = ("--model", desk.folder / "tensorrt.engine", *trust["tensorrt"])
    assert "deserialize_cuda_engine: The plan is not for" in desk.refused(
        *native, "--engine", "rtx"
    )


# What is compiled


def test_kernels_are_compiled_at_the_first_start_and_kept_for_the_second(desk: Desk) -> None:
    first = desk.edge("--model", desk.engine)
    assert desk.ran(first) == "rtx"
    (cache,) = desk.caches
    assert desk.compiled == 1  # for two slots
    assert "sm89x128" in cache.name
    assert re.search(r"ready in \d+\.\d s; 2 slots", first.stderr)
    assert f"kernels compiled for this card, kept in {cache}" in first.stderr
    second = desk.edge("--model", desk.engine)
    assert "kernels kept from an earlier start" in second.stderr
    assert desk.compiled == 1


@pytest.mark.parametrize(
    "other", [{"driver": 13000}, {"name": "NVIDIA GeForce RTX 4080", "sms": 76}]
)
def test_each_device_and_driver_has_kernels_of_its_own(desk: Desk, other: dict[str, Any]) -> None:
    desk.ran(desk.edge("--model", desk.engine))
    assert "kernels compiled for this card" in desk.edge("--model", desk.engine, **other).stderr
    assert (desk.compiled, len(desk.caches)) == (2, 2)
    for card in (RTX_CARD, other):
        assert "kernels kept from" in desk.edge("--model", desk.engine, **card).stderr


def halve(cache: Path) -> None:
    cache.write_bytes(cache.read_bytes()[:-40])


def empty(cache: Path) -> None:
    cache.write_bytes(b"")


def of_another_card(cache: Path) -> None:
    (other,) = (path for path in cache.parent.iterdir() if path != cache)
    shutil.copy(other, cache)


def flip(cache: Path) -> None:
    data = cache.read_bytes()
    cache.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("spoil", [halve, empty, flip, of_another_card])
def test_a_broken_cache_is_told_and_made_anew(desk: Desk, spoil: Callable[[Path], None]) -> None:
    desk.ran(desk.edge("--model", desk.engine))
    (cache,) = desk.caches
    desk.ran(desk.edge("--model", desk.engine, name="NVIDIA GeForce RTX 4080"))
    whole = cache.read_bytes()
    spoil(cache)
    run = desk.edge("--model", desk.engine)
    assert desk.ran(run) == "rtx"
    why = "TensorRT does not take it" if spoil is of_another_card else "is damaged"
    assert f"{cache}: {why}" in run.stderr
    assert "kernels compiled for this card, kept in" in run.stderr
    assert cache.read_bytes() == whole


def test_where_nothing_can_be_kept_it_runs_and_says_so(desk: Desk) -> None:
    (desk.folder / "cache").write_text("a file where the folder should be")
    run = desk.edge("--model", desk.engine)
    assert desk.ran(run) == "rtx"
    assert re.search(r"kernels compiled for this card, not kept: .*cache", run.stderr)

    (desk.folder / "cache").unlink()
    desk.ran(desk.edge("--model", desk.engine))
    (cache,) = desk.caches
    cache.unlink()
    (cache / "inside").mkdir(parents=True)
    run = desk.edge("--model", desk.engine)
    assert desk.ran(run) == "rtx"
    assert "kernels compiled for this card, kept in" in run.stderr
    assert cache.is_file()


# Builds


@pytest.fixture
def workshop(host_cuda: HostCuda, tmp_path: Path) -> Workshop:
    tiny_street(tmp_path / "tiny.onnx")
    pictures(tmp_path / "frames")
    return Workshop(host_cuda, tmp_path)


BUILD = ("build", "tiny.onnx", "--for", "rtx", "--sm", "89", "--frames", "frames")


def test_a_build_on_a_card_runs_the_gate_and_publishes(workshop: Workshop) -> None:
    done = workshop.run(*BUILD, **RTX_CARD)
    assert done.returncode == 0, done.stderr
    (engine,) = workshop.built.glob("*.rtx.engine")
    sidecar = read_sidecar(engine)
    assert sidecar.proof["passed"] is True
    assert sidecar.proof["on"]["gpu"] == "NVIDIA GeForce RTX 4090"
    assert (sidecar.identity.flavour, sidecar.identity.targets) == ("rtx", ("8.9",))
    assert workshop.timings == []


def test_an_engine_that_does_not_do_what_the_file_does_is_not_published(
    workshop: Workshop,
) -> None:
    done = workshop.run(*BUILD, double={"FAULT": "swapped"}, **RTX_CARD)
    assert done.returncode == 4
    assert "refused, the engine does not do what tiny.onnx does" in done.stderr
    assert workshop.left() == []


def test_a_card_that_is_busy_is_no_machine_without_one(workshop: Workshop) -> None:
    done = workshop.run(*BUILD, **RTX_CARD, fail="retain:46")
    assert done.returncode == 6, done.stderr
    assert "busy or unavailable" in done.stderr
    assert workshop.left() == []


def test_what_was_built_without_a_card_is_proven_on_one_and_runs_then(
    workshop: Workshop, card: Jetson
) -> None:
    done = workshop.run(*BUILD, fail="init:100")
    assert done.returncode == 0, done.stderr
    assert "graph only" in done.stdout + done.stderr
    (engine,) = workshop.built.glob("*.rtx.engine")
    assert read_sidecar(engine).ran is False
    desk = Desk(card, workshop.folder)
    assert "was built where no device could run it" in desk.refused("--model", engine)
    verified = workshop.run("verify", engine, "--frames", "frames", **RTX_CARD)
    assert verified.returncode == 0, verified.stderr
    assert read_sidecar(engine).proof["passed"] is True
    assert desk.ran(desk.edge("--model", engine)) == "rtx"
