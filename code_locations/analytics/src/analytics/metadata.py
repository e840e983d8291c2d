"""Rows, columns and column lineage on the events of a finished dbt command."""

from collections.abc import Iterator

from dagster_dbt import DbtCliInvocation
from dagster_dbt.core.dbt_event_iterator import DbtDagsterEventType, DbtEventIterator
from dagster_dbt.errors import DagsterDbtCliRuntimeError
from dbt.adapters.duckdb.connections import DuckDBConnectionManager

from platform_kit.costs import split_by_execution_time


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
    # One thread: the work is Python's, and each thread would open a DuckDB session of its own.
    invocation.postprocessing_threadpool_num_threads = 1
    try:
        counting = DbtEventIterator(iter(events), invocation).fetch_row_counts()
        counted = split_by_execution_time(invocation.context, counting)
        yield from DbtEventIterator(iter(counted), invocation).fetch_column_metadata()
    finally:
        close_session(invocation)
    if failure:
        raise failure


def close_session(invocation: DbtCliInvocation) -> None:
    """Let go of the lakes: dbt's adapter keeps them attached, and a catalog file serves one process at a time."""
    if invocation.adapter:
        invocation.adapter.cleanup_connections()
        DuckDBConnectionManager.close_all_connections()
