"""The facts that must hold for a code location when the database is what the plan says.

A fact is a place and what is said of it, with a value: ("role ingestion", "connection limit") → "100". `found` gives
the same facts from the server, so that what differs has a name and both values.
"""

from collections.abc import Iterable
from typing import TypeAlias

from provisioning.plan import DAGSTER, LOCATION_INSERTS, SERVICE, Lake, Plan
from provisioning.statements import sequence_of, table_rights

Facts: TypeAlias = dict[tuple[str, str], str]

NOTHING = "nothing"
POWERS = ("superuser", "createdb", "createrole", "replication", "bypassrls")
# The triggers that keep a location to its own runs and what they tell, and everybody from deleting the record of one
# that goes on; and the tables that have them.
GUARDS = ("guard_checks", "guard_events", "guard_run_deletes", "guard_run_tags", "guard_runs")
GUARDED = ("asset_check_executions", "event_logs", "run_tags", "runs")


def rights_of(role: str) -> str:
    """How a fact about somebody's rights is called."""
    return f"rights of {role}"


def of_role(plan: Plan, name: str) -> Facts:
    """The role, its databases, and who may enter them."""
    role, lake = plan.role(name), plan.lake(name)
    place = f"role {name}"
    facts: Facts = {(place, "login"): "yes", (place, "connection limit"): str(role.connections)}
    facts |= {(place, power): "no" for power in POWERS}
    facts[place, "member of"] = NOTHING
    facts |= {
        (place, f"{key} in {database}"): value
        for database, settings in role.settings.items()
        # A reader's settings in a lake that it does not read change nothing.
        if database in (DAGSTER, lake.database)
        for key, value in settings.items()
    }
    facts[f"database {lake.database}", "owner"] = name
    facts |= {(f"database {lake.database}", rights_of(reader)): "CONNECT" for reader in lake.readers}
    facts[f"database {DAGSTER}", rights_of(name)] = "CONNECT"
    return facts


def of_dagster(plan: Plan, name: str, tables: Iterable[str]) -> Facts:
    """What the location may do in Dagster's tables, and what guards them."""
    tables = sorted(tables)
    facts: Facts = {
        (f"table {table} of {DAGSTER}", rights_of(name)): ", ".join(
            sorted(map(str, table_rights(name, table, maintainer=name in plan.maintainers)))
        )
        for table in tables
    }
    facts |= {
        (f"sequence {sequence_of(table)} of {DAGSTER}", rights_of(name)): "SELECT, USAGE"
        for table in tables
        if table in LOCATION_INSERTS
    }
    facts[f"schema public of {DAGSTER}", rights_of(name)] = "USAGE"
    facts |= {(f"trigger {guard} of {DAGSTER}", "state"): "enabled" for guard in GUARDS}
    return facts


def of_lake(lake: Lake, tables: Iterable[str]) -> Facts:
    """Who reads a lake's catalog, and will read what its owner puts there."""
    facts: Facts = {}
    for reader in lake.readers:
        facts[f"schema public of {lake.database}", rights_of(reader)] = "USAGE"
        facts[f"new tables of {lake.database}", rights_of(reader)] = "SELECT"
        facts |= {(f"table {table} of {lake.database}", rights_of(reader)): "SELECT" for table in tables}
    return facts


def watched(plan: Plan, lake_owners: Iterable[str]) -> tuple[str, ...]:
    """The roles whose rights are compared: those of the plan, and of locations that were. Others, such as a
    dashboard's, an operator granted by hand."""
    return tuple(sorted({SERVICE, *plan.locations, *lake_owners, "PUBLIC"}))
