"""Plugin of dbt-duckdb, named in profiles.yml: makes each DuckDB session ready to attach lakes.

It runs in dbt's own process. Passwords go from platform_kit.environment into DuckDB's secrets: no profile, manifest,
log or command line ever holds one.
"""

import os
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import duckdb
from dbt.adapters.duckdb.credentials import DuckDBCredentials
from dbt.adapters.duckdb.plugins import BasePlugin

from analytics.project import LOCATION
from platform_kit.environment import Bucket, PostgresCatalog, current, lake_bucket

EXTENSIONS = ("ducklake", "postgres_scanner")
# The rest of the container's memory is for two Pythons: Dagster's and dbt's.
DUCKDB_SHARE = 0.35
CGROUP = Path("/sys/fs/cgroup")


class Plugin(BasePlugin):
    """Called by dbt-duckdb before it attaches what the profile lists."""

    def update_connection_config(self, creds: DuckDBCredentials, config: dict[str, Any]) -> None:
        """Settings that DuckDB takes only when it starts."""
        config.update(
            memory_limit=f"{int(memory_bytes() * DUCKDB_SHARE) >> 20}MiB",
            # What does not fit is spilled to the lake's volume: /tmp is memory, and spilling there ends in a kill.
            temp_directory=str(current(LOCATION).lake_data_path() / ".spill"),
            # Extensions come as Python packages: nothing is fetched from a network.
            autoinstall_known_extensions=False,
            autoload_known_extensions=False,
        )
        # The profile has the folder; where the tables are on S3, the settings say so.
        for attachment in creds.attach or []:
            if attachment.alias == LOCATION and lake_bucket() is not None:
                attachment.options = {**(attachment.options or {}), "data_path": current(LOCATION).lake_address()}

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Load the extensions and, where catalogs are in Postgres, say who this location is."""
        for extension in EXTENSIONS:
            conn.execute(f"LOAD {literal(extension_file(extension))}")
        environment = current(LOCATION)
        for alias in sorted(attachment.alias or "" for attachment in (self.creds and self.creds.attach) or []):
            catalog = environment.lake_catalog(alias)
            if isinstance(catalog, PostgresCatalog):
                conn.execute(secret(f"catalog_{alias}", catalog))
        bucket = lake_bucket()
        if bucket is not None:
            for statement in reach(bucket):
                conn.execute(statement)

    def configure_cursor(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Nothing: settings of the instance hold for its cursors."""


def secret(name: str, catalog: PostgresCatalog) -> str:
    """The statement that lets DuckDB reach a catalog; its secrets never appear in an error message."""
    options = {
        "HOST": catalog.host,
        "PORT": str(catalog.port),
        "DATABASE": catalog.database,
        "USER": catalog.user,
        "PASSWORD": catalog.password.reveal(),
    }
    listed = ", ".join(f"{key} {literal(value)}" for key, value in options.items())
    return f"CREATE OR REPLACE SECRET {name} (TYPE postgres, {listed})"


def reach(bucket: Bucket) -> list[str]:
    """The statements that let DuckDB reach the lakes' bucket, by this location's key and nothing else's."""
    options = {
        "KEY_ID": bucket.key.reveal(),
        "SECRET": bucket.key_secret.reveal(),
        "ENDPOINT": bucket.endpoint,
        "REGION": bucket.region,
        "URL_STYLE": "path",
        "SCOPE": bucket.address,
    }
    listed = ", ".join(f"{key} {literal(value)}" for key, value in options.items())
    return [
        f"LOAD {literal(extension_file('httpfs'))}",
        "SET GLOBAL enable_server_cert_verification = true",
        "SET GLOBAL enable_curl_server_cert_verification = true",
        f"SET GLOBAL ca_cert_file = {literal(bucket.authority)}",
        f"CREATE OR REPLACE SECRET lake_bucket (TYPE s3, USE_SSL true, {listed})",
    ]


def extension_file(name: str) -> Path:
    """The extension where its package has it: installing it would copy 40 MB into a file system in memory."""
    package = import_module(f"duckdb_extension_{name}")
    return Path(str(resources.files(package))) / "extensions" / f"v{duckdb.__version__}" / f"{name}.duckdb_extension"


def memory_bytes(cgroup: Path = CGROUP) -> int:
    """What the container may use; DuckDB by itself looks at the machine and is killed instead of spilling to disk."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"):
        text = file.read_text(encoding="ascii").strip() if file.is_file() else ""
        if text.isdecimal():  # "max", and an enormous number, mean no limit
            return min(int(text), machine)
    return machine


def literal(value: object) -> str:
    """A SQL string, for statements that take no parameters."""
    return "'" + str(value).replace("'", "''") + "'"
