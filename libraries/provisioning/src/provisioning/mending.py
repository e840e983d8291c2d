"""What the database gives to a location that keeps others' in order: two things, and no power beside them.

The function `provisioning.mend(location)` makes a location's role and rights what the plan says. Its body is the plan
itself, written by the migration, so whoever may call it can restore and nothing else: it takes no right, limit or
password from its caller, and asks for no power over roles. What is in a lake's own database, its owner mends.

The table `provisioning.lake_clones` names the copies of a lake's catalog that share its files; what a copy's maker
owes is in docs/locations/platform.md.
"""

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from psycopg2.sql import SQL, Composable, Identifier, Literal

from provisioning import statements
from provisioning.expected import GUARDED, GUARDS
from provisioning.plan import DAGSTER, Plan

Statements: TypeAlias = list[Composable]

_SCHEMA = "CREATE SCHEMA IF NOT EXISTS provisioning"
_CLONES = """
CREATE TABLE IF NOT EXISTS provisioning.lake_clones (
    lake text NOT NULL,
    clone text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (lake, clone)
)"""
_CLOSE = (
    "REVOKE ALL ON SCHEMA provisioning FROM PUBLIC",
    "REVOKE ALL ON TABLE provisioning.lake_clones FROM PUBLIC",
    "REVOKE ALL ON FUNCTION provisioning.mend(text) FROM PUBLIC",
)
_OBJECTS = ("SCHEMA provisioning", "TABLE provisioning.lake_clones", "FUNCTION provisioning.mend(text)")
_GRANTS = (
    "GRANT USAGE ON SCHEMA provisioning TO {}",
    "GRANT SELECT ON TABLE provisioning.lake_clones TO {}",
    "GRANT EXECUTE ON FUNCTION provisioning.mend(text) TO {}",
)
# A role that a location was made a member of lends it its rights: the plan knows no such thing.
_FUNCTION = """
CREATE OR REPLACE FUNCTION provisioning.mend(location text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $mend$
DECLARE
    lent record;
    guard record;
BEGIN
    CASE location
{cases}
    ELSE
        RAISE invalid_parameter_value USING MESSAGE =
            pg_catalog.format('%s is no code location of the plan that the last migration read', location);
    END CASE;
    -- Only where one is off: the lock waits for all that is under way in the table, and everybody else waits behind it.
    FOR guard IN SELECT tgname, relname FROM pg_trigger JOIN pg_class AS guarded ON guarded.oid = tgrelid
                 WHERE relname = ANY ({guarded}) AND relnamespace = 'public'::regnamespace
                 AND tgname = ANY ({guards}) AND tgenabled NOT IN ('O', 'A') LOOP
        EXECUTE pg_catalog.format('ALTER TABLE public.%I ENABLE TRIGGER %I', guard.relname, guard.tgname);
    END LOOP;
    FOR lent IN SELECT roleid::regrole AS role, member::regrole AS member
                FROM pg_auth_members WHERE member = location::regrole LOOP
        EXECUTE pg_catalog.format('REVOKE %s FROM %s', lent.role, lent.member);
    END LOOP;
END
$mend$"""


def provide_mending(plan: Plan, tables: Iterable[str], *, superuser: bool) -> Statements:
    """Makes both and lets the plan's maintainers, and nobody else, use them. For the database `dagster`."""
    tables = sorted(tables)
    cases = SQL("\n").join(
        SQL("    WHEN {} THEN\n        {};").format(
            Literal(name), SQL(";\n        ").join(mend(plan, name, tables, superuser=superuser))
        )
        for name in plan.locations
    )
    made = [
        SQL(_SCHEMA),
        SQL(_CLONES),
        SQL(_FUNCTION).format(cases=cases, guards=Literal(list(GUARDS)), guarded=Literal(list(GUARDED))),
        *map(SQL, _CLOSE),
    ]
    for name in plan.locations:
        role = Identifier(name)
        made += [SQL("REVOKE ALL ON " + what + " FROM {}").format(role) for what in _OBJECTS]
        if name in plan.maintainers:
            made += [SQL(grant).format(role) for grant in _GRANTS]
    return made


def mend(plan: Plan, name: str, tables: Sequence[str], *, superuser: bool) -> Statements:
    """What makes a location's role, databases and rights on Dagster's tables what the plan says; nothing secret."""
    lake = plan.lake(name)
    return [
        *statements.alter_role(plan.role(name), None, superuser=superuser),
        *statements.role_settings(plan.role(name)),
        statements.own_database(lake.database, name),
        statements.close_database(lake.database),
        *statements.connect(DAGSTER, [name]),
        *statements.grant_dagster([name], tables, plan.maintainers),
    ]


def mend_lake(plan: Plan, name: str, others: Iterable[str]) -> Statements:
    """What the owner of a lake says in its database: who reads it; `others` are all roles that might and should not."""
    lake = plan.lake(name)
    public = SQL("PUBLIC")
    made: Statements = [
        SQL("REVOKE ALL ON SCHEMA public FROM {}").format(public),
        SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}").format(public),
        statements.close_database(lake.database),
    ]
    for other in sorted({*others} - {name, *lake.readers}):
        made += statements.revoke_reader(lake, other)
    for reader in lake.readers:
        # Taken back first, so that a right beyond reading goes.
        made += [*statements.revoke_reader(lake, reader), *statements.grant_reader(lake, reader)]
    return [*made, *statements.connect(lake.database, lake.readers)]
