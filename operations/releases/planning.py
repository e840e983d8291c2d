"""What a call of deploy is going to do, and whether it may: nothing is changed here."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from operations import docker
from operations.context import Context
from operations.errors import StackError
from operations.releases import building, content, tags, tree
from operations.releases.tree import Tree

Services = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Plan:
    """The tag (or, built elsewhere, the reference) that each location is to have; the Compose file of the tree, by
    which images are built; and the services of the deployment, by which containers are made."""

    tree: Tree
    chosen: dict[str, str]
    source: dict[str, Any]
    services: Services

    @property
    def built(self) -> dict[str, str]:
        """Those that are built here."""
        return {name: tag for name, tag in self.chosen.items() if tags.is_release(tag)}


def select(context: Context, wanted: Sequence[str]) -> list[str]:
    """These locations, each once, in the order of the Compose file; raises where one is none."""
    return content.select(context.config["services"], wanted, context.locations)


def plan(context: Context, files: Tree, names: Sequence[str], *, clean: bool, only_changed: bool) -> Plan:
    """What would be deployed; raises where that cannot be. `clean`: the checkout has to be as the commit."""
    here = context.config["services"]
    tag = tags.new(files.commit)
    chosen = {name: tag if here[name].get("build") else str(here[name]["image"]) for name in names}
    source = building.resolve(context, files.root, {name: tag for name in names if here[name].get("build")})
    full = Plan(files, chosen, source, here)
    _require_described(full)
    building.require_tags(context.deployment, source["services"], full.built)
    if clean:
        _require_clean(context, full)
    if only_changed:
        described = {name: source["services"][name] if name in full.built else here[name] for name in names}
        reasons = content.changed(context, files.repository, files.commit, described)
        for name, reason in reasons.items():
            context.report.say(f"  {name}: {reason}")
        chosen = {name: chosen[name] for name in reasons}
    built = {name: tag for name, tag in chosen.items() if name in full.built}
    services = with_tags(context, built)
    building.require_tags(context.deployment, services, built)
    return Plan(files, chosen, source, services)


def with_tags(context: Context, chosen: Mapping[str, str]) -> Services:
    """The deployment's services as they would be with other tags."""
    env = {tags.variable(name): tag for name, tag in chosen.items()}
    printed = context.executor.run(docker.config(context.deployment), env=env, timeout=60).stdout
    services: Services = json.loads(printed)["services"]
    return services


def _require_described(full: Plan) -> None:
    services = full.source["services"]
    if gone := [name for name in full.built if not (services.get(name) or {}).get("build")]:
        raise StackError(
            f"{', '.join(gone)}: commit {full.tree.commit[:12]} does not say how to build it",
            "locations that docker-compose.yml has in that commit",
            "commit docker-compose.yml, or name another commit",
        )


def _require_clean(context: Context, full: Plan) -> None:
    services = full.source["services"]
    paths: Iterable[str] = sorted({path for name in full.built for path in content.inputs(name, services[name])})
    if paths:
        tree.require_clean(context.executor, full.tree.repository, paths)
