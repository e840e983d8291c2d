"""Images of the new release: built under names of their own beside those that run, until the change."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from operations import build_progress, docker
from operations.context import Context
from operations.releases import tags

NEXT, BEFORE = "next", "before-upgrade"


@dataclass(frozen=True)
class Images:
    """By the name that the files give an image: where it is built, and for locations with releases their new tags."""

    built: dict[str, str] = field(default_factory=dict)
    releases: dict[str, str] = field(default_factory=dict)

    def of(self, name: str) -> str:
        """Where the image that the files give this name is now."""
        return self.built.get(name, name)


def plan(context: Context, commit: str) -> Images:
    """What is to be built. A location that runs a release gets a new one: what a release is called never changes."""
    built: dict[str, str] = {}
    releases: dict[str, str] = {}
    for name, service in context.config["services"].items():
        image = str(service.get("image", ""))
        if not service.get("build"):
            continue
        if tags.release_of(service):
            releases[name] = tags.new(commit)
            built[image] = tags.image(context.deployment, name, releases[name])
        else:
            built[image] = renamed(image, NEXT)
    return Images(built, releases)


def renamed(image: str, tag: str) -> str:
    """The same repository with another tag."""
    return f"{image.rpartition(':')[0]}:{tag}"


def build(context: Context, images: Images) -> None:
    """Build all of them from the checkout. What runs keeps its images and their names."""
    config = context.config
    services: dict[str, Any] = {}
    for name, service in config["services"].items():
        image = str(service.get("image", ""))
        if service.get("build") and image in images.built:
            services[name] = {"image": images.built[image], "build": service["build"]}
    file = context.deployment.state / "upgrade-build.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    document = {"name": context.deployment.name, "services": services, "secrets": config.get("secrets") or {}}
    file.write_text(json.dumps(document), encoding="utf-8")
    try:
        with context.report.step("Build images") as step:
            build_progress.build(
                step,
                context.executor,
                docker.compose_of(context.deployment, context.deployment.root, [file], "--progress", "plain", "build"),
                "every image of the release to build; nothing was changed, and what runs goes on",
                "correct what it complains about and repeat; --verbose shows the whole output",
            )
    finally:
        file.unlink(missing_ok=True)


def remember(context: Context, images: Images) -> dict[str, str]:
    """What each name leads to now; "" where nowhere yet."""
    ids = of_containers(context)
    found = {}
    for image, new in images.built.items():
        if not new.endswith(f":{NEXT}"):
            continue
        found[image] = ids.get(image) or _id(context, image)
    return found


def keep(context: Context, remembered: Mapping[str, str]) -> None:
    """Give them a second name, so that nobody's prune removes them."""
    for image, known in remembered.items():
        if known:
            context.executor.run(["docker", "tag", known, renamed(image, BEFORE)])


def of_containers(context: Context) -> dict[str, str]:
    """The images of the services' containers, by name: what runs, whatever the name leads to by now."""
    ids = [each.id for each in context.containers() if each.is_service]
    if not ids:
        return {}
    asked = context.executor.run(["docker", "inspect", "--format", "{{.Config.Image}} {{.Image}}", *ids])
    return dict(line.split() for line in asked.stdout.splitlines() if len(line.split()) == 2)


def put(context: Context, images: Images) -> None:
    """From now on the names lead to the new images."""
    for image, new in images.built.items():
        if new.endswith(f":{NEXT}"):
            context.executor.run(["docker", "tag", new, image])


def give_back(context: Context, remembered: Mapping[str, str]) -> None:
    """The names lead where they led before."""
    for image, known in remembered.items():
        if known:
            context.executor.run(["docker", "tag", known, image])


def tidy(context: Context, remembered: Iterable[str], also: Iterable[str] = ()) -> None:
    """Second names go; the images themselves where nothing uses them."""
    names = [renamed(image, tag) for image in remembered for tag in (NEXT, BEFORE)]
    gone = [*names, *also]
    if gone:
        context.executor.run(["docker", "image", "rm", *gone], check=False, timeout=120)


def _id(context: Context, image: str) -> str:
    found = context.executor.run(docker.image_id(image), check=False)
    return found.stdout.strip() if found.ok else ""
