"""All is restored beside what is there, started, and compared with its manifest; only then may it take its place."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backup import catalogs, history, recovery, swapping
from backup.catalogs import Lake
from backup.database_backup import Database
from backup.errors import BackupError
from backup.file_backup import Files
from backup.sets import MANIFEST, Choice, shown
from backup.settings import Settings

_SHOWN = 5


def plan(settings: Settings, database: Database, files: Files, choice: Choice) -> dict[str, Any]:
    """What would come back, and how much room it takes."""
    copy = next(copy for copy in database.copies() if copy.label == choice.base.label)
    told = manifest(files, choice)
    size = copy.size + files.size(choice.base.data) + (files.size(choice.later.data) if choice.later else 0)
    return {
        **choice.as_dict(),
        "repository": settings.shown,
        "bytes": size,
        "deployment": told["deployment"],
        "lakes": [lake["database"] for lake in told["lakes"]],
        "occupied": swapping.occupied(settings.places),
    }


def manifest(files: Files, choice: Choice) -> dict[str, Any]:
    """What was written down when the set was taken."""
    told: dict[str, Any] = json.loads(files.text(choice.base.manifest, f"/{MANIFEST}"))
    return told


class Staging:
    """One restore, up to the moment before anything is overwritten."""

    def __init__(self, settings: Settings, database: Database, files: Files, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._places = settings.places
        self._database = database
        self._files = files
        self._say = say

    def stage(self, choice: Choice) -> dict[str, Any]:
        """Restores beside, checks, and returns what is there now. Raises `BackupError`: then nothing was touched."""
        told = manifest(self._files, choice)
        swapping.discard(self._places)
        self._restore_files(choice)
        self._say("restore the database")
        data = self._places.postgres / swapping.DATA_STAGED
        self._database.restore(choice.base.label, _target(choice), data)
        self._say(f"replay its log to {shown(choice.moment)}")
        with recovery.recovered(data) as sockets:
            self._say("compare files, catalogs and history")
            lakes = catalogs.read(sockets)
            backed_up = {lake["database"] for lake in told["lakes"]}
            self._require_files([lake for lake in lakes if lake.database in backed_up], choice)
            then = {lake["database"]: lake["snapshot"] for lake in told["lakes"]}
            compared = catalogs.read(sockets, then)
            differences = history.differences(told, compared, history.read(sockets, told["history"]))
        if differences and choice.at is None:
            raise BackupError(
                f"what was restored is not what was backed up: {'; '.join(differences[:_SHOWN])}",
                "the same rows, runs and schedules",
                "choose another backup with --at",
            )
        return {
            "moment": choice.moment.isoformat(),
            "lakes": [lake.as_dict() for lake in lakes],
            "history": told["history"],
            "since": differences,
            "problems": {lake.database: lake.problem for lake in lakes if lake.problem},
        }

    def _restore_files(self, choice: Choice) -> None:
        # The later ones first: over them, what is not in a table comes back as it was before the moment.
        for one in (choice.later, choice.base):
            if one is None:
                continue
            listing = self._files.listing(one.data)
            lakes = sorted({path.split("/")[4] for path in listing if path.startswith(f"{self._places.lakes}/")})
            absent = [lake for lake in lakes if not (self._places.lakes / lake).is_dir()]
            if absent:
                raise BackupError(
                    f"the backup has lakes for which this deployment has no volume: {', '.join(absent)}",
                    "the code locations that there were then",
                    "check out the commit that ./stack backup list names, and repeat",
                )
            for lake in lakes:
                self._say(f"restore the files of {lake}")
                self._lay_down(one.data, self._places.lakes / lake)
        # What people did is not undone by a restore: a log that is there stays.
        if not [entry for entry in self._places.audit.iterdir() if entry.name != swapping.STAGED]:
            listing = self._files.listing(choice.base.data)
            if any(path.startswith(f"{self._places.audit}/") for path in listing):
                self._lay_down(choice.base.data, self._places.audit)

    def _lay_down(self, snapshot: str, folder: Path) -> None:
        self._files.restore(snapshot, str(folder), folder / swapping.STAGED)

    def _require_files(self, lakes: list[Lake], choice: Choice) -> None:
        """Every file that a catalog names is staged, in its size."""
        for lake in lakes:
            absent = [path for path, size in lake.files.items() if not self._is_staged(path, size)]
            database = lake.database
            if absent and database not in choice.base.incomplete:
                raise BackupError(
                    f"{database}: {len(absent)} of {len(lake.files)} files are not in the backup: "
                    + ", ".join(sorted(absent)[:_SHOWN]),
                    "every file that the restored catalog names",
                    "choose another moment with --at",
                )

    def _is_staged(self, path: str, size: int) -> bool:
        try:
            below = Path(path).relative_to(self._places.lakes)
        except ValueError:
            return False
        # A catalog is its owner's word: a name that is no file below a lake is none of ours to look at.
        if len(below.parts) < 2 or ".." in below.parts:
            return False
        staged = self._places.lakes / below.parts[0] / swapping.STAGED / Path(*below.parts[1:])
        return staged.is_file() and staged.stat().st_size == size


def _target(choice: Choice) -> list[str]:
    # A moment on the timeline of its own backup: after an earlier restore there are several.
    where = ["--target-timeline=current"]
    if choice.at is None:
        return [*where, "--type=name", f"--target={choice.base.name}"]
    return [*where, "--type=time", f"--target={choice.at.strftime('%Y-%m-%d %H:%M:%S.%f')}+00"]
