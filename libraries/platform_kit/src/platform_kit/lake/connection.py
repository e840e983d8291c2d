"""DuckDB with lakes attached.

One DuckDB instance a process and environment, shared by its connections (DuckDB keeps a named in-memory database alive
while a connection is open): attaching costs 0.1 s once, the memory limit holds for all together, and a catalog file,
which one instance may open, serves an asset that reads one table while it writes another.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module, resources
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from platform_kit.environment import Environment, FileCatalog, PostgresCatalog
from platform_kit.lake import limits
from platform_kit.lake.errors import LakeError
from platform_kit.redaction import redact

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

T = TypeVar("T")

# Python, polars and the frame that is being written need the rest.
_DUCKDB_SHARE = 0.4
_TEMPORARY_FILES = "/tmp"  # noqa: S108  the one place that is writable in a location's container
_EXTENSIONS = ("ducklake", "postgres_scanner")
_PATIENCE_SECONDS = 60.0
_TRANSIENT = (
    "conflict",
    "could not serialize",
    "deadlock detected",
    "could not set lock on file",
    "duplicate key value",
)

_setting_up = threading.Lock()


@contextmanager
def connect(environment: Environment, reads: Iterable[str] = ()) -> Iterator["DuckDBPyConnection"]:
    """A DuckDB connection with this location's lake attached by its name, and those in `reads` read-only by theirs."""
    import duckdb

    location = environment.code_location
    catalogs = {name: environment.lake_catalog(name) for name in (location, *reads)}
    passwords = [c.password.reveal() for c in catalogs.values() if isinstance(c, PostgresCatalog)]
    connection = duckdb.connect(_instance(environment), config=_settings())
    try:
        with _setting_up:
            for extension in _EXTENSIONS:
                _load(connection, extension)
            for name, catalog in catalogs.items():
                data = environment.lake_data_path(name)
                retried(lambda n=name, c=catalog, d=data: _attach(connection, n, c, d, own=n == location))  # type: ignore[misc]
        yield connection
    except duckdb.Error as error:
        safe = redact(str(error), *passwords)
        if safe == str(error):
            raise
        raise LakeError(safe) from None
    finally:
        connection.close()


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


def _instance(environment: Environment) -> str:
    # Two environments in one process (as in tests) must not share attached lakes.
    where = repr((environment, environment.lake_catalog(), environment.lake_data_path()))
    return f":memory:lake-{hashlib.sha256(where.encode()).hexdigest()[:16]}"


def _settings() -> dict[str, str | bool | int | float | list[str]]:
    return {
        "memory_limit": f"{int(limits.memory_bytes() * _DUCKDB_SHARE) >> 20}MiB",
        "threads": limits.cpus(),
        "temp_directory": _TEMPORARY_FILES,
        # Extensions come as Python packages: nothing is fetched from a network at run time.
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }


def _load(connection: "DuckDBPyConnection", extension: str) -> None:
    # Loaded where the package has it. duckdb_extensions.import_extension would first copy it (36 MB for ducklake) below
    # HOME, which in a container is a file system in memory.
    package = f"duckdb_extension_{extension}"
    version = connection.execute("SELECT library_version FROM pragma_version()").fetchall()[0][0]
    file = Path(str(resources.files(import_module(package)))) / "extensions" / version / f"{extension}.duckdb_extension"
    if not file.is_file():
        raise LakeError(f"{package} has no extension for DuckDB {version}: pin both packages to the same version")
    connection.execute(f"LOAD {literal(file)}")


def _attach(
    connection: "DuckDBPyConnection", name: str, catalog: PostgresCatalog | FileCatalog, data: Path, *, own: bool
) -> None:
    options = ["READ_ONLY"]
    if own:
        # The path is stored in the catalog when it is made; later it must be the same, or files would be in two places.
        options = [f"DATA_PATH {literal(data)}"]
        data.mkdir(parents=True, exist_ok=True)
    if isinstance(catalog, FileCatalog):
        if own:
            catalog.path.parent.mkdir(parents=True, exist_ok=True)
        elif not catalog.path.is_file():
            raise LakeError(f"there is no lake {name!r} at {catalog.path}: run something in that code location first")
        source = f"ducklake:{catalog.path}"
    else:
        _remember_role(connection, name, catalog)
        options.append(f"META_SECRET {literal(_secret_name(name))}")
        # Options of libpq; host, role and password come from the DuckDB secret, which no error message prints.
        source = f"ducklake:postgres:connect_timeout=10 application_name=lake_{name}"
    connection.execute(f"ATTACH IF NOT EXISTS {literal(source)} AS {quoted(name)} ({', '.join(options)})")


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
