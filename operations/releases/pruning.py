"""Removing images of releases that nobody can need: never one that is in force, in use, waited for, or recent."""

import json
from collections.abc import Iterable

from operations import docker
from operations.context import Context
from operations.releases import building, history, tags

# Releases of a location that one can go back to.
BACK = 5


def prune(context: Context, locations: Iterable[str]) -> list[str]:
    """Remove old images of locations; returns their names. Where it cannot be known what is needed, nothing goes."""
    deployment = context.deployment
    needed = of_unfinished_runs(context)
    if needed is None:
        context.report.warn("old images are kept: the daemon does not say which images unfinished runs need")
        return []
    in_use = of_containers(context)
    gone: list[str] = []
    for name in locations:
        # Those to try it in are nobody's once a deployment has ended; a killed one leaves them.
        trials = f"{deployment.name}/{building.trial_name(name)}"
        gone += [f"{trials}:{tag}" for tag in _tags(context, trials)]
        recent = [each.tag for each in history.deployed(deployment, name)][::-1]
        kept = {*list(dict.fromkeys(recent))[:BACK], tags.in_force(deployment, name)}
        present = _tags(context, f"{deployment.name}/{name}")
        images = [tags.image(deployment, name, tag) for tag in present if tags.is_release(tag) and tag not in kept]
        gone += [image for image in images if image not in needed and image not in in_use]
    building.remove(context, gone)
    if gone:
        context.report.say(f"Removed images that nothing needs: {', '.join(gone)}")
    return gone


def _tags(context: Context, repository: str) -> list[str]:
    listing = ["docker", "image", "ls", "--format", "{{.Tag}}", repository]
    return [tag for tag in context.executor.run(listing, check=False, timeout=60).stdout.split() if tag != "<none>"]


def of_unfinished_runs(context: Context) -> set[str] | None:
    """Images of runs that are queued or under way; None where nobody can tell."""
    asked = docker.execute(context.deployment, "daemon", "entrypoint", "python", "-m", "daemon", "images")
    result = context.executor.run(asked, check=False, timeout=120)
    try:
        found = json.loads(result.stdout.strip().splitlines()[-1]) if result.ok else None
    except (ValueError, IndexError):
        return None
    return {str(image) for image in found} if isinstance(found, list) else None


def of_containers(context: Context) -> set[str]:
    """Images of all containers of this machine, whoever's they are: a name may be used elsewhere as well."""
    listing = ["docker", "ps", "--all", "--no-trunc", "--format", "{{.Image}}"]
    return set(context.executor.run(listing, timeout=60).stdout.split())
