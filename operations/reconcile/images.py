"""Images of services: built for a commit before anything is touched, and their names given back when it fails."""

from collections.abc import Iterable, Mapping
from typing import Any

from operations import build_progress, docker
from operations.context import Context
from operations.deployment import Deployment
from operations.reconcile import drift


def names(services: Mapping[str, Mapping[str, Any]], built: Iterable[str]) -> dict[str, str]:
    """The names that a build of these services gives away, each with nothing behind it yet."""
    return {str(services[name]["image"]): "" for name in built if name in services}


def remember(context: Context, wanted: Mapping[str, str]) -> dict[str, str]:
    """Which image each name leads to now; "" where it leads nowhere."""
    return {**wanted, **drift.image_ids(context, wanted)}


def give_back(context: Context, remembered: Mapping[str, str]) -> None:
    """Make names lead where they led before. An image that is no longer there is told by whatever needs it."""
    present = drift.image_ids(context, remembered)
    for name, image in remembered.items():
        if image and present.get(name) != image:
            context.executor.run(["docker", "tag", image, name], check=False, timeout=60)


def build(context: Context, candidate: Deployment, services: list[str]) -> None:
    """Build images of a commit from its own tree."""
    if not services:
        return
    with context.report.step("Build " + ", ".join(services)) as step:
        build_progress.build(
            step,
            context.executor,
            docker.build(candidate, services),
            "every image of the commit to build; nothing was changed, and what runs goes on",
            "correct what it complains about and push; after a registry or an index was away: reconcile --retry",
        )
