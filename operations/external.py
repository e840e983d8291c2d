"""Services outside the machine, by settings: a database of one's own, buckets for lakes and logs.

What is half set is found before anything starts: inside a container it would be the error of some run, an hour later.
"""

import http.client
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operations.context import Context
from operations.errors import Finding

SYSTEM_AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
PATIENCE_SECONDS = 10
BUNDLED = "postgres"
# The answers of a server that is there and has the bucket; without a key it lets nobody in.
_THERE = (200, 301, 307, 400, 403)


@dataclass(frozen=True)
class Store:
    """A bucket that the deployment uses: what it is for, the names of its settings, and who has which secrets."""

    what: str
    settings: str
    values: dict[str, str]
    secrets: tuple[str, ...]
    authority: str


def findings(context: Context) -> list[Finding]:
    """What is missing for the services outside, without asking them."""
    return [*_database(context), *(finding for store in stores(context) for finding in _half_set(context, store))]


def unreachable(context: Context) -> Iterator[Finding]:
    """Buckets that do not answer from here."""
    for store in stores(context):
        why = _trouble(context, store)
        if why:
            endpoint, bucket = (store.values[f"{store.settings}_{name}"] for name in ("ENDPOINT", "BUCKET"))
            yield Finding(
                f"bucket of the {store.what}",
                f"{bucket} at {endpoint}: {why}",
                f"{store.settings}_ENDPOINT and {store.settings}_BUCKET name a bucket that answers over TLS, its "
                f"certificate checked by secrets/{store.authority} or, where that is empty, this machine's authorities",
                f"correct them in {context.deployment.shown(context.deployment.env_file)}, or see to the server "
                "(docs/object-storage.md)",
            )


def stores(context: Context) -> list[Store]:
    """The buckets of this deployment."""
    services = context.config["services"]
    found = []
    using = {name: spec for name, spec in services.items() if _environment(spec).get("LAKE_S3_BUCKET")}
    if using:
        names = [f"{name}_{part}" for name in using for part in ("s3_key", "s3_key_secret")]
        values = _environment(next(iter(using.values())))
        found.append(Store("lakes", "LAKE_S3", values, tuple(names), "lake_s3_authority"))
    values = _environment(services.get("webserver") or {})
    if values.get("LOGS_S3_BUCKET"):
        found.append(Store("logs", "LOGS_S3", values, ("logs_s3_key", "logs_s3_key_secret"), "logs_s3_authority"))
    return found


def kept(context: Context) -> list[str]:
    """What `down --delete-data` does not delete, for people to read."""
    found = [
        f"s3://{store.values[f'{store.settings}_BUCKET']}/{store.values[f'{store.settings}_PREFIX']}/, the {store.what}"
        for store in stores(context)
    ]
    if is_database_elsewhere(context):
        found.append(f"the databases dagster and lake_* and their roles on {database(context)}")
    return found


def database(context: Context) -> str:
    """The server that the deployment uses, as host:port."""
    settings = context.deployment.settings()
    return f"{settings.get('POSTGRES_HOST') or BUNDLED}:{settings.get('POSTGRES_PORT') or '5432'}"


def is_database_elsewhere(context: Context) -> bool:
    """Whether the deployment uses a server that is not its own."""
    values = _environment(context.config["services"].get("migrate") or {})
    return "PGSSLROOTCERT" in values or values.get("POSTGRES_HOST", BUNDLED) != BUNDLED


def _database(context: Context) -> Iterator[Finding]:
    if not is_database_elsewhere(context):
        return
    settings = context.deployment.settings()
    shown = context.deployment.shown(context.deployment.env_file)
    if (settings.get("POSTGRES_HOST") or BUNDLED) == BUNDLED:
        yield Finding(
            "database",
            f"POSTGRES_HOST is the bundled server's in {shown}",
            "external-postgres.yml takes that one away, and needs the address of yours",
            f"set POSTGRES_HOST in {shown}",
        )
    if settings.get("BACKUPS", "on") != "off":
        yield Finding(
            "database",
            f"BACKUPS is {settings.get('BACKUPS', 'on')!r} in {shown}, and the database is elsewhere",
            "its own backups take over there, and nobody here could make one",
            f"set BACKUPS=off in {shown}, and see to the server's backups (docs/database.md)",
        )
    mode = settings.get("POSTGRES_SSLMODE", "prefer")
    if mode != "disable" and _content(context, "postgres_authority") == "":
        yield Finding(
            "database",
            "secrets/postgres_authority is empty, and the database is elsewhere",
            f"POSTGRES_SSLMODE is {mode}: the server's certificate is checked by the authority in that file, in PEM",
            "write it there (RDS: https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem; a server whose "
            f"certificate everybody's authorities signed: {SYSTEM_AUTHORITIES})",
        )


def _half_set(context: Context, store: Store) -> Iterator[Finding]:
    empty = [name for name in store.secrets if _content(context, name) == ""]
    if empty:
        yield Finding(
            f"bucket of the {store.what}",
            f"empty in {context.deployment.shown(context.deployment.secrets())}: {', '.join(empty)}",
            "each is half of a key for the bucket: its id, and the secret that goes with it",
            "write them there (docs/object-storage.md has the policy that each key needs)",
        )
    if store.what == "lakes":
        yield from _lean_locks(context)


def _lean_locks(context: Context) -> Iterator[Finding]:
    """Locations whose image would lack DuckDB's extension for S3."""
    for name in context.locations:
        lock = context.deployment.root / "code_locations" / name / "requirements.lock"
        if lock.is_file() and "\nduckdb-extension-httpfs==" not in lock.read_text(encoding="utf-8"):
            yield Finding(
                f"location {name}",
                f"{lock.relative_to(context.deployment.root)} has no duckdb-extension-httpfs, and the lakes are on S3",
                "platform_kit reaches them from 0.4.0 on, with its extra s3",
                f"add s3 to the extras of platform_kit in code_locations/{name}/pyproject.toml, then "
                f"./stack library release --version 0.4.0 --into {name}",
            )


def _trouble(context: Context, store: Store) -> str:
    values, own = store.values, _content(context, store.authority)
    try:
        authority = ssl.create_default_context(cadata=own) if own else ssl.create_default_context()
        connection = http.client.HTTPSConnection(
            values[f"{store.settings}_ENDPOINT"], context=authority, timeout=PATIENCE_SECONDS
        )
        try:
            connection.request("HEAD", f"/{values[f'{store.settings}_BUCKET']}/")
            status = connection.getresponse().status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
    if status == http.HTTPStatus.NOT_FOUND:
        return "there is no such bucket"
    return "" if status in _THERE else f"the server answers {status}"


def _content(context: Context, name: str) -> str | None:
    """What is in a secret's file; None where the deployment has no such secret, or the file is not there."""
    secret = (context.config.get("secrets") or {}).get(name)
    if secret is None or "file" not in secret:
        return None
    path = Path(secret["file"])
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def _environment(service: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in (service.get("environment") or {}).items() if value is not None}
