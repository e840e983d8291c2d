"""A new revision: what leads from the newest one to the models as they are now."""

import secrets
from pathlib import Path

from alembic import command
from alembic.script import Script

from platform_kit.environment import PostgresCatalog
from platform_kit.migrations import MigrationError
from platform_kit.migrations.chain import Chain
from platform_kit.migrations.differences import options
from platform_kit.migrations.moving import Patience, at_work, is_empty, up


def write(chain: Chain, catalog: PostgresCatalog, message: str, *, empty: bool) -> Path | None:
    """Write the revision and give its file; None when the models say nothing new."""
    chain.versions.mkdir(exist_ok=True)
    with at_work(chain, catalog, Patience(), keep=False) as connection:
        if not is_empty(connection):
            raise MigrationError(
                f"{catalog.database} has tables: expected an empty database to compare the models with; without "
                "POSTGRES_HOST one is made for it"
            )
        up(chain, connection, None, chain.head)

        def keep_if_needed(_context: object, _revision: object, directives: list[object]) -> None:
            script = directives[0]
            if not empty and script.upgrade_ops.is_empty():  # type: ignore[attr-defined]
                directives.clear()

        chain.config.attributes.update(
            connection=connection,
            options={**options(chain.metadata, everything=True), "process_revision_directives": keep_if_needed},
        )
        made = command.revision(
            *(chain.config, message), autogenerate=not empty, version_path=str(chain.versions), rev_id=_new_id()
        )
    script = made[0] if isinstance(made, list) and made else made
    return Path(script.path) if isinstance(script, Script) else None


def _new_id() -> str:
    """Twelve hexadecimal digits, a letter first: figures alone look like a phone number to who redacts logs."""
    while (name := secrets.token_hex(6))[0].isdigit():
        pass
    return name
