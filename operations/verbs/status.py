"""status: what runs, in what state, where to find it."""

import json
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from operations import docker, gateway, preflight
from operations.context import Context
from operations.deployment import Deployment
from operations.errors import StackError
from operations.releases import tags

STYLES = {"healthy": "green", "running": "green", "done": "green", "starting": "yellow"}


@dataclass(frozen=True)
class Service:
    """A service of the Compose file and its container."""

    name: str
    state: str
    memory: str
    image: str
    well: bool


def status(context: Context, *, as_json: bool) -> int:
    """Show the deployment; 1 when something that should run does not."""
    deployment = context.deployment
    deployment.require_env()
    preflight.server_version(context)
    containers = context.containers()
    services = services_of(context, containers)
    problem, locations, counts = "", list[gateway.Location](), None
    try:
        if not gateway.runs(containers):
            raise gateway.UnreachableError("the gateway does not run")
        client = gateway.as_admin(context.deployment)
        locations, counts = client.locations(), client.run_counts()
    except (gateway.UnreachableError, StackError) as error:
        problem = str(error)
    running_runs = [container.name for container in containers if container.is_run and container.state == "running"]
    address = gateway.address(context.deployment.settings())
    well = all(service.well for service in services) and not problem and not any(place.error for place in locations)
    if as_json:
        document = {
            "deployment": context.deployment.name,
            "address": address,
            "well": well,
            "services": [vars(service) for service in services],
            "locations": [{**vars(place), "release": tags.in_force(deployment, place.name)} for place in locations],
            "runs": {"queued": counts[0], "started": counts[1]} if counts else None,
            "run_containers": running_runs,
            "problem": problem,
        }
        context.report.console.print_json(json.dumps(document), ensure_ascii=True)
        return 0 if well else 1
    context.report.show(_services_table(services))
    if problem:
        context.report.warn(f"GraphQL does not answer: {problem}")
    else:
        context.report.show(_locations_table(deployment, locations))
    if counts:
        context.report.say(f"Runs: {counts[0]} queued, {counts[1]} started, {len(running_runs)} containers")
    context.report.say(f"Address: {address}")
    if not well:
        context.report.say(f"{context.deployment.stack} doctor explains what is wrong.")
    return 0 if well else 1


def services_of(context: Context, containers: list[docker.Container]) -> list[Service]:
    """Every service that the Compose file has, running or not."""
    own = {container.service: container for container in containers if container.is_service}
    memory = _memory(context, [container.id for container in own.values() if container.state == "running"])
    services = []
    for name in context.config["services"]:
        container = own.get(name)
        if container is None:
            services.append(Service(name, "missing", "", "", well=False))
            continue
        state = container.health or container.state
        if container.state == "exited":
            done = container.exit_code == 0 and _is_one_shot(context, name)
            state = "done" if done else f"exited with {container.exit_code}"
        elif container.state != "running":
            state = container.state
        # Only a one-shot service may be gone for good.
        well = container.is_well and (container.state == "running" or _is_one_shot(context, name))
        services.append(Service(name, state, memory.get(container.id[:12], ""), container.image, well))
    return services


def _is_one_shot(context: Context, service: str) -> bool:
    return bool(context.config["services"][service].get("restart") in (None, "no"))


def _memory(context: Context, ids: list[str]) -> dict[str, str]:
    if not ids:
        return {}
    result = context.executor.run(
        ["docker", "stats", "--no-stream", "--format", "{{.Container}} {{.MemUsage}}", *ids], check=False, timeout=30
    )
    lines = (line.split(" ", 1) for line in result.stdout.splitlines() if " " in line)
    return {container[:12]: usage for container, usage in lines}


def _services_table(services: list[Service]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("SERVICE", "STATE", "MEMORY", "IMAGE"):
        table.add_column(column, overflow="fold")
    for service in services:
        style = STYLES.get(service.state, "red")
        table.add_row(service.name, f"[{style}]{service.state}[/{style}]", service.memory, service.image)
    return table


def _locations_table(deployment: Deployment, locations: list[gateway.Location]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("LOCATION", "STATE", "RELEASE", "ERROR"):
        table.add_column(column)
    for location in locations:
        state = "loading" if location.loading else "error" if location.error else "loaded"
        style = {"loaded": "green", "loading": "yellow"}.get(state, "red")
        # A traceback has brackets of its own, which a table would read as markup, or fail on.
        last = escape((location.error.splitlines() or [""])[-1][:120])
        table.add_row(location.name, f"[{style}]{state}[/{style}]", tags.in_force(deployment, location.name), last)
    return table
