"""Rows, columns and column lineage on the events of a finished dbt command."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from dagster_dbt import DbtCliInvocation
from dagster_dbt.core.dbt_event_iterator import DbtDagsterEventType, DbtEventIterator
from dagster_dbt.errors import DagsterDbtCliRuntimeError

from analytics.project import LOCATION
from platform_kit.costs import split_by_execution_time
from platform_kit.lake import LakeResource

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from duckdb import DuckDBPyConnection


def described(invocation: DbtCliInvocation) -> Iterator[DbtDagsterEventType]:
    """The command's events with metadata, and its failure after them.

    dagster-dbt can do this while dbt runs, but for DuckDB it waits for the end of dbt anyway, and it waits in a loop
    without a pause: measured on a year of flights, that took 10 of 17 seconds of processor time, from dbt among others.
    """
    events: list[DbtDagsterEventType] = []
    failure: DagsterDbtCliRuntimeError | None = None
    try:
        events.extend(invocation.stream())
    except DagsterDbtCliRuntimeError as error:
        failure = error  # what was built before it is still built, and is reported first
    if events:
        events = _with_metadata(invocation, events)
    yield from events
    if failure:
        raise failure


def _with_metadata(invocation: DbtCliInvocation, events: list[DbtDagsterEventType]) -> list[DbtDagsterEventType]:
    """The events after dbt has let go of the lakes, which are ours meanwhile: a catalog file serves one process."""
    lakes = {source["database"] for source in invocation.manifest["sources"].values()} - {LOCATION}
    # One thread: the work is Python's, and they share a session.
    invocation.postprocessing_threadpool_num_threads = 1
    with LakeResource(code_location=LOCATION).connect(sorted(lakes)) as session:
        adapter: Any = LakeAdapter(session)
        invocation.adapter = adapter
        counting = DbtEventIterator(iter(events), invocation).fetch_row_counts()
        counted = split_by_execution_time(invocation.context, counting)
        return list(DbtEventIterator(iter(counted), invocation).fetch_column_metadata())


class Column(NamedTuple):
    """A column as DuckDB describes it."""

    name: str
    data_type: str


@dataclass(frozen=True)
class Relation:
    """A table or view, by the names that dbt uses for its parts."""

    database: str
    schema: str
    identifier: str

    @classmethod
    def create(cls, **names: str) -> "Relation":
        """What dbt's relations are made with."""
        return cls(**names)

    def __str__(self) -> str:
        return ".".join('"' + name.replace('"', '""') + '"' for name in (self.database, self.schema, self.identifier))


class LakeAdapter:
    """What dagster-dbt asks of dbt's adapter to describe what was built, answered without dbt (see without_dbt.py)."""

    Relation = Relation

    def __init__(self, session: "DuckDBPyConnection") -> None:
        self._session = session

    def connection_named(self, _name: str) -> "AbstractContextManager[None]":
        """The session, whatever for."""
        return nullcontext()

    def execute(self, query: str, fetch: bool) -> tuple[None, list[Any]]:
        """The answer to a query, and its rows."""
        return None, self._session.execute(query).fetchall() if fetch else []

    def get_columns_in_relation(self, relation: Relation) -> list[Column]:
        """The columns of a table or view, in order."""
        return [Column(name, kind) for name, kind, *_ in self._session.execute(f"DESCRIBE {relation}").fetchall()]
