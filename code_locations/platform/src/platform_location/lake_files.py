"""Files of a lake that nobody refers to any more.

DuckLake's own cleaning deletes whatever path the catalog names. Here a catalog's word is only ever a name below its own
lake's folder, and a file that the catalog still uses, or that a copy of it may use, stays.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from platform_location import files
from platform_location.clones import Clones
from platform_location.database import Session

_GIVEN_UP = """
SELECT data_file_id, path::text, path_is_relative, schedule_start
FROM public.ducklake_files_scheduled_for_deletion WHERE schedule_start < %s ORDER BY schedule_start"""
_FORGET = "DELETE FROM public.ducklake_files_scheduled_for_deletion WHERE data_file_id = %s AND path = %s"
_USED = "SELECT path::text FROM public.ducklake_data_file UNION SELECT path::text FROM public.ducklake_delete_file"
_WAITING = "SELECT path::text FROM public.ducklake_files_scheduled_for_deletion"
# What DuckLake calls its files: each name has a UUID, so it is one file's, in whatever folder.
FILE_NAME = re.compile(r"ducklake-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(-delete)?\.(parquet|puffin)")


@dataclass
class Deleted:
    """What was deleted of a lake, and what was not, with the reason."""

    files: int = 0
    bytes: int = 0
    held: list[str] = field(default_factory=list)


def delete_given_up(catalog: Session, root: Path, days: int, clones: Clones, *, dry_run: bool) -> Deleted:
    """Delete the files that no snapshot refers to since so many days."""
    deleted = Deleted()
    used = _names(catalog, _USED)
    before = clones.deletable_before(datetime.now(UTC) - timedelta(days=days))
    for file_id, path, relative, _ in catalog.ask(_GIVEN_UP, before):
        try:
            parts = files.parts_of(_below(root, path, relative))
        except files.UnsafePathError as error:
            deleted.held.append(str(error))
            continue
        if parts[-1] in used:
            deleted.held.append(f"{path!r:.200} is in use")
            continue
        found = files.status(root, parts)
        deleted.files += found is not None
        deleted.bytes += found.st_size if found else 0
        if not dry_run:
            files.delete(root, parts)
            catalog.ask(_FORGET, file_id, path)
    return deleted


def delete_orphans(catalog: Session, root: Path, days: int, clones: Clones, *, dry_run: bool) -> Deleted:
    """Delete the files that look like the lake's and that its catalog does not know: what a failed write left."""
    deleted = Deleted()
    before = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    # Looked at before the catalog is asked: what is committed meanwhile is known then.
    old = [(parts, found) for parts, found in _data_files(root) if found.st_mtime < before]
    known = _names(catalog, _USED) | _names(catalog, _WAITING)
    for parts, found in old:
        if parts[-1] in known:
            continue
        if clones.names:
            # After a restore the catalog may be older than the files, and a copy as well.
            deleted.held.append(f"{'/'.join(parts)} while there is a clone")
            continue
        if not dry_run:
            files.delete(root, parts)
        deleted.files += 1
        deleted.bytes += found.st_size
    return deleted


def _below(root: Path, path: str, relative: bool) -> str:
    return path if relative else path.removeprefix(f"{root}/")


def _names(catalog: Session, question: str) -> set[str]:
    return {path.rpartition("/")[2] for (path,) in catalog.ask(question)}


def _data_files(root: Path) -> Iterator[tuple[tuple[str, ...], "files.os.stat_result"]]:
    # Folders with a dot are what a restore lays beside the lake, and what definitions keep: no table's.
    entries = ((parts, found) for parts, found in files.walk(root) if not parts[0].startswith("."))
    return ((parts, found) for parts, found in entries if FILE_NAME.fullmatch(parts[-1]))
