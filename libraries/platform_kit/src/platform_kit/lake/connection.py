"""DuckDB with lakes attached.

One DuckDB instance a process, shared by its connections: extensions are loaded once (0.2 s), the memory limit holds for
all together, and a catalog file, which one instance may open, serves an asset that reads one table while it writes
another. A lake is attached while somebody uses it: afterwards its catalog file is free for other processes, and no idle
session stays in Postgres.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module, resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from platform_kit.environment import Bucket, Environment, FileCatalog, PostgresCatalog, lake_bucket
from platform_kit.lake import limits
from platform_kit.lake.errors import LakeError
from platform_kit.redaction import redact

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

T = TypeVar("T")

# Python, polars and the frame that is being written need the rest.
_DUCKDB_SHARE = 0.4
_TEMPORARY_FILES = "/tmp"  # noqa: S108  the one place that is writable in a location's container
_PATIENCE_SECONDS = 60.0
# What DuckDB, DuckLake and Postgres say when another writer was faster: on a commit, on opening a file, or when
# two make the same catalog, schema or table for the first time ("already exists": all of ours are IF NOT EXISTS), or
# two threads open the same file.
_TRANSIENT = (
    "conflict",
    "could not serialize",
    "deadlock detected",
    "could not set lock on file",
    "duplicate key value",
    "already exists",
    "already attached",
)
# What DuckLake says when a catalog has another path for its files.
_MOVED = "does not match existing data path"

_setting_up = threading.Lock()
_users: Counter["_Lake"] = Counter()
_instance: list["DuckDBPyConnection"] = []


@dataclass(frozen=True)
class _Lake:
    """A lake as it is attached in this process."""

    name: str
    catalog: PostgresCatalog | FileCatalog
    address: str
    own: bool
    bucket: Bucket | None


@contextmanager
def connect(environment: Environment, reads: Iterable[str] = ()) -> Iterator["DuckDBPyConnection"]:
    """A DuckDB connection with this location's lake attached by its name, and those in `reads` read-only by theirs."""
    import duckdb

    own, bucket = environment.code_location, lake_bucket()
    lakes = [
        _Lake(name, environment.lake_catalog(name), environment.lake_address(name), name == own, bucket)
        for name in dict.fromkeys((own, *reads))
    ]
    passwords = [lake.catalog.password.reveal() for lake in lakes if isinstance(lake.catalog, PostgresCatalog)]
    passwords += [bucket.key.reveal(), bucket.key_secret.reveal()] if bucket else []
    try:
        with ExitStack() as attached:
            for lake in lakes:
                attached.enter_context(_attached(lake))
            connection = _instance[0].cursor()
            attached.callback(connection.close)
            yield connection
    except duckdb.Error as error:
        safe = redact(str(error), *passwords)
        if safe == str(error):
            raise
        raise LakeError(safe) from None


@contextmanager
def _attached(lake: _Lake) -> Iterator[None]:
    with _setting_up:
        others = [used for used in _users if used.name == lake.name and used != lake]
        if others:
            raise LakeError(f"lake {lake.name!r} is in use in this process from another place: {others[0].catalog}")
        if not _instance:
            _instance.append(_new_instance())
        if not _users[lake]:
            retried(lambda: _attach(_instance[0], lake))
        _users[lake] += 1
    try:
        yield
    finally:
        with _setting_up:
            _users[lake] -= 1
            if not _users[lake]:
                del _users[lake]
                _instance[0].execute(f"DETACH {quoted(lake.name)}")


def retried(action: Callable[[], T], patience: float = _PATIENCE_SECONDS) -> T:
    """`action()`, again while another writer is in the way, for at most `patience` seconds.

    DuckLake refuses a commit when another one changed what it builds on, and DuckDB refuses to open a file that another
    process has open: both pass, and the whole action is done anew.
    """
    import duckdb

    deadline, pause = time.monotonic() + patience, 0.05
    while True:
        try:
            return action()
        except duckdb.Error as error:
            if not any(sign in str(error).lower() for sign in _TRANSIENT):
                raise
            if time.monotonic() + pause > deadline:
                raise LakeError(
                    f"another writer was in the way for {patience:.0f} seconds; run this again when it has ended. "
                    f"DuckDB says: {redact(str(error))}"
                ) from None
        time.sleep(pause)
        pause = min(pause * 1.7, 2.0)


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """`value` as an SQL string, for statements that take no parameters."""
    return "'" + str(value).replace("'", "''") + "'"


def _new_instance() -> "DuckDBPyConnection":
    import duckdb

    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{int(limits.memory_bytes() * _DUCKDB_SHARE) >> 20}MiB",
            "threads": limits.cpus(),
            "temp_directory": _TEMPORARY_FILES,
            # Extensions come as Python packages: nothing is fetched from a network at run time.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )
    # What a TIMESTAMPTZ looks like must not hang on the machine's time zone.
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    _load(connection, "ducklake")
    return connection


def _load(connection: "DuckDBPyConnection", extension: str) -> None:
    # Loaded where the package has it. duckdb_extensions.import_extension would first copy it (36 MB for ducklake) below
    # HOME, which in a container is a file system in memory.
    package = f"duckdb_extension_{extension}"
    if find_spec(package) is None:
        raise LakeError(
            f"this image has no {package.replace('_', '-')}: pin platform_kit[s3], which brings it, and lock again"
        )
    version = connection.execute("SELECT library_version FROM pragma_version()").fetchall()[0][0]
    file = Path(str(resources.files(import_module(package)))) / "extensions" / version / f"{extension}.duckdb_extension"
    if not file.is_file():
        raise LakeError(f"{package} has no extension for DuckDB {version}: pin both packages to the same version")
    connection.execute(f"LOAD {literal(file)}")


def _attach(connection: "DuckDBPyConnection", lake: _Lake) -> None:
    import duckdb

    options = ["READ_ONLY"]
    if lake.own:
        # The path is stored in the catalog when it is made; later it must be the same, or files would be in two places.
        options = [f"DATA_PATH {literal(lake.address)}"]
    if lake.bucket is not None:
        remember_bucket(connection, lake.bucket)
    elif lake.own:
        Path(lake.address).mkdir(parents=True, exist_ok=True)
    if isinstance(lake.catalog, FileCatalog):
        lake.catalog.path.parent.mkdir(parents=True, exist_ok=True)
        if not lake.own and not lake.catalog.path.is_file():
            raise LakeError(
                f"there is no lake {lake.name!r} at {lake.catalog.path}: run something in that code location first"
            )
        source = f"ducklake:{lake.catalog.path}"
    else:
        _load(connection, "postgres_scanner")
        _remember_role(connection, lake.name, lake.catalog)
        options.append(f"META_SECRET {literal(_secret_name(lake.name))}")
        # Options of libpq; host, role and password come from the DuckDB secret, which no error message prints.
        source = f"ducklake:postgres:connect_timeout=10 application_name=lake_{lake.name}"
    try:
        connection.execute(f"ATTACH {literal(source)} AS {quoted(lake.name)} ({', '.join(options)})")
    except duckdb.Error as error:
        if _MOVED not in str(error):
            raise
        raise LakeError(
            f"the lake {lake.name} was made elsewhere than in {lake.address}, where the settings say that its files "
            "are: a lake does not move by itself. Put LAKE_S3_* back as they were, or see docs/object-storage.md. "
            f"DuckDB says: {redact(str(error))}"
        ) from None


def remember_bucket(connection: "DuckDBPyConnection", bucket: Bucket) -> None:
    """Let a connection's instance reach the lakes' bucket, and check the certificate of its server."""
    _load(connection, "httpfs")
    # Without the first two, DuckDB's default depends on which of its two clients it is built with.
    connection.execute("SET GLOBAL enable_server_cert_verification = true")
    connection.execute("SET GLOBAL enable_curl_server_cert_verification = true")
    connection.execute(f"SET GLOBAL ca_cert_file = {literal(bucket.authority)}")
    values = {
        "KEY_ID": bucket.key.reveal(),
        "SECRET": bucket.key_secret.reveal(),
        "ENDPOINT": bucket.endpoint,
        "REGION": bucket.region,
        # A server of one's own has no name for each of its buckets.
        "URL_STYLE": "path",
        # Whatever else a catalog names as a place of its files gets neither key nor signature.
        "SCOPE": bucket.address,
    }
    options = ", ".join(f"{key} {literal(value)}" for key, value in values.items())
    connection.execute(f"CREATE OR REPLACE SECRET lake_bucket (TYPE s3, USE_SSL true, {options})")


def _remember_role(connection: "DuckDBPyConnection", name: str, catalog: PostgresCatalog) -> None:
    values = {
        "HOST": catalog.host,
        "PORT": str(catalog.port),
        "DATABASE": catalog.database,
        "USER": catalog.user,
        "PASSWORD": catalog.password.reveal(),
    }
    options = ", ".join(f"{key} {literal(value)}" for key, value in values.items())
    connection.execute(f"CREATE OR REPLACE SECRET {quoted(_secret_name(name))} (TYPE postgres, {options})")


def _secret_name(location: str) -> str:
    return f"catalog_{location}"
