"""Asking the service `backup` for a backup, and waiting for what becomes of it.

This location has no power over the service: it adds a row that says which kind, and reads the row again.
"""

import time
from dataclasses import dataclass
from typing import Any

from platform_location.database import Session

_ASK = "INSERT INTO provisioning.backup_requests (kind, verify) VALUES (%s, %s) RETURNING id"
_SEE = "SELECT state, result, error FROM provisioning.backup_requests WHERE id = %s"
_LAST = """
SELECT extract(epoch FROM now() - ended_at) FROM provisioning.backup_requests
WHERE state = 'done' ORDER BY ended_at DESC LIMIT 1"""
_ARCHIVER = """
SELECT last_failed_wal, last_failed_time > coalesce(last_archived_time, '-infinity') FROM pg_catalog.pg_stat_archiver"""
TAKEN_UP_SECONDS = 600.0
PAUSE_SECONDS = 2.0


class BackupFailedError(Exception):
    """Why there is no new backup."""


@dataclass(frozen=True)
class Health:
    """Whether one could come back: how old the newest backup is, and which piece of the log does not get through."""

    age_seconds: float | None
    stuck: str | None


def ask(session: Session, kind: str, *, verify: bool) -> int:
    """Ask for one; returns its number."""
    ((number,),) = session.ask(_ASK, kind, verify)
    return int(number)


def wait(session: Session, number: int, *, taken_up: float = TAKEN_UP_SECONDS, pause: float = PAUSE_SECONDS) -> Any:
    """The result, however long it takes. Raises `BackupFailedError` with the service's words, or when nobody begins."""
    asked = time.monotonic()
    while True:
        ((state, result, error),) = session.ask(_SEE, number)
        if state == "done":
            return result
        if state == "failed":
            raise BackupFailedError(error)
        if state == "requested" and time.monotonic() - asked > taken_up and not _others(session):
            raise BackupFailedError(
                f"nobody took up request {number} within {taken_up:.0f} s: does the service backup run? "
                "(docker compose ps backup; its log says what it waits for)"
            )
        time.sleep(pause)


def _others(session: Session) -> bool:
    return bool(session.ask("SELECT 1 FROM provisioning.backup_requests WHERE state = 'running'"))


def health(session: Session) -> Health:
    """How things stand."""
    last = session.ask(_LAST)
    ((stuck, failing),) = session.ask(_ARCHIVER)
    return Health(float(last[0][0]) if last else None, str(stuck) if failing else None)
