"""Which secrets no longer match the database: each role tries to log in."""

import psycopg2
from provisioning.plan import DAGSTER, OWNER, SERVICE, Plan

from migrate.errors import MigrationError
from migrate.server import connect, one_line
from migrate.settings import Settings


def failing_logins(settings: Settings, plan: Plan) -> dict[str, str]:
    """The roles that cannot log in, each with what the server (or the missing secret) says."""
    databases = {OWNER: DAGSTER, SERVICE: DAGSTER, **{lake.owner: lake.database for lake in plan.lakes}}
    failing: dict[str, str] = {}
    for role, database in databases.items():
        try:
            connect(settings, role, settings.password_of(role), database).close()
        except MigrationError as error:
            failing[role] = str(error)
        except psycopg2.OperationalError as error:
            failing[role] = one_line(error)
    try:
        connect(settings, settings.admin, settings.admin_password, "postgres").close()
    except psycopg2.OperationalError as error:
        failing[settings.admin] = one_line(error)
    return failing
