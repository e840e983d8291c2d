"""A branch's images: production's under the branch's name, and those that were built for it."""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from operations import base_image, docker
from operations.branches.recipes import Recipe
from operations.build_progress import BuildProgress
from operations.context import Context
from operations.errors import StackError
from operations.library import index

# What `branch create` of this version relies on; an older image would run production's schedules in the branch.
SWITCH = "import importlib.util as u, sys; sys.exit(u.find_spec('run_launcher.automation') is None)"
BUILD_SECONDS = 1800
# What `timeout` ends with when it had to end the command.
OUT_OF_TIME = 124
PRIVATE_INDEX = ("LIBRARY_INDEX", "LIBRARY_INDEX_USER")
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
    confined = ("--rm", "--pull", "never", "--network", "none", "--entrypoint", "python")
    command = ["docker", "run", *confined, image, "-c", SWITCH]
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


def build(origin: Context, branch: Context, recipes: Mapping[str, Recipe], shared: Collection[str]) -> None:
    """Build locations by their recipes. `shared` are the secrets that branches may have.

    Ends after BUILD_SECONDS, whatever becomes of this process. BuildKit in the engine limits neither memory nor
    processors of a build.
    """
    base_image.provide(origin)
    file = branch.deployment.home / "build.json"
    file.write_text(description(origin, branch, recipes, shared), encoding="utf-8")
    with branch.report.step("Build " + ", ".join(recipes)) as step:
        progress = BuildProgress(step)
        compose = docker.compose_of(branch.deployment, origin.deployment.root, [file], "--progress", "plain", "build")
        limit = ["timeout", "--foreground", "--kill-after=30", str(BUILD_SECONDS)]
        result = branch.executor.stream([*limit, *compose], progress.line, check=False)
        if result.code == OUT_OF_TIME:
            raise StackError(
                f"the build was not finished after {BUILD_SECONDS // 60} minutes, and was ended",
                "a build within that time",
                "look at what it was at with --verbose",
            )
        if not result.ok:
            withheld = sorted(_secrets_of(origin, recipes) - _given(origin, recipes, shared))
            raise StackError(
                f"the build failed: {progress.failure(result.last_words)}",
                "every named or changed location to build",
                "correct it and repeat the command; --verbose shows the whole output" + _why_withheld(withheld),
            )
        step.done(progress.told)


def _why_withheld(names: Sequence[str]) -> str:
    """The likely reason, where a lock that differs from production's needs what branches are not given."""
    if not names:
        return ""
    return (
        f". With another lock than production's, a branch is built without {', '.join(names)}. If it needs the private"
        f" index: merge the lock first, or set BRANCH_SECRETS={','.join(names)} in .env, for the code of every branch"
    )


def description(origin: Context, branch: Context, recipes: Mapping[str, Recipe], shared: Collection[str]) -> str:
    """A Compose file that builds these locations and nothing else."""
    services: dict[str, Any] = {}
    for name, recipe in recipes.items():
        how = {**origin.config["services"][name]["build"], "dockerfile": recipe.dockerfile, "context": str(recipe.root)}
        _refuse_passwords(how)
        if not recipe.ours:
            # What installs the packages of another lock is told nothing that only production may know.
            how["secrets"] = [one for one in how.get("secrets") or () if str(one["source"]) in shared]
            if index.PASSWORD not in {str(one["source"]) for one in how["secrets"]}:
                how["args"] = {key: value for key, value in how.get("args", {}).items() if key not in PRIVATE_INDEX}
        services[name] = {"image": branch.config["services"][name]["image"], "build": how}
    secrets = origin.config.get("secrets") or {}
    chosen = {name: secrets[name] for name in sorted(_given(origin, recipes, shared)) if name in secrets}
    return json.dumps({"name": branch.deployment.name, "services": services, "secrets": chosen})


def _secrets_of(origin: Context, locations: Iterable[str]) -> set[str]:
    """What production builds these with."""
    blocks = (origin.config["services"][name]["build"] for name in locations)
    return {str(one["source"]) for build in blocks for one in build.get("secrets") or ()}


def _given(origin: Context, recipes: Mapping[str, Recipe], shared: Collection[str]) -> set[str]:
    """What the branch's builds get of that."""
    ours = [name for name, recipe in recipes.items() if recipe.ours]
    return _secrets_of(origin, ours) | (_secrets_of(origin, recipes) & set(shared))


def _refuse_passwords(build: Mapping[str, Any]) -> None:
    """Build arguments are there for every step, the change's own code among them."""
    for name, value in (build.get("args") or {}).items():
        if re.search(r"://[^/@]+@", str(value)):
            raise StackError(
                f"{name} holds a password, which code under review would see while it is built",
                "an address without one",
                "give the password by LIBRARY_INDEX and its secret (docs/operations/library.md)",
            )
