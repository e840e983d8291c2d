"""What a location that keeps others in order may do about backups: ask for one and see what became of it.

Asking is a row in `provisioning.backup_requests`, of which it says the kind alone. The service `backup` does what is
asked and writes down the outcome; nobody else writes that.
"""

from typing import TypeAlias

from psycopg2.sql import SQL, Composable, Identifier

from provisioning.plan import Plan

Statements: TypeAlias = list[Composable]

KINDS = ("incremental", "full")
_TABLE = """
CREATE TABLE IF NOT EXISTS provisioning.backup_requests (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('incremental', 'full')),
    verify boolean NOT NULL DEFAULT false,
    requested_at timestamptz NOT NULL DEFAULT now(),
    requested_by text NOT NULL DEFAULT session_user,
    state text NOT NULL DEFAULT 'requested' CHECK (state IN ('requested', 'running', 'done', 'failed')),
    started_at timestamptz,
    ended_at timestamptz,
    result jsonb,
    error text
)"""
_PLACE = "TABLE provisioning.backup_requests"
_GRANTS = (
    "GRANT SELECT ON TABLE provisioning.backup_requests TO {}",
    "GRANT INSERT (kind, verify) ON TABLE provisioning.backup_requests TO {}",
)


def provide_backups(plan: Plan) -> Statements:
    """Makes the table and lets the plan's maintainers ask. For the database `dagster`, after the schema is there."""
    made: Statements = [SQL(_TABLE), SQL("REVOKE ALL ON " + _PLACE + " FROM PUBLIC")]
    for name in plan.locations:
        role = Identifier(name)
        # Rights on columns go with those on the table.
        made.append(SQL("REVOKE ALL ON " + _PLACE + " FROM {}").format(role))
        if name in plan.maintainers:
            made += [SQL(grant).format(role) for grant in _GRANTS]
    return made
