"""What a code server does before it serves: its location's tables are what its image needs, or it says why not."""

import time
from collections.abc import Callable
from pathlib import Path

from platform_kit.environment import Environment, Kind, PostgresCatalog, setting
from platform_kit.migrations import MigrationError
from platform_kit.migrations.chain import BASE, Chain
from platform_kit.migrations.database import UnreachableError, revision_of, transaction, was_migrated
from platform_kit.migrations.moving import Moved, Patience, upgrade

_REASON = Path("/tmp/migrations-refused.txt")  # noqa: S108  the container's own /tmp
_EVERY_SECONDS = 2.0
_TELL_EVERY_SECONDS = 30.0


def start(chain: Chain, here: Environment, catalog: PostgresCatalog, say: Callable[[str], None]) -> Moved:
    """Upgrade where nobody else does: a first start, an image that was never released, a branch.

    A released image in production finds its tables as `deploy` or `rollback` left them, and leaves them so: after a
    rollback, no restart of the newer image brings the newer tables back.
    """
    begun, before = _wait(catalog, say)
    if before is not None and not chain.knows(before):
        say(f"the tables are at {before}, which a newer version made; this one serves with them as they are")
        return Moved(before, before)
    if not begun or here.kind is Kind.BRANCH or setting("DAGSTER_CURRENT_IMAGE", "").endswith(":local"):
        return upgrade(chain, catalog, None, Patience())
    if before != chain.head:
        raise MigrationError(
            f"the tables of {chain.location} are at {before or BASE}, this image needs {chain.head}: expected "
            f"./stack deploy {chain.location} to bring them there"
        )
    return Moved(before, before)


def _wait(catalog: PostgresCatalog, say: Callable[[str], None]) -> tuple[bool, str | None]:
    """Whether there were migrations before, and the revision of the tables, as soon as the database lets us in.

    At a first start its role and its database are still being made. However long it takes: without this server
    Dagster's own storage is not there either, and the health check tells who waits.
    """
    told = float("-inf")
    while True:
        try:
            with transaction(catalog) as connection:
                return was_migrated(connection), revision_of(connection)
        except UnreachableError as error:
            if time.monotonic() - told >= _TELL_EVERY_SECONDS:
                told = time.monotonic()
                say(f"waiting: {error}")
        time.sleep(_EVERY_SECONDS)


def keep_reason(reason: str) -> None:
    """Note why the server may not serve, for `refused`."""
    _REASON.write_text(f"{reason}\nThen restart the code server.", encoding="utf-8")


def read_reason() -> str:
    """What `keep_reason` noted."""
    return _REASON.read_text(encoding="utf-8")
