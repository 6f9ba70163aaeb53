"""Parses every import: floors point one way, rooms make no circle, heavy libraries stay put."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

FLOORS = {"engines": 0, "edge": 1, "export": 2}
"""A floor may import from itself or from a lower one."""

HEAVY = {
    "torch": ("export/",),
    "tensorrt": ("engines/", "export/"),
    "tensorrt_rtx": ("engines/", "export/"),
    "tensorrt_rtx_bindings": ("engines/", "export/"),
    "pycuda": ("engines/",),
    "gi": ("edge/sources/",),
    "onnxruntime": ("engines/onnxruntime.py",),
    "openvino": ("engines/openvino.py",),
}
"""Where a heavy library may be imported at all; elsewhere it is an error even inside a function.

The last two report to their makers unless imported by the function that ends it.
"""

DEFINES_WITH_TORCH = (
    "export/commands/average.py",
    "export/commands/onnx.py",
    "export/commands/train.py",
    "export/train/views/augment.py",
    "export/train/views/cameras.py",
    "export/train/views/faults.py",
    "export/train/batch.py",
    "export/train/average.py",
    "export/train/checkpoint.py",
    "export/train/dataset.py",
    "export/train/loss.py",
    "export/train/parts.py",
    "export/train/net/nets.py",
    "export/train/net/street.py",
    "export/train/onnx_file.py",
    "export/train/views/mosaic.py",
    "export/train/views/paste.py",
    "export/train/views/views.py",
    "export/train/pretrained.py",
    "export/train/train.py",
    "export/train/trainer.py",
    "export/zoo/__init__.py",
    "export/zoo/boxes/box_net.py",
    "export/zoo/boxes/localise.py",
    "export/zoo/boxes/overfeat.py",
    "export/zoo/boxes/targets.py",
    "export/zoo/deconvnet.py",
    "export/zoo/deeplab.py",
    "export/zoo/fcn.py",
    "export/zoo/layers.py",
    "export/zoo/mask_net.py",
    "export/zoo/measure.py",
    "export/zoo/segnet.py",
    "export/zoo/strided.py",
    "export/zoo/trunks/__init__.py",
    "export/zoo/trunks/base.py",
    "export/zoo/trunks/lite0.py",
    "export/zoo/trunks/plain.py",
    "export/zoo/trunks/resnet.py",
    "export/zoo/trunks/vgg.py",
    "export/zoo/trunks/xception.py",
    "export/zoo/unet.py",
    "export/zoo/unpool.py",
    "export/zoo/upsample.py",
)
"""Files whose classes and functions are written in torch's terms and import it at the top, and
commands that do nothing without one of them.

Nothing else may import one of them at the top: that would be torch through the back door.
"""

# "edge.commands.run:run" in a table of lazy imports is an import too.
ENTRY = re.compile(r"((?:engines|edge|export)(?:\.\w+)+):\w+")


@dataclass(frozen=True, slots=True)
class Import:
    """One import: the dotted module, its line, and whether importing the file runs it."""

    module: str
    line: int
    at_top: bool


def imports_of(source: str) -> Iterator[Import]:
    """Every import of a file, ``if TYPE_CHECKING:`` left out: it never runs."""
    yield from _walk(ast.parse(source).body, at_top=True)


def _walk(nodes: list[ast.stmt] | list[ast.AST], *, at_top: bool) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, at_top)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            # `from edge import app` names a module or an attribute: both spellings count.
            yield Import(node.module or "", node.lineno, at_top)
            for alias in node.names:
                yield Import(f"{node.module}.{alias.name}", node.lineno, at_top)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if entry := ENTRY.fullmatch(node.value):
                yield Import(entry[1], node.lineno, at_top=False)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from _walk(node.orelse, at_top=at_top)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            children = list(ast.iter_child_nodes(node))
            yield from _walk(children, at_top=at_top and not inside)


def breaches(files: dict[str, str]) -> list[str]:
    """What is wrong in ``files`` (path from the root → source), one line each."""
    return [line for path, source in files.items() for line in _breaches_of(path, source)]


def _breaches_of(path: str, source: str) -> Iterator[str]:
    floor = path.split("/")[0]
    for found in imports_of(source):
        top = found.module.split(".")[0]
        where = f"{path}:{found.line}"
        if FLOORS.get(top, 0) > FLOORS[floor]:
            yield f"{where}: {floor} imports {found.module}: the arrow points back"
        if top in HEAVY and not path.startswith(HEAVY[top]):
            yield f"{where}: {top} is imported outside {', '.join(HEAVY[top])}"
        if path in DEFINES_WITH_TORCH or not found.at_top:
            continue
        if top in HEAVY:
            yield f"{where}: {top} at the top of a module; import it in the function that opens it"
        if f"{found.module.replace('.', '/')}.py" in DEFINES_WITH_TORCH:
            yield f"{where}: {found.module} imports torch; import it in the function that needs it"


def project_files() -> dict[str, str]:
    """Every Python file of the floors."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for floor in FLOORS
        for path in sorted((ROOT / floor).rglob("*.py"))
    }


def test_imports_of_the_project_point_one_way() -> None:
    files = project_files()
    assert {path.split("/")[0] for path in files} == set(FLOORS)
    assert breaches(files) == []


def room_of(path: str) -> str:
    """The room of a file: the folder below its floor, or the file itself where it stands alone."""
    parts = path.removesuffix("/__init__.py").removesuffix(".py").split("/")
    return "/".join(parts[:2])


def arrows(files: dict[str, str]) -> dict[str, dict[str, str]]:
    """From room to room, with one import that draws the arrow: {room: {room: 'file:line'}}."""
    drawn: dict[str, dict[str, str]] = {}
    for path, source in files.items():
        for found in imports_of(source):
            target = found.module.replace(".", "/")
            while target and f"{target}.py" not in files and f"{target}/__init__.py" not in files:
                target = target.rpartition("/")[0]
            here, there = room_of(path), room_of(target) if target else ""
            if there and there != here:
                drawn.setdefault(here, {}).setdefault(there, f"{path}:{found.line}")
    return drawn


def circle(drawn: dict[str, dict[str, str]]) -> list[str]:
    """The arrows of one circle, a line each; empty where there is none."""
    done: set[str] = set()

    def follow(room: str, way: list[str]) -> list[str]:
        if room in way:
            ring = [*way[way.index(room) :], room]
            return [f"{a} → {b} ({drawn[a][b]})" for a, b in pairwise(ring)]
        if room in done:
            return []
        for there in drawn.get(room, {}):
            if found := follow(there, [*way, room]):
                return found
        done.add(room)
        return []

    for room in drawn:
        if found := follow(room, []):
            return found
    return []


def test_no_circle_between_rooms() -> None:
    assert circle(arrows(project_files())) == []


def test_a_planted_circle_is_found_with_every_arrow_of_it() -> None:
    files = {
        "edge/a/x.py": "from edge.b import y",
        "edge/b/y.py": "def f():\n    from edge.c.z import g",
        "edge/b/__init__.py": "",
        "edge/c/z.py": "TABLE = {'k': 'edge.a.x:run'}",
        "edge/start.py": "from edge.a.x import f\nfrom edge.b.y import f",
    }
    found = circle(arrows(files))
    assert sorted(found) == [
        "edge/a → edge/b (edge/a/x.py:1)",
        "edge/b → edge/c (edge/b/y.py:2)",
        "edge/c → edge/a (edge/c/z.py:1)",
    ]
    assert circle(arrows({**files, "edge/c/z.py": "import numpy"})) == []


def test_files_and_folders_keep_their_size() -> None:
    """The house style: no file above 350 lines, no folder with more than 15 files."""
    files = project_files()
    long = {path: n for path, text in files.items() if (n := text.count("\n")) > 350}
    assert long == {}
    folders = [path.rpartition("/")[0] for path in files]
    crowded = {f for f in folders if folders.count(f) > 15}
    assert crowded == set()


def test_every_file_said_to_define_with_torch_is_there_and_does() -> None:
    files = project_files()
    for path in DEFINES_WITH_TORCH:
        modules = {found.module for found in imports_of(files[path]) if found.at_top}
        known = {file.removesuffix(".py").replace("/", ".") for file in DEFINES_WITH_TORCH}
        assert modules & (known | {"torch"}), path


@pytest.mark.parametrize(
    ("path", "source", "message"),
    [
        ("edge/a.py", "from export.train.loss import Loss", "edge imports export.train.loss"),
        ("edge/a.py", "from export import model", "edge imports export"),
        ("engines/a.py", "import edge.vision.types", "engines imports edge.vision.types"),
        ("engines/a.py", "def f():\n    from edge import types", "a.py:2: engines imports edge"),
        ("engines/a.py", "try:\n    import edge\nexcept ImportError: ...", "a.py:2: engines"),
        ("edge/a.py", "TABLE = {'x': ('export.cli:main', 'help')}", "edge imports export.cli"),
        ("edge/a.py", "def f():\n    import torch", "torch is imported outside export/"),
        ("export/a.py", "import torch.nn as nn", "torch at the top of a module"),
        ("export/a.py", "from torch import nn", "torch at the top of a module"),
        ("export/a.py", "class A:\n    import torch", "a.py:2: torch at the top"),
        ("export/a.py", "from export.train.loss import Loss", "export.train.loss imports torch"),
        ("export/a.py", "from export.train import loss", "export.train.loss imports torch"),
        ("engines/tensorrt/engine.py", "import tensorrt", "tensorrt at the top of a module"),
        ("export/a.py", "import tensorrt_rtx_bindings as trt", "tensorrt_rtx_bindings at the top"),
        ("edge/a.py", "def f():\n    import tensorrt_rtx", "tensorrt_rtx is imported outside"),
        ("edge/a.py", "def f():\n    import pycuda.driver", "pycuda is imported outside engines/"),
        ("export/a.py", "def f():\n    import onnxruntime", "outside engines/onnxruntime.py"),
        ("engines/a.py", "def f():\n    import openvino", "outside engines/openvino.py"),
        ("engines/a.py", "def f():\n    import gi", "gi is imported outside edge/sources/"),
    ],
)
def test_a_planted_breach_is_found(path: str, source: str, message: str) -> None:
    found = breaches({path: source})
    assert any(message in line for line in found), found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "export/a.py",
            "from edge.vision.letterbox import Letterbox\nfrom engines.spec import ModelSpec",
        ),
        (
            "edge/a.py",
            "from engines.errors import SourceError\nimport edge.vision.types\nimport numpy",
        ),
        ("export/a.py", "def f():\n    import torch\n    from export.train.net.street import Net"),
        ("export/train/net/street.py", "import torch"),
        ("export/train/train.py", "import torch\nfrom export.train.net.street import Net"),
        ("engines/a.py", "def f():\n    import tensorrt"),
        (
            "export/a.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch",
        ),
        ("edge/a.py", "ARGUMENTS = ['-m', 'export.cli', 'adopt']"),  # a process, not an import
    ],
)
def test_what_is_allowed_is_not_reported(path: str, source: str) -> None:
    assert breaches({path: source}) == []


def test_the_app_adopting_and_evaluating_load_no_heavy_library() -> None:
    """Parsing cannot see what a library imports; a fresh interpreter can."""
    program = (
        "import importlib, sys, edge.cli, export.cli\n"
        "tables = [*edge.cli.commands.table.values()]\n"
        "tables += [export.cli.commands.table[name] for name in ('evaluate', 'adopt')]\n"
        "for entry, _ in tables: importlib.import_module(entry.partition(':')[0])\n"
        f"print([name for name in {list(HEAVY)!r} if name in sys.modules])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout.strip()) == (0, "[]"), run.stderr
