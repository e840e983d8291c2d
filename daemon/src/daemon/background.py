"""The threads beside Dagster's own: the sweep, the health report, the clock, and the word on what is loaded."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from dagster import DagsterInstance
from dagster._daemon.controller import get_daemon_statuses

from daemon import health
from daemon.clock import LOOK_SECONDS, Clock
from daemon.launches import Launches
from daemon.locations import LocationsFile
from daemon.sweep import Sweep, sweep_once_safely

SWEEP_SECONDS = 30.0
REPORT_SECONDS = 10.0
# A deployment waits for it. Nothing is written unless something changed.
LOCATIONS_SECONDS = 1.0
# A sweep that stops several containers waits for each; one that takes longer than this hangs.
_SWEEP_TOLERANCE_SECONDS = 900
_logger = logging.getLogger("dagster.daemon.health")


class Background:
    """Runs until `stop`; what it does for the daemon must never end the daemon."""

    def __init__(
        self, instance: DagsterInstance, launches: Launches, health_file: Path, tolerance_seconds: int
    ) -> None:
        self._instance = instance
        self._health_file = health_file
        self._tolerance_seconds = tolerance_seconds
        self._sweep = Sweep(instance, launches)
        self._swept_at = time.monotonic()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(SWEEP_SECONDS, self.sweep), name="sweep", daemon=True),
            threading.Thread(target=self._repeat, args=(REPORT_SECONDS, self.report), name="health", daemon=True),
        ]

    def __enter__(self) -> "Background":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def tell(self, file: LocationsFile) -> None:
        """From now on keep a file in step with what is loaded."""
        threading.Thread(
            target=self._repeat, args=(LOCATIONS_SECONDS, lambda: self._write(file)), name="locations", daemon=True
        ).start()

    def watch(self, clock: Clock, act: Callable[[], None]) -> None:
        """From now on look at the clock; act, once, when it has been set back."""

        def look() -> None:
            if not acted and (seconds := clock.set_back()):
                acted.append(True)
                _logger.warning(
                    "The clock was set back by %.0f s: the daemon begins anew, for its loops go by it", seconds
                )
                act()

        acted: list[bool] = []
        threading.Thread(target=self._repeat, args=(LOOK_SECONDS, look), name="clock", daemon=True).start()

    def sweep(self) -> None:
        """Compare containers and runs once."""
        sweep_once_safely(self._sweep)
        self._swept_at = time.monotonic()

    def report(self) -> None:
        """Write down whether all daemons beat and the sweep goes on."""
        try:
            failing = self._silent_daemons()
        except Exception as error:
            _logger.warning("The heartbeats could not be read: %s", error)
            failing = [f"the heartbeats could not be read: {error}"]
        if time.monotonic() - self._swept_at > _SWEEP_TOLERANCE_SECONDS:
            failing.append("the sweep of run containers hangs")
        health.write(self._health_file, failing)

    def _write(self, file: LocationsFile) -> None:
        try:
            file.update()
        except Exception as error:
            _logger.warning("What is loaded could not be written: %s", error)

    def _silent_daemons(self) -> list[str]:
        """The same question as `dagster-daemon liveness-check`."""
        statuses = get_daemon_statuses(
            self._instance,
            self._instance.get_required_daemon_types(),
            heartbeat_tolerance_seconds=self._tolerance_seconds,
            ignore_errors=True,
        )
        return [f"no heartbeat of {name}" for name, status in sorted(statuses.items()) if not status.healthy]

    def _repeat(self, seconds: float, task: Callable[[], None]) -> None:
        task()
        while not self._stop.wait(seconds):
            task()
