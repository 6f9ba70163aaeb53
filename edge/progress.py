"""Progress on the terminal, drawn by tqdm in its last line; where stderr is none, nothing is drawn.

A process whose terminal is another's (``LINES`` in its environment) tells it in lines that the
other draws. A terminal that takes nothing now (Ctrl-S, a bad link) holds up nobody.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NoReturn, TypeVar

from engines.redact import plain

if TYPE_CHECKING:
    from tqdm import tqdm

Item = TypeVar("Item")

LINES = "OUTRIDER_PROGRESS"
"""Set for a process that is to tell its progress in lines on stderr."""
PERIOD_S = 0.25
"""Between two pictures of the line: digits that change faster cannot be read."""
_SPARE = 3
"""Columns left free: for the ^C that a terminal writes, and so that no line wraps."""
_BAR = len("100%||| ")
"""Columns of the shortest bar."""
_TIME_LEFT = ", 0:00:00 left"
"""What it takes."""
_TOLD = re.compile(r"progress ([0-9.e+-]+)/([0-9.e+-]+) (.*)")


def on_terminal() -> bool:
    """Whether stderr is a terminal on which a line can change."""
    with contextlib.suppress(ValueError):  # it is closed
        return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return False


@contextlib.contextmanager
def above() -> Iterator[None]:
    """Write whole lines to stderr above the line of progress, from any thread."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)  # never imported: there is no line
    if tqdm is None:
        yield
        return
    with tqdm.external_write_mode(file=sys.stderr):
        yield


class Line:
    """The line of progress, from the first ``show`` to ``close``; one at a time."""

    def __init__(self) -> None:
        self._bar: tqdm[NoReturn] | None = None
        self._shown_s = -PERIOD_S
        self._lines = LINES in os.environ
        self.drawn = on_terminal()
        """Whether anybody sees it."""
        if self.drawn:
            _load()  # takes some ms: now, and not between two frames

    def offer(self, words: str, *, done: float, total: float) -> None:
        """As ``show``, where the last was long enough ago."""
        now_s = time.monotonic()
        if now_s - self._shown_s >= PERIOD_S:
            self._shown_s = now_s
            self.show(words, done=done, total=total)

    def show(
        self, words: str, *, done: float = 0, total: float | None = None, left: bool = True
    ) -> None:
        """Show ``words``, behind a bar where ``total`` is known.

        ``left``: and before the time that is left, as the rate tells. What is beyond the total is a
        total that was wrong, and no bar.
        """
        words = plain(words)
        if self._lines:
            if total is not None:
                with contextlib.suppress(OSError):
                    print(f"progress {done:g}/{total:g} {words}", file=sys.stderr, flush=True)
            return
        if not self.drawn or not _takes_more():
            return
        shape, width = "{desc}", _columns() - _SPARE
        if total and done <= total:
            time_left = _TIME_LEFT if left and done < total else ""
            fitting = _fitted(words + time_left, width - _BAR)
            words = fitting.removesuffix(_TIME_LEFT)
            time_left = ", {remaining} left" if words != fitting else ""
            shape = f"{{percentage:3.0f}}%|{{bar}}| {{desc}}{time_left}"
        else:
            words, total = _fitted(words, width), None
        bar = self._bar
        if bar is None:
            bar = self._bar = _open(done)
        bar.bar_format, bar.total, bar.ncols = shape, total, width
        bar.set_description_str(words, refresh=False)
        bar.update(done - bar.n)

    def close(self, *, keep: bool = False) -> None:
        """Wipe the line away, or go on below it; what a terminal has put into it (^C) goes, too."""
        bar, self._bar = self._bar, None
        if bar is None:
            return
        bar.leave = keep
        if _takes_more():
            bar.fp.write("\r\x1b[K")
            bar.close()
        else:
            bar.disable = True


def counted(
    items: Iterable[Item], words: str, *, total: int, unit: str = "images"
) -> Iterator[Item]:
    """``items``, of which there are ``total``, with the line of progress while they are taken.

    To be written into the ``for`` itself: what leaves the loop then wipes the line, errors too.
    """
    line = Line()
    try:
        for done, item in enumerate(items):
            line.offer(f"{words} {done}/{total} {unit}", done=done, total=total)
            yield item
    finally:
        line.close()


def told(text: str) -> tuple[str, float, float] | None:
    """Words, done and total of a line that a process with ``LINES`` wrote; None: it is another."""
    match = _TOLD.fullmatch(text.strip())
    return None if match is None else (match[3], float(match[1]), float(match[2]))


def _fitted(words: str, width: int) -> str:
    """As many fields, parted by commas, as fit, and of the first one as many words."""
    for gap in (", ", " "):
        while len(words) > width and gap in words:
            words = words.rpartition(gap)[0]
    return words[:width]


def _load() -> type[tqdm[NoReturn]]:
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # no thread of its own
    if not hasattr(tqdm, "_lock"):
        tqdm.set_lock(threading.RLock())  # its own is one between processes, too
    return tqdm


def _open(done: float) -> tqdm[NoReturn]:
    return _load()(
        initial=done, file=sys.stderr, mininterval=0, miniters=0, smoothing=0.1,
        delay=1e-9,  # draws nothing yet
    )  # fmt: skip


def _columns() -> int:
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return max(columns or 80, 20)


def _takes_more() -> bool:
    """Whether a write would not wait for the terminal."""
    try:
        return bool(select.select([], [sys.stderr.fileno()], [], 0)[1])
    except (OSError, ValueError):
        return False
