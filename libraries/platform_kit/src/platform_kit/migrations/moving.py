"""Upgrade, downgrade, and the trial of both that leaves nothing behind."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alembic import command
from alembic.script import Script
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from platform_kit.environment import PostgresCatalog
from platform_kit.migrations import IrreversibleError, MigrationError
from platform_kit.migrations.chain import BASE, SCHEMA, Chain, irreversible, where
from platform_kit.migrations.database import (
    hold_lock,
    holders_of_tables,
    is_lock_timeout,
    revision_of,
    transaction,
)
from platform_kit.migrations.differences import differences, options

# How long one waits for another migration, and for a table that a run has locked. The latter is short: whoever wants to
# read the table meanwhile waits behind the migration.
PATIENCE_SECONDS = 120
TABLE_PATIENCE_SECONDS = 10
_TABLES = """
SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p') AND nspname <> 'information_schema' AND nspname !~ '^pg_'"""


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds."""

    lock: int = PATIENCE_SECONDS
    table: int = TABLE_PATIENCE_SECONDS


@dataclass(frozen=True)
class Moved:
    """What was done: from which revision to which, by which steps; and what is not as the models say."""

    before: str | None
    after: str | None
    steps: tuple[str, ...] = ()
    differences: tuple[str, ...] = field(default=())


def upgrade(chain: Chain, catalog: PostgresCatalog, to: str | None, patience: Patience) -> Moved:
    """Bring the tables to a revision (None: the newest), wholly or not at all."""
    target = chain.head if to is None else chain.find(to)
    with at_work(chain, catalog, patience) as connection:
        before = known(chain, revision_of(connection))
        scripts = chain.between(before, target)
        if before != target and not scripts:
            raise MigrationError(
                f"the tables are at {before}, which is not before {target}; to go back: downgrade --to {to}"
            )
        if scripts:
            up(chain, connection, before, target)
        found = differences(connection, chain.metadata, everything=False) if scripts and target == chain.head else []
    return Moved(before, target, _named(scripts), tuple(found))


def downgrade(chain: Chain, catalog: PostgresCatalog, to: str, patience: Patience) -> Moved:
    """Bring the tables back to a revision, or `base`; refused before anything changes when a step has no way down."""
    target = chain.find(to)
    with at_work(chain, catalog, patience) as connection:
        before = known(chain, revision_of(connection))
        scripts = chain.between(target, before)
        if before != target and not scripts:
            raise MigrationError(
                f"the tables are at {before or BASE}, which is not after {to}; to go on: upgrade --to {to}"
            )
        if reasons := irreversible(scripts):
            raise IrreversibleError(f"cannot go back to {to}, nothing was changed: {'; '.join(reasons)}")
        _down(chain, connection, before, target)
    return Moved(before, target, _named(reversed(scripts)))


def trial(chain: Chain, catalog: PostgresCatalog, patience: Patience) -> list[str]:
    """Upgrade, compare with the models, and undo it all: a line for each thing that is wrong.

    In a database with nothing in it, the revisions are the only ones to have made anything: then a table without a
    model is told too, and the way down and up again is walked.
    """
    with at_work(chain, catalog, patience, keep=False) as connection:
        everything = is_empty(connection)
        before = known(chain, revision_of(connection))
        up(chain, connection, before, chain.head)
        problems = differences(connection, chain.metadata, everything=everything)
        if everything and not problems:
            problems = _there_and_back(chain, connection)
        return problems


def _there_and_back(chain: Chain, connection: Connection) -> list[str]:
    """Undo each revision that can be undone, and apply it again, as a rollback and the next deployment would."""
    at = chain.head
    for script in reversed(chain.between(None, chain.head)):
        if irreversible([script]) or not isinstance(script.down_revision, str | None):
            break
        try:
            _down(chain, connection, at, script.down_revision)
            up(chain, connection, script.down_revision, at)
            _down(chain, connection, at, script.down_revision)
        except DBAPIError as error:
            why = where(error, chain.versions)
            raise MigrationError(f"undoing {script.revision} and applying it again fails: {why}") from None
        at = script.down_revision
    up(chain, connection, at, chain.head)
    found = differences(connection, chain.metadata, everything=True)
    return [f"after undoing all that can be undone, and applying it again: {line}" for line in found]


def is_empty(connection: Connection) -> bool:
    """Whether the database has no table at all, not even the lake's."""
    return not connection.scalar(text(_TABLES))


def known(chain: Chain, revision: str | None) -> str | None:
    """The revision, if it is one of these."""
    if revision is not None and not chain.knows(revision):
        raise MigrationError(
            f"the tables of {chain.location} are at {revision}, which is no revision of this image "
            f"(its newest is {chain.head or BASE}): a newer release made it; deploy that one, or go back by its image"
        )
    return revision


@contextmanager
def at_work(chain: Chain, catalog: PostgresCatalog, patience: Patience, *, keep: bool = True) -> Iterator[Connection]:
    """A transaction with the lock; errors of the database are told in one line, and everything is as it was."""
    chain.scripts  # noqa: B018  a chain that is none is told before anybody waits for a lock
    with transaction(catalog, keep=keep) as connection:
        hold_lock(connection, chain.location, patience.lock)
        timeout = {"timeout": f"{patience.table}s"}
        connection.execute(text("SELECT set_config('lock_timeout', :timeout, true)"), timeout)
        try:
            yield connection
        except DBAPIError as error:
            connection.rollback()
            if is_lock_timeout(error):
                raise MigrationError(
                    f"a table was locked for more than {patience.table} s, nothing was changed: "
                    f"{holders_of_tables(catalog)}; repeat when it has ended"
                ) from None
            raise MigrationError(f"nothing was changed: {where(error, chain.versions)}") from error


def up(chain: Chain, connection: Connection, before: str | None, target: str | None) -> None:
    """Apply the revisions after one up to another, in the transaction of the connection."""
    scripts = chain.between(before, target)
    _refuse_autocommit(scripts)
    # Alembic compares and makes what is in schemas, not schemas.
    for schema in sorted({SCHEMA, *(str(table.schema) for table in chain.metadata.tables.values())}):
        connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
    if scripts:
        _run(chain, connection, command.upgrade, str(target))


def _down(chain: Chain, connection: Connection, before: str | None, target: str | None) -> None:
    if before != target:
        _run(chain, connection, command.downgrade, target or BASE)


def _run(chain: Chain, connection: Connection, move: Any, target: str) -> None:
    chain.config.attributes.update(connection=connection, options=options(None, everything=False))
    try:
        move(chain.config, target)
    except IrreversibleError as error:
        raise IrreversibleError(f"cannot go back, nothing was changed: {error}") from None
    except (DBAPIError, MigrationError):
        raise
    except Exception as error:
        raise MigrationError(f"nothing was changed: {where(error, chain.versions)}") from error


def _refuse_autocommit(scripts: Sequence[Script]) -> None:
    for script in scripts:
        if "autocommit_block" in Path(script.path).read_text(encoding="utf-8"):
            raise MigrationError(
                f"{Path(script.path).name} uses autocommit_block: an upgrade is one transaction, so that a failing one "
                "changes nothing; do such a thing (CREATE INDEX CONCURRENTLY, say) by hand, and IF NOT EXISTS here"
            )


def _named(scripts: Any) -> tuple[str, ...]:
    return tuple(f"{script.revision} {script.doc}".strip() for script in scripts)
