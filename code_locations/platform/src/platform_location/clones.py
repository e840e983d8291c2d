"""Copies of a lake's catalog that share its files, such as a branch's.

Whoever makes one writes it into provisioning.lake_clones first. A file that the lake gave up before that is not in the
copy, for the copy was made later; one that it gave up after that may be. So one moment tells what may go, and nothing
of the copy, which belongs to somebody else, has to be read.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from provisioning import found
from provisioning.plan import Plan

from platform_location.database import Session

# A snapshot that is being expired has written when it gave a file up, and is not yet to be seen by who copies.
_MARGIN = timedelta(hours=1)


class UnknownCloneError(Exception):
    """A database that may be a copy of a lake's catalog and does not say of which."""


@dataclass(frozen=True)
class Clones:
    """The copies of one lake."""

    names: tuple[str, ...]
    oldest: datetime | None

    def deletable_before(self, cutoff: datetime) -> datetime:
        """Files that were given up before this may be deleted."""
        return cutoff if self.oldest is None else min(cutoff, self.oldest - _MARGIN)


def of_lake(dagster: Session, plan: Plan, database: str) -> Clones:
    """The copies of a lake. Raises `UnknownCloneError`: what is not known is not deleted from."""
    rows = dagster.ask("SELECT lake, clone, made_at FROM provisioning.lake_clones ORDER BY made_at")
    registered = {clone for _, clone, _ in rows}
    lakes = {lake.database for lake in plan.lakes}
    for name, owner in found.lakes(dagster.ask).items():
        # A location that was removed leaves its lake, owned by its role.
        if name not in lakes and name not in registered and name != f"lake_{owner}":
            raise UnknownCloneError(
                f"The database {name} of {owner} is neither a code location's lake nor in provisioning.lake_clones; if "
                "it is a copy of a lake's catalog, its files would be deleted under it. Insert (lake, clone) there "
                "(lake: the database it was copied from), or rename or drop the database. Nothing was deleted."
            )
    own = [(clone, made_at) for lake, clone, made_at in rows if lake == database]
    return Clones(tuple(clone for clone, _ in own), own[0][1] if own else None)
