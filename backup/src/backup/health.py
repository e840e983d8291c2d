"""`python3 -m backup.health`, the container's health check.

Without the service's own modules: what a check loads each half minute stays in memory.
"""

import fcntl
import sys
import time
from pathlib import Path

WORK = Path("/tmp")  # noqa: S108
STALE_SECONDS = 60.0


def heartbeat(work: Path) -> Path:
    """Touched each time that the service's loop turns."""
    return work / "heartbeat"


def lock(work: Path) -> Path:
    """Held by whoever takes a backup."""
    return work / "backup.lock"


def healthy(work: Path) -> bool:
    """Whether the loop turns, or a backup is under way, which may take hours."""
    beat = heartbeat(work)
    if beat.exists() and time.time() - beat.stat().st_mtime < STALE_SECONDS:
        return True
    with lock(work).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


if __name__ == "__main__":
    sys.exit(None if healthy(WORK) else "the service's loop has not turned for a minute, and no backup is under way")
