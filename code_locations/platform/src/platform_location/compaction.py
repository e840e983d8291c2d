"""Small files of a lake, written into larger ones: every commit leaves one, and each costs every reader an opening.

Done as the lake's owner, with no file system but the lake's own (lake_filesystem.py), under the lock that writers
of platform_kit hold. Each table is one transaction, which counts its rows before and after.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module, resources
from pathlib import Path
from typing import TYPE_CHECKING

from platform_kit.lake import limits
from platform_kit.lake.connection import literal, quoted, remember_bucket, retried
from platform_kit.postgres import advisory_lock
from platform_location import database, deployment
from platform_location.lake_filesystem import ADDRESS, LakeFiles

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_LOCK_PATIENCE_SECONDS = 300
_DUCKDB_SHARE = 0.4
# A file with deleted rows is not merged until it is rewritten without them. Always done where that is soon done; in
# larger tables when half of a file is gone.
_SOON_DONE_BYTES = 1 << 30
_REWRITTEN_ABOVE = 0.5

_SMALL = """
SELECT schema_name::text, table_name::text, count(*) FILTER (WHERE f.file_size_bytes < %s), sum(file_size_bytes)
FROM public.ducklake_data_file AS f
JOIN public.ducklake_table AS t ON t.table_id = f.table_id AND t.end_snapshot IS NULL
JOIN public.ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
WHERE f.end_snapshot IS NULL
GROUP BY 1, 2 HAVING count(*) FILTER (WHERE f.file_size_bytes < %s) >= %s ORDER BY 1, 2"""
_FILES = "SELECT count(*) FROM public.ducklake_data_file WHERE end_snapshot IS NULL"


@dataclass(frozen=True)
class SmallFiles:
    """A table of many small files, and the bytes of all its files."""

    schema: str
    table: str
    files: int
    bytes: int


class RowsChangedError(Exception):
    """A table that would have had other rows afterwards."""


def is_empty(catalog: database.Session) -> bool:
    """Whether nothing was ever written to the lake: then its catalog has no tables."""
    return not catalog.ask("SELECT to_regclass('public.ducklake_snapshot')")[0][0]


def small_files(catalog: database.Session, below: int, at_least: int) -> list[SmallFiles]:
    """The tables that have at least so many files smaller than that."""
    return [
        SmallFiles(schema, table, files, int(size))
        for schema, table, files, size in catalog.ask(_SMALL, below, below, at_least)
    ]


def file_count(catalog: database.Session) -> int:
    """The files of all tables as they are now."""
    return int(catalog.ask(_FILES)[0][0])


def compact(location: str, tables: list[SmallFiles]) -> None:
    """Write the small files of these tables into larger ones. Raises `RowsChangedError`, with nothing changed."""
    catalog = database.catalog_of(location)
    with attached(location) as connection:
        for one in tables:
            # The name under which platform_kit's writers lock.
            with advisory_lock(catalog, f"lake {location}.{one.schema}.{one.table}", _LOCK_PATIENCE_SECONDS):
                retried(lambda one=one: _compact(connection, one))  # type: ignore[misc]


def expire(location: str, days: int, *, dry_run: bool) -> int:
    """Give up the snapshots that are older; gives their number. The latest always stays. Deletes no file."""
    with attached(location) as connection:
        rows = connection.execute(
            f"CALL ducklake_expire_snapshots('lake', dry_run => {dry_run}, "
            f"older_than => now() - INTERVAL {int(days)} DAY)"
        ).fetchall()
    return len(rows)


def _compact(connection: "DuckDBPyConnection", one: SmallFiles) -> None:
    table, schema = literal(one.table), literal(one.schema)
    connection.execute("BEGIN TRANSACTION")
    try:
        before = _rows(connection, one)
        which = f"'lake', {table}, schema => {schema}"
        threshold = 0 if one.bytes < _SOON_DONE_BYTES else _REWRITTEN_ABOVE
        connection.execute(f"CALL ducklake_rewrite_data_files({which}, delete_threshold => {threshold})")
        connection.execute(f"CALL ducklake_merge_adjacent_files({which})")
        after = _rows(connection, one)
        if after != before:
            raise RowsChangedError(
                f"{one.schema}.{one.table}: {before} rows, and {after} in larger files; nothing was changed"
            )
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _rows(connection: "DuckDBPyConnection", one: SmallFiles) -> int:
    name = f"lake.{quoted(one.schema)}.{quoted(one.table)}"
    return int(connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0])  # noqa: S608  names are quoted


@contextmanager
def attached(location: str) -> Iterator["DuckDBPyConnection"]:
    """A DuckDB of its own with the location's lake as `lake`, and no other file in reach."""
    import duckdb

    catalog = database.catalog_of(location)
    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{int(limits.memory_bytes() * _DUCKDB_SHARE) >> 20}MiB",
            "threads": limits.cpus(),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )
    try:
        for extension in ("ducklake", "postgres_scanner"):
            _load(connection, extension)
        bucket = deployment.bucket_of(location)
        address = ADDRESS if bucket is None else f"{bucket.address}{location}/"
        if bucket is None:
            connection.register_filesystem(LakeFiles(deployment.lake_of(location)))
        else:
            remember_bucket(connection, bucket)
        values = {
            **{"HOST": catalog.host, "PORT": str(catalog.port), "DATABASE": catalog.database},
            **{"USER": catalog.user, "PASSWORD": catalog.password.reveal()},
        }
        options = ", ".join(f"{key} {literal(value)}" for key, value in values.items())
        connection.execute(f"CREATE SECRET catalog (TYPE postgres, {options})")
        place = f"DATA_PATH {literal(address)}, OVERRIDE_DATA_PATH true, CREATE_IF_NOT_EXISTS false"
        source = "ducklake:postgres:connect_timeout=10 application_name=platform"
        connection.execute(f"ATTACH '{source}' AS lake ({place}, META_SECRET 'catalog')")
        _confine(connection, None if bucket is None else address)
        connection.execute("SET lock_configuration = true")
        yield connection
    finally:
        connection.close()


def _confine(connection: "DuckDBPyConnection", prefix: str | None) -> None:
    """Whatever a catalog names as a place of its files: only the lake's own are opened. On S3 the server refuses the
    owner's key elsewhere as well."""
    if prefix is None:
        connection.execute("SET disabled_filesystems = 'LocalFileSystem'")
        return
    connection.execute(f"SET allowed_directories = [{literal(prefix)}]")
    connection.execute("SET enable_external_access = false")


def _load(connection: "DuckDBPyConnection", extension: str) -> None:
    package = f"duckdb_extension_{extension}"
    version = connection.execute("SELECT library_version FROM pragma_version()").fetchall()[0][0]
    file = Path(str(resources.files(import_module(package)))) / "extensions" / version / f"{extension}.duckdb_extension"
    connection.execute(f"LOAD {literal(file)}")
