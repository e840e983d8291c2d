"""One look at everything: the engine first, then the database in one transaction, then the lakes."""

import json
from typing import Any

from operations import docker
from operations.branches import postgres
from operations.context import Context
from operations.errors import StackError
from operations.invariants import lakes, statements
from operations.invariants.facts import Facts, Materialised, Pool, Run, RunContainer, Slot, Tick, Told


def look(context: Context) -> Facts:
    """What is so now. A run that begins between two of these questions is younger than any time that is allowed."""
    everything = context.containers()
    containers = tuple(_container(each) for each in everything if is_of_runs(each))
    server = _server(context)
    answers = ask(context, server, [each.run_id for each in containers if each.run_id])
    materialised = tuple(_materialised(row) for row in answers["materialised"])
    return Facts(
        now=float(answers["now"][0]["now"]),
        runs={row["id"]: Run(**row) for row in answers["runs"]},
        containers=containers,
        told=tuple(Told(**row) for row in answers["told"]),
        pools=tuple(Pool(**row) for row in answers["pools"]),
        slots=tuple(Slot(**row) for row in answers["slots"]),
        ticks=tuple(Tick(**row) for row in answers["ticks"]),
        materialised=materialised,
        tables=lakes.read(context, everything, {one.asset for one in materialised}),
        being_written=frozenset(_asset(row["asset"]) for row in answers["being_written"]),
    )


def _server(context: Context) -> str:
    if postgres.container(context) is None and postgres.SERVICE not in context.config["services"]:
        raise StackError(
            "the database is elsewhere",
            "the bundled one, which is asked inside its own container",
            "without it, runs and their events are compared on the page of each run",
        )
    return postgres.require(context)


def is_of_runs(container: docker.Container) -> bool:
    """Whether the broker made it, for a run or for one to come."""
    return container.is_run or container.waits


def ask(context: Context, server: str, named_runs: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The database's answers by name."""
    command = postgres.psql(server, "dagster")
    result = context.executor.run(command, stdin=statements.script(named_runs), check=False, timeout=300)
    lines = result.stdout.splitlines()
    if not result.ok or len(lines) != len(statements.NAMES):
        raise StackError(
            f"the database did not answer: {result.last_words}",
            "runs, events, schedules and pools in the database dagster",
            f"{context.deployment.stack} doctor, for what is wrong with the service postgres",
        )
    return {name: json.loads(line) for name, line in zip(statements.NAMES, lines, strict=True)}


def _container(found: docker.Container) -> RunContainer:
    return RunContainer(
        id=found.id,
        name=found.name,
        run_id=found.run_id if found.is_run else "",
        location=found.labels.get(docker.LOCATION_LABEL, ""),
        state=found.state,
        warm=found.waits,
        created=docker.moment(found.created) or 0,
        started=docker.moment(found.started),
        finished=docker.moment(found.finished),
    )


def _materialised(row: dict[str, Any]) -> Materialised:
    rows = row["rows"] if row["partition"] is None else row["partition_rows"]
    return Materialised(_asset(row["asset"]), row["partition"], rows, row["snapshot"], row["run_id"] or "")


def _asset(stored: str) -> tuple[str, ...]:
    return tuple(json.loads(stored))
