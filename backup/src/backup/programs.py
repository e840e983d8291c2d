"""Starts pgBackRest, restic and Postgres; what they write is read here and nowhere printed as it is."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


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
