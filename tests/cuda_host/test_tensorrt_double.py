"""The TensorRT double claims nothing that the real bindings of its release do not have."""

from __future__ import annotations

import importlib
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

from tests.engines.binding_stubs import RTX, real_bindings
from tests.engines.binding_stubs import VERSIONS as RELEASES
from tests.export.building import DOUBLE
from tests.rtx_here import needs_rtx

MOST_LINES = 810
"""Of the driver and what claims to be TensorRT together: what a reader can still check by eye."""
MOST_LINES_OF_RTX = 120
"""What TensorRT for RTX is beyond that."""


Api = dict[str, Any]
"""Names of a module; of each its members, where they are methods with their signatures."""


def load(package: str) -> ModuleType:
    """A double under a name of its own, so that no other test finds a TensorRT here."""
    name = f"double_of_{package}"
    spec = importlib.util.spec_from_file_location(name, DOUBLE / package / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def double() -> Iterator[ModuleType]:
    yield load("tensorrt")
    forget()


@pytest.fixture(scope="module")
def rtx_double() -> Iterator[ModuleType]:
    yield load(RTX)
    forget()


def forget() -> None:
    for name in [n for n in sys.modules if n.startswith("double_of_")]:
        del sys.modules[name]


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """The names that the double defines, its imports left out."""
    for name, value in vars(module).items():
        own = str(getattr(value, "__module__", None)).startswith(module.__name__)
        if own and not name.startswith("_") and isinstance(value, type):
            yield name, value


def members(cls: type) -> dict[str, Any]:
    """What the double defines of a class, with what the native double gives to that of RTX."""
    own = [base for base in reversed(cls.__mro__) if "double_of_" in base.__module__]
    return {n: v for base in own for n, v in vars(base).items() if not n.startswith("_")}


def recorded(shared: Path, release: str) -> Api:
    api: Api = json.loads((shared / "tensorrt" / f"api-{release}.json").read_text())
    return api


def api_of(module: ModuleType) -> Api:
    """As ``recorded`` has it."""
    api: Api = {}
    for name, cls in vars(module).items():
        if hasattr(cls, "__members__"):
            api[name] = {"enum": list(cls.__members__)}
        elif isinstance(cls, type):
            api[name] = {m: str(getattr(cls, m).__doc__).splitlines() for m in dir(cls)}
    return api


def check_names(double: ModuleType, real: Api) -> None:
    checked = 0
    for name, value in public(double):
        assert name in real
        if "enum" in real[name]:
            assert set(value.__members__) <= set(real[name]["enum"]), name
            checked += len(value.__members__)
            continue
        own = set(members(value))
        assert own <= set(real[name]), name
        checked += len(own)
    assert checked > 50


def check_arguments(double: ModuleType, real: Api) -> None:
    checked = 0
    for name, cls in public(double):
        for method, value in members(cls).items():
            if not inspect.isfunction(value) or "enum" in real[name]:
                continue
            signatures = [s for s in real[name][method] if f"{method}(self" in s]
            wanted = list(inspect.signature(value).parameters)
            taken = [re.findall(r"(\w+):", s.partition("->")[0]) for s in signatures]
            # pybind11's enumerations and capsules have colons in their types; names come first
            assert any(wanted == t[: len(wanted)] for t in taken), (name, method, signatures)
            checked += 1
    assert checked > 20


@pytest.mark.parametrize("release", RELEASES)
def test_every_name_is_one_of_the_real_bindings(
    double: ModuleType, shared: Path, release: str
) -> None:
    check_names(double, recorded(shared, release))


@pytest.mark.parametrize("release", RELEASES)
def test_every_method_takes_the_arguments_of_the_real_one(
    double: ModuleType, shared: Path, release: str
) -> None:
    check_arguments(double, recorded(shared, release))


@needs_rtx
def test_the_double_of_rtx_has_names_arguments_and_values_of_the_real_one(
    rtx_double: ModuleType,
) -> None:
    real = importlib.import_module(RTX)
    check_names(rtx_double, api_of(real))
    check_arguments(rtx_double, api_of(real))
    assert rtx_double.__version__ == real.__version__
    for name, members in enumerations(rtx_double).items():
        for member, value in members.items():
            assert int(getattr(real, name).__members__[member]) == int(value), (name, member)


def enumerations(double: ModuleType) -> dict[str, Any]:
    return {n: v.__members__ for n, v in public(double) if hasattr(v, "__members__")}


VALUES = """
import json, sys
sys.path.insert(0, sys.argv[1])
import tensorrt_bindings as trt
print(json.dumps({name: {k: int(v) for k, v in getattr(trt, name).__members__.items()}
                  for name in json.loads(sys.argv[2])}))
"""


def test_enumerations_have_the_real_values(double: ModuleType, shared: Path) -> None:
    own = enumerations(double)
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


def test_the_doubles_and_the_driver_stay_readable() -> None:
    parts = [DOUBLE / "tensorrt" / "__init__.py", DOUBLE.parent / "driver.c"]
    assert sum(len(path.read_text().splitlines()) for path in parts) <= MOST_LINES
    assert len((DOUBLE / RTX / "__init__.py").read_text().splitlines()) <= MOST_LINES_OF_RTX
