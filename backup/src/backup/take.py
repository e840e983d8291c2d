"""Taking a backup: database and files in step, compared with each other, read back, and only then old ones deleted."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backup import catalogs, history, owner, postgres, requests, room, sets
from backup.catalogs import Lake
from backup.database_backup import Database
from backup.errors import BackupError
from backup.file_backup import Files
from backup.postgres import Session
from backup.requests import Request
from backup.sets import MANIFEST, Set
from backup.settings import Settings

Say = Callable[[str], None]
# As the keeper of lakes knows it: while it is registered, no file goes that a catalog named since.
_CLONE = "backup"
_REGISTER = "INSERT INTO provisioning.lake_clones (lake, clone) VALUES (%s, %s) ON CONFLICT DO NOTHING"
_UNREGISTER = "DELETE FROM provisioning.lake_clones WHERE clone = %s"
_LAKES = "SELECT datname::text FROM pg_catalog.pg_database WHERE datname LIKE 'lake\\_%'"
_POINT = "SELECT pg_catalog.pg_create_restore_point(%s)"
_SIZE = "SELECT sum(pg_catalog.pg_database_size(oid)) FROM pg_catalog.pg_database"
_SHOWN = 5
# Of a deployment, and in no backup. Told with each, for nobody reads documentation on the day of a restore.
WITHOUT = ("what runs printed (compute logs)", "images, which are built again")


class Taking:
    """One backup."""

    def __init__(self, settings: Settings, database: Database, files: Files, say: Say) -> None:
        self._settings = settings
        self._database = database
        self._files = files
        self._say = say

    def take(self, session: Session, request: Request) -> dict[str, Any]:
        """Takes it, and returns what to tell of it. Raises `BackupError`; then there is no new set, or one that lacks
        files, which is kept and told apart."""
        begun, started = datetime.now(UTC), time.monotonic()
        name = sets.name_of(begun)
        self._say("open the repository")
        if self._settings.s3:
            # First here: restic tries for a quarter of an hour before it says that a server is not trusted.
            self._database.prepare()
        # First otherwise: restic can tell a wrong passphrase from damage, pgBackRest cannot.
        self._files.prepare()
        self._database.prepare()
        owner.require(self._settings, self._files, take_over=request.take_over)
        self._require_room(session, request.kind)
        with _kept_files(session):
            self._say("copy the database")
            copy = self._database.copy(request.kind)
            self._say("copy the files")
            told, lakes, point = self._point(session, request, name)
            left_out = told["left_out"]
            snapshot = self._copy_files(name)
        self._say("compare files and catalogs")
        missing = self._missing(lakes, snapshot)
        self._say("verify")
        self._database.require_log()
        # Everything is read again where somebody asked, and with each full backup.
        everything = request.verify or copy.kind == "full"
        if everything:
            self._database.verify()
        self._files.check(everything=everything)
        incomplete = tuple(sorted(missing))
        one = Set(name, copy.kind, copy.label, point, snapshot["snapshot_id"], "", everything, incomplete)
        record = bool(self._settings.places.record.stat().st_size)
        without = [*WITHOUT, *in_buckets(lakes)]
        told |= {"set": one.as_dict(), "record": record, "failed": missing, "without": without}
        self._store(one, told)
        self._say("delete what is older than the retention")
        deleted = self._retain(name)
        result = {
            "set": name,
            "kind": copy.kind,
            "label": copy.label,
            "point": point.isoformat(),
            "seconds": round(time.monotonic() - started, 1),
            "database_bytes": copy.size,
            "database_bytes_stored": copy.stored,
            "files": sum(len(lake.files) for lake in lakes),
            "file_bytes": int(snapshot["total_bytes_processed"]),
            "file_bytes_stored": int(snapshot.get("data_added_packed", snapshot["data_added"])),
            "tables": sum(len(lake.tables) for lake in lakes),
            "left_out": left_out,
            "without": without,
            "everything_read_again": everything,
            "snapshots_deleted": deleted,
            "repository": self._settings.shown,
        }
        if missing:
            reasons = "; ".join(f"{lake}: {reason}" for lake, reason in sorted(missing.items()))
            raise BackupError(
                f"the backup {name} was taken and is whole but for {', '.join(sorted(missing))}: {reasons}",
                "every file that a catalog names to be in its lake's folder, and every catalog to be readable",
                "restore the lake's files from an earlier backup, or drop the table; all else is backed up",
            )
        return result

    def _point(self, session: Session, request: Request, name: str) -> tuple[dict[str, Any], list[Lake], datetime]:
        """The moment that this set brings back. What the catalogs say just before must hold in what comes back."""
        sockets = self._settings.places.sockets
        lakes, left_out = with_folders(catalogs.read(sockets), self._settings.places.lakes)
        told: dict[str, Any] = {
            "deployment": self._settings.name,
            "lakes": [lake.as_dict() for lake in lakes],
            "left_out": left_out,
            "history": history.read(sockets),
        }
        session.ask(_POINT, (name,))
        ((point,),) = session.ask("SELECT clock_timestamp()")
        requests.mark(session, request)
        return told, lakes, point

    def _copy_files(self, name: str) -> dict[str, Any]:
        """Lakes, audit log, and the record of settings and secrets."""
        places = self._settings.places
        if not places.record.is_file():
            raise BackupError(
                f"{places.record} is not there", "settings and secrets, written down by ./stack", "./stack up"
            )
        return self._files.copy([places.lakes, places.audit, places.record], [f"set={name}", "data"])

    def _require_room(self, session: Session, kind: str) -> None:
        ((size,),) = session.ask(_SIZE)
        copies, first = self._database.copies(), not self._files.snapshots()
        room.require(self._settings, kind, copies, int(size), first=first)

    def _missing(self, lakes: list[Lake], snapshot: dict[str, Any]) -> dict[str, str]:
        """Lakes of which not every file is in the snapshot, each with the reason."""
        listing = self._files.listing(snapshot["snapshot_id"])
        missing = self._unreadable(snapshot["unreadable"])
        missing |= {lake.database: f"its catalog cannot be read: {lake.problem}" for lake in lakes if lake.problem}
        for lake in lakes:
            absent = sorted(path for path, size in lake.files.items() if listing.get(path) != size)
            if absent:
                first = ", ".join(absent[:_SHOWN])
                missing[lake.database] = f"{len(absent)} of {len(lake.files)} files are missing or differ: {first}"
        return missing

    def _unreadable(self, paths: list[str]) -> dict[str, str]:
        """Lakes with files that their owner has closed to the service; what else cannot be read fails the backup."""
        places, closed = self._settings.places, {}
        for path in paths:
            below = Path(path).relative_to(places.lakes).parts if path.startswith(f"{places.lakes}/") else ()
            if not below:
                raise BackupError(
                    f"{path or 'some file'} could not be read",
                    f"audit log and record readable for user {os.getuid()}",
                    "correct its rights; the log of the service backup says more",
                )
            closed.setdefault(f"lake_{below[0]}", f"it has files that nobody else may read, such as {path}")
        return closed

    def _store(self, one: Set, told: dict[str, Any]) -> None:
        """Writes the manifest, with which the set exists, and reads it back."""
        text = json.dumps(told, sort_keys=True)
        stored = self._files.copy_text(MANIFEST, text, one.tags())
        if self._files.text(stored["snapshot_id"], f"/{MANIFEST}") != text:
            raise BackupError("the manifest reads otherwise than it was written", "the same", "look at the repository")

    def _retain(self, name: str) -> int:
        self._database.expire()
        snapshots = self._files.snapshots()
        kept = sets.read(snapshots, [copy.label for copy in self._database.copies()])
        if name not in {one.name for one in kept}:
            raise BackupError(
                f"the backup {name} is not among those that the repository lists, so nothing old was deleted",
                "the set that was written a moment ago",
                "./stack backup list; look at the log of the service backup",
            )
        owned = owner.of(snapshots)
        gone = sets.left_over(snapshots, kept, *([owned.snapshot] if owned else []))
        self._files.forget(gone)
        return len(gone)


def with_folders(lakes: list[Lake], root: Path) -> tuple[list[Lake], list[str]]:
    """The lakes that have their folder here, and the names of the others: of locations that have left and whose catalog
    stayed. Nobody can read those, and one forgotten table must not fail each backup. `./stack check` finds a location
    that is there and is not mounted."""
    gone = [lake for lake in lakes if not (root / lake.database.removeprefix("lake_")).is_dir()]
    return [lake for lake in lakes if lake not in gone], [lake.database for lake in gone]


def in_buckets(lakes: list[Lake]) -> list[str]:
    """What is in no backup of lakes whose tables are on S3: their catalogs come back, their files are the bucket's."""
    text = "the files of {} in {} (versions in the bucket keep them)"
    return [text.format(lake.database, lake.bucket) for lake in lakes if lake.bucket]


@contextmanager
def _kept_files(session: Session) -> Iterator[None]:
    """Between the copy of the database and that of the files, no file may go that the database names."""
    for (lake,) in session.ask(_LAKES):
        session.ask(_REGISTER, (lake, _CLONE))
    try:
        yield
    finally:
        release(session)


def release(session: Session) -> None:
    """Lets files go again; also those that a backup held which was killed."""
    session.ask(_UNREGISTER, (_CLONE,))


def listed(settings: Settings, database: Database, files: Files) -> list[Set]:
    """All sets of the repository."""
    # As in `take`: who speaks first has the better words.
    copies = database.copies() if settings.s3 else None
    if not files.exists():
        raise BackupError(
            f"there are no backups in {settings.shown}", "a repository that was written to", "./stack backup"
        )
    return sets.read(files.snapshots(), [copy.label for copy in (copies or database.copies())])


@contextmanager
def dagster(settings: Settings) -> Iterator[Session]:
    """Dagster's database, where backups are asked for."""
    with postgres.telling(), postgres.session(settings.places.sockets, "dagster") as session:
        yield session
