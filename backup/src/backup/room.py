"""Is there room for a backup? Asked before anything is written: a full disk would stop the database's log as well."""

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from backup.database_backup import Copy
from backup.errors import BackupError
from backup.settings import Settings

_MIB = 1024**2
# For the log and what changed: below it, the next hours would fill the disk anyway.
_LEAST = 64 * _MIB
# A cluster of Dagster's takes between a third and a sixth of its size.
_COMPRESSED = 3


def require(settings: Settings, kind: str, copies: Sequence[Copy], database: int, *, first: bool) -> None:
    """Raises `BackupError` when the repository's disk has no room for a copy of this kind. A bucket has always some."""
    if settings.s3:
        return
    places = settings.places
    need = _LEAST
    full = [copy.stored for copy in copies if copy.kind == "full"]
    if kind == "full" or not full:
        need += full[-1] if full else database // _COMPRESSED
    if first:
        need += sum(_sizes([places.lakes, places.audit]))
    free = shutil.disk_usage(places.repository).free
    if free < need:
        raise BackupError(
            f"{free // _MIB} MiB are free where the backups go ({settings.shown})",
            f"{need // _MIB} MiB for this one",
            "free some or name a larger disk in .env (BACKUP_DIRECTORY); what BACKUP_KEEP_DAYS keeps may be too much",
        )


def _sizes(folders: Iterable[Path]) -> Iterable[int]:
    for folder in folders:
        for root, _, files in os.walk(folder):
            for name in files:
                try:
                    yield os.lstat(os.path.join(root, name)).st_size
                except FileNotFoundError:
                    # A run may delete while this looks.
                    continue
