"""A run whose page asks for a token, for all tests of who may."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.edge.web.access.stranger import TOKEN
from tests.edge.web.equipment.served import Served, all_shown, served


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Nothing that strangers do costs it a frame or a line of its log.

    A frame drops where something is held up for a fifth of a second.
    """
    folder = tmp_path_factory.mktemp("web")
    (folder / "token").write_text(f"{TOKEN}\n")
    (folder / "token").chmod(0o600)
    (folder / "car.toml").write_text('[web]\ntoken_file = "token"\nhosts = ["car"]\n')
    rest = ("--source", "synthetic:320x192@5", "--sink", "web:0.0.0.0:0")
    with served(folder / "car.toml", *rest) as run:
        yield run
        run.stop()
    assert all_shown(run.said), run.said
    assert len([line for line in run.log if "edge.web" in line]) == 1, run.said
    assert not re.search("uvicorn|asyncio|starlette|Traceback", run.said), run.said
    assert TOKEN not in run.said
