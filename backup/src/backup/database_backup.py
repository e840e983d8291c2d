"""pgBackRest: the copies of Postgres and its log. `postgres/pgbackrest-repository` tells it where the repository is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backup import programs
from backup.errors import BackupError
from backup.programs import Done, Run, run

# Exit codes of pgBackRest (its file error.yaml).
_WRONG_STANZA = (28, 51)
_LOCKED = 50
_CRYPTO = 31
_PATIENCE = "wait for it to end, then repeat"


@dataclass(frozen=True)
class Copy:
    """One backup of the cluster."""

    label: str
    kind: str
    stopped: datetime
    size: int
    stored: int


class Database:
    """The cluster's backups."""

    def __init__(self, start: Run = run, environment: Mapping[str, str] | None = None) -> None:
        self._run = start
        self._environment = dict(environment or {})

    def prepare(self) -> None:
        """Makes the place for backups, once; refuses one that belongs to another cluster."""
        done = self._call("stanza-create")
        if done.code in _WRONG_STANZA:
            raise BackupError(
                "the repository holds backups of another database, which new ones would not fit",
                "a repository of this deployment's own database, or an empty one",
                "restore that database (./stack restore), or name another repository in .env, or move its folder away",
            )
        self._expect(done)

    def follow(self) -> None:
        """After an upgrade to another major version: the repository is the new cluster's as well. Copies of the old one
        stay, and are restored by the release that made them."""
        self._expect(self._call("stanza-upgrade"))

    def copies(self) -> list[Copy]:
        """The good ones, oldest first; none where there is no repository yet."""
        return [_copy(each) for each in self._listed() if not each.get("error")]

    def _listed(self) -> list[dict[str, Any]]:
        done = self._expect(self._call("info", "--output=json"))
        # Not strict: with another passphrase the message has pieces of what was read in it.
        entries: list[dict[str, Any]] = json.loads(done.stdout or "[]", strict=False)
        if entries and any(repository["status"]["code"] not in (0, 1, 2) for repository in entries[0]["repo"]):
            self._refuse(entries[0])
        return [each for entry in entries for each in entry.get("backup", ())]

    def copy(self, kind: str) -> Copy:
        """Takes one; old ones go afterwards (expire), when the whole set is known to be good."""
        kinds = {"full": "full", "incremental": "incr"}
        before = {each["label"] for each in self._listed()}
        self._expect(self._call("backup", f"--type={kinds[kind]}", "--no-expire-auto"))
        made = [each for each in self._listed() if each["label"] not in before]
        # pgBackRest ends with zero when pages of the database have wrong checksums, and only marks the copy.
        if not made or made[-1].get("error"):
            found = f"pgBackRest marked {made[-1]['label']}" if made else "there is no new one"
            raise BackupError(
                f"the copy of the database has errors: {found}",
                "every page of the database with its checksum",
                "look at the log of the service backup and at the disk; the backups before this one are kept",
            )
        return _copy(made[-1])

    def require_log(self) -> None:
        """Raises `BackupError` unless what was written until now has reached the repository."""
        self._expect(self._call("check"))

    def verify(self) -> None:
        """Reads every file of every copy and of the log, and compares checksums."""
        done = self._expect(self._call("verify", "--output=text", "--verbose"))
        # It ends with zero whatever it finds.
        if "status: ok" not in done.stdout:
            raise BackupError(f"pgBackRest found damage: {done.last_words}", "every file as it was written", _DAMAGED)

    def expire(self) -> None:
        """Deletes copies and log that are older than the retention."""
        self._expect(self._call("expire"))

    def restore(self, label: str, target: Sequence[str], into: Path) -> None:
        """Lays a copy down; the server that starts there replays the log up to the target."""
        into.mkdir(mode=0o700, exist_ok=True)
        arguments = (f"--pg1-path={into}", f"--set={label}", "--target-action=promote", "--delta", *target)
        self._expect(self._call("restore", *arguments))

    def _call(self, command: str, *arguments: str) -> Done:
        return self._run(["pgbackrest-repository", command, *arguments], environment=self._environment)

    def _expect(self, done: Done) -> Done:
        if done.code == 0:
            return done
        if done.code == _LOCKED:
            raise BackupError("another backup is at work", "one at a time", _PATIENCE)
        if done.code == _CRYPTO or "CryptoError" in done.stderr:
            raise BackupError(
                "the passphrase does not open the backups of the database",
                "secrets/backup_passphrase as it was when they were made",
                "put your copy of it there",
            )
        if programs.is_full(done):
            raise programs.full("pgBackRest", done)
        raise BackupError(
            f"pgBackRest: {done.last_words}",
            "it to succeed",
            "correct what it complains about (disk, network, rights of the repository), then repeat",
        )

    @staticmethod
    def _refuse(entry: dict[str, Any]) -> None:
        told = "; ".join(str(repository["status"]["message"]) for repository in entry["repo"])
        message = "".join(letter if letter.isprintable() else " " for letter in told)[:300]
        raise BackupError(
            f"the backups of the database cannot be read: {message}",
            "a repository that is there, whole, and opened by secrets/backup_passphrase",
            "look at the repository and the passphrase",
        )


_DAMAGED = "take a full backup now (./stack backup --full), and look for what damages the repository"


def _copy(entry: dict[str, Any]) -> Copy:
    return Copy(
        label=entry["label"],
        kind="full" if entry["type"] == "full" else "incremental",
        stopped=datetime.fromtimestamp(entry["timestamp"]["stop"], UTC),
        size=int(entry["info"]["size"]),
        stored=int(entry["info"]["repository"].get("delta", 0)),
    )
