"""Making containers equal to the files: only those that differ, each after what it depends on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
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
    """Replace or start what differs, and end what no file names."""
    unseen = {each.subject for each in differences if each.kind in UNSEEN}
    differing = {each.subject for each in differences if each.subject in files.services}
    departed = [each.subject for each in differences if each.kind == "departed"]
    with context.report.step("Replace " + (", ".join(sorted(differing)) or "nothing")) as step:
        kept = live_networks.keep_postgres(context)
        if kept is not None and not _must_be_replaced(differences):
            differing.discard(drift.POSTGRES)
        starter = Starter(context, files, kept)
        for level in levels(files.services, differing):
            step.update(", ".join(level))
            starter.start(level, unseen)
        starter.wait([name for name in differing if not drift.is_one_shot(files.services[name])])
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


@dataclass(frozen=True)
class Starter:
    """Starts services as described, a level at a time.

    Compose 2.26 starts anew whatever depends on a service that it replaces, but only within one call: so each level has
    calls of its own. Dependencies are left out where there are none, and only there, for they are part of the hash.
    """

    context: Context
    files: Wanted
    kept: Path | None

    def start(self, level: list[str], unseen: set[str]) -> None:
        """Services that are not waited for, then the database, then those that run once, each to its end."""
        once = [name for name in level if drift.is_one_shot(self.files.services[name])]
        lasting = [name for name in level if name not in once and name != drift.POSTGRES]
        for forced in (False, True):
            for alone in (True, False):
                chosen = [each for each in lasting if (each in unseen) == forced and self._is_alone(each) == alone]
                self._run(chosen, *(["--force-recreate"] if forced else []))
        if drift.POSTGRES in level:
            # It has to answer before whoever needs it is started; all others are waited for together, at the end.
            self._run([drift.POSTGRES], "--wait", "--wait-timeout", str(up.START_SECONDS))
        for name in once:
            self._run_once(name)

    def wait(self, services: list[str]) -> None:
        """Until all of them are healthy."""
        options = ("--no-deps", "--no-recreate", "--wait", "--wait-timeout", str(up.START_SECONDS))
        self._run(services, *options)

    def _run_once(self, service: str) -> None:
        self._run([service], "--force-recreate")
        context = self.context
        own = next((each for each in context.containers() if each.is_service and each.service == service), None)
        waiting = ["docker", "wait", own.id if own else service]
        ended = context.executor.run(waiting, check=False, timeout=up.START_SECONDS)
        if ended.stdout.strip() != "0":
            raise not_started(context, [service], CommandError(ended))

    def _run(self, services: list[str], *options: str) -> None:
        if not services:
            return
        alone = ("--no-deps",) if "--no-deps" not in options and all(map(self._is_alone, services)) else ()
        args = ("up", "--detach", "--no-build", *alone, *options, *services)
        command = docker.compose(self.context.deployment, "--progress", "plain", *args, last_file=self.kept)
        result = self.context.executor.run(command, check=False, timeout=up.START_SECONDS + 60)
        if not result.ok:
            raise not_started(self.context, services, CommandError(result))

    def _is_alone(self, service: str) -> bool:
        return not self.files.services[service].get("depends_on")


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
