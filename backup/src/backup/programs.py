"""Starts pgBackRest, restic and Postgres; what they write is read here and nowhere printed as it is."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from backup.errors import BackupError


@dataclass(frozen=True)
class Done:
    """How a program ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def last_words(self) -> str:
        """The end of what it complained about."""
        lines = [line.strip() for line in (self.stderr.strip() or self.stdout.strip()).splitlines() if line.strip()]
        return "\n".join(lines[-6:])[-1500:] or f"exit code {self.code} and no word"


Run = Callable[..., Done]
_FULL = ("no space left on device", "disk quota exceeded")


def is_full(done: Done) -> bool:
    """Whether a program ended because there was no room."""
    return any(words in f"{done.stdout}{done.stderr}".lower() for words in _FULL)


def full(program: str, done: Done) -> BackupError:
    """What to tell then."""
    return BackupError(
        f"the disk is full: {program}: {done.last_words}",
        "room for what is written; the last good backup and what runs are as they were",
        "free some (BACKUP_KEEP_DAYS says what is kept), or name a larger disk in .env, then repeat",
    )


def run(args: Sequence[str], *, environment: Mapping[str, str] | None = None, stdin: str = "") -> Done:
    """Runs a program to its end."""
    done = subprocess.run(
        list(args),
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, **(environment or {})},
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
