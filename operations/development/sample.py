"""The sample source without Docker: its tables in a DuckDB file, its HTTP API as a process, both for one developer."""

import hashlib
import secrets
import shutil
import socket
import sys
from pathlib import Path

from operations.context import Context
from operations.development.locations import Location
from operations.development.places import Places
from operations.development.processes import Program
from operations.testing import environments

LOCK = "deploy/sample_source/requirements.lock"
INSIDE = Path(__file__).parent / "inside"
# ingestion looks for its source here, in the folder of the lakes, when there is no Postgres.
DATABASE = "flight_operations.duckdb"


def is_there(root: Path) -> bool:
    """Whether this checkout still has the sample."""
    return (root / LOCK).is_file()


class Sample:
    """The sample source of one developer."""

    def __init__(self, context: Context, places: Places) -> None:
        self._context, self._places = context, places
        self._root = context.deployment.root
        self._source = self._root / "deploy" / "sample_source" / "src"
        self._environment = environments.provide(context, LOCK)
        self._token = secrets.token_urlsafe(16)
        # The port is ours from here on: nobody takes it before the API listens.
        self._socket = socket.create_server(("127.0.0.1", 0))

    @property
    def settings(self) -> dict[str, str]:
        """What a location needs to find the API."""
        port = self._socket.getsockname()[1]
        return {"SOURCE_API_URL": f"http://127.0.0.1:{port}", "SOURCE_API_TOKEN": self._token}

    def provide_data(self, locations: list[Location]) -> None:
        """Extract the package's tables and put them into a DuckDB file; once, and when the sample changes."""
        stamp, wanted = self._places.sample / "source.sha256", self._checksum()
        database = self._places.lake / DATABASE
        if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and database.is_file():
            return
        with self._context.report.step("Make the sample source"):
            shutil.rmtree(self._places.sample, ignore_errors=True)
            tables = self._places.sample / "tables"
            tables.mkdir(parents=True)
            self._python(self._environment, "-m", "sample_source.tables", str(tables))
            location = next((each for each in locations if _has_duckdb(self._root / each.lock)), None)
            if location is not None:
                python = environments.directory(self._root, location.lock)
                self._python(python, str(INSIDE / "sample_database.py"), str(tables), str(database))
            stamp.write_text(wanted, encoding="utf-8")

    def api(self) -> Program:
        """The HTTP API, listening on the port of `settings`."""
        args = [str(self._environment / "bin" / "python"), str(INSIDE / "sample_api.py")]
        env = self._places.environment([self._source], {"SOURCE_API_TOKEN": self._token})
        tables, number = str(self._places.sample / "tables"), self._socket.fileno()
        log = self._places.logs / "sample_api.log"
        return Program("sample_api", [*args, tables, str(number)], env, self._places.home, log, [number])

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()

    def _python(self, environment: Path, *args: str) -> None:
        python = str(environment / "bin" / "python")
        self._context.executor.run([python, *args], env={"PYTHONPATH": str(self._source)}, timeout=300)

    def _checksum(self) -> str:
        digest = hashlib.sha256(f"{sys.version_info[:2]}".encode())
        for path in (self._root / LOCK, self._source / "sample_source" / "tables.py", INSIDE / "sample_database.py"):
            digest.update(path.read_bytes())
        return digest.hexdigest()


def _has_duckdb(lock: Path) -> bool:
    return "duckdb" in environments.names(lock.read_text(encoding="utf-8"))
