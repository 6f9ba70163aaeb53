"""The exceptions of foreign runtimes become the project's, with the reason kept."""

from __future__ import annotations

import pytest

from engines.errors import DeviceError, EngineError, ModelError
from engines.runtimes import foreign_errors


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("std::bad_alloc"),
        RuntimeError("Failed to allocate memory for 9"),
    ],
)
def test_running_out_of_memory_is_a_device_error_with_exit_code_6(error: Exception) -> None:
    with (
        pytest.raises(DeviceError, match="loading: out of memory") as mapped,
        foreign_errors("loading"),
    ):
        raise error
    assert mapped.value.exit_code == 6
    assert mapped.value.__cause__ is error


def test_a_runtimes_error_keeps_its_last_line_and_its_cause() -> None:
    error = RuntimeError("Check failed at src/core.cpp:12:\nUnsupported operator Foo\n")
    with pytest.raises(EngineError, match=r"^x: Unsupported operator Foo$") as mapped:  # noqa: SIM117
        with foreign_errors("x"):
            raise error
    assert mapped.value.__cause__ is error


def test_the_projects_own_errors_pass_through() -> None:
    error = ModelError("mine")
    with pytest.raises(ModelError) as passed, foreign_errors("x"):
        raise error
    assert passed.value is error
