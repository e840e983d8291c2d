"""Whether a location differs from what runs of it: by all that decides its image, and by nothing else."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from operations import docker
from operations.context import Context
from operations.errors import StackError
from operations.execute import Executor, Shell
from operations.releases import history, tree

IMAGES = "deploy/images"
INDEX = "libraries/index"
# In every image: what dagster.yaml names, and what stands between a command and its log.
EVERYWHERE = ("lean_dagster", "pooled_storage", "redaction", "run_worker")
# Where packages are fetched from; what they are, the lock's hashes say.
NOT_CONTENT = {"PACKAGE_INDEX", "LIBRARY_INDEX", "LIBRARY_INDEX_USER"}


def of(
    root: Path, location: str, service: Mapping[str, Any], commit: str = "HEAD", executor: Executor | None = None
) -> str:
    """The hash of all that decides a location's image at a commit of the repository at `root`. `service` is its block
    in the Compose file, resolved. An image that is built elsewhere is its reference."""
    executor = executor or Shell(root)
    build = service.get("build")
    if not build:
        return hashlib.sha256(str(service["image"]).encode()).hexdigest()
    arguments = {key: value for key, value in (build.get("args") or {}).items() if key not in NOT_CONTENT}
    files = tree.blobs(executor, root, commit, inputs(location, service))
    base = str(arguments.get("BASE_IMAGE", ""))
    decides = {
        "arguments": arguments,
        "target": build.get("target"),
        "base": executor.run(docker.image_id(base), check=False).stdout.strip() if base else "",
        "files": sorted((path, about) for path, about in files.items() if not _is_test(path, service)),
        "wheels": _wheels(executor, root, commit, f"{folder(location, service)}/requirements.lock"),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def inputs(location: str, service: Mapping[str, Any]) -> list[str]:
    """Files and folders of the repository that go into a location's image, or are tried with it."""
    build = service.get("build") or {}
    libraries = (*EVERYWHERE, *str((build.get("args") or {}).get("LIBRARIES") or "").split())
    dockerfile = str(build.get("dockerfile") or "Dockerfile")
    own = [] if dockerfile.startswith((f"{IMAGES}/", "/")) else [dockerfile]
    return [folder(location, service), IMAGES, ".dockerignore", *own, *(f"libraries/{name}/src" for name in libraries)]


def folder(location: str, service: Mapping[str, Any]) -> str:
    """The location's folder in the repository."""
    arguments = (service.get("build") or {}).get("args") or {}
    return str(arguments.get("SERVICE") or f"code_locations/{location}")


def changed(
    context: Context,
    root: Path,
    commit: str,
    services: Mapping[str, Mapping[str, Any]],
) -> dict[str, str]:
    """Of these locations those whose content is not that of their release in force, each with the reason."""
    reasons = {}
    for name, service in services.items():
        if not service.get("build"):
            if reason := _image_differs(context, name, str(service["image"])):
                reasons[name] = reason
            continue
        now = history.in_force(context.deployment, name)
        if now is None:
            reasons[name] = "no release is in force"
        elif now.content != of(root, name, service, commit, context.executor):
            reasons[name] = f"differs from {now.tag}"
    return reasons


def _image_differs(context: Context, name: str, reference: str) -> str | None:
    own = (each for each in context.containers() if each.is_service and each.service == name)
    running = next(own, None)
    if running is None or running.image == reference:
        return None
    return f"runs {running.image}"


def _is_test(path: str, service: Mapping[str, Any]) -> bool:
    # They are in no image (.dockerignore), except for locations that are themselves part of the tests.
    own = str(((service.get("build") or {}).get("args") or {}).get("SERVICE") or "")
    return "tests" in Path(path.removeprefix(f"{own}/")).parts


def _wheels(executor: Executor, root: Path, commit: str, lock: str) -> list[tuple[str, str]]:
    """The released libraries that a location's lock pins."""
    text = tree.git(executor, root, "show", f"{commit}:./{lock}", check=False).stdout
    pins = re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", text, re.MULTILINE)
    wanted = {(_plain(name), version) for name, version in pins}
    wheels = tree.blobs(executor, root, commit, [INDEX])
    named = ((path, about, Path(path).name.split("-")) for path, about in wheels.items() if path.endswith(".whl"))
    return sorted((path, about) for path, about, parts in named if (_plain(parts[0]), parts[1]) in wanted)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def select(services: Iterable[str], names: Iterable[str], known: Iterable[str]) -> list[str]:
    """These locations, each once, in the order of the Compose file; raises where one is none."""
    legal, wanted = list(known), list(names)
    unknown = [name for name in wanted if name not in legal]
    if unknown:
        raise StackError(
            f"there is no location {', '.join(unknown)}",
            f"one of {', '.join(legal)}",
            "./stack location list tells more",
        )
    return [name for name in services if name in wanted]
