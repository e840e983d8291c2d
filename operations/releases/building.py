"""Building the images of a release from a tree of the repository, and taking them away again."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from operations import build_progress, docker
from operations.context import Context
from operations.deployment import Deployment
from operations.errors import StackError
from operations.releases import content, tags

Services = dict[str, dict[str, Any]]
# The stage of a Dockerfile that is the location's image and what its tests need on top.
TESTS = "tests"
_STAGE = re.compile(rf"^FROM\s.*\sAS\s+{TESTS}\s*$", re.MULTILINE | re.IGNORECASE)


def resolve(context: Context, root: Path, chosen: Mapping[str, str]) -> dict[str, Any]:
    """The Compose file of a tree with this deployment's settings and with these tags (by location)."""
    deployment = context.deployment
    overriding = {tags.variable(name): tag for name, tag in chosen.items()}
    # Else it would be a folder of the tree, where no secret is.
    overriding["SECRETS_DIR"] = str(deployment.secrets())
    result = context.executor.run(_config(deployment, root), env=overriding, check=False, timeout=60)
    if not result.ok:
        raise StackError(
            f"Compose refuses the files to deploy: {result.last_words}",
            "docker-compose.yml and its overlays, as the commit has them, to fit the settings of this deployment",
            "./stack check in a checkout of that commit tells more",
        )
    loaded: dict[str, Any] = json.loads(result.stdout)
    return loaded


def _config(deployment: Deployment, root: Path) -> list[str]:
    names = deployment.settings().get("COMPOSE_FILE", "docker-compose.yml").split(":")
    # An overlay of this deployment alone is not in git.
    files = [root / name if (root / name).is_file() else deployment.root / name for name in names]
    return docker.compose_of(deployment, root, files, "config", "--format", "json")


def require_tags(deployment: Deployment, services: Services, chosen: Mapping[str, str]) -> None:
    """Each location's image and the image of its runs have to follow the tag, or nothing would be deployed."""
    for name, tag in chosen.items():
        wanted, service = tags.image(deployment, name, tag), services[name]
        runs = (service.get("environment") or {}).get("DAGSTER_CURRENT_IMAGE")
        for what, found in (("image", service.get("image")), ("DAGSTER_CURRENT_IMAGE", runs)):
            if found != wanted:
                raise StackError(
                    f"{what} of {name} does not follow {tags.variable(name)}: it is {found}",
                    f"${{COMPOSE_PROJECT_NAME}}/{name}:${{{tags.variable(name)}:-local}}",
                    f"correct the block of {name} in docker-compose.yml",
                )


def description(
    deployment: Deployment, root: Path, config: Mapping[str, Any], chosen: Mapping[str, str], *, trials: bool = True
) -> str:
    """A Compose file that builds these locations, and the images to try them in, and nothing else."""
    services: Services = {}
    for name in chosen:
        service = config["services"][name]
        services[name] = {"image": service["image"], "build": service["build"]}
        if trials and has_tests(root, name, service):
            build = {**service["build"], "target": TESTS}
            services[trial_name(name)] = {"image": trial_image(deployment, name, chosen[name]), "build": build}
    return json.dumps({"name": deployment.name, "services": services, "secrets": config.get("secrets") or {}})


def has_tests(root: Path, name: str, service: Mapping[str, Any]) -> bool:
    """Whether a location has tests, and its Dockerfile a stage to run them in."""
    return tests_of(root, name, service) is not None and bool(_STAGE.search(_dockerfile(root, service)))


def tests_of(root: Path, name: str, service: Mapping[str, Any]) -> Path | None:
    """The folder of a location's tests in a tree; None where it has none."""
    folder = root / content.folder(name, service) / "tests"
    return folder if any(folder.rglob("test_*.py")) else None


def trial_name(location: str) -> str:
    """What the image to try a location in is called; no location has a hyphen in its name."""
    return f"{location}-tests"


def trial_image(deployment: Deployment, location: str, tag: str) -> str:
    """The image of a location with what its tests need."""
    return tags.image(deployment, trial_name(location), tag)


def trial_images(deployment: Deployment, built: Mapping[str, str]) -> list[str]:
    """All of them."""
    return [trial_image(deployment, name, tag) for name, tag in built.items()]


def build(
    context: Context, root: Path, config: Mapping[str, Any], chosen: Mapping[str, str], *, trials: bool = True
) -> None:
    """Build all images with their new tags. Nothing that runs is touched."""
    file = root.with_name("build.json")
    file.write_text(description(context.deployment, root, config, chosen, trials=trials), encoding="utf-8")
    with context.report.step("Build " + ", ".join(chosen)) as step:
        build_progress.build(
            step,
            context.executor,
            docker.compose_of(context.deployment, root, [file], "--progress", "plain", "build"),
            "every image to build; nothing was changed, and what runs goes on",
            "correct what it complains about, commit, and repeat; --verbose shows the whole output",
        )


def remove(context: Context, images: Sequence[str]) -> None:
    """Remove images by name. One that a container uses stays, as does one that is not there."""
    if images:
        context.executor.run(["docker", "image", "rm", *images], check=False, timeout=120)


def exists(context: Context, image: str) -> str | None:
    """The id of an image; None where it is not on this machine."""
    found = context.executor.run(docker.image_id(image), check=False, timeout=60)
    return found.stdout.strip() or None if found.ok else None


def refuse_shell_settings(names: Sequence[str]) -> None:
    """A tag in the caller's environment would overrule .env, now and whenever it is set again."""
    for name in names:
        if tags.variable(name) in os.environ:
            raise StackError(
                f"{tags.variable(name)} is set in the environment of this shell, which overrules .env",
                "the tag in force to stand in .env alone",
                f"unset {tags.variable(name)}, then repeat",
            )


def _dockerfile(root: Path, service: Mapping[str, Any]) -> str:
    build = service["build"]
    path = Path(build.get("context") or root) / (build.get("dockerfile") or "Dockerfile")
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
