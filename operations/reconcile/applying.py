"""Making containers equal to the files: only those that differ, each after what it depends on."""

from collections.abc import Iterable, Mapping
from typing import Any

from operations import docker, live_networks
from operations.context import Context
from operations.errors import StackError
from operations.execute import CommandError
from operations.reconcile import drift
from operations.reconcile.drift import Difference, Wanted
from operations.verbs import up

# Kinds of difference that Compose does not see.
UNSEEN = {"mounted"}


def apply(context: Context, files: Wanted, differences: list[Difference]) -> None:
    """Replace or start what differs, and end what no file names.

    One service after the other with --no-deps: Compose 2.26 starts anew whatever depends on a service that it replaces.
    """
    differing = {each.subject for each in differences if each.subject in files.services}
    unseen = {each.subject for each in differences if each.kind in UNSEEN}
    departed = [each.subject for each in differences if each.kind == "departed"]
    with context.report.step("Replace " + (", ".join(sorted(differing)) or "nothing")) as step:
        kept = live_networks.keep_postgres(context)
        if kept is not None and not _must_be_replaced(differences):
            differing.discard(drift.POSTGRES)
        for level in levels(files.services, differing):
            step.update(", ".join(level))
            for name in (each for each in level if drift.is_one_shot(files.services[each])):
                _run_once(context, name)
            lasting = [each for each in level if not drift.is_one_shot(files.services[each])]
            _start(context, [each for each in lasting if each not in unseen])
            _start(context, [each for each in lasting if each in unseen], "--force-recreate")
        _wait(context, [name for name in differing if not drift.is_one_shot(files.services[name])])
        live_networks.settle(context)
        _end_departed(context, departed)
        step.done("all healthy" if differing else "")


def _must_be_replaced(differences: list[Difference]) -> bool:
    kinds = {each.kind for each in differences if each.subject == drift.POSTGRES}
    return bool(kinds - {"description"})


def levels(services: Mapping[str, Mapping[str, Any]], chosen: Iterable[str]) -> list[list[str]]:
    """These services in groups, each group after those that it depends on, directly or by way of others."""
    wanted = set(chosen)
    depth: dict[str, int] = {}

    def of(name: str, above: tuple[str, ...] = ()) -> int:
        if name not in depth and name not in above:
            before = [each for each in services.get(name, {}).get("depends_on") or () if each in services]
            depth[name] = max((of(each, (*above, name)) + 1 for each in before), default=0)
        return depth.get(name, 0)

    numbers = sorted({of(name) for name in wanted})
    return [[name for name in services if name in wanted and of(name) == number] for number in numbers]


def start(context: Context, services: list[str], *options: str) -> list[str]:
    """Start these services as described, and touch no other."""
    args = ("up", "--detach", "--no-deps", "--no-build", *options, *services)
    return docker.compose(context.deployment, "--progress", "plain", *args)


def _start(context: Context, services: list[str], *options: str) -> None:
    if not services:
        return
    # The database has to answer before whoever needs it is started; all others are waited for together, at the end.
    wait = ("--wait", "--wait-timeout", str(up.START_SECONDS)) if drift.POSTGRES in services else ()
    result = context.executor.run(start(context, services, *options, *wait), check=False, timeout=up.START_SECONDS + 60)
    if not result.ok:
        raise not_started(context, services, CommandError(result))


def _run_once(context: Context, service: str) -> None:
    """A service that ends by itself: to its end, and it has to end well."""
    result = context.executor.run(start(context, [service], "--force-recreate"), check=False, timeout=120)
    own = next((each for each in context.containers() if each.is_service and each.service == service), None)
    if not result.ok or own is None:
        raise not_started(context, [service], CommandError(result))
    ended = context.executor.run(["docker", "wait", own.id], check=False, timeout=up.START_SECONDS)
    if ended.stdout.strip() != "0":
        raise not_started(context, [service], CommandError(ended))


def _wait(context: Context, services: list[str]) -> None:
    """Until all of them are healthy."""
    if not services:
        return
    options = ("--no-recreate", "--wait", "--wait-timeout", str(up.START_SECONDS))
    result = context.executor.run(start(context, services, *options), check=False, timeout=up.START_SECONDS + 60)
    if not result.ok:
        raise not_started(context, services, CommandError(result))


def not_started(context: Context, services: list[str], error: CommandError) -> StackError:
    """Name the services that are unwell, each with the end of its output."""
    told = []
    for container in context.containers():
        if container.service not in services or not container.is_service or container.is_well:
            continue
        state = f"exited with {container.exit_code}" if container.state == "exited" else container.state
        state += f", {container.health}" if container.health else ""
        output = context.executor.run(docker.logs(context.deployment, container.service), check=False).stdout.strip()
        lines = "".join(f"\n    {line}" for line in output.splitlines()[-10:])
        told.append(f"{container.service} is {state}{lines}")
    if not told:
        return error
    return StackError("\n".join(told), "every service of the commit healthy", "correct what it complains about")


def _end_departed(context: Context, services: list[str]) -> None:
    """What no file names any more and is no location, such as a sample; the data stays."""
    for container in context.containers():
        if container.is_service and container.service in services:
            context.executor.run(["docker", "stop", container.id], check=False, timeout=120)
            context.executor.run(["docker", "rm", "--volumes", container.id], check=False, timeout=60)
