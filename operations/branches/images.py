"""A branch's images: production's under the branch's name, and those that were built for it."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from operations import base_image, docker
from operations.build_progress import BuildProgress
from operations.context import Context
from operations.errors import StackError
from operations.releases import content

# What `branch create` of this version relies on; an older image would run production's schedules in the branch.
SWITCH = "import importlib.util as u, sys; sys.exit(u.find_spec('run_launcher.automation') is None)"
IMAGE_OF = ["docker", "inspect", "--type", "container", "--format", '{{index .Config.Labels "%s"}} {{.Image}}']


def running(origin: Context) -> dict[str, str]:
    """The image that each service of production runs, by its id: a name may mean another image since."""
    ids = [each.id for each in origin.containers() if each.is_service]
    if not ids:
        return {}
    inspect = [part.replace("%s", docker.SERVICE_LABEL) for part in IMAGE_OF]
    printed = origin.executor.run([*inspect, *ids]).stdout
    pairs = (line.split(" ", 1) for line in printed.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def require_switch(origin: Context, image: str) -> None:
    """Production's daemon has to know that a branch starts nothing by itself."""
    command = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "python", image, "-c", SWITCH]
    if not origin.executor.run(command, check=False, timeout=60).ok:
        raise StackError(
            f"the daemon of {origin.deployment.name} is older than branches: it would run schedules and sensors",
            "images of this version",
            f"{origin.deployment.stack} up",
        )


def take(branch: Context, production: Mapping[str, str], built: Iterable[str]) -> None:
    """Give production's images the names that the branch calls them by. Nothing is copied."""
    names = {branch.config["services"][name]["image"]: name for name in branch.config["services"]}
    for image, service in names.items():
        if service not in built and image.startswith(f"{branch.deployment.name}/"):
            branch.executor.run(["docker", "tag", production[service], image])


def names(branch: Context) -> tuple[str, ...]:
    """All images that are the branch's own, for who removes them."""
    images = {str(spec["image"]) for spec in branch.config["services"].values()}
    return tuple(sorted(image for image in images if image.startswith(f"{branch.deployment.name}/")))


def build(origin: Context, branch: Context, root: Path, locations: Iterable[str]) -> None:
    """Build these locations from a tree. The Dockerfile is this checkout's own: code under review does not say how
    images are built, with which secrets."""
    locations = list(locations)
    base_image.provide(origin)
    file = branch.deployment.home / "build.json"
    file.write_text(description(origin, branch, root, locations), encoding="utf-8")
    with branch.report.step("Build " + ", ".join(locations)) as step:
        progress = BuildProgress(step)
        command = docker.compose_of(branch.deployment, root, [file], "--progress", "plain", "build")
        result = branch.executor.stream(command, progress.line, check=False)
        if not result.ok:
            raise StackError(
                f"the build failed: {progress.failure(result.last_words)}",
                "every named or changed location to build",
                "correct it and repeat the command; --verbose shows the whole output",
            )
        step.done(f"{progress.built} steps run, {progress.cached} unchanged")


def description(origin: Context, branch: Context, root: Path, locations: Iterable[str]) -> str:
    """A Compose file that builds these locations and nothing else."""
    services: dict[str, Any] = {}
    for name in locations:
        how = dict(origin.config["services"][name]["build"])
        dockerfile = str(how.get("dockerfile") or "Dockerfile")
        if dockerfile.startswith(f"{content.IMAGES}/"):
            how["dockerfile"] = str(origin.deployment.root / dockerfile)
        how["context"] = str(root)
        services[name] = {"image": branch.config["services"][name]["image"], "build": how}
    secrets = origin.config.get("secrets") or {}
    needed = {str(one["source"]) for spec in services.values() for one in spec["build"].get("secrets") or ()}
    chosen = {name: secrets[name] for name in sorted(needed) if name in secrets}
    return json.dumps({"name": branch.deployment.name, "services": services, "secrets": chosen})
