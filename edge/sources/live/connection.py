"""One opening of a source and the reads of it, on a thread that can be left behind.

A blocking call of a driver or a socket cannot be interrupted. It knows no states and no deadlines.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

from edge.sources.base import OpenedSource
from edge.vision.types import Frame
from engines.errors import SourceError

_log = logging.getLogger("edge")

Answer = OpenedSource | Frame | None | Exception
"""The opened source first, then for each ``ask`` a frame, None at the end, or what was raised."""


class Connection:
    """Opens at once; ``ask`` wants one frame, ``answer`` waits for it.

    Nothing is read ahead: what a slow reader would miss, the source itself drops.

    """

    def __init__(self, open_source: Callable[[], OpenedSource]) -> None:
        self.source: OpenedSource | None = None
        self._open = open_source
        self._asks: SimpleQueue[bool] = SimpleQueue()
        self._answers: SimpleQueue[Answer] = SimpleQueue()
        self._handed_over = False
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Want one more frame."""
        self._asks.put(True)

    def answer(self, timeout_s: float) -> Answer:
        """The next answer.

        Raises:
            Empty: there is none within ``timeout_s``.
        """
        return self._answers.get(timeout=timeout_s)

    def close(self) -> None:
        """Ask the thread to close the source, when it is out of what it does; returns at once."""
        self._asks.put(False)

    def hand_over(self) -> OpenedSource:
        """End the thread and give up the opened source: the caller reads and closes it."""
        assert self.source is not None
        self._handed_over = True
        self._asks.put(False)
        return self.source

    def ended(self, timeout_s: float) -> bool:
        """Whether the thread ends within ``timeout_s``."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        """Body of the thread."""
        try:
            source = self._open()
        except Exception as exc:  # crosses to the waiting thread
            self._answers.put(exc)
            return
        self.source = source
        self._answers.put(source)
        try:
            while self._asks.get():
                try:
                    self._answers.put(source.read())
                except SourceError as exc:
                    self._answers.put(_without_calls(exc))
                except Exception as exc:
                    self._answers.put(exc)
        finally:
            if not self._handed_over:
                try:
                    source.close()
                except Exception as exc:
                    _log.warning("closing %s failed: %s", source.name, exc)


def _without_calls(error: SourceError) -> SourceError:
    """``error`` without the calls that raised it, which refer to the source, as it does to them.

    Its decoder would live on, with threads and pictures, until Python looks for such circles.
    """
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
