"""`python -m migrate` prepares the database; `python -m migrate check` tells whose password does not match."""

import json
import sys
from collections.abc import Sequence

import psycopg2
from provisioning.plan import Plan, make_plan

from access import AccessError, load_locations
from access import load as load_access
from migrate import settings as environment
from migrate.check import failing_logins
from migrate.errors import MigrationError
from migrate.server import one_line, wait_until_reachable
from migrate.settings import Settings
from migrate.steps import migrate


def read_plan(settings: Settings) -> Plan:
    """The plan that workspace.yaml and access.yaml make."""
    locations = load_locations(settings.workspace)
    access = load_access(settings.access, locations)
    machines = {name: access.machines[name] for name in locations}
    maintainers = [name for name, machine in machines.items() if machine.maintains]
    return make_plan({name: machine.reads for name, machine in machines.items()}, maintainers)


def say(line: str) -> None:
    """One line of progress."""
    print(f"migrate: {line}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 when all is well, 1 when something is to be done, 2 for a wrong call."""
    if list(arguments) not in ([], ["check"]):
        print("usage: python -m migrate [check]", file=sys.stderr)
        return 2
    try:
        settings = environment.load()
        plan = read_plan(settings)
        if arguments:
            failing = failing_logins(settings, plan)
            print(json.dumps({"failing": failing}, indent=2))
            return 1 if failing else 0
        wait_until_reachable(settings, say)
        migrate(settings, plan, say)
    except (MigrationError, AccessError) as error:
        print(f"migrate: {error}", file=sys.stderr)
        return 1
    except psycopg2.Error as error:
        print(f"migrate: the database server refused a statement: {one_line(error)}", file=sys.stderr)
        return 1
    say("the database is ready")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
