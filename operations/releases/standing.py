"""Releases that are in force, for verbs that build: the name of a release never gets another content."""

from collections.abc import Mapping
from typing import Any

from operations import environment_file
from operations.context import Context
from operations.errors import StackError
from operations.releases import building, history, journal, tags, tree


def released(services: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Locations that are built here and run a release, each with its tag."""
    found = {name: tags.release_of(service) for name, service in services.items()}
    return {name: tag for name, tag in found.items() if tag}


def to_build(services: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The services that are built from the checkout as it is; an empty list stands for all."""
    kept = released(services)
    return [name for name, service in services.items() if service.get("build") and name not in kept] if kept else []


def as_local(services: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The settings by which locations that run a release are built and looked at as the checkout has them."""
    return {tags.variable(name): tags.LOCAL for name in released(services)}


def checkout(services: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The services with the images of the checkout in place of releases."""
    kept = released(services)
    return {
        name: {**service, "image": f"{str(service['image']).rpartition(':')[0]}:{tags.LOCAL}"}
        if name in kept
        else service
        for name, service in services.items()
    }


def provide(context: Context) -> None:
    """Make sure that the images of releases in force are there: on a machine that was set up anew, or after somebody's
    `docker system prune`, each is built again from its commit."""
    for name, tag in released(context.config["services"]).items():
        if building.exists(context, tags.image(context.deployment, name, tag)):
            continue
        root, commit = context.deployment.root, tags.commit_of(tag)
        known = tree.git(
            context.executor, root, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}", check=False
        )
        if not known.ok:
            raise StackError(
                f"the image of {name} {tag} is not on this machine, and git has no commit {commit} to build it from",
                "the image of the release that .env names",
                f"git fetch and repeat; or set {tags.variable(name)}=local in .env to run this checkout's code",
            )
        context.report.warn(f"the image of {name} {tag} is gone: it is built again from its commit")
        with tree.exported(context, root, known.stdout.strip()) as files:
            chosen = {name: tag}
            source = building.resolve(context, files.root, chosen)
            building.require_tags(context.deployment, source["services"], chosen)
            building.build(context, files.root, source, chosen, trials=False)


def forget(context: Context) -> None:
    """After the images are gone with all data: .env names none of them any more, and history none to go back to."""
    deployment = context.deployment
    for key, value in environment_file.read(deployment.env_file, deployment.example).items():
        if key.endswith("_TAG") and tags.is_release(value):
            environment_file.set_value(deployment.env_file, key, tags.LOCAL)
            context.report.say(f"{key} is {tags.LOCAL} again: its release went with the images.")
    history.file(deployment).unlink(missing_ok=True)
    journal.forget(deployment)
