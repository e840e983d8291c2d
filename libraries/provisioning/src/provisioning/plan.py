"""What the database should be: who exists, who owns what, who reads what. Plain data, no SQL."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

OWNER = "dagster_owner"
SERVICE = "dagster"
DAGSTER = "dagster"  # the database

# Out of 300 connections: webserver and daemon together, and each location, so that one with a hundred runs, or a leak,
# leaves room for the others and for Dagster itself.
OWNER_CONNECTIONS = 5
SERVICE_CONNECTIONS = 80
LOCATION_CONNECTIONS = 100

# The tables from which a run deletes: pool slots and waiting steps that it gives back, and dynamic partitions that its
# code removes. Everything else of Dagster's history is append-only for it.
LOCATION_DELETES = ("concurrency_limits", "concurrency_slots", "dynamic_partitions", "pending_steps")
# Tables that only webserver and daemon write. Writing there, a location could switch off another's schedules, start
# backfills of its assets, move the daemon's cursors, or claim that a dead daemon lives.
LOCATION_READS = (
    "alembic_version",
    "asset_daemon_asset_evaluations",
    "backfill_tags",
    "bulk_actions",
    "daemon_heartbeats",
    "instance_info",
    "instigators",
    "job_ticks",
    "jobs",
    "kvs",
    "secondary_indexes",
    "snapshots",
)
# Retention: from these a location that keeps others in order deletes. Never a run that goes on: guard.py.
MAINTAINER_DELETES = ("asset_check_executions", "asset_event_tags", "event_logs", "runs")
# A run tells how it goes; that there is one, only webserver and daemon say. Which rows and what of them: guard.py.
LOCATION_UPDATES = ("runs",)
# What was told stays as it was told: with UPDATE a location could date back or hide what another's run has said.
LOCATION_INSERTS = ("event_logs",)
# The states a run's own process reports. QUEUED, for one, would have the daemon execute it again.
RUN_STATES = ("STARTED", "CANCELING", "SUCCESS", "FAILURE", "CANCELED")
# The states in which a run has ended. Only then may its record be deleted.
FINAL_STATES = ("SUCCESS", "FAILURE", "CANCELED")
# Tags that webserver and daemon write and rely on: the queue's limit for each location, and who asked for the run.
KEPT_TAGS = ("dagster/code_location", "user")


@dataclass(frozen=True)
class Role:
    """A login and how much of the server it may take."""

    name: str
    connections: int
    # Settings of its sessions, by database.
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Lake:
    """A lake's catalog: a database that its location owns and that other locations may read."""

    owner: str
    readers: tuple[str, ...] = ()

    @property
    def database(self) -> str:
        """The database's name."""
        return f"lake_{self.owner}"


@dataclass(frozen=True)
class Plan:
    """All of it."""

    roles: tuple[Role, ...]
    lakes: tuple[Lake, ...]
    # Locations that keep others' lakes, logs and the history in order.
    maintainers: tuple[str, ...] = ()

    @property
    def locations(self) -> tuple[str, ...]:
        """The roles of code locations."""
        return tuple(lake.owner for lake in self.lakes)

    def role(self, name: str) -> Role:
        """The role of this name."""
        return next(role for role in self.roles if role.name == name)

    def lake(self, owner: str) -> Lake:
        """The lake of a location."""
        return next(lake for lake in self.lakes if lake.owner == owner)


def make_plan(reads: Mapping[str, Iterable[str]], maintainers: Iterable[str] = ()) -> Plan:
    """The plan for these code locations; `reads` says of each whose lakes it may read."""
    lakes = tuple(
        Lake(name, tuple(reader for reader in sorted(reads) if reader != name and name in set(reads[reader])))
        for name in sorted(reads)
    )
    # Dagster's statements are short. One that runs for minutes is a mistake that holds a connection and its locks.
    dagster = {"statement_timeout": "5min", "idle_in_transaction_session_timeout": "2min"}
    services = (
        Role(OWNER, OWNER_CONNECTIONS),
        Role(SERVICE, SERVICE_CONNECTIONS, {DAGSTER: {**dagster, "statement_timeout": "10min"}}),
    )
    # A lake's transaction is open while its files are written, which is hours for a large load, not a mistake.
    lake = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "12h"}
    databases = [one.database for one in lakes]
    locations = tuple(
        Role(name, LOCATION_CONNECTIONS, {DAGSTER: dagster, **dict.fromkeys(databases, lake)}) for name in sorted(reads)
    )
    return Plan((*services, *locations), lakes, tuple(sorted(maintainers)))
