"""Ctrl-C and its kin held back: for a step that must be whole, and for work on another thread."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

_T = TypeVar("_T")
_HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def signals_wait(came: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold signals back for the length of the block; ``came`` is called at each.

    By handlers: a mask is one thread's, and the runtimes' threads would take the signal instead.
    What is ignored, as a hang-up below nohup, stays ignored.
    """
    held: list[int] = []

    def hold(number: int, _frame: object) -> None:
        held.append(number)
        came()

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    taken = [s for s in _HELD if signal.getsignal(s) is not signal.SIG_IGN]
    before = {s: signal.signal(s, hold) for s in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        for came_first in held:
            signal.raise_signal(came_first)


def on_a_thread(work: Callable[[], _T], stop: threading.Event) -> _T:
    """Run ``work`` on another thread, so that no signal is raised inside TensorRT's callbacks.

    A signal sets ``stop`` and comes when ``work`` has ended, as do those behind it: raised here,
    a second Ctrl-C would leave the progress bar's lock taken, and the thread alone.

    Raises:
        KeyboardInterrupt: Ctrl-C came meanwhile.
    """
    made: Future[_T] = Future()

    def run() -> None:
        try:
            made.set_result(work())
        except BaseException as exc:
            made.set_exception(exc)

    thread = threading.Thread(target=run, name="builder")
    with signals_wait(stop.set):
        thread.start()
        thread.join()
    return made.result()
