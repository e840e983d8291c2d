"""Which way a location's tables go in a rollback, and what that takes with it, before anything is changed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operations.checking import definitions
from operations.context import Context
from operations.errors import StackError
from operations.releases import migration, planning, tags
from operations.releases.history import Release

SCRIPT = Path(__file__).with_name("inside") / "ways_down.py"


@dataclass(frozen=True)
class Way:
    """From one revision to another; `forwards` by the image that is gone to, else by the one in force. `takes` is what
    is dropped or changed on the way back, a line each."""

    current: str | None
    target: str | None
    forwards: bool
    takes: tuple[str, ...] = ()


def find(context: Context, release: Release) -> Way | None:
    """The way to a release; None where the tables stay as they are."""
    name = release.location
    service = planning.with_tags(context, {name: release.tag})[name]
    in_force = context.config["services"][name]
    target = migration.newest(context, name, service)
    if migration.newest(context, name, in_force) is None and target is None:
        return None
    now = tags.in_force(context.deployment, name)
    forwards = tags.is_release(now) and release.tag > now
    current = migration.current(context, name, {tags.variable(name): release.tag} if forwards else {})
    if current == target:
        return None
    if forwards:
        return Way(current, target, forwards=True)
    return Way(current, target, forwards=False, takes=_takes(context, name, in_force, current, target))


def require_accepted(context: Context, name: str, tag: str, way: Way, *, accept_loss: bool) -> None:
    """Refuse a way back that takes something with it, unless somebody said that it may."""
    if way.takes and not accept_loss:
        stack = context.deployment.stack
        raise StackError(
            f"the tables of {name} lose this for good on their way back to {way.target or migration.BASE}:"
            f"{listed(way.takes)}",
            "a way back that loses nothing; nothing was changed",
            f"{stack} backup, then {stack} rollback {name} --to {tag} --accept-loss; or deploy a corrected version",
        )


def listed(takes: tuple[str, ...]) -> str:
    """Lines for people."""
    return "".join(f"\n    {each}" for each in takes)


def _takes(
    context: Context, name: str, service: Mapping[str, Any], newer: str | None, older: str | None
) -> tuple[str, ...]:
    """As its revisions read, in the image that has them; raises where there is no way."""
    settings = definitions.environment(dict(service.get("environment") or {}))
    run = ["docker", "run", "--interactive", "--entrypoint", "python", *definitions.SANDBOX, *settings]
    asked = [*run, str(service["image"]), "-", name, newer or migration.BASE, older or migration.BASE]
    result = context.executor.run(asked, stdin=SCRIPT.read_text(encoding="utf-8"), check=False, timeout=120)
    try:
        told: Any = json.loads(result.stdout.strip().splitlines()[-1]) if result.ok else None
    except (ValueError, IndexError):
        told = None
    if told is None:
        raise StackError(
            f"{name}: what the way back of its tables takes with it cannot be read: {result.last_words}",
            "the revisions of the image in force; nothing was changed",
            "look at what it says",
        )
    if told["no_way"]:
        raise StackError(
            f"{name}: its tables cannot be taken back to {older or migration.BASE}:{listed(tuple(told['no_way']))}",
            "revisions with a way down; nothing was changed",
            f"correct forwards: {context.deployment.stack} deploy {name}",
        )
    return tuple(str(each) for each in told["takes"])
