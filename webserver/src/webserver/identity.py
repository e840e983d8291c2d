"""Who sends a request, as the gateway says, and what access.yaml lets them do."""

import hmac
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from access import Access, AccessError, Permissions, Role, load

USER, GROUPS, TOKEN, CLIENT = (b"x-forwarded-user", b"x-forwarded-groups", b"x-gateway-token", b"x-forwarded-for")
SCOPE_KEY = "webserver.identity"
Headers = Sequence[tuple[bytes, bytes]]
logger = logging.getLogger("webserver")


@dataclass(frozen=True)
class Identity:
    """A person who signed in at the gateway."""

    user: str
    groups: frozenset[str] = frozenset()
    client: str = ""


class NotIdentifiedError(Exception):
    """The request does not come from the gateway, or the gateway does not say who sent it."""


def identify(headers: Headers, token: str) -> Identity:
    """Who sent these headers. Raises `NotIdentifiedError`, which says why."""
    # A header given twice means that one of the two did not come from the gateway, and readers differ in which counts.
    sent = {name: _single(headers, name) for name in (USER, GROUPS, TOKEN, CLIENT)}
    if not hmac.compare_digest(sent[TOKEN] or b"", token.encode()):
        raise NotIdentifiedError("This address is served through the gateway only.")
    try:
        user = (sent[USER] or b"").decode()
        groups = (sent[GROUPS] or b"").decode()
        client = (sent[CLIENT] or b"").decode("ascii")
    except UnicodeDecodeError:
        raise NotIdentifiedError("The names in the gateway's headers are not UTF-8.") from None
    if not user or not user.isprintable() or user != user.strip():
        raise NotIdentifiedError("The gateway did not say who sent this request.")
    return Identity(user, frozenset(name.strip() for name in groups.split(",") if name.strip()), client)


def _single(headers: Headers, name: bytes) -> bytes | None:
    found = [value for key, value in headers if key.lower() == name]
    if len(found) > 1:
        raise NotIdentifiedError(f"The header {name.decode()} is given {len(found)} times.")
    return found[0] if found else None


class AccessFile:
    """access.yaml, read again when it changes; a version with an error leaves the last good one in force."""

    def __init__(self, path: Path, locations: Iterable[str]) -> None:
        self._path = path
        self._locations = list(locations)
        self._access: Access = load(path, self._locations)
        self._seen = self._state()

    def permissions(self, identity: Identity | None) -> Permissions:
        """What this person may do at this moment."""
        self._refresh()
        if identity is None:
            return Permissions(Role.NONE)
        return self._access.permissions(identity.user, identity.groups)

    def _state(self) -> Any:
        try:
            status = os.stat(self._path)
        except OSError as error:
            return error.errno
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _refresh(self) -> None:
        state = self._state()
        if state == self._seen:
            return
        # Remembered before reading: a version that is wrong is reported once, not for every request.
        self._seen = state
        try:
            self._access = load(self._path, self._locations)
        except AccessError as error:
            logger.error("The new access.yaml is not used, the previous one stays in force: %s", error)
        else:
            logger.info("access.yaml has changed and is in force")
