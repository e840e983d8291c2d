"""What the lakes' catalogs say: which files there have to be, which tables there are, and how many rows they have.

A lake's database is its owner's, who may have planted a function in it. So it is read as that owner and nobody else,
and what it says is only ever compared, never followed.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from psycopg2.sql import SQL, Identifier

from backup import postgres
from backup.postgres import Session

_LAKES = """
SELECT datname::text, pg_catalog.pg_get_userbyid(datdba)::text FROM pg_catalog.pg_database
WHERE datname LIKE 'lake\\_%' AND datallowconn ORDER BY 1"""
_IS_EMPTY = "SELECT to_regclass('public.ducklake_snapshot') IS NULL"
_SNAPSHOT = "SELECT max(snapshot_id) FROM public.ducklake_snapshot"
_DATA_PATH = "SELECT value::text FROM public.ducklake_metadata WHERE key = 'data_path' AND scope IS NULL"
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
SELECT CASE WHEN f.path_is_relative THEN coalesce(tables.folder, %(root)s) || f.path ELSE f.path END::text,
       f.file_size_bytes
FROM (SELECT table_id, path, path_is_relative, file_size_bytes FROM public.ducklake_data_file
      UNION ALL SELECT table_id, path, path_is_relative, file_size_bytes FROM public.ducklake_delete_file) AS f
LEFT JOIN tables ON tables.table_id = f.table_id"""
_TABLES = """
SELECT t.table_id, s.schema_name || '.' || t.table_name,
  (SELECT coalesce(sum(f.record_count), 0) FROM public.ducklake_data_file AS f WHERE f.table_id = t.table_id
     AND f.begin_snapshot <= %(at)s AND (f.end_snapshot IS NULL OR f.end_snapshot > %(at)s))
  - (SELECT coalesce(sum(d.delete_count), 0) FROM public.ducklake_delete_file AS d WHERE d.table_id = t.table_id
     AND d.begin_snapshot <= %(at)s AND (d.end_snapshot IS NULL OR d.end_snapshot > %(at)s))
FROM public.ducklake_table AS t JOIN public.ducklake_schema AS s ON s.schema_id = t.schema_id
WHERE t.begin_snapshot <= %(at)s AND (t.end_snapshot IS NULL OR t.end_snapshot > %(at)s)
  AND s.begin_snapshot <= %(at)s AND (s.end_snapshot IS NULL OR s.end_snapshot > %(at)s) ORDER BY 2"""
# Small writes stay in the catalog itself, in tables of their own.
_INLINED = "SELECT table_id, table_name::text FROM public.ducklake_inlined_data_tables ORDER BY 1, 2"
_INLINED_ROWS = """
SELECT count(*) FROM {} WHERE begin_snapshot <= %(at)s AND (end_snapshot IS NULL OR end_snapshot > %(at)s)"""
_INLINED_DELETES = "SELECT to_regclass('public.ducklake_inlined_delete_' || %s)::text"
_DELETED = "SELECT count(*) FROM {} WHERE begin_snapshot <= %(at)s"


@dataclass
class Lake:
    """A lake as its catalog describes it; `problem` says why it could not be read."""

    database: str
    snapshot: int | None = None
    tables: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    problem: str = ""

    def as_dict(self) -> dict[str, Any]:
        """What the manifest keeps of it: the files themselves are in the catalog."""
        told = asdict(self)
        told["files"] = len(self.files)
        told["bytes"] = sum(self.files.values())
        return told


def read(sockets: Path, at: dict[str, int | None] | None = None) -> list[Lake]:
    """All lakes of the server; rows as they were at these snapshots, or now."""
    with postgres.session(sockets, "postgres") as session:
        owners = dict(session.ask(_LAKES))
    lakes = []
    for database, owner in owners.items():
        lake = Lake(database)
        try:
            with postgres.session(sockets, database, owner, frozen=True) as catalog:
                _read(catalog, lake, (at or {}).get(database))
        except Exception as error:
            # Whatever one team has made of its catalog, the others are backed up.
            lake.problem = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        lakes.append(lake)
    return lakes


def _read(catalog: Session, lake: Lake, at: int | None) -> None:
    if catalog.ask(_IS_EMPTY)[0][0]:
        return
    lake.snapshot = int(catalog.ask(_SNAPSHOT)[0][0]) if at is None else at
    root = catalog.ask(_DATA_PATH)[0][0]
    lake.files = {str(path): int(size) for path, size in catalog.ask(_FILES, {"root": root})}
    moment = {"at": lake.snapshot}
    names: dict[int, str] = {}
    rows: dict[int, int] = {}
    for number, name, count in catalog.ask(_TABLES, moment):
        names[int(number)], rows[int(number)] = str(name), int(count)
    for number, inlined in catalog.ask(_INLINED):
        if int(number) in rows:
            rows[int(number)] += _count(catalog, _INLINED_ROWS, str(inlined), moment)
    for number in rows:
        if catalog.ask(_INLINED_DELETES, (str(number),))[0][0]:
            rows[number] -= _count(catalog, _DELETED, f"ducklake_inlined_delete_{number}", moment)
    lake.tables = {name: rows[number] for number, name in names.items()}


def _count(catalog: Session, question: str, table: str, moment: Mapping[str, int | None]) -> int:
    return int(catalog.ask(SQL(question).format(Identifier("public", table)), moment)[0][0])
