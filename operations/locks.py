"""One mutating verb at a time for a deployment."""

import fcntl
import json
import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from typer import Exit

from operations import audit
from operations.errors import StackError

# The exit code of whoever finds another at work: who asks by program waits, and asks again (deploy/forge/gatekeeper).
BUSY = 5


@contextmanager
def hold(path: Path, verb: str, why: str = "") -> Iterator[str | None]:
    """Hold the lock; yields a note when its last holder died, raises `StackError` that names a living one.

    The kernel releases the lock with the process that holds it, so a dead holder is taken over without guessing
    whether its process id has been given to another; the file's content only says who it was. What becomes of the verb
    is written down beside it (operations/audit.py).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StackError(
                f"{_describe(path)} is at work on this deployment",
                "one changing command at a time",
                "wait for it to end, then repeat",
                code=BUSY,
            ) from error
        stale = f"took over the lock of {_describe(path)}, which died" if path.stat().st_size else None
        result = "done"
        try:
            _write(path, verb, why)
            yield stale
        except BaseException as error:
            result = _result(error)
            raise
        finally:
            audit.record(
                path.with_name("audit.jsonl"),
                audit.Entry(audit.now(), person(), socket.gethostname(), verb, why, result),
            )
            os.truncate(path, 0)


def _write(path: Path, verb: str, why: str) -> None:
    holder = {
        "pid": os.getpid(),
        "user": _user(),
        "host": socket.gethostname(),
        "since": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "verb": verb,
        "why": why,
    }
    path.write_text(json.dumps(holder) + "\n", encoding="utf-8")


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def person() -> str:
    """Who is at work, for what is written down."""
    # Who became root is who did it.
    return os.environ.get("SUDO_USER") or _user()


def _result(error: BaseException) -> str:
    if isinstance(error, Exit):
        return "done" if error.exit_code == 0 else f"exit code {error.exit_code}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return f"failed: {str(error).splitlines()[0][:200] if str(error) else type(error).__name__}"


def _describe(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        why = f" ({holder['why']})" if holder["why"] else ""
        who = f"{holder['user']}@{holder['host']}, process {holder['pid']}"
        return f"`{holder['verb']}`{why} by {who}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another command"
