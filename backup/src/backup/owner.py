"""Whose the repository is: one machine's. Two that delete in one would each take the other's backups for left over.

A machine has a secret of its own, `backup_owner`, which no backup brings back; the repository has a fingerprint of it.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from backup.errors import BackupError
from backup.file_backup import Files
from backup.settings import Settings

TAG = "owner"
_FILE = "owner.json"


@dataclass(frozen=True)
class Owner:
    """Who owns the repository, since when, and the snapshot that says so."""

    fingerprint: str
    since: str
    snapshot: str


def of(snapshots: Iterable[dict[str, Any]]) -> Owner | None:
    """The owner that a repository names; the last word counts."""
    found = None
    for snapshot in sorted(snapshots, key=lambda one: str(one.get("time", ""))):
        tags = snapshot.get("tags") or []
        named = [tag.partition("=")[2] for tag in tags if tag.startswith("owner=")]
        if TAG in tags and named:
            found = Owner(named[0], str(snapshot.get("time", ""))[:19], snapshot["id"])
    return found


def require(settings: Settings, files: Files, *, take_over: bool) -> None:
    """Raises `BackupError` unless the repository is this machine's; one that is nobody's becomes it. Whoever was
    restored from a repository inherits it, and `take_over` takes it from a machine that is off for good. Then locks
    in it are a dead one's of our own, and go."""
    mine, inherited = _fingerprints(settings)
    found = of(files.snapshots())
    owned = found is not None and found.fingerprint == mine
    if found is not None and not owned and not take_over and found.fingerprint != inherited:
        raise BackupError(
            f"{settings.shown} belongs to another machine, {found.fingerprint}, since {found.since}; this is {mine}",
            "one machine a repository: two would delete each other's backups",
            "name another repository in .env; or, when the other machine is off and stays off: "
            "./stack backup --take-over",
        )
    files.unlock()
    if owned:
        return
    files.copy_text(_FILE, json.dumps({"owner": mine}), [TAG, f"owner={mine}"])
    now = of(files.snapshots())
    if now is None or now.fingerprint != mine:
        raise BackupError(
            f"{settings.shown} was taken by another machine at the same moment",
            "one machine a repository",
            "see that the other one is off, then ./stack backup --take-over",
        )


def fingerprint(secret: str) -> str:
    """What may be shown of a machine's secret."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


def _fingerprints(settings: Settings) -> tuple[str, str]:
    """This machine's, and that of the machine whose repository it was restored from."""
    path = settings.places.owner
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if not lines:
        raise BackupError(f"{path} is not there, or empty", "what this machine is known by", "./stack up")
    return fingerprint(lines[0]), lines[1] if len(lines) > 1 else ""
