"""Who did what: one JSON line for each operation that changes something, or tried to."""

import json
import logging
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from access import Permissions
from webserver.identity import Identity
from webserver.touched import Touched

# The file is set aside at this size under a name with its date; nothing here ever deletes one.
ROTATE_AT = 64 * 1024 * 1024
logger = logging.getLogger("webserver")


class AuditLog:
    """Writes to standard output and appends to a file. A file that cannot be written keeps the server from starting."""

    def __init__(self, path: Path, rotate_at: int = ROTATE_AT) -> None:
        self._path = path
        self._rotate_at = rotate_at
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(self._open())

    def record(
        self,
        operation: str,
        identity: Identity | None,
        permissions: Permissions,
        touched: Touched,
        *,
        allowed: bool,
        result: str,
    ) -> None:
        """Write one line. Arguments are not part of it: run configuration may hold what is not for a log."""
        line = {
            "log": "audit",
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "user": identity.user if identity else None,
            "groups": sorted(identity.groups) if identity else [],
            "role": str(permissions.role),
            "client": identity.client if identity else None,
            "operation": operation,
            "locations": sorted(touched.locations),
            "elsewhere": list(touched.elsewhere),
            "runs": list(touched.runs),
            "backfills": list(touched.backfills),
            "decision": "allowed" if allowed else "denied",
            "result": result,
        }
        self._write(line)

    def _write(self, line: dict[str, Any]) -> None:
        text = json.dumps(line) + "\n"
        with self._lock:
            print(text, end="", flush=True)
            try:
                self._append(text.encode())
            except OSError as error:
                # Standard output has the line; refusing all work because a volume is full would help nobody.
                logger.error("The audit log %s cannot be written: %s", self._path, error)

    def _append(self, data: bytes) -> None:
        if self._path.exists() and self._path.stat().st_size + len(data) > self._rotate_at:
            aside = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
            self._path.rename(self._path.with_name(f"{self._path.stem}-{aside}{self._path.suffix}"))
        descriptor = self._open()
        try:
            # One call: a line is whole in the file or not there, also when the process is killed.
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
