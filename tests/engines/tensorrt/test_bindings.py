"""Every TensorRT name and call of the project, against the real bindings of both flavours."""

from __future__ import annotations

import ast
import functools
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines.binding_stubs import (
    ROOT,
    RTX,
    VERSIONS,
    complaints,
    make_rtx_stubs,
    make_stubs,
)
from tests.rtx_here import needs_rtx

Stubs = Callable[[str], Path]
ALL = (*VERSIONS, RTX)
MODULES = ("tensorrt", "trt", "rtx")
"""Names that the project gives to a flavour, or to the object that opened it."""
NEW = ("11.4.0.106", RTX)


def users_of(module: str) -> list[Path]:
    """The project's files that import it, for its types."""
    files = [p for room in ("edge", "engines", "export") for p in (ROOT / room).rglob("*.py")]
    imports = re.compile(rf"^ *import {module}\b", re.MULTILINE)
    return sorted(f for f in files if imports.search(f.read_text()))


@pytest.fixture(scope="module")
def stubs(shared: Path) -> Stubs:
    return functools.partial(make_stubs, shared=shared)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy") / "cache"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_and_call_is_one_of_the_real_bindings(
    version: str, stubs: Stubs, cache: Path
) -> None:
    files = users_of("tensorrt")
    assert {f.relative_to(ROOT).parts[0] for f in files} == {"engines", "export"}
    assert complaints(files, stubs(version), cache=cache) == []


@needs_rtx
def test_every_name_and_call_is_one_of_tensorrt_for_rtx(cache: Path) -> None:
    alone = users_of(RTX)
    assert {f.name for f in alone} >= {"runtime_cache.py", "targets.py"}
    assert complaints([*users_of("tensorrt"), *alone], make_rtx_stubs(), cache=cache) == []


PLANTED = {
    "a builder flag that 11 removed": ("config.set_flag(trt.BuilderFlag.FP16)", NEW),
    "a property that 11 removed": ("builder.platform_has_fast_fp16", NEW),
    "a name that never was": ("trt.Bilder", ALL),
    "a member that never was": ("trt.TensorIOMode.INOUT", ALL),
    "an argument too few": ("builder.build_serialized_network(network)", ALL),
    "an argument of another name": ("builder.create_network(flag=1)", ALL),
    "an argument of another type": ("config.set_flag(3)", ALL),
    "what only RTX has": ("config.num_compute_capabilities = 1", VERSIONS),
    "an architecture that RTX has not": ("trt.ComputeCapability.SM90", ALL),
}


def planted(folder: Path, stubs: Path) -> set[str]:
    """The planted faults that are found with these stubs."""
    head = (
        "import tensorrt as trt\n"
        "def use(builder: trt.Builder, network: trt.INetworkDefinition,\n"
        "        config: trt.IBuilderConfig) -> None:\n"
        "    config.set_flag(trt.BuilderFlag.TF32)\n"
    )
    file = folder / "planted.py"
    file.write_text(head + "".join(f"    {line}\n" for line, _ in PLANTED.values()))
    found = complaints([file], stubs, cache=folder / "cache", root=folder)
    lines = {int(text.split(":")[1]) for text in found}
    assert min(lines) >= 5
    return {name for i, name in enumerate(PLANTED) if 5 + i in lines}


@pytest.mark.parametrize("version", VERSIONS)
def test_planted_faults_are_found(version: str, stubs: Stubs, tmp_path: Path) -> None:
    wanted = {name for name, (_, where) in PLANTED.items() if version in where}
    assert planted(tmp_path, stubs(version)) == wanted


@needs_rtx
def test_planted_faults_are_found_by_tensorrt_for_rtx(tmp_path: Path) -> None:
    wanted = {name for name, (_, where) in PLANTED.items() if RTX in where}
    assert planted(tmp_path, make_rtx_stubs()) == wanted


def escaped(folder: Path, files: list[Path], stubs: list[Path], *, of_module: bool) -> str:
    """Names of TensorRT's in ``files`` that could be misspelt unnoticed with the first stubs."""
    for room in ("edge", "engines", "export"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("models"))
    names = set().union(*map(distinctive_names, stubs))
    copies, misspelt = [], set()
    for original in files:
        file = folder / original.relative_to(ROOT)
        places = attributes(ast.parse(file.read_text()), names, of_module=of_module)
        lines = file.read_text().splitlines(keepends=True)
        for line, column in sorted(places, reverse=True):
            text = lines[line - 1].encode()
            lines[line - 1] = (text[:column] + b"_misspelt" + text[column:]).decode()
            misspelt.add((str(file.relative_to(folder)), line))
        file.write_text("".join(lines))
        copies.append(file)
    assert len(misspelt) > 2 * len(files)
    found = complaints(copies, stubs[0], cache=folder / "cache", root=folder)
    noticed = {(name, int(line)) for name, line, *_ in (text.split(":") for text in found)}
    return "\n".join(f"{name}:{line}" for name, line in sorted(misspelt - noticed))


@pytest.mark.parametrize("of_module", [True, False], ids=["classes", "members"])
def test_no_name_escapes_the_check(stubs: Stubs, tmp_path: Path, of_module: bool) -> None:
    """A name that is misspelt is missed wherever its object is not known to be TensorRT's."""
    known = [stubs("10.16.1.11"), *map(stubs, VERSIONS)]
    assert escaped(tmp_path, users_of("tensorrt"), known, of_module=of_module) == ""


@needs_rtx
@pytest.mark.parametrize("of_module", [True, False], ids=["classes", "members"])
def test_no_name_of_tensorrt_for_rtx_escapes_the_check(tmp_path: Path, of_module: bool) -> None:
    assert escaped(tmp_path, users_of(RTX), [make_rtx_stubs()], of_module=of_module) == ""


def distinctive_names(stubs: Path) -> set[str]:
    """Names of the bindings that hardly anything else in the project has."""
    names: set[str] = set()
    for stub in stubs.rglob("tensorrt*.pyi"):
        for node in ast.walk(ast.parse(stub.read_text())):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
    return {n for n in names if "_" in n.strip("_") or n != n.lower()}


def attributes(tree: ast.AST, names: set[str], *, of_module: bool) -> Iterator[tuple[int, int]]:
    """Where an attribute of one of ``names`` ends, of the module or of its objects: line, byte."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in names:
            on_module = isinstance(node.value, ast.Name) and node.value.id in MODULES
            if on_module == of_module:
                assert node.end_lineno is not None
                assert node.end_col_offset is not None
                yield node.end_lineno, node.end_col_offset
