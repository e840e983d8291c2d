"""Files on S3 that nobody refers to any more.

DuckLake deletes them itself, in a DuckDB that opens nothing but the lake's own prefix (compaction.py), with the key of
the lake's owner: whatever a catalog names, nothing is deleted that its owner could not delete.
"""

from datetime import UTC, datetime, timedelta

from platform_location import compaction
from platform_location.clones import Clones
from platform_location.lake_files import FILE_NAME, Deleted


def delete_given_up(location: str, days: int, clones: Clones, *, dry_run: bool) -> Deleted:
    """Delete the files that no snapshot refers to since so many days."""
    before = clones.deletable_before(datetime.now(UTC) - timedelta(days=days))
    return Deleted(files=len(_call(location, "ducklake_cleanup_old_files", before, dry_run=dry_run)))


def delete_orphans(location: str, days: int, clones: Clones, *, dry_run: bool) -> Deleted:
    """Delete the files below the lake's prefix that its catalog does not know: what a failed write left.

    Nothing, while there are others than DuckLake's: it would delete somebody's own Parquet files as well.
    """
    if clones.names:
        return Deleted(held=[f"orphans, while there is a clone: {', '.join(clones.names)}"])
    before = datetime.now(UTC) - timedelta(days=days)
    found = _call(location, "ducklake_delete_orphaned_files", before, dry_run=True)
    strange = [path for path in found if not FILE_NAME.fullmatch(path.rpartition("/")[2])]
    if strange:
        return Deleted(held=[f"orphans, while {path!r:.200} is among them, which no lake made" for path in strange])
    if not dry_run and found:
        found = _call(location, "ducklake_delete_orphaned_files", before, dry_run=False)
    return Deleted(files=len(found))


def _call(location: str, function: str, before: datetime, *, dry_run: bool) -> list[str]:
    with compaction.attached(location) as connection:
        question = f"CALL {function}('lake', dry_run => {dry_run}, older_than => TIMESTAMPTZ '{before.isoformat()}')"
        return [str(path) for path, *_ in connection.execute(question).fetchall()]
