"""A sink that asks about its run and changes it, as ``edge run`` opens one of its table."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge.run.view import RunView
from edge.sources.live.status import SourceStatus
from edge.vision.types import Image, Result

ENTRY = f"{__name__}:WatchingSink"


class WatchingSink:
    """Has ``beside`` done on a thread of its own when the run begins, and ends it afterwards.

    What that raised is in ``failed``.
    """

    beside: Callable[[WatchingSink], None]
    failed: BaseException | None

    name = "watching"
    wants_image = True

    def __init__(self, text: str, *, fps: float | None, keep: bool = False) -> None:
        self.results: list[Result] = []
        self.pictures: list[Image] = []
        self.run: RunView
        self.news = threading.Condition()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._do)

    def watch(self, run: RunView) -> None:
        self.run = run
        self._thread.start()

    def _do(self) -> None:
        try:
            type(self).beside(self)
        except BaseException as exc:
            type(self).failed = exc
        finally:
            self._over.set()

    def next(self) -> tuple[Result, Image]:
        """A frame that was captured after the call, and its picture."""
        with self.news:
            # In flight meanwhile: one in inference, one that waits, one being captured.
            enough = len(self.results) + 4
            assert self.news.wait_for(lambda: len(self.results) >= enough, 20)
            return self.results[-1], self.pictures[-1]

    def write(self, result: Result, image: Image | None, *, frame_age_ms: float) -> bool:
        assert image is not None
        with self.news:
            self.results.append(result)
            self.pictures.append(image.copy())
            self.news.notify()
        return not self._over.is_set()

    def signal(self, status: SourceStatus, image: Image | None, *, at_ns: int) -> bool:
        return True

    def close(self) -> None:
        self._thread.join()
