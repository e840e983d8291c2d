"""What the lakes' catalogs say: which files there have to be, which tables there are, and how many rows they have.

A lake's database is its owner's, who may have planted a function in it. So it is read as that owner and nobody else,
and what it says is only ever compared, never followed.
"""

import resource
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2.errors
from psycopg2.sql import SQL, Identifier

from backup import postgres
from backup.postgres import Session

# A catalog of a million files is read in seconds; whatever one team has made of its own, the others' backup goes on.
_SECONDS = 120.0
_MOST = 2_000_000
# Of all lakes together: a million files. The container has three times as much, for one lake more while it is read.
_BYTES = 256 * 1024 * 1024
_BYTES_OF_AN_ENTRY = 120
# No longer is what any question below gives, for the functions that it names may be the owner's, and so may its types;
# `pg_catalog.left` and `::bigint` are the server's own whatever the search path has become.
_LONGEST = 4096
# What else an owner can make grow are the server's words, such as an error of a gigabyte.
_GROWTH = 384 * 1024 * 1024
_TOO_LARGE = "it is too large to be looked through"
_LAKES = """
SELECT datname::text, pg_catalog.pg_get_userbyid(datdba)::text FROM pg_catalog.pg_database
WHERE datname LIKE 'lake\\_%' AND datallowconn ORDER BY 1"""
_IS_EMPTY = "SELECT to_regclass('public.ducklake_snapshot') IS NULL"
_SNAPSHOT = "SELECT max(snapshot_id)::bigint FROM public.ducklake_snapshot"
_DATA_PATH = """
SELECT pg_catalog.left(value::text, %(longest)s) FROM public.ducklake_metadata
WHERE key = 'data_path' AND scope IS NULL LIMIT 1"""
# All files of all snapshots that are kept, so that time travel comes back as well. A table or schema that was renamed
# has several rows and one path.
_FILES = """
WITH tables AS (
    SELECT DISTINCT ON (t.table_id) t.table_id,
        CASE WHEN t.path_is_relative THEN CASE WHEN s.path_is_relative THEN %(root)s || s.path ELSE s.path END || t.path
             ELSE t.path END AS folder
    FROM public.ducklake_table AS t
    LEFT JOIN (SELECT DISTINCT ON (schema_id) schema_id, path, path_is_relative FROM public.ducklake_schema
               ORDER BY schema_id, begin_snapshot DESC) AS s ON s.schema_id = t.schema_id
    ORDER BY t.table_id, t.begin_snapshot DESC)
SELECT pg_catalog.left(
         CASE WHEN f.path_is_relative THEN coalesce(tables.folder, %(root)s) || f.path ELSE f.path END::text,
         %(longest)s),
       f.file_size_bytes::bigint
FROM (SELECT table_id, path, path_is_relative, file_size_bytes FROM public.ducklake_data_file
      UNION ALL SELECT table_id, path, path_is_relative, file_size_bytes FROM public.ducklake_delete_file) AS f
LEFT JOIN tables ON tables.table_id = f.table_id LIMIT %(most)s"""
_TABLES = """
SELECT t.table_id::bigint, pg_catalog.left((s.schema_name || '.' || t.table_name)::text, %(longest)s),
  ((SELECT coalesce(sum(f.record_count), 0) FROM public.ducklake_data_file AS f WHERE f.table_id = t.table_id
     AND f.begin_snapshot <= %(at)s AND (f.end_snapshot IS NULL OR f.end_snapshot > %(at)s))
  - (SELECT coalesce(sum(d.delete_count), 0) FROM public.ducklake_delete_file AS d WHERE d.table_id = t.table_id
     AND d.begin_snapshot <= %(at)s AND (d.end_snapshot IS NULL OR d.end_snapshot > %(at)s)))::bigint
FROM public.ducklake_table AS t JOIN public.ducklake_schema AS s ON s.schema_id = t.schema_id
WHERE t.begin_snapshot <= %(at)s AND (t.end_snapshot IS NULL OR t.end_snapshot > %(at)s)
  AND s.begin_snapshot <= %(at)s AND (s.end_snapshot IS NULL OR s.end_snapshot > %(at)s) ORDER BY 2 LIMIT %(most)s"""
# Small writes stay in the catalog itself, in tables of their own.
_INLINED = """
SELECT table_id::bigint, pg_catalog.left(table_name::text, %(longest)s) FROM public.ducklake_inlined_data_tables
LIMIT %(most)s"""
_INLINED_ROWS = """
SELECT count(*)::bigint FROM {} WHERE begin_snapshot <= %(at)s AND (end_snapshot IS NULL OR end_snapshot > %(at)s)"""
_INLINED_DELETES = "SELECT to_regclass('public.ducklake_inlined_delete_' || %s) IS NOT NULL"
_DELETED = "SELECT count(*)::bigint FROM {} WHERE begin_snapshot <= %(at)s"


@dataclass
class Lake:
    """A lake as its catalog describes it; `problem` says why it could not be read."""

    database: str
    snapshot: int | None = None
    tables: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    problem: str = ""
    bucket: str = ""
    """Where its tables are when they are on S3: then their files are in no backup, and not among `files`."""

    def as_dict(self) -> dict[str, Any]:
        """What the manifest keeps of it: the files themselves are in the catalog."""
        return {**vars(self), "files": len(self.files), "bytes": sum(self.files.values())}


def read(sockets: Path, at: dict[str, int | None] | None = None) -> list[Lake]:
    """All lakes of the server; rows as they were at these snapshots, or now."""
    with postgres.session(sockets, "postgres") as session:
        owners = dict(session.ask(_LAKES))
    lakes: dict[str, Lake] = {}
    sizes: dict[str, int] = {}
    for database, owner in owners.items():
        lake, size = Lake(database), _Size()
        try:
            with _bounded(), postgres.session(sockets, database, owner, frozen=True, seconds=_SECONDS) as catalog:
                _read(catalog, lake, (at or {}).get(database), size)
        except (TimeoutError, psycopg2.errors.QueryCanceled, psycopg2.errors.LockNotAvailable):
            # What sleeps in it, or holds a lock, was put there by its owner.
            lake = Lake(database, problem=f"it does not answer within {_SECONDS:g} s")
        except Exception as error:
            # Whatever one team has made of its catalog, the others are backed up.
            lake = Lake(database, problem=_words(error))
        lakes[database], sizes[database] = lake, 0 if lake.problem else size.bytes
        while sum(sizes.values()) > _BYTES:
            largest = max(sizes, key=sizes.__getitem__)
            lakes[largest], sizes[largest] = Lake(largest, problem=_TOO_LARGE), 0
    return list(lakes.values())


def _words(error: Exception) -> str:
    told = str(error)[:1000] if not isinstance(error, MemoryError) else _TOO_LARGE
    return " ".join(f"{type(error).__name__}: {told}".split())[:300]


@contextmanager
def _bounded() -> Iterator[None]:
    """What needs more memory fails, instead of the whole process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    wanted = pages * resource.getpagesize() + _GROWTH
    resource.setrlimit(resource.RLIMIT_AS, (min([wanted, *(each for each in (soft, hard) if each >= 0)]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@dataclass
class _Size:
    """What has been read of one catalog; more than may be held of all is an error."""

    bytes: int = 0

    def add(self, text: str) -> str:
        """Another name, which is given back. Raises `ValueError` when it is one too many, or too long a one."""
        self.bytes += sys.getsizeof(text) + _BYTES_OF_AN_ENTRY
        if len(text) > _LONGEST:
            raise ValueError(f"a name in it is longer than {_LONGEST} characters: {text[:40]}…")
        if self.bytes > _BYTES:
            raise ValueError(_TOO_LARGE)
        return text


def _read(catalog: Session, lake: Lake, at: int | None, size: _Size) -> None:
    if catalog.ask(_IS_EMPTY)[0][0]:
        return
    lake.snapshot = int(catalog.ask(_SNAPSHOT)[0][0]) if at is None else at
    bounds = {"longest": _LONGEST + 1, "most": _MOST + 1, "at": lake.snapshot}
    root = size.add(catalog.ask(_DATA_PATH, bounds)[0][0])
    lake.bucket = root if root.startswith("s3://") else ""
    for path, length in _at_most("files", catalog.each(_FILES, {**bounds, "root": root})):
        if not (lake.bucket and path.startswith(lake.bucket)):
            lake.files[size.add(path)] = length
    names: dict[int, str] = {}
    rows: dict[int, int] = {}
    for number, name, count in _at_most("tables", catalog.each(_TABLES, bounds)):
        names[number], rows[number] = size.add(name), count
    inlined = [(number, size.add(name)) for number, name in _at_most("tables", catalog.each(_INLINED, bounds))]
    for number, name in inlined:
        if number in rows:
            rows[number] += _count(catalog, _INLINED_ROWS, name, bounds)
    for number in rows:
        if catalog.ask(_INLINED_DELETES, (str(number),))[0][0]:
            rows[number] -= _count(catalog, _DELETED, f"ducklake_inlined_delete_{number}", bounds)
    lake.tables = {name: rows[number] for number, name in names.items()}


def _at_most(what: str, rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    for number, row in enumerate(rows):
        if number == _MOST:
            raise ValueError(f"it names more than {_MOST} {what}")
        yield row


def _count(catalog: Session, question: str, table: str, moment: Mapping[str, int | None]) -> int:
    return int(catalog.ask(SQL(question).format(Identifier("public", table)), moment)[0][0])
