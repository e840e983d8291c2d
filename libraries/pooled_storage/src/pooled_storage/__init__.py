"""Dagster's storage in Postgres over connections that are kept.

Dagster's own class opens a connection for every statement, because a process may hold many instances. Ours hold one,
and to open a connection costs more than what is then asked: 300 events took 7.1 s without and 0.8 s with a pool.
"""

# ruff: noqa: E402 - what is imported first decides what the rest imports.

from collections.abc import Callable
from typing import Any

from pooled_storage.deferred import defer

defer()

import sqlalchemy
from dagster import RunsFilter
from dagster._core.storage.runs import SqlRunStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import create_pg_engine, get_token_provider_from_config, pg_url_from_config

from pooled_storage.stored_runs import checked

# Kept by each process: one for its own thread, one for what runs beside it. More are opened when needed, and closed.
KEPT = 2
MOST = 20
# A server or a firewall in between may drop what was quiet for long.
RECYCLE_SECONDS = 600


class PooledPostgresStorage(DagsterPostgresStorage):
    """Runs, events and schedules over one pool of connections. Settings are those of Dagster's own class.

    A connection that died while nobody used it (the database was restarted) is replaced before it is used, so that
    a restart costs a process nothing but the statement that was under way.

    A run that could not report its state is refused when it is made.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        engine = create_pg_engine(
            self.postgres_url,
            settings.get("token_provider"),
            isolation_level="AUTOCOMMIT",
            pool_size=KEPT,
            max_overflow=MOST - KEPT,
            pool_recycle=RECYCLE_SECONDS,
            pool_pre_ping=True,
            # The one used last: what is not needed grows old and is closed.
            pool_use_lifo=True,
        )
        for storage in (self._event_log_storage, self._run_storage, self._schedule_storage):
            storage._engine = engine
            # The webserver asks for a pool of each part's own, which would not notice connections that died.
            setattr(storage, "optimize_for_webserver", _keep)  # noqa: B010 - a method, to mypy
        runs = self._run_storage
        setattr(runs, "add_run", checked(runs.add_run))  # noqa: B010 - the same
        setattr(runs, "get_runs_count", _counted(runs))  # noqa: B010 - the same
        events = self._event_log_storage
        setattr(events, "has_table", _remembered(events.has_table))  # noqa: B010 - the same

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> "PooledPostgresStorage":
        """Made by Dagster from dagster.yaml."""
        return cls(
            inst_data=inst_data,
            postgres_url=pg_url_from_config(config_value),
            should_autocreate_tables=config_value.get("should_autocreate_tables", True),
            token_provider=get_token_provider_from_config(config_value),
        )


def _keep(statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
    """The pool stays; how long a statement may take is a setting of the role."""


def _remembered(has_table: Callable[[str], bool]) -> Callable[[str], bool]:
    """The question whether a table is there, asked until it is: Dagster asks it for each evaluation of a check."""
    there: set[str] = set()

    def remembered(name: str) -> bool:
        if name not in there and has_table(name):
            there.add(name)
        return name in there

    return remembered


def _counted(runs: SqlRunStorage) -> Callable[[RunsFilter | None], int]:
    """How many runs there are, without the sorting that Dagster's own statement does before it counts."""

    def get_runs_count(filters: RunsFilter | None = None) -> int:
        found = runs._runs_query(filters=filters, columns=["id"]).order_by(None)
        row = runs.fetchone(sqlalchemy.select(sqlalchemy.func.count().label("runs")).select_from(found.subquery()))
        return int(row["runs"]) if row else 0

    return get_runs_count
