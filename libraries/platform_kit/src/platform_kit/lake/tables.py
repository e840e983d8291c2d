"""Tables of the lake, and the one way they are written: rows of partitions (or all) replaced in one transaction."""

# ruff: noqa: S608  SQL is what this module builds: names are quoted, and a partition expression is the asset's own code.

import dataclasses
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platform_kit.environment import Environment, PostgresCatalog
from platform_kit.lake import schemas
from platform_kit.lake.connection import literal, quoted, retried
from platform_kit.lake.errors import LakeError
from platform_kit.lake.frames import INCOMING, columns_of, register
from platform_kit.lake.partitions import Partitions
from platform_kit.personal.sealing import seal

if TYPE_CHECKING:
    import polars
    from duckdb import DuckDBPyConnection

_LOCK_PATIENCE_SECONDS = 300
_local_locks: dict[str, threading.Lock] = defaultdict(threading.Lock)


@dataclass(frozen=True)
class TableName:
    """A table of a lake. Its text is `catalog.schema.table`."""

    catalog: str
    schema: str
    table: str

    @classmethod
    def of_key(cls, path: Sequence[str], environment: Environment) -> "TableName":
        """The table of an asset key [catalog, schema, table]; locally the schema is the developer's own."""
        if len(path) != 3:
            raise LakeError(f"asset key {'/'.join(path)} has {len(path)} parts: expected catalog/schema/table")
        return cls(path[0], environment.schema(path[1]), path[2])

    @property
    def sql(self) -> str:
        """The name as an SQL identifier."""
        return ".".join(quoted(part) for part in (self.catalog, self.schema, self.table))

    def __str__(self) -> str:
        return f"{self.catalog}.{self.schema}.{self.table}"


@dataclass(frozen=True)
class Written:
    """What a table holds after it was written."""

    rows: int
    written_rows: int
    partition_rows: dict[str, int]
    bytes: int
    snapshot: int | None
    columns: dict[str, str]
    personal: tuple[str, ...] = ()
    """Columns that are sealed."""


def replace(
    connection: "DuckDBPyConnection",
    environment: Environment,
    table: TableName,
    frame: "polars.DataFrame",
    partitions: Partitions | None = None,
    partitioned_by: Sequence[str] = (),
    personal: Sequence[str] = (),
) -> Written:
    """Replace the rows of `partitions` (without them: all rows) of `table` by `frame`, in one transaction.

    A run that is repeated leaves the same rows, a reader sees the old ones or the new ones, and of two writers at once
    one waits for the other. `partitioned_by` are DuckLake partition transforms, used when the table is made. Columns in
    `personal` are sealed, and so are, whatever the caller says, those that the table has sealed already.
    """
    if table.catalog != environment.code_location:
        raise LakeError(
            f"{table} is in the lake of {table.catalog!r}, but this is code location {environment.code_location!r}: "
            "a location writes its own lake only"
        )
    sealed = schemas.personal_columns(connection, table)
    frame, types = seal(frame, dict.fromkeys((*personal, *sealed)), environment)
    register(connection, frame)
    try:
        incoming = schemas.incoming_types(frame, columns_of(connection, INCOMING))
        kind = _check_rows(connection, table, partitions)
        counts = _count(connection, partitions, kind)
        with _only_writer(environment, table):
            new = {name: type_ for name, type_ in types.items() if name not in sealed}
            written = retried(lambda: _transact(connection, table, incoming, partitions, kind, partitioned_by, new))
            return dataclasses.replace(_describe(connection, table, written, counts), personal=tuple(types))
    finally:
        connection.unregister(INCOMING)


def _check_rows(connection: "DuckDBPyConnection", table: TableName, partitions: Partitions | None) -> str:
    """The type of the partition expression; refuses rows of other partitions, which a rerun would store twice."""
    if partitions is None:
        return ""
    expression = partitions.expression
    described = connection.execute(f"DESCRIBE SELECT {expression} FROM {INCOMING}").fetchall()
    kind = str(described[0][1])
    outside, first, last = connection.execute(
        f"SELECT count(*), min({expression}), max({expression}) FROM {INCOMING} "
        f"WHERE ({partitions.predicate(kind)}) IS NOT TRUE"
    ).fetchall()[0]
    if outside:
        keys = [member.key for member in partitions.members]
        span = keys[0] if len(keys) == 1 else f"{keys[0]} to {keys[-1]}"
        raise LakeError(
            f"{outside} rows for {table} are not of the partitions of this run ({span}): their {expression} is from "
            f"{first} to {last}, or NULL. They would be stored again whenever this partition is. Nothing was written."
        )
    return kind


def _count(connection: "DuckDBPyConnection", partitions: Partitions | None, kind: str) -> dict[str, int]:
    if partitions is None:
        return {}
    found: dict[str, int] = dict(connection.execute(partitions.counting(INCOMING, kind)).fetchall())
    return {member.key: found.get(member.key, 0) for member in partitions.members}


def _transact(
    connection: "DuckDBPyConnection",
    table: TableName,
    incoming: dict[str, str],
    partitions: Partitions | None,
    kind: str,
    partitioned_by: Sequence[str],
    newly_personal: Mapping[str, str],
) -> int:
    connection.execute("BEGIN TRANSACTION")
    try:
        schemas.prepare(
            connection, table.sql, f"{quoted(table.catalog)}.{quoted(table.schema)}", incoming, partitioned_by
        )
        schemas.mark_personal(connection, table, newly_personal, partitions is not None)
        where = f" WHERE {partitions.predicate(kind)}" if partitions else ""
        connection.execute(f"DELETE FROM {table.sql}{where}")
        # In order of the partitions, so that Parquet's statistics let a reader of one day skip the others.
        order = f" ORDER BY {partitions.expression}" if partitions and len(partitions.members) > 1 else ""
        inserted = connection.execute(f"INSERT INTO {table.sql} BY NAME FROM {INCOMING}{order}").fetchall()
        connection.execute("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise
    return int(inserted[0][0])


def _roll_back(connection: "DuckDBPyConnection") -> None:
    import duckdb

    with suppress(duckdb.TransactionException):  # a failed COMMIT has ended the transaction already
        connection.execute("ROLLBACK")


def _describe(connection: "DuckDBPyConnection", table: TableName, written: int, counts: dict[str, int]) -> Written:
    catalog, schema, name = (literal(part) for part in (table.catalog, table.schema, table.table))
    size = (
        f"SELECT coalesce(sum(data_file_size_bytes), 0) FROM ducklake_list_files({catalog}, {name}, schema => {schema})"
    )
    snapshot = f"FROM ducklake_current_snapshot({catalog})"
    return Written(
        rows=_one(connection, f"SELECT count(*) FROM {table.sql}"),
        written_rows=written,
        partition_rows=counts,
        bytes=int(_one(connection, size)),
        snapshot=_one(connection, snapshot),
        columns=columns_of(connection, table.sql),
    )


def _one(connection: "DuckDBPyConnection", query: str) -> Any:
    return connection.execute(query).fetchall()[0][0]


@contextmanager
def _only_writer(environment: Environment, table: TableName) -> Iterator[None]:
    """Hold the table's lock: DuckLake lets two inserts pass side by side, two runs of one partition would double it.

    The lock is Postgres' own (advisory, of a session that ends with the process, so none is left behind); a catalog
    file is open in one process at a time, so a lock among its threads is enough.
    """
    catalog = environment.lake_catalog()
    if not isinstance(catalog, PostgresCatalog):
        with _local_locks[f"{catalog.path}/{table}"]:
            yield
        return
    from platform_kit.postgres import advisory_lock

    with advisory_lock(catalog, f"lake {table}", _LOCK_PATIENCE_SECONDS):
        yield
