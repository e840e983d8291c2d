"""A staged cluster is started here, beside all else, replays the log to its target, and is asked what it holds."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2

from backup import postgres
from backup.errors import BackupError

_CONFIGURATION = Path("/etc/postgres")
# The log of a week is replayed at some hundred megabytes a minute.
_SECONDS = 6 * 3600
_RECOVERY = re.compile(r"^(restore_command|recovery_target\w*|archive_cleanup_command)\s*=.*$\n?", re.MULTILINE)


@contextmanager
def recovered(data: Path) -> Iterator[Path]:
    """The sockets of a server on this cluster that has reached its target; it is shut down cleanly afterwards."""
    with tempfile.TemporaryDirectory(prefix="recovery-") as folder:
        sockets, log = Path(folder), Path(folder) / "log"
        with log.open("w") as output:
            server = subprocess.Popen(_command(data, sockets), stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait(server, sockets, log)
            yield sockets
        finally:
            _stop(server)
        if server.returncode != 0:
            raise BackupError(f"the restored database does not shut down: {_end(log)}", "a clean end", "try again")
    forget_target(data)


def forget_target(data: Path) -> None:
    """What told this server where to stop is of no use to the next start."""
    path = data / "postgresql.auto.conf"
    path.write_text(_RECOVERY.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")


def _command(data: Path, sockets: Path) -> list[str]:
    """As the deployment's own server, but alone: no network, no log to the repository, little memory."""
    settings = {
        "config_file": _CONFIGURATION / "postgresql.conf",
        "hba_file": _CONFIGURATION / "pg_hba.conf",
        "ident_file": _CONFIGURATION / "pg_ident.conf",
        "archive_mode": "off",
        "listen_addresses": "",
        "unix_socket_directories": sockets,
        "shared_buffers": "64MB",
        "autovacuum": "off",
    }
    return [
        "postgres",
        "-D",
        str(data),
        *(part for key, value in settings.items() for part in ("-c", f"{key}={value}")),
    ]


def _wait(server: "subprocess.Popen[bytes]", sockets: Path, log: Path) -> None:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            raise BackupError(
                f"the restored database does not come up: {_end(log)}",
                "every piece of its log from the backup to the moment to be in the repository",
                "choose another moment with --at, or the backup before",
            )
        try:
            with postgres.session(sockets, "postgres") as session:
                if not session.ask("SELECT pg_catalog.pg_is_in_recovery()")[0][0]:
                    return
        except psycopg2.OperationalError:
            pass
        time.sleep(0.3)
    raise BackupError(f"the log was not replayed within {_SECONDS} s: {_end(log)}", "an end", "choose a newer backup")


def _stop(server: "subprocess.Popen[bytes]") -> None:
    if server.poll() is None:
        os.kill(server.pid, signal.SIGINT)
        server.wait(timeout=300)


def _end(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if "FATAL" in line or "ERROR" in line]
    return " / ".join(lines[-3:]) or log.read_text(errors="replace")[-500:]
