"""Production's register of clones: while a lake's clone is in it, no file that the clone may refer to is deleted.

The contract is in docs/locations/platform.md: first the row, then the copy; the row goes when the copy is gone.
"""

from collections.abc import Iterable

from operations.branches import postgres
from operations.context import Context

TABLE = "provisioning.lake_clones"
DATABASE = "dagster"


def register(origin: Context, server: str, lakes: Iterable[str], clone: str) -> None:
    """Write down that these lakes are about to be copied. A row that is there keeps its time, the safer one."""
    rows = ", ".join(f"({postgres.literal(lake)}, {postgres.literal(clone)})" for lake in lakes)
    statement = f"INSERT INTO {TABLE} (lake, clone) VALUES {rows} ON CONFLICT DO NOTHING;"  # noqa: S608 - quoted
    origin.executor.run(postgres.psql(server, DATABASE), stdin=statement, timeout=60)


def forget(origin: Context, server: str, clone: str) -> None:
    """The copies are gone. Does nothing for a clone that is not in it."""
    statement = f"DELETE FROM {TABLE} WHERE clone = {postgres.literal(clone)};"  # noqa: S608 - quoted
    origin.executor.run(postgres.psql(server, DATABASE), stdin=statement, timeout=60)


def clones(origin: Context, server: str) -> set[str]:
    """All that are registered."""
    query = f"SELECT DISTINCT clone FROM {TABLE};"  # noqa: S608 - a constant
    return {row[0] for row in postgres.ask(origin, server, DATABASE, query)}
