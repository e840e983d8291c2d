"""The service: does what the table asks for, one after the other, and never dies of a database that is away."""

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from backup import health, requests, take
from backup.database_backup import Database
from backup.errors import BackupError
from backup.file_backup import Files
from backup.postgres import Session
from backup.requests import Request
from backup.settings import Settings

_PAUSE_SECONDS = 3.0
# The loop holds the lock each time it looks, and for a while at its start, without being a backup.
_PATIENCE_SECONDS = 10.0
_LOOK_SECONDS = 0.1
_BUSY = "another backup is at work in this deployment"

Tell = Callable[[str], None]


@contextmanager
def alone(work: Path, patience: float = 0.0) -> Iterator[None]:
    """One backup at a time in this container: the service's, or the one somebody started by hand."""
    end = time.monotonic() + patience
    with health.lock(work).open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() >= end:
                    raise BackupError(_BUSY, "one at a time", "wait for it to end, then repeat") from error
            time.sleep(_LOOK_SECONDS)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def stop(work: Path) -> bool:
    """Ends the backup that somebody started by hand and no longer waits for; False when there is none."""
    path = health.lock(work)
    number = path.read_text(encoding="ascii").strip() if path.is_file() else ""
    command = Path("/proc") / number / "cmdline"
    if not number.isdigit() or not command.is_file() or b"\0take\0" not in command.read_bytes():
        return False
    os.kill(int(number), signal.SIGINT)
    return True


def serve(settings: Settings, tell: Tell, *, times: int | None = None) -> None:
    """Until it is stopped."""
    signal.signal(signal.SIGTERM, _stop)
    tell(
        f"backups go to {settings.shown}" if settings.on else "backups are off here: BACKUPS, or DEPLOYMENT is no prod"
    )
    last, ready = "", False
    while times is None or times > 0:
        times = None if times is None else times - 1
        health.heartbeat(settings.places.work).touch()
        if settings.on and not settings.places.upgrading:
            try:
                with alone(settings.places.work):
                    ready = ready or _prepare(settings)
                    _work(settings, tell)
                problem = ""
            except BackupError as error:
                problem = error.found
            except psycopg2.Error as error:
                problem = " ".join(str(error).split())
            if problem and problem not in (last, _BUSY):
                tell(f"waits: {problem}")
            last = problem
        time.sleep(_PAUSE_SECONDS)


def _prepare(settings: Settings) -> bool:
    """The repository for the database's log, which is wanted from the first moment on."""
    with take.dagster(settings) as session:
        requests.tidy(session)
        take.release(session)
    Database().prepare()
    return True


def _work(settings: Settings, tell: Tell) -> None:
    with take.dagster(settings) as session:
        request = requests.following(session)
        if request is None:
            return
        tell(f"{request.kind} backup, request {request.number}")
        try:
            result = work_off(settings, session, request, tell)
            tell(f"backup {result['set']}: done in {result['seconds']} s")
        except BackupError as error:
            tell(f"failed: {error.found}")


def work_off(settings: Settings, session: Session, request: Request, say: Tell) -> dict[str, Any]:
    """Takes a backup and writes the outcome down, whatever it is."""
    try:
        result = take.Taking(settings, Database(), Files(settings), say).take(session, request)
    except BackupError as error:
        requests.end(session, request, None, error)
        raise
    except BaseException as error:
        requests.end(session, request, None, BackupError(f"it broke off: {type(error).__name__}: {error}"))
        raise
    requests.end(session, request, result, None)
    return result


def by_hand(
    settings: Settings, kind: str, who: str, say: Tell, *, verify: bool, take_over: bool = False
) -> dict[str, Any]:
    """A backup at once."""
    if not settings.on:
        raise BackupError("backups are off here", "BACKUPS=on and DEPLOYMENT=prod in .env", "set it, then ./stack up")
    with alone(settings.places.work, _PATIENCE_SECONDS), take.dagster(settings) as session:
        return work_off(settings, session, requests.begin(session, kind, verify, who, take_over=take_over), say)


def _stop(_number: int, _frame: Any) -> None:
    # The programs of a backup end with the container; the table tells of it at the next start.
    os._exit(0)
