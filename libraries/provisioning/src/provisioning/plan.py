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
# What a run writes of a row that it adds. Never its number: sensors and pages count on by it, so with one of its own
# choice a location could put all that is told later behind its row, or in the way of it. Runs alone are not added: that
# there is one, and what is executed, only webserver and daemon say.
_ASSET = ("last_materialization", "last_materialization_timestamp", "last_run_id")
_CHECK = (
    "evaluation_event",
    "evaluation_event_storage_id",
    "evaluation_event_timestamp",
    "execution_status",
    "materialization_event_storage_id",
    "partition",
)
LOCATION_INSERTS: Mapping[str, tuple[str, ...]] = {
    "asset_check_executions": ("asset_key", "check_name", "run_id", *_CHECK),
    "asset_event_tags": ("asset_key", "event_id", "event_timestamp", "key", "value"),
    "asset_keys": ("asset_key", *_ASSET),
    "concurrency_limits": ("concurrency_key", "limit", "using_default_limit"),
    "concurrency_slots": ("concurrency_key", "deleted", "run_id", "step_key"),
    "dynamic_partitions": ("partition", "partitions_def_name"),
    "event_logs": ("asset_key", "dagster_event_type", "event", "partition", "run_id", "step_key", "timestamp"),
    "pending_steps": ("assigned_timestamp", "concurrency_key", "priority", "run_id", "step_key"),
    "run_tags": ("key", "run_id", "value"),
}
# What it changes of a row that is there. A right on columns lets nobody lock the table, as one on the table would. What
# was told stays as it was told, and whether an asset counts as wiped is the services' word.
LOCATION_UPDATES: Mapping[str, tuple[str, ...]] = {
    "asset_check_executions": _CHECK,
    "asset_keys": ("cached_status_data", *_ASSET),
    "concurrency_limits": ("limit", "using_default_limit"),
    "concurrency_slots": ("deleted", "run_id", "step_key"),
    "pending_steps": ("assigned_timestamp",),
    "run_tags": ("value",),
    # Which rows and what of them: guard.py.
    "runs": ("end_time", "partition", "partition_set", "run_body", "start_time", "status", "update_timestamp"),
}
# Retention: from these a location that keeps others in order deletes. Never a run that goes on: guard.py.
MAINTAINER_DELETES = ("asset_check_executions", "asset_event_tags", "event_logs", "runs")
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
