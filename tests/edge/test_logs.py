"""The log: one line a record, without credentials."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator

import pytest

from edge.logs import OWN_ROOMS, set_up_logs


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, OWN_ROOMS)]
    levels, handlers = [logger.level for logger in loggers], root.handlers[:]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    root.handlers[:] = handlers
    logging.captureWarnings(False)


def _log(*, verbose: bool) -> str:
    stream = io.StringIO()
    set_up_logs(verbose=verbose, stream=stream)
    log = logging.getLogger("edge.sources.video.video")
    log.info("opened %s", "rtsp://user:secret@cam/1?token=secret")
    log.debug("detail")
    logging.getLogger("somebody").info("chatter")
    try:
        raise OSError("rtsp://user:secret@cam/1")
    except OSError as exc:
        log.exception("two\nlines", exc_info=exc)
    return stream.getvalue()


def test_a_record_is_one_line_without_credentials() -> None:
    lines = _log(verbose=False).splitlines()
    assert len(lines) == 2
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d info edge\.sources\.video\.video: opened rtsp://\*\*\*@cam/1\?token=\*\*\*",
        lines[0],
    )
    assert lines[1].endswith(" error edge.sources.video.video: two | lines")


def test_verbose_adds_details_and_tracebacks_but_no_chatter_and_no_credentials() -> None:
    text = _log(verbose=True)
    lines = text.splitlines()
    assert len(lines) == 3
    assert lines[1].endswith("debug edge.sources.video.video: detail")
    assert "Traceback (most recent call last):" in lines[2]
    assert "OSError: rtsp://***@cam/1" in lines[2]
    assert "secret" not in text
    assert "chatter" not in text


def test_setting_up_twice_does_not_print_twice() -> None:
    set_up_logs(verbose=False, stream=io.StringIO())
    stream = io.StringIO()
    set_up_logs(verbose=False, stream=stream)
    logging.getLogger("edge").warning("once")
    assert stream.getvalue().count("once") == 1


def test_warnings_of_libraries_are_logged() -> None:
    stream = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        set_up_logs(verbose=False, stream=stream)
        warnings.warn("old way", DeprecationWarning, stacklevel=1)
    assert "old way" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1
