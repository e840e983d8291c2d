"""Signals that ask a verb to end, so that it ends in one way: as by Ctrl-C."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def as_interrupts() -> Iterator[None]:
    """A closed terminal and `kill` end the block as Ctrl-C does: in order. Raises `KeyboardInterrupt` where they come.

    In another than the main thread it changes nothing, as Python lets none but that one say so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.getsignal(each) for each in SIGNALS}
    for each in before:
        signal.signal(each, _interrupt)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def ignore() -> None:
    """From here on none of them ends anything: for what must not be left half done, and takes seconds."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
