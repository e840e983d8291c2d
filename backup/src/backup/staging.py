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


def plan(settings: Settings, database: Database, files: Files, choice: Choice, owned: str) -> dict[str, Any]:
    """What would come back, how much room it takes, and whose the repository is."""
    copy = next(copy for copy in database.copies() if copy.label == choice.base.label)
    told = manifest(files, choice)
    size = copy.size + files.size(choice.base.data) + (files.size(choice.later.data) if choice.later else 0)
    root, data = f"{settings.places.lakes}/", [one.data for one in (choice.base, choice.later) if one]
    paths = [path for one in data for path in files.listing(one) if path.startswith(root)]
    return {
        **choice.as_dict(),
        "repository": settings.shown,
        "owner": owned,
        "bytes": size,
        "deployment": told["deployment"],
        "lakes": [lake["database"] for lake in told["lakes"]],
        "folders": sorted({path.removeprefix(root).split("/")[0] for path in paths}),
        "failed": told.get("failed", {}),
        "without": told.get("without", []),
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

    def lay(self, choice: Choice, lake: str) -> None:
        """Lays the files of one lake down beside what is there. Its owner may be at work in it meanwhile and put a link
        in the way, so this is called where no other lake is in reach."""
        folder = self._places.lakes / lake
        if not folder.is_dir() or "/" in lake:
            raise BackupError(f"there is no volume for the lake {lake}", "one, mounted here", "./stack check")
        swapping.discard_in(folder)
        self._say(f"restore the files of {lake}")
        # The later ones first: over them, what is not in a table comes back as it was before the moment.
        for one in (choice.later, choice.base):
            if one is not None and any(path.startswith(f"{folder}/") for path in self._files.listing(one.data)):
                self._lay_down(one.data, folder)

    def stage(self, choice: Choice, *, incomplete: bool = False) -> dict[str, Any]:
        """Restores all else beside, checks, and returns what is there now. Raises `BackupError`: then nothing was
        touched. With `incomplete`, a lake that is not as it was backed up is told and holds the others up no longer."""
        told = manifest(self._files, choice)
        swapping.discard_in(self._places.audit)
        swapping.discard_database(self._places)
        self._restore_audit(choice)
        self._say("restore the database")
        data = self._places.postgres / swapping.DATA_STAGED
        self._database.restore(choice.base.label, _target(choice), data)
        self._say(f"replay its log to {shown(choice.moment)}")
        with recovery.recovered(data) as sockets:
            self._say("compare files, catalogs and history")
            lakes = catalogs.read(sockets)
            then = {lake["database"]: lake["snapshot"] for lake in told["lakes"]}
            absent = self._absent([lake for lake in lakes if lake.database in then])
            differing = history.of_lakes(told, catalogs.read(sockets, then))
            compared, since = ({}, differing) if choice.at else (differing, {})
            remembered = history.of_dagster(told, history.read(sockets, told["history"]))
        if remembered and choice.at is None:
            raise _otherwise(remembered)
        # Those that were known to be incomplete are no news.
        wrong = {lake: words for lake, words in {**compared, **absent}.items() if lake not in choice.incomplete}
        if wrong and not incomplete:
            raise _otherwise([word for words in wrong.values() for word in words])
        problems = {lake.database: lake.problem for lake in lakes if lake.problem}
        return {
            "moment": choice.moment.isoformat(),
            "lakes": [lake.as_dict() for lake in lakes],
            "history": told["history"],
            "since": [*(word for words in since.values() for word in words), *remembered],
            "problems": {
                **problems,
                **{lake: "; ".join(words[:_SHOWN]) for lake, words in {**compared, **absent}.items()},
            },
        }

    def _restore_audit(self, choice: Choice) -> None:
        # What people did is not undone by a restore: a log that is there stays.
        if not [entry for entry in self._places.audit.iterdir() if entry.name != swapping.STAGED]:
            listing = self._files.listing(choice.base.data)
            if any(path.startswith(f"{self._places.audit}/") for path in listing):
                self._lay_down(choice.base.data, self._places.audit)

    def _lay_down(self, snapshot: str, folder: Path) -> None:
        self._files.restore(snapshot, str(folder), folder / swapping.STAGED)

    def _absent(self, lakes: list[Lake]) -> dict[str, list[str]]:
        """By lake, what is missing of the files that its catalog names: each must be staged, in its size."""
        found = {}
        for lake in lakes:
            absent = sorted(path for path, size in lake.files.items() if not self._is_staged(path, size))
            if absent:
                first = ", ".join(absent[:_SHOWN])
                found[lake.database] = [
                    f"{lake.database}: {len(absent)} of {len(lake.files)} files are not in the backup: {first}"
                ]
        return found

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


def _otherwise(differences: list[str]) -> BackupError:
    return BackupError(
        f"what was restored is not what was backed up: {'; '.join(differences[:_SHOWN])}",
        "the same rows, files, runs and schedules",
        "choose another backup with --at; where it is one location's lake, --incomplete brings back all else",
    )


def _target(choice: Choice) -> list[str]:
    # A moment on the timeline of its own backup: after an earlier restore there are several.
    where = ["--target-timeline=current"]
    if choice.at is None:
        return [*where, "--type=name", f"--target={choice.base.name}"]
    return [*where, "--type=time", f"--target={choice.at.strftime('%Y-%m-%d %H:%M:%S.%f')}+00"]
