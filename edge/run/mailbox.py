"""The two mailboxes between the threads; they move items and wake waiters, and count nothing.

``Inbox`` holds one frame between capture and inference. ``Outbox`` carries results to the main
thread; a permit is taken before the work on a frame begins, so that results never queue up and age.
Nothing here polls: a wait ends because another thread acted.
"""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class InboxClosedError(Exception):
    """The inbox takes no more items; the item that was offered is still the caller's."""


class Inbox(Generic[T]):
    """A mailbox for one item, between one producer and one consumer.

    ``newest_wins`` is read at each ``put``: True overwrites what was not taken, False waits.
    """

    def __init__(self, *, newest_wins: bool) -> None:
        self.newest_wins = newest_wins
        self._changed = threading.Condition()
        self._item: T | None = None
        self._ended = False

    def put(self, item: T) -> T | None:
        """Leave an item for the consumer and return the one that it overwrote, if any.

        Raises:
            InboxClosedError: the inbox was ended or closed, before or while waiting for room.
        """
        with self._changed:
            while not (self._ended or self.newest_wins or self._item is None):
                self._changed.wait()
            if self._ended:
                raise InboxClosedError
            overwritten, self._item = self._item, item
            self._changed.notify_all()
            return overwritten

    def take(self, *, block: bool = True) -> T | None:
        """The item, None when there is none: at the end, or at once where ``block`` is False."""
        with self._changed:
            while block and self._item is None and not self._ended:
                self._changed.wait()
            item, self._item = self._item, None
            if item is not None:
                self._changed.notify_all()
            return item

    def end(self) -> None:
        """Take no more items; one that lies here can still be taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> T | None:
        """Wake everyone and return the item that nobody took, to be accounted for by the caller."""
        self.end()
        return self.take(block=False)


class Outbox(Generic[T]):
    """What the other threads tell the main thread, in order.

    A permit stands for a frame between ``reserve`` on the infer thread and ``release`` on the main
    thread. ``post`` itself is unbounded, one C call, and safe inside a signal handler.
    """

    def __init__(self) -> None:
        """It begins without permits: ``release`` adds them once their number is known."""
        self._queue: SimpleQueue[T] = SimpleQueue()
        self._permits = threading.Semaphore(0)
        self._closed = False

    def reserve(self, *, block: bool = True) -> bool:
        """Get a permit for one more frame.

        False when closed, or at once when there is none and ``block`` is False.
        """
        if not self._permits.acquire(blocking=block):
            return False
        if self._closed:
            self._permits.release()  # for whoever asks next
            return False
        return True

    def release(self) -> None:
        """Give a permit back, or add one."""
        self._permits.release()

    def post(self, item: T) -> None:
        """Leave an item for the main thread; never blocks, reentrant."""
        self._queue.put(item)

    def take(self, timeout_s: float | None = None) -> T | None:
        """Wait for the next item in order; None after ``timeout_s``."""
        try:
            return self._queue.get(timeout=timeout_s)
        except Empty:
            return None

    def close(self) -> None:
        """Refuse reservations and wake whoever waits for one; items stay to be drained."""
        self._closed = True
        self._permits.release()  # whoever waits wakes, sees the flag and passes the permit on

    def drain(self) -> list[T]:
        """Every item that was never taken."""
        items: list[T] = []
        while not self._queue.empty():
            items.append(self._queue.get_nowait())
        return items
