"""Containers that have done what every run of their location begins with, and wait for a run to do it for.

Each serves one run. It is made in that location's sandbox, as any run is; to give it to a run is to give it the run's
name, which the engine does for one at a time and remembers when the broker does not.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from run_broker.audit import Audit
from run_broker.create_request import CreateRequest
from run_broker.engine import Engine, EngineError
from run_broker.identity import Identity
from run_broker.sandbox import Plan


@dataclass(frozen=True)
class Waiting:
    """A container that no run has: its location, what it can be used for, and since when it is there (Unix time)."""

    id: str
    location: str
    digest: str
    since: float


class Warm:
    """The containers that wait, by location, and what the next one is made from. Safe to share between threads."""

    def __init__(
        self, engine: Engine, identity: Identity, audit: Audit, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing waits yet: `Keeper` finds and makes them."""
        self._engine = engine
        self._identity = identity
        self._audit = audit
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[str, Waiting] = {}
        self._examples: dict[str, CreateRequest] = {}
        self._claimed: dict[str, float] = {}
        self._last = float("-inf")
        # A run was asked for.
        self.asked = threading.Event()

    def learn(self, request: CreateRequest, *, asked: bool = True) -> None:
        """Remember a location's newest run: what is made ready is made ready for one like it."""
        example = replace(request, job_name="warm", memory=None, nano_cpus=None)
        with self._lock:
            if asked:
                self._last = self._clock()
                self.asked.set()
                self._examples[request.location] = example
            else:
                self._examples.setdefault(request.location, example)

    def examples(self) -> dict[str, CreateRequest]:
        """The locations that had a run, each with it."""
        with self._lock:
            return dict(self._examples)

    def quiet(self) -> float:
        """Seconds since a run was last asked for."""
        with self._lock:
            return self._clock() - self._last

    def waiting(self) -> list[Waiting]:
        """Those that wait, the oldest first."""
        with self._lock:
            return sorted(self._waiting.values(), key=lambda each: each.since)

    def add(self, container: Waiting) -> None:
        """One more can be claimed."""
        with self._lock:
            self._waiting[container.id] = container

    def take(self, identifiers: Iterable[str]) -> list[str]:
        """Those of them that still wait; from now on no run can have them."""
        with self._lock:
            return [identifier for identifier in identifiers if self._waiting.pop(identifier, None)]

    def claim(self, request: CreateRequest, plan: Plan) -> str:
        """A waiting container made this run's, its id; empty when none is there that could be."""
        for each in self.waiting():
            if each.location != request.location or each.digest != plan.warm or not self.take([each.id]):
                continue
            if self._hand_over(each, request):
                self._audit.metrics.count("run_broker_warm_claims_total", result="warm")
                return each.id
        self._audit.metrics.count("run_broker_warm_claims_total", result="cold")
        return ""

    def tell(self, identifier: str, request: CreateRequest) -> None:
        """Give a claimed container its run's arguments. Given twice, they are read once."""
        self._engine.send(identifier, _line(arguments=request.arguments, job_name=request.job_name))

    def begin(self, identifier: str, location: str, run_id: str) -> None:
        """Have a claimed container execute its run.

        In this order: after a crash in between, a start that is tried again is told to a process that has begun, which
        does not listen any more. In the other order it would not be told at all.
        """
        self._engine.send(identifier, _line(start=True))
        self._engine.rename(identifier, self._identity.container_name(location, run_id))
        with self._lock:
            self._claimed.pop(identifier, None)

    def claimed_since(self, identifier: str) -> float:
        """When a container was claimed, or first seen so by a broker that had restarted (Unix time)."""
        with self._lock:
            return self._claimed.setdefault(identifier, time.time())

    def discard(self, identifier: str) -> None:
        """End and remove a warm container."""
        with self._lock:
            self._waiting.pop(identifier, None)
            self._claimed.pop(identifier, None)
        self._engine.stop(identifier, 1)
        self._engine.remove(identifier)

    def _hand_over(self, each: Waiting, request: CreateRequest) -> bool:
        try:
            found = self._engine.inspect(each.id)
            if found is None or not found.state.running:
                return False
            self._engine.rename(each.id, self._identity.claimed_name(request.location, request.run_id))
            self.claimed_since(each.id)
            self.tell(each.id, request)
        except EngineError as error:
            # Whatever it is: a run never waits for this, it starts as it would without.
            self._audit.log.write(
                "warm", decision="lost", location=each.location, container=each.id[:12], message=str(error)
            )
            self._forget(each.id)
            return False
        return True

    def _forget(self, identifier: str) -> None:
        try:
            self.discard(identifier)
        except EngineError as error:
            self._audit.log.write("warm", decision="left", container=identifier[:12], message=str(error))


def _line(**values: object) -> bytes:
    """What libraries/run_worker reads: one JSON object a line."""
    return json.dumps(values).encode() + b"\n"
