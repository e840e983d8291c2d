"""Compare a location's role, databases and rights with the plan, and mend what differs."""

import psycopg2
from provisioning import expected, found
from provisioning.drift import Drift, compare
from provisioning.mending import mend_lake
from provisioning.plan import Plan

from platform_location import database


def drift(plan: Plan, name: str) -> list[Drift]:
    """All that differs between the server and the plan for one location, by name."""
    lake = plan.lake(name)
    with database.dagster() as dagster:
        roles = expected.watched(plan, found.lakes(dagster.ask).values())
        wanted = expected.of_role(plan, name) | expected.of_dagster(plan, name, found.tables(dagster.ask))
        there = found.of_role(dagster.ask, name, lake.database, roles) | found.of_dagster(dagster.ask, name)
    differences = compare(wanted, there)
    if missing(differences):
        return differences
    try:
        with database.lake(name) as catalog:
            tables = found.tables(catalog.ask)
            return differences + compare(expected.of_lake(lake, tables), found.of_lake(catalog.ask, roles))
    except psycopg2.OperationalError as error:
        reason = " ".join(str(error).split())
        return [*differences, Drift(f"role {name}", f"login to {lake.database}", reason, "a login with its secret")]


def missing(differences: list[Drift]) -> bool:
    """Whether the role or its database is not there at all: only the migration makes one."""
    return any(
        (one.place.startswith("role ") and one.what == "connection limit" and one.found == expected.NOTHING)
        or (one.place.startswith("database ") and one.what == "owner" and one.found == expected.NOTHING)
        for one in differences
    )


def mend(plan: Plan, name: str) -> None:
    """Make what differs as the plan says: in Dagster's database by what the migration left there for it, in the lake as
    its owner."""
    with database.dagster() as dagster:
        roles = expected.watched(plan, found.lakes(dagster.ask).values())
        existing = {role for (role,) in dagster.ask("SELECT rolname::text FROM pg_roles")}
        dagster.ask("SELECT provisioning.mend(%s)", name)
    with database.lake(name) as catalog:
        catalog.execute(mend_lake(plan, name, existing.intersection(roles)))
