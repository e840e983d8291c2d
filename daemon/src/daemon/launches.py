"""Which runs this daemon launches: a run that is STARTING and not among them waits for nobody."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Longer than it takes to read the runs that are STARTING, which this is compared with.
REMEMBERED_SECONDS = 30.0


class Launches:
    """The launches of this process. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._under_way: set[str] = set()
        self._ended: dict[str, float] = {}

    @contextmanager
    def of(self, run_id: str) -> Iterator[None]:
        """The launch of a run, from its first event to whatever end."""
        with self._lock:
            self._under_way.add(run_id)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.discard(run_id)
                self._ended[run_id] = self._clock()

    def recent(self) -> set[str]:
        """Runs whose launch is under way, or has ended a moment ago: what somebody just read of them may be older."""
        with self._lock:
            since = self._clock() - REMEMBERED_SECONDS
            self._ended = {run_id: at for run_id, at in self._ended.items() if at > since}
            return self._under_way | self._ended.keys()
