"""Removes the containers of runs that have ended, once their evidence is no longer needed. Never one that lives."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from run_broker.audit import Audit
from run_broker.create_request import LOCATION_LABEL, RUN_ID_LABEL
from run_broker.engine import Engine, EngineError
from run_broker.engine_views import Container, Summary
from run_broker.runs import Runs
from run_broker.settings import Settings
from run_broker.units import parse_timestamp

STATES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")


class Reaper:
    """Looks at the runs' containers now and then, in a thread of its own."""

    def __init__(
        self, engine: Engine, runs: Runs, audit: Audit, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        """Nothing happens before `start`."""
        self._engine = engine
        self._runs = runs
        self._audit = audit
        self._settings = settings
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="reaper", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking, after the removal under way."""
        self._stopping.set()
        self._thread.join(5)

    def reap(self) -> None:
        """Remove what is due now."""
        rows = self._runs.list_runs()
        states = Counter(row.state for row in rows)
        for state in STATES:
            self._audit.metrics.set("run_broker_runs", states[state], state=state)
        for container, why in self._due(rows):
            self._remove(container, why)

    def _due(self, rows: list[Summary]) -> Iterator[tuple[Container, str]]:
        """What is to go, and why: by age first, then the oldest beyond the number that is kept."""
        kept: list[tuple[float, Container]] = []
        for row in rows:
            if row.state not in ("created", "exited", "dead"):
                continue
            container = self._runs.look_at(row.id)
            if container is None:
                continue
            since, why = self._judge(container)
            if why:
                yield container, why
            elif row.state != "created":
                kept.append((since, container))
        kept.sort(key=lambda item: item[0])
        for _, container in kept[: max(0, len(kept) - self._settings.run_keep_max)]:
            yield container, "too-many"

    def _judge(self, container: Container) -> tuple[float, str]:
        """When a container's time began, and why it is over (empty: it is not)."""
        state = container.state
        created = parse_timestamp(container.created) or 0.0
        ended = parse_timestamp(state.finished_at) or created
        if state.status == "created":
            why, keep, since = "never-started", self._settings.run_keep_never_started, created
        elif state.status == "exited" and state.exit_code == 0 and not state.oom_killed:
            why, keep, since = "succeeded", self._settings.run_keep_succeeded, ended
        else:
            why, keep, since = "failed", self._settings.run_keep_failed, ended
        return since, why if self._clock() - since >= keep else ""

    def _remove(self, container: Container, why: str) -> None:
        details = {
            "run": container.config.labels.get(RUN_ID_LABEL, ""),
            "location": container.config.labels.get(LOCATION_LABEL, ""),
            "container": container.id[:12],
            "reason": why,
        }
        try:
            self._runs.remove(container)
        except EngineError as error:
            if error.status == 404:
                return
            self._audit.metrics.count("run_broker_reap_errors_total")
            self._audit.log.write("reap", decision="failed", message=str(error), **details)
            return
        self._audit.metrics.count("run_broker_reaped_total", reason=why)
        self._audit.log.write("reap", decision="removed", **details)

    def _loop(self) -> None:
        while not self._stopping.wait(self._settings.broker_reap_interval):
            try:
                self.reap()
            except EngineError as error:
                self._audit.metrics.count("run_broker_reap_errors_total")
                self._audit.log.write("reap", decision="failed", reason="engine", message=str(error))
