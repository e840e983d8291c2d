"""What is done for an allowed request: the runs of one project, through the engine."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from run_broker.audit import Decision
from run_broker.create_request import LOCATION_LABEL, RUN_ID_LABEL, CreateRequest
from run_broker.engine import Engine, EngineError
from run_broker.engine_views import Container, Summary
from run_broker.identity import (
    ONEOFF_LABEL,
    PROJECT_LABEL,
    ROLE,
    ROLE_LABEL,
    SANDBOX_LABEL,
    SERVICE_LABEL,
    WARM_LABEL,
    WARM_ROLE,
    Identity,
)
from run_broker.refusal import Refusal
from run_broker.sandbox import Plan, plan_run
from run_broker.settings import Settings
from run_broker.warm import Warm

LIVE = frozenset({"created", "running", "paused", "restarting"})
NEVER = "0001-01-01T00:00:00Z"


class Runs:
    """Creates, finds, starts and stops the runs of one project. Safe to share between threads."""

    def __init__(self, engine: Engine, identity: Identity, warm: Warm, settings: Settings) -> None:
        """Keep what everything here needs."""
        self._warm = warm
        self._engine = engine
        self._identity = identity
        self._settings = settings
        self._lock = threading.Lock()
        self._creating: set[str] = set()

    def list_runs(self) -> list[Summary]:
        """Every run's container of this project, whatever its state."""
        rows = [
            row
            for role in (ROLE, WARM_ROLE)
            for row in self._engine.list_containers(self._identity.run_labels(role), every=True)
        ]
        return [seen for row in rows for name in row.names if (seen := self._row(row, name))]

    def find(self, identifier: str, decision: Decision) -> Container:
        """A run's container; what is not there and what is not a run of this project get the same answer."""
        found = self.look_at(identifier)
        if found is None:
            raise Refusal(404, "no-such-run", f"No such container: {identifier[:80]}")
        self._describe(decision, found)
        return found

    def create(self, request: CreateRequest, decision: Decision) -> str:
        """The id of a new, complete, not yet started container for the run, or of the one an earlier try left."""
        decision.run, decision.location = request.run_id, request.location
        with self._creating_alone(request.run_id):
            plan = self._plan(request)
            self._warm.learn(request)
            rows = self.list_runs()
            existing = self._existing(request, rows)
            if existing is not None and self._is_for(existing, plan):
                decision.reason = "already-created"
                decision.container = existing.id
                if self._is_warm(existing):
                    # The broker may have stopped between the claim and this.
                    self._warm.tell(existing.id, request)
                else:
                    self._complete(existing.id, plan.networks - existing.network_settings.networks.keys())
                return existing.id
            if existing is not None:
                # Made from a sandbox or an image that is no longer the location's; it was never started.
                decision.reason = "created-anew"
                self.remove(existing)
            self._require_room(rows)
            decision.container = self._warm.claim(request, plan)
            if decision.container:
                decision.reason = "warm"
            else:
                decision.container = self.make(plan)
            return decision.container

    def start(self, identifier: str, decision: Decision) -> bool:
        """Start a container that create made; False when it runs already. A run starts once."""
        container = self.find(identifier, decision)
        if container.state.status == "running":
            decision.reason = "already-started"
            return False
        if container.state.status != "created" or not container.state.started_at.startswith("0001-"):
            raise Refusal(
                409, "started-before", f"the container is {container.state.status}; a run's container is started once"
            )
        with self._lock:
            if decision.run in self._creating:
                raise Refusal(503, "being-created", "the container is still being created; try again")
        if self._is_warm(container):
            self._warm.begin(container.id, decision.location, decision.run)
        else:
            self._engine.start(container.id)
        return True

    def stop(self, identifier: str, seconds: int | None, decision: Decision) -> bool:
        """Stop a run's container; False when it has ended already."""
        container = self.find(identifier, decision)
        if container.state.status not in ("running", "paused", "restarting"):
            decision.reason = "already-stopped"
            return False
        default = container.config.stop_timeout or self._settings.run_stop_timeout
        self._engine.stop(container.id, min(default if seconds is None else seconds, 300))
        return True

    def logs(self, identifier: str, query: Mapping[str, str], limit: int, decision: Decision) -> bytes:
        """The end of a run's output."""
        return self._engine.logs(self.find(identifier, decision).id, query, limit)

    def look_at(self, identifier: str) -> Container | None:
        """A run's container as its callers know runs; None for whatever is none of this project's."""
        found = self._engine.inspect(identifier)
        run_id = self._identity.run_of(found.name, found.config.labels) if found else ""
        if found is None or not run_id:
            return None
        labels = {**found.config.labels, RUN_ID_LABEL: run_id}
        seen: dict[str, object] = {"config": found.config.model_copy(update={"labels": labels})}
        if self._identity.is_claimed(found.name, labels) and found.state.running:
            # It runs, the run does not: to everybody else it is a container that was created and not started.
            since = datetime.fromtimestamp(self._warm.claimed_since(found.id), UTC).isoformat()
            fresh = {"status": "created", "running": False, "started_at": NEVER}
            seen |= {"state": found.state.model_copy(update=fresh), "created": since}
        return found.model_copy(update=seen)

    def remove(self, container: Container) -> None:
        """Remove a container that runs no run: one that has ended, or was never started."""
        if self._is_warm(container) and container.state.status == "created":
            self._warm.discard(container.id)
        else:
            self._engine.remove(container.id)

    def plan_next(self, example: CreateRequest) -> Plan:
        """What a run like `example` would be made from now: its location may have another image since."""
        server = self._code_server(example.location)
        environment = dict(item.partition("=")[::2] for item in server.config.env)
        image = environment.get("DAGSTER_CURRENT_IMAGE") or server.config.image
        return self._plan(replace(example, image=image), server)

    def _row(self, row: Summary, name: str) -> Summary | None:
        run_id = self._identity.run_of(name, row.labels)
        if not run_id:
            return None
        seen: dict[str, object] = {"labels": {**row.labels, RUN_ID_LABEL: run_id}}
        if row.state == "running" and self._identity.is_claimed(name, row.labels):
            seen["state"] = "created"
        return row.model_copy(update=seen)

    @staticmethod
    def _is_warm(container: Container) -> bool:
        return container.config.labels.get(ROLE_LABEL) == WARM_ROLE

    def _is_for(self, container: Container, plan: Plan) -> bool:
        labels = container.config.labels
        if self._is_warm(container):
            return labels.get(WARM_LABEL) == plan.warm
        return labels.get(SANDBOX_LABEL) == plan.digest

    def _plan(self, request: CreateRequest, server: Container | None = None) -> Plan:
        server = server or self._code_server(request.location)
        image = self._engine.inspect_image(request.image)
        if image is None:
            # 404 would make docker-py try to pull it.
            raise Refusal(
                409,
                "absent-image",
                f"the image {request.image} is not on this machine; build or load it, or roll the location back",
            )
        server_image = self._engine.inspect_image(server.image)
        return plan_run(request, server, server_image, image, self._identity, self._settings)

    def _code_server(self, location: str) -> Container:
        """The running code server of a location in this project, never one of its runs."""
        labels = {
            PROJECT_LABEL: self._identity.project,
            SERVICE_LABEL: location,
            LOCATION_LABEL: location,
            # Written by Compose on containers alone. The others are on the image, too: whatever somebody starts from
            # it by hand, to look around, carries them.
            ONEOFF_LABEL: "False",
        }
        rows = self._engine.list_containers(labels, every=False)
        candidates = sorted(
            (row.created, row.id)
            for row in rows
            if row.state == "running"
            and labels.items() <= row.labels.items()
            and row.labels.get(ROLE_LABEL) not in (ROLE, WARM_ROLE)
        )
        # The newest: while Compose replaces a container there may be two.
        found = self._engine.inspect(candidates[-1][1]) if candidates else None
        if found is None or not found.state.running or not labels.items() <= found.config.labels.items():
            raise Refusal(
                503,
                "no-code-server",
                f"no code server of the location {location} is running in the project {self._identity.project}; "
                f"a run is a copy of it: start it (or wait until it has started) and try again",
            )
        return found

    def _existing(self, request: CreateRequest, rows: list[Summary]) -> Container | None:
        """The container that a run id has already, if it was never started; a refusal if it was."""
        for row in rows:
            found = self.look_at(row.id) if row.labels[RUN_ID_LABEL] == request.run_id else None
            if found is None:
                continue
            fresh = found.state.status == "created" and found.state.started_at.startswith("0001-")
            if not fresh or found.config.labels.get(LOCATION_LABEL) != request.location:
                raise Refusal(
                    409,
                    "run-has-container",
                    f"the run {request.run_id} has the container {found.name.removeprefix('/')} "
                    f"({found.id[:12]}), which is {found.state.status}; one run has one container",
                )
            return found
        return None

    def _require_room(self, rows: list[Summary]) -> None:
        live = sum(row.state in LIVE for row in rows)
        if live >= self._settings.run_max_live:
            # 503, which callers try again: the run is delayed until there is room, not failed.
            raise Refusal(
                503,
                "too-many-runs",
                f"{live} containers of runs are alive, the most that RUN_MAX_LIVE={self._settings.run_max_live} allows",
            )

    def make(self, plan: Plan) -> str:
        """A new, complete, not yet started container; its id."""
        try:
            identifier = self._engine.create(plan.name, plan.body)
            self._complete(identifier, frozenset(plan.more_networks))
        except EngineError as error:
            if 400 <= error.status < 500:
                # 404 here means that the image or a network went away after the check; it would make docker-py pull.
                raise Refusal(409, "engine-refused", f"the engine refused the container: {error.message}") from error
            raise
        return identifier

    def _complete(self, identifier: str, networks: frozenset[str]) -> None:
        """Join the remaining networks; a container that cannot have them all is removed, never started without."""
        try:
            for network in sorted(networks):
                self._engine.connect(network, identifier)
        except EngineError:
            self._engine.remove(identifier)
            raise

    @contextmanager
    def _creating_alone(self, run_id: str) -> Iterator[None]:
        """One create a run at a time: a second one would find a container whose networks are not complete."""
        with self._lock:
            if run_id in self._creating:
                raise Refusal(503, "being-created", f"the run {run_id} is being created by another request; try again")
            self._creating.add(run_id)
        try:
            yield
        finally:
            with self._lock:
                self._creating.discard(run_id)

    @staticmethod
    def _describe(decision: Decision, container: Container) -> None:
        labels = container.config.labels
        decision.run, decision.location = labels.get(RUN_ID_LABEL, ""), labels.get(LOCATION_LABEL, "")
        decision.container = container.id
