"""restic: the copies of lakes, audit log, settings and secrets; encrypted, only what is new is stored."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from backup import programs
from backup.errors import BackupError
from backup.programs import Done, Run, run
from backup.settings import Settings

# Exit codes that restic documents.
_NO_REPOSITORY = 10
_LOCKED = 11
_WRONG_PASSWORD = 12
# Part of what is to be copied could not be read.
_INCOMPLETE = 3


class Files:
    """The repository of files."""

    def __init__(self, settings: Settings, start: Run = run, *, reading: bool = False) -> None:
        self._settings = settings
        self._run = start
        # A restore writes nothing into the repository, not even a lock: it may be mounted read-only.
        self._always = ["--no-cache", *(["--no-lock"] if reading else []), *self._authority()]

    def prepare(self) -> None:
        """Makes the repository, once."""
        if not self.exists():
            self._expect(self._call("init"))

    def unlock(self) -> None:
        """Removes all locks. Only for the repository's owner, whose backups are one at a time: they are dead ones'."""
        self._expect(self._call("unlock", "--remove-all"))

    def exists(self) -> bool:
        """Whether there is a repository; raises `BackupError` when it cannot be opened."""
        done = self._call("cat", "config")
        if done.code == _NO_REPOSITORY:
            return False
        self._expect(done)
        return True

    def snapshots(self) -> list[dict[str, Any]]:
        """All of them, oldest first. A lock in the repository is no hindrance."""
        done = self._call("snapshots", "--json", *([] if "--no-lock" in self._always else ["--no-lock"]))
        found: list[dict[str, Any]] = json.loads(self._expect(done).stdout or "[]")
        return sorted(found, key=lambda snapshot: str(snapshot["time"]))

    def copy(self, paths: Sequence[Path], tags: Sequence[str]) -> dict[str, Any]:
        """Copies folders; returns restic's summary: snapshot_id, total_bytes_processed, data_added …, and `unreadable`:
        the paths that it could not read."""
        chosen = [part for tag in tags for part in ("--tag", tag)]
        host = ["--host", self._settings.name, "--group-by", "host,paths"]
        done = self._call("backup", "--json", "--exclude", ".restored*", *host, *chosen, *map(str, paths))
        if done.code == _INCOMPLETE:
            return {**self._summary(done), "unreadable": _unreadable(done)}
        return {**self._summary(self._expect(done)), "unreadable": []}

    def copy_text(self, name: str, text: str, tags: Sequence[str]) -> dict[str, Any]:
        """Stores one text as a snapshot of its own."""
        chosen = [part for tag in tags for part in ("--tag", tag)]
        stdin = ["--stdin", "--stdin-filename", name, "--host", self._settings.name]
        return self._summary(self._expect(self._call("backup", "--json", *stdin, *chosen, stdin=text)))

    def listing(self, snapshot: str) -> dict[str, int]:
        """Paths and sizes of a snapshot's files."""
        lines = self._expect(self._call("ls", "--json", snapshot)).stdout.splitlines()
        entries = (json.loads(line) for line in lines)
        return {entry["path"]: int(entry.get("size", 0)) for entry in entries if entry.get("type") == "file"}

    def text(self, snapshot: str, path: str) -> str:
        """The content of one file."""
        return self._expect(self._call("dump", snapshot, path)).stdout

    def check(self, *, everything: bool = False) -> None:
        """Compares the repository's structure; with everything, reads each byte of it."""
        done = self._call("check", *(["--read-data"] if everything else []))
        if done.code not in (0, _LOCKED, _NO_REPOSITORY, _WRONG_PASSWORD):
            raise BackupError(
                f"restic found damage: {done.last_words}",
                "every file as it was written",
                "take a full backup now (./stack backup --full), and look for what damages the repository",
            )
        self._expect(done)

    def restore(self, snapshot: str, source: str, into: Path) -> None:
        """Lays a snapshot's folder down; each piece is compared with its checksum."""
        self._expect(self._call("restore", f"{snapshot}:{source}", "--target", str(into), "--overwrite", "if-changed"))

    def size(self, snapshot: str) -> int:
        """Bytes that a snapshot takes when it is restored."""
        done = self._expect(self._call("stats", "--json", "--mode", "restore-size", snapshot))
        return int(json.loads(done.stdout)["total_size"])

    def forget(self, snapshots: Sequence[str]) -> None:
        """Deletes snapshots and what they alone needed."""
        if snapshots:
            self._expect(self._call("forget", "--prune", *snapshots))

    def _summary(self, done: Done) -> dict[str, Any]:
        for line in reversed(done.stdout.splitlines()):
            entry: dict[str, Any] = json.loads(line)
            if entry.get("message_type") == "summary":
                return entry
        raise BackupError(f"restic told of no snapshot: {done.last_words}", "a summary", "repeat")

    def _call(self, *arguments: str, stdin: str = "") -> Done:
        return self._run(["restic", *self._always, *arguments], environment=self._environment(), stdin=stdin)

    def _authority(self) -> Iterator[str]:
        path = self._settings.places.secrets / "backup_s3_authority"
        if self._settings.s3:
            yield from ("-o", "s3.bucket-lookup=path")
            if path.is_file() and path.stat().st_size:
                yield from ("--cacert", str(path))

    def _environment(self) -> dict[str, str]:
        settings, places = self._settings, self._settings.places
        environment = {
            "RESTIC_PASSWORD_FILE": str(places.passphrase),
            "RESTIC_REPOSITORY": str(places.repository / settings.name / "files"),
            "GOMAXPROCS": "2",
            # Indexes are the largest thing in memory: collected early, a large repository fits the service's limit.
            "GOGC": "25",
        }
        if settings.s3:
            address = f"{settings.s3.endpoint}/{settings.s3.bucket}/{settings.name}/files"
            environment |= {"RESTIC_REPOSITORY": f"s3:https://{address}", "AWS_DEFAULT_REGION": settings.s3.region}
            key, secret = (_secret(places.secrets / name) for name in ("backup_s3_key", "backup_s3_key_secret"))
            if key:
                environment |= {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
        return environment

    def _expect(self, done: Done) -> Done:
        if done.code == 0:
            return done
        shown = self._settings.shown
        if done.code == _NO_REPOSITORY:
            raise BackupError(
                f"there are no backups in {shown}",
                "a repository that backups were written to",
                "name the right one in .env, or take a backup: ./stack backup",
            )
        if done.code == _WRONG_PASSWORD:
            raise BackupError(
                f"the passphrase does not open {shown}",
                "secrets/backup_passphrase as it was when the backups were made",
                "put your copy of it there",
            )
        if done.code == _LOCKED:
            raise BackupError(f"{shown} is in use by another", "one at a time", "wait for it to end, then repeat")
        if programs.is_full(done):
            raise programs.full("restic", done)
        raise BackupError(
            f"restic: {done.last_words}",
            f"the repository {shown} there and whole",
            "correct what it complains about (disk, network, keys, rights of the directory), then repeat",
        )


def _unreadable(done: Done) -> list[str]:
    """Paths that restic complained about; none of its complaints may be lost because it is in other words."""
    found = []
    for line in done.stderr.splitlines():
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if isinstance(message, dict) and message.get("message_type") == "error":
            found.append(str(message.get("item", "")))
    return found or [""]


def _secret(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""
