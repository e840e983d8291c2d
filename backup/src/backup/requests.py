"""The table in which backups are asked for, and in which the outcome is written down."""

import json
from dataclasses import dataclass
from typing import Any

import psycopg2.errors

from backup.errors import BackupError
from backup.postgres import Session

_TABLE = "provisioning.backup_requests"
_NEXT = f"""
UPDATE {_TABLE} SET state = 'running', started_at = now() WHERE id = (
    SELECT id FROM {_TABLE} WHERE state = 'requested' ORDER BY id LIMIT 1)
RETURNING id, kind, verify"""  # noqa: S608
_ASK = f"""
INSERT INTO {_TABLE} (kind, verify, requested_by, state, started_at) VALUES (%s, %s, %s, 'running', now())
RETURNING id"""  # noqa: S608
_END = f"UPDATE {_TABLE} SET state = %s, ended_at = now(), result = %s, error = %s WHERE id = %s"  # noqa: S608
_MARK = f"UPDATE {_TABLE} SET started_at = started_at WHERE id = %s"  # noqa: S608
_FORGET = f"""
UPDATE {_TABLE} SET state = 'failed', ended_at = now(),
    error = 'it was interrupted, or belongs to the time before a restore'
WHERE state = 'running'"""  # noqa: S608
_OLD = f"DELETE FROM {_TABLE} WHERE ended_at < now() - interval '90 days'"  # noqa: S608


@dataclass(frozen=True)
class Request:
    """A backup that was asked for."""

    number: int
    kind: str
    verify: bool
    take_over: bool = False


def tidy(session: Session) -> None:
    """What was under way when the service ended never comes to an end."""
    session.ask(_FORGET)
    session.ask(_OLD)


def following(session: Session) -> Request | None:
    """The next one that waits, which is under way from now on."""
    for number, kind, verify in session.ask(_NEXT):
        return Request(number, kind, verify)
    return None


def begin(session: Session, kind: str, verify: bool, who: str, *, take_over: bool = False) -> Request:
    """One that is done at once."""
    try:
        return Request(session.ask(_ASK, (kind, verify, who))[0][0], kind, verify, take_over)
    except psycopg2.errors.UndefinedTable as error:
        raise BackupError(
            "the database is not prepared: it has no table provisioning.backup_requests",
            "the service migrate to have run",
            "./stack up",
        ) from error


def mark(session: Session, request: Request) -> None:
    """A change that has a time: the log is replayed up to a moment only where something came after it."""
    session.ask(_MARK, (request.number,))


def end(session: Session, request: Request, result: dict[str, Any] | None, error: BackupError | None) -> None:
    """Writes the outcome down."""
    told = f"{error.found}; do: {error.do}" if error and error.do else error.found if error else None
    session.ask(_END, ("failed" if error else "done", json.dumps(result or {}), told, request.number))
