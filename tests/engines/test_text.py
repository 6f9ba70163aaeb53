"""Text files as people's editors leave them, and what is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engines.text import NotTextError, read_text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"\xef\xbb\xbf", ""),
        (b"\xef\xbb\xbfa\r\n\xc3\xbc\r\n", "a\nü\n"),
        (b"a\rb\n", "a\rb\n"),  # no line end of today
    ],
)
def test_marks_and_line_ends_of_any_system_are_read(tmp_path: Path, data: bytes, text: str) -> None:
    (tmp_path / "a").write_bytes(data)
    assert read_text(tmp_path / "a") == text


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("a".encode("utf-16-le"), None),  # without a mark it is text with a NUL
        ("a".encode("utf-16"), "text in UTF-16, wanted UTF-8: save it as UTF-8"),
        (b"\xfe\xff\0a", "text in UTF-16, wanted UTF-8: save it as UTF-8"),
        (b"a\nb\xff", "not UTF-8 text in line 2: save it as UTF-8"),
        (b"a" * 2_000_001, "more than 2 MB"),
    ],
)
def test_what_is_no_text_is_told(tmp_path: Path, data: bytes, why: str | None) -> None:
    (tmp_path / "a").write_bytes(data)
    if why is None:
        assert read_text(tmp_path / "a", most_bytes=2_000_000) == "a\0"
        return
    with pytest.raises(NotTextError, match=f"^{why}$"):
        read_text(tmp_path / "a", most_bytes=2_000_000)


def test_what_might_never_end_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(NotTextError, match="not a regular file"):
            read_text(path)
    with pytest.raises(IsADirectoryError):
        read_text(tmp_path)
