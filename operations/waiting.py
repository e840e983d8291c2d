"""Waiting for conditions, with an end to it."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(ask: Callable[[], T | None], seconds: float, pause: float = 1.0) -> T | None:
    """Ask until there is an answer; None when there is none in time."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer is not None or time.monotonic() >= end:
            return answer
        time.sleep(pause)
