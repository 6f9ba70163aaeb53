"""Every TensorRT name and call of the project, against the real bindings of three versions."""

from __future__ import annotations

import ast
import functools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines.binding_stubs import ROOT, VERSIONS, complaints, make_stubs

Stubs = Callable[[str], Path]


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


PLANTED = {
    "a builder flag that 11 removed": ("config.set_flag(trt.BuilderFlag.FP16)", ("11.4.0.106",)),
    "a property that 11 removed": ("builder.platform_has_fast_fp16", ("11.4.0.106",)),
    "a name that never was": ("trt.Bilder", VERSIONS),
    "a member that never was": ("trt.TensorIOMode.INOUT", VERSIONS),
    "an argument too few": ("builder.build_serialized_network(network)", VERSIONS),
    "an argument of another name": ("builder.create_network(flag=1)", VERSIONS),
    "an argument of another type": ("config.set_flag(3)", VERSIONS),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_planted_faults_are_found(version: str, stubs: Stubs, tmp_path: Path) -> None:
    head = (
        "import tensorrt as trt\n"
        "def use(builder: trt.Builder, network: trt.INetworkDefinition,\n"
        "        config: trt.IBuilderConfig) -> None:\n"
        "    config.set_flag(trt.BuilderFlag.TF32)\n"
    )
    planted = tmp_path / "planted.py"
    planted.write_text(head + "".join(f"    {line}\n" for line, _ in PLANTED.values()))
    found = complaints([planted], stubs(version), cache=tmp_path / "cache", root=tmp_path)
    lines = {int(text.split(":")[1]) for text in found}
    assert lines == {5 + i for i, (_, where) in enumerate(PLANTED.values()) if version in where}


@pytest.mark.parametrize("of_module", [True, False], ids=["classes", "members"])
def test_no_name_escapes_the_check(
    shared: Path, stubs: Stubs, tmp_path: Path, of_module: bool
) -> None:
    """A name that is misspelt is missed wherever its object is not known to be TensorRT's."""
    for room in ("edge", "engines", "export"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("models"))
    names = distinctive_names(shared)
    files, planted = [], set()
    for original in users_of("tensorrt"):
        file = tmp_path / original.relative_to(ROOT)
        places = attributes(ast.parse(file.read_text()), names, of_module=of_module)
        lines = file.read_text().splitlines(keepends=True)
        for line, column in sorted(places, reverse=True):
            text = lines[line - 1].encode()
            lines[line - 1] = (text[:column] + b"_misspelt" + text[column:]).decode()
            planted.add((str(file.relative_to(tmp_path)), line))
        file.write_text("".join(lines))
        files.append(file)
    assert len(planted) > 15
    found = complaints(files, stubs("10.16.1.11"), cache=tmp_path / "cache", root=tmp_path)
    noticed = {(name, int(line)) for name, line, *_ in (text.split(":") for text in found)}
    missed = sorted(planted - noticed)
    assert not missed, "\n".join(f"{name}:{line}" for name, line in missed)


def distinctive_names(shared: Path) -> set[str]:
    """Names of the bindings that hardly anything else in the project has."""
    names: set[str] = set()
    for path in (shared / "tensorrt").glob("api-*.json"):
        api = json.loads(path.read_text())
        for owner, members in api.items():
            names.add(owner)
            if isinstance(members, dict):
                names.update(members.get("enum", members))
    return {n for n in names if "_" in n.strip("_") or n != n.lower()}


def attributes(tree: ast.AST, names: set[str], *, of_module: bool) -> Iterator[tuple[int, int]]:
    """Where an attribute of one of ``names`` ends, of the module or of its objects: line, byte."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in names:
            on_module = isinstance(node.value, ast.Name) and node.value.id in ("trt", "tensorrt")
            if on_module == of_module:
                assert node.end_lineno is not None
                assert node.end_col_offset is not None
                yield node.end_lineno, node.end_col_offset
