"""The machine's clock, set back: Dagster's loops wait by it, and would stand still for as long.

Retries, monitoring, sensors and backfills each wait until their next look by the time of day. A clock that an operator,
or a machine's first contact with a time server, sets back by an hour would keep them waiting for an hour.
"""

import time
from collections.abc import Callable

LOOK_SECONDS = 1.0
# What is less than this delays a look by as much, and by no more.
STEP_SECONDS = 10.0


class Clock:
    """Compares the time of day with a clock that nobody sets."""

    def __init__(
        self, time_of_day: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._time_of_day, self._steady = time_of_day, steady
        self._furthest = self._offset()

    def set_back(self) -> float:
        """By how many seconds the clock is behind the furthest that it was; 0 where that is no matter."""
        offset = self._offset()
        self._furthest = max(self._furthest, offset)
        behind = self._furthest - offset
        return behind if behind >= STEP_SECONDS else 0.0

    def _offset(self) -> float:
        return self._time_of_day() - self._steady()
