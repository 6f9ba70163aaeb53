"""The TensorRT double claims nothing that the real bindings of its release do not have."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.engines.binding_stubs import VERSIONS as RELEASES
from tests.engines.binding_stubs import real_bindings
from tests.export.building import DOUBLE

MOST_LINES = 800
"""Of the driver and what claims to be TensorRT together: what a reader can still check by eye."""


@pytest.fixture(scope="module")
def double() -> Iterator[ModuleType]:
    """The double under a name of its own, so that no other test finds a TensorRT here."""
    spec = importlib.util.spec_from_file_location("double", DOUBLE / "tensorrt" / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules["double"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["double"], sys.modules["double.plans"]


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The names that the double defines, its imports left out."""
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__
        if own and not name.startswith("_") and name != "annotations":
            yield name, value


@pytest.mark.parametrize("release", RELEASES)
def test_every_name_is_one_of_the_real_bindings(
    double: ModuleType, shared: Path, release: str
) -> None:
    real = json.loads((shared / "tensorrt" / f"api-{release}.json").read_text())
    checked = 0
    for name, value in public(double):
        assert name in real
        if isinstance(real[name], dict) and "enum" in real[name]:
            assert set(value.__members__) <= set(real[name]["enum"]), name
            checked += len(value.__members__)
            continue
        own = [m for m in vars(value) if not m.startswith("_")]
        assert set(own) <= set(real[name]), name
        checked += len(own)
    assert checked > 50


@pytest.mark.parametrize("release", RELEASES)
def test_every_method_takes_the_arguments_of_the_real_one(
    double: ModuleType, shared: Path, release: str
) -> None:
    real = json.loads((shared / "tensorrt" / f"api-{release}.json").read_text())
    checked = 0
    for name, cls in public(double):
        for method, value in vars(cls).items():
            if method.startswith("_") or not inspect.isfunction(value) or "enum" in real[name]:
                continue
            signatures = [s for s in real[name][method] if f"{method}(self" in s]
            wanted = list(inspect.signature(value).parameters)
            taken = [re.findall(r"(\w+):", s.partition("->")[0]) for s in signatures]
            # pybind11's enumerations and capsules have colons in their types; names come first
            assert any(wanted == t[: len(wanted)] for t in taken), (name, method, signatures)
            checked += 1
    assert checked > 20


VALUES = """
import json, sys
sys.path.insert(0, sys.argv[1])
import tensorrt_bindings as trt
print(json.dumps({name: {k: int(v) for k, v in getattr(trt, name).__members__.items()}
                  for name in json.loads(sys.argv[2])}))
"""


def test_enumerations_have_the_real_values(double: ModuleType, shared: Path) -> None:
    own = {n: v.__members__ for n, v in public(double) if hasattr(v, "__members__")}
    bindings = real_bindings(RELEASES[0], shared=shared)
    done = subprocess.run(
        [sys.executable, "-c", VALUES, bindings, json.dumps(list(own))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    real = json.loads(done.stdout)
    for name, members in own.items():
        for member, value in members.items():
            assert real[name][member] == int(value), (name, member)


def test_no_attribute_is_set_that_the_real_class_lacks(double: ModuleType) -> None:
    config = double.IBuilderConfig(None)
    config.builder_optimization_level = 5
    with pytest.raises(AssertionError, match="max_workspace_size"):
        config.max_workspace_size = 1


def test_the_double_and_the_driver_stay_readable() -> None:
    parts = [DOUBLE / "tensorrt" / "__init__.py", DOUBLE.parent / "driver.c"]
    assert sum(len(path.read_text().splitlines()) for path in parts) <= MOST_LINES
