"""Which images a commit changes: by the content of what goes into each, so that nothing is built to find out."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from operations import docker
from operations.context import Context
from operations.reconcile.memory import Memory
from operations.releases import content, history, tags, tree

Services = Mapping[str, Mapping[str, Any]]
# Where packages come from does not decide what they are: locks have hashes.
NOT_CONTENT = {"PACKAGE_INDEX", "LIBRARY_INDEX", "LIBRARY_INDEX_USER"}
_COPY = re.compile(r"^(?:COPY|ADD)((?:\s+--\S+)*)\s+(.+)$", re.MULTILINE)
_BIND = re.compile(r"--mount=type=bind,(?:[^\s]*,)?source=([^\s,]+)")
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


@dataclass
class Work:
    """What a commit asks for. `first` are images that nothing is known of: built as `up` does, and kept if they are
    what runs already; `held` are locations that somebody rolled back from this very content."""

    contents: dict[str, str] = field(default_factory=dict)
    services: list[str] = field(default_factory=list)
    locations: list[str] = field(default_factory=list)
    first: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    # Locations that another repository builds, and another image of them is named now.
    fetched: list[str] = field(default_factory=list)


def is_location(spec: Mapping[str, Any]) -> bool:
    """Whether a service is a code location."""
    return docker.LOCATION_LABEL in (spec.get("labels") or {})


def work(context: Context, services: Services, commit: str, memory: Memory) -> Work:
    """Compare the content of every image with what it was last built from."""
    found = Work()
    for name, spec in services.items():
        if is_location(spec):
            _sort_location(context, found, name, spec, commit, memory)
            continue
        if not spec.get("build"):
            continue
        found.contents[name] = of_service(context, spec, commit)
        known = memory.contents.get(name)
        if known != found.contents[name]:
            (found.services if known else found.first).append(name)
    return found


def _sort_location(
    context: Context, found: Work, name: str, spec: Mapping[str, Any], commit: str, memory: Memory
) -> None:
    wanted = content.of(context.deployment.root, name, spec, commit, context.executor)
    found.contents[name] = wanted
    if not spec.get("build"):
        if memory.contents.get(name, wanted) != wanted:
            found.fetched.append(name)
        return
    release = history.in_force(context.deployment, name)
    if release is None and tags.in_force(context.deployment, name) == tags.LOCAL:
        known = memory.contents.get(name)
    else:
        known = release.content if release else "a release that nobody recorded"
    if known == wanted:
        return
    if known is None:
        found.first.append(name)
    elif release and is_held(context, name, release, wanted):
        found.held.append(name)
    else:
        found.locations.append(name)


def is_held(context: Context, name: str, release: history.Release, wanted: str) -> bool:
    """Whether somebody rolled a location back from this very content: it stays so until its content changes in git."""
    if release.result != history.ROLLED_BACK:
        return False
    past = reversed(history.deployed(context.deployment, name))
    newest = next((each for each in past if each.result == history.DEPLOYED), None)
    return newest is not None and newest.content == wanted


def of_service(context: Context, spec: Mapping[str, Any], commit: str) -> str:
    """The hash of all that decides the image of a service that is no code location."""
    root = context.deployment.root
    build = spec["build"]
    arguments = {key: value for key, value in (build.get("args") or {}).items() if key not in NOT_CONTENT}
    dockerfile = str(build.get("dockerfile") or "Dockerfile")
    text = tree.git(context.executor, root, "show", f"{commit}:./{dockerfile}", check=False).stdout
    files = tree.blobs(context.executor, root, commit, [dockerfile, ".dockerignore", *sources(text, arguments)])
    base = str(arguments.get("BASE_IMAGE", ""))
    decides = {
        "arguments": arguments,
        "target": build.get("target"),
        "base": context.executor.run(docker.image_id(base), check=False).stdout.strip() if base else "",
        "files": sorted((path, about) for path, about in files.items() if "tests" not in PurePosixPath(path).parts),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def sources(dockerfile: str, arguments: Mapping[str, Any]) -> list[str]:
    """What a Dockerfile takes from the repository: by COPY, and mounted into a step."""
    named = [
        source
        for options, words in _COPY.findall(dockerfile.replace("\\\n", " "))
        if "--from" not in options
        for source in words.split()[:-1]
    ]
    named += [source for source in _BIND.findall(dockerfile) if not source.startswith("/")]
    defaults = dict(re.findall(r"^ARG\s+(\w+)=(\S+)", dockerfile, re.MULTILINE))
    values = {**defaults, **{key: str(value) for key, value in arguments.items()}}
    filled = (_VARIABLE.sub(lambda match: values.get(match[1], ""), source) for source in named)
    return sorted({source.rstrip("/") for source in filled if source and not source.startswith("/")})
