"""Names of code locations: what is legal, and which ones workspace.yaml has.

One name stands for the location, its Compose service and network, its folder, its Postgres role and its lake; so it
has to be legal, and free, in all of them. Its Python package has the same name unless that would hide a module.
"""

import keyword
import re
import sys
from pathlib import Path
from typing import Any

from access.documents import Document, read_document, show
from access.errors import AccessError

NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
PORT = 4000
RESERVED = {
    "Compose service": ("postgres", "migrate", "run_broker", "webserver", "daemon", "gateway"),
    "network": ("edge", "default"),
    "role or database in Postgres": ("dagster", "dagster_owner", "public", "none", "template0", "template1"),
    "catalog in DuckDB": ("main", "memory", "system", "temp"),
    "Python package": (
        *("access", "lean_dagster", "platform_kit", "pooled_storage", "provisioning", "redaction", "run_launcher"),
        *("run_worker", "dbt", "duckdb", "grpc", "polars", "pydantic", "yaml"),
    ),
}
_ENTRY_KEYS = ("host", "port", "location_name")


def check_location_name(name: str) -> str:
    """The name, when a code location may be called so; otherwise `ValueError` says why not."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(
            f"{show(name)} is no name for a code location; expected a to z, 0 to 9 and _, a letter first, at most 31"
        )
    for what, names in RESERVED.items():
        if name in names:
            raise ValueError(f"{name!r} cannot name a code location: it is taken by a {what}")
    if name.startswith("pg_"):
        raise ValueError(f"{name!r} cannot name a code location: Postgres keeps names that begin with pg_")
    if keyword.iskeyword(name):
        raise ValueError(f"{name!r} cannot name a code location: it is a word of the Python language")
    return name


def check_package_name(name: str) -> str:
    """The name, when a location's Python package may be called so; otherwise `ValueError` says why not."""
    if name in sys.stdlib_module_names:
        # The location's folder comes first on PYTHONPATH: Dagster's own `import platform` would find the location.
        raise ValueError(f"{name!r} cannot name a package: it would hide Python's own module of this name")
    return check_location_name(name)


def load_locations(path: str | Path) -> dict[str, str]:
    """The code locations of workspace.yaml, as name and host. Raises `AccessError`."""
    document = read_document(path)
    unknown = [key for key in document.data if key != "load_from"]
    if unknown:
        raise document.error((unknown[0],), "unknown key; legal here: load_from")
    entries = document.data.get("load_from")
    if not isinstance(entries, list) or not entries:
        raise document.error(("load_from",), f"found {show(entries)}; expected a list of at least one code location")
    locations: dict[str, str] = {}
    for index, entry in enumerate(entries):
        name, host = _location(document, index, entry)
        if name in locations:
            raise document.error(("load_from", index), f"code location {name!r} is given twice")
        locations[name] = host
    return locations


def _location(document: Document, index: int, entry: Any) -> tuple[str, str]:
    path = ("load_from", index)
    if not isinstance(entry, dict) or list(entry) != ["grpc_server"] or not isinstance(entry["grpc_server"], dict):
        raise document.error(path, f"found {show(entry)}; expected grpc_server with {', '.join(_ENTRY_KEYS)}")
    server = entry["grpc_server"]
    for key in server:
        if key not in _ENTRY_KEYS:
            raise document.error((*path, "grpc_server", key), f"unknown key; legal here: {', '.join(_ENTRY_KEYS)}")
    for key in _ENTRY_KEYS:
        if key not in server:
            raise document.error((*path, "grpc_server"), f"{key} is missing")
    name, host, port = server["location_name"], server["host"], server["port"]
    try:
        check_location_name(name)
    except ValueError as error:
        raise document.error((*path, "grpc_server", "location_name"), str(error)) from error
    if host != name:
        raise _mismatch(document, path, "host", host, f"{name!r}, the same as location_name")
    if type(port) is not int or port != PORT:
        raise _mismatch(document, path, "port", port, str(PORT))
    return name, host


def _mismatch(document: Document, path: tuple[str | int, ...], key: str, found: object, expected: str) -> AccessError:
    return document.error((*path, "grpc_server", key), f"found {show(found)}; expected {expected}")
