"""Dagster's own tables: made on an empty database, brought up to date on an older one."""

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import yaml
from provisioning.plan import DAGSTER, OWNER

from migrate.errors import MigrationError
from migrate.server import Say, one_line
from migrate.settings import Settings


def owner_storage(document: Any, settings: Settings, password: str) -> dict[str, Any]:
    """The storage of dagster.yaml, as the owner opens it: by its own name, and allowed to make tables. Pure."""
    try:
        database = document["storage"]["custom"]["config"]["postgres_db"]
    except (KeyError, TypeError) as error:
        raise MigrationError(
            "dagster.yaml has no storage.custom.config.postgres_db; the deployment keeps its history there."
        ) from error
    if database.get("db_name") != DAGSTER:
        raise MigrationError(f"dagster.yaml names the database {database.get('db_name')!r}; expected {DAGSTER!r}.")
    owner = {"username": OWNER, "password": password, "hostname": settings.host, "port": settings.port}
    return {"postgres": {"postgres_db": {**database, **owner}, "should_autocreate_tables": True}}


def migrate_dagster(settings: Settings, say: Say) -> None:
    """What `dagster instance migrate` does, with the storage alone: the rest of dagster.yaml is not needed for it."""
    document = yaml.safe_load(settings.dagster_yaml.read_text(encoding="utf-8"))
    storage = owner_storage(document, settings, settings.password_of(OWNER))
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    # Dagster takes three seconds to import: not before the plan is known to be sound.
    from alembic.util import CommandError
    from dagster import DagsterInstance
    from dagster._core.instance.ref import InstanceRef

    logging.getLogger("alembic").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
        reference = InstanceRef.from_dir(folder, overrides={"storage": storage})
        try:
            with DagsterInstance.from_ref(reference) as instance:
                instance.upgrade(lambda line: None if line.startswith("Skipping") else say(f"dagster: {line}"))
        except CommandError as error:
            raise MigrationError(
                f"Dagster cannot bring its tables up to date: {one_line(error)}. A newer release has used this "
                "database; deploy that one again, or restore the backup from before it."
            ) from error
