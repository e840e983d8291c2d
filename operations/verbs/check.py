"""check: validate the whole description without starting it, and print every problem."""

from access import Access, AccessError, load, load_locations
from operations import lineage
from operations.checking import definitions, hardening, migrations, object_storage, settings, standards, topology
from operations.checking.problems import Places, Problem
from operations.context import Context
from operations.deployment import Deployment
from operations.errors import StackError
from operations.locations import image as image_contract
from operations.locations import owners, scaffold


def check(context: Context, *, fast: bool) -> int:
    """Print all problems; 1 when there is one."""
    problems: list[Problem] = []
    with context.report.step("Settings") as step:
        found = settings.check(context.deployment)
        problems += found
        step.done(_count(found))
    with context.report.step("Locations, people and machines") as step:
        locations, access, found = _documents(context)
        problems += found
        step.done(_count(found))
    with context.report.step("Compose files") as step:
        found = _compose(context, locations, access)
        problems += found
        step.done(_count(found))
    if not fast and not problems:
        problems += _definitions(context, locations)
    elif not fast:
        context.report.say("Images and definitions are looked at when the files are in order.")
    for problem in sorted(problems, key=str):
        context.report.say(f"  {problem}")
    context.report.say(f"{_count(problems)}.")
    return 1 if problems else 0


def _definitions(context: Context, locations: list[str]) -> list[Problem]:
    problems, assets = definitions.check(context, locations)
    problems += _images_from_elsewhere(context, locations)
    if not problems:
        problems += migrations.check(context, locations)
    if problems:
        return problems
    with context.report.step("Standards") as step:
        found = standards.check(context.deployment.root, assets)
        step.done(_count(found))
    stale = lineage.check(context.deployment.root, assets)
    return found + ([stale] if stale else [])


def _images_from_elsewhere(context: Context, locations: list[str]) -> list[Problem]:
    """What images that are not built here lack of the contract of a location's image."""
    services = context.config["services"]
    images = {
        name: services[name]["image"] for name in locations if name in services and not services[name].get("build")
    }
    places = Places(context.deployment.root, compose_file(context.deployment))
    dagster = scaffold.deployments_pins(context.deployment.root)["dagster"] if images else ""
    return [
        places.problem(f"{name}: {image}: {lack}", "services", name, "image")
        for name, image in images.items()
        for lack in image_contract.shortcomings(context, name, image, dagster) or ()
    ]


def _documents(context: Context) -> tuple[list[str], Access | None, list[Problem]]:
    root = context.deployment.root
    try:
        locations = list(load_locations(root / "workspace.yaml"))
    except AccessError as error:
        return [], None, [_problem(error)]
    try:
        access = load(root / "access.yaml", locations)
    except AccessError as error:
        return locations, None, [_problem(error)]
    return locations, access, owners.check(root, locations, access)


def _problem(error: AccessError) -> Problem:
    return Problem(error.file.rsplit("/", 1)[-1], error.line, error.message)


def _compose(context: Context, locations: list[str], access: Access | None) -> list[Problem]:
    try:
        config = context.config
    except StackError as error:
        return [Problem("docker-compose.yml", None, error.found)]
    if access is None:
        # Without it nothing can be said about lakes; its own error has been told.
        return []
    places = Places(context.deployment.root, compose_file(context.deployment))
    model = topology.Model(context.deployment.root, config, locations, access, places)
    return topology.check(model) + object_storage.check(model) + hardening.check(model)


def compose_file(deployment: Deployment) -> list[str]:
    """The files that COMPOSE_FILE names."""
    return deployment.settings().get("COMPOSE_FILE", "docker-compose.yml").split(":")


def _count(problems: list[Problem]) -> str:
    return {0: "no problems", 1: "1 problem"}.get(len(problems), f"{len(problems)} problems")
