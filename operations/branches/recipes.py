"""How a branch's images are built: by production's recipe out of the change's code, and beside production's caches.

A change says what its location is: its folder, and its lock. How that becomes an image is this checkout's: Dockerfiles,
the installer, the entry point, libraries of the deployment. What a build of a change has made is never taken for
production: a step that ran its code has another key in the builder's cache, and its packages another cache.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from operations.branches import source
from operations.branches.source import Source
from operations.context import Context
from operations.errors import StackError
from operations.releases import content, tree

# Everything that decides how an image is built, whatever it is built of.
OURS = (content.IMAGES, "libraries", "tests/tools.lock", ".dockerignore")
# The trust that a step's result may be given: BuildKit of Engine 20.10 expands no argument in the id of a cache, so
# the text of the Dockerfile says it.
DOMAIN = "branch"
_FROM = re.compile(r"^FROM\s.*$", re.MULTILINE | re.IGNORECASE)
_MOUNT = re.compile(r"--mount=(\S+)")
_CACHE = re.compile(r"type\W*=\W*cache", re.IGNORECASE)
# Made again in a checkout, or of no use in an image.
_LEFT = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".pytest_cache", "target")


@dataclass(frozen=True)
class Recipe:
    """What a location is built from. `ours`: its packages are the ones that production has, by production's lock, so
    whatever installs them may have production's cache and its passwords."""

    root: Path
    dockerfile: str
    ours: bool


@contextmanager
def of(
    origin: Context, branch: Context, change: Source, services: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Recipe]]:
    """A recipe for each of these locations, for as long as it is needed. `services` are production's blocks of them.

    Raises `StackError` where a change brings a Dockerfile that is not production's, or no such location.
    """
    if change.as_it_lies and change.repository == origin.deployment.root:
        yield {name: Recipe(change.repository, _dockerfile(spec), ours=True) for name, spec in services.items()}
        return
    for name, spec in services.items():
        if Path(_dockerfile(spec)).is_absolute():
            _refuse_dockerfile(name, spec)
    _tell_unused(origin, change, services)
    area = branch.deployment.state / "recipes"
    tree.remove(area)
    try:
        ours = area / "ours"
        named = [path for name, spec in services.items() for path in (content.folder(name, spec), _dockerfile(spec))]
        root = origin.deployment.root
        commit = tree.resolve(origin.executor, root, None)
        tree.lay_out(origin, root, commit, ours, [*OURS, *dict.fromkeys(named)])
        with source.files(branch, change) as theirs:
            yield {name: _assemble(ours, theirs, area / name, name, spec) for name, spec in services.items()}
    finally:
        tree.remove(area)


def _assemble(ours: Path, theirs: Path, target: Path, name: str, service: Mapping[str, Any]) -> Recipe:
    """Production's recipe, the change's folder."""
    folder, dockerfile = content.folder(name, service), _dockerfile(service)
    shared = dockerfile.startswith(f"{content.IMAGES}/")
    _require_inside(theirs, folder)
    if not shared:
        _require_ours(ours, theirs, name, service)
    for path in OURS:
        _copy(ours / path, target / path)
    _copy(theirs / folder, target / folder)
    # Looked at where it is built from: a work tree may change meanwhile.
    lock = f"{folder}/requirements.lock"
    same = shared and _bytes(target / lock) == _bytes(ours / lock)
    if not same and (theirs / content.INDEX).is_dir():
        # A lock of its own may pin a library that is released with it.
        _require_inside(theirs, content.INDEX)
        tree.remove(target / content.INDEX)
        _copy(theirs / content.INDEX, target / content.INDEX)
    text = (ours / dockerfile).read_text(encoding="utf-8")
    stage = str((service.get("build") or {}).get("target") or "") if shared else ""
    (target / dockerfile).parent.mkdir(parents=True, exist_ok=True)
    (target / dockerfile).write_text(apart(text, stage, caches=not same), encoding="utf-8")
    return Recipe(target, dockerfile, ours=same)


def apart(dockerfile: str, stage: str = "", *, caches: bool) -> str:
    """A Dockerfile whose steps share no result with production's: from one stage on, or, where none is named, all.
    `caches`: nor the folders that are kept from one build to the next."""

    def marked(line: re.Match[str]) -> str:
        wanted = not stage or re.search(rf"\sAS\s+{re.escape(stage)}\s*$", line[0], re.IGNORECASE)
        return f"{line[0]}\nARG TRUST_DOMAIN={DOMAIN}" if wanted else line[0]

    text = _FROM.sub(marked, dockerfile)
    if not caches:
        return text
    text = _MOUNT.sub(_own_cache, text)
    mounts = [mount for mount in _MOUNT.findall(text) if _CACHE.search(mount)]
    if len(mounts) != len(_CACHE.findall(text)) or not all(f"id={DOMAIN}-" in mount for mount in mounts):
        raise StackError(
            "a Dockerfile mounts a cache in a way that cannot be told from production's",
            "--mount=type=cache,target=FOLDER in one word",
            "write it so in the Dockerfile of this checkout",
        )
    return text


def _own_cache(mount: re.Match[str]) -> str:
    options = mount[1].split(",")
    if "type=cache" not in options:
        return mount[0]
    named = dict(option.partition("=")[::2] for option in options)
    key = named.get("id") or named.get("target") or named.get("dst") or named.get("destination") or ""
    if not key or "\\" in mount[1]:
        return mount[0]
    kept = [option for option in options if not option.startswith("id=")]
    return f"--mount={','.join(kept)},id={DOMAIN}-{key}"


def _tell_unused(origin: Context, change: Source, services: Mapping[str, Mapping[str, Any]]) -> None:
    """Say so where a change is about how images are built: it is not looked at here."""
    used = {path for name, spec in services.items() for path in content.inputs(name, spec)}
    paths = sorted(path for path in used if path.startswith(("deploy/", "libraries/", ".dockerignore")))
    here = tree.blobs(origin.executor, origin.deployment.root, "HEAD", paths)
    there = tree.blobs(origin.executor, change.repository, change.commit, paths)
    differ = sorted(path for path in {*here, *there} if here.get(path) != there.get(path))
    if differ:
        origin.report.warn(
            f"{change.shown} changes how images are built ({', '.join(differ[:3])}{' …' if differ[3:] else ''}): the"
            " branch is built as production is"
        )


def _refuse_dockerfile(name: str, service: Mapping[str, Any]) -> NoReturn:
    raise StackError(
        f"{name} is built by {_dockerfile(service)}, which this checkout's commit has not",
        "a Dockerfile that was reviewed",
        "commit it here, or merge it first",
    )


def _require_ours(ours: Path, theirs: Path, name: str, service: Mapping[str, Any]) -> None:
    dockerfile = _dockerfile(service)
    if _bytes(ours / dockerfile) is None:
        _refuse_dockerfile(name, service)
    # By a link on the way there, the file that is written in its place would be written elsewhere.
    linked = (theirs / dockerfile).resolve() != theirs.resolve() / dockerfile
    if linked or _bytes(ours / dockerfile) != _bytes(theirs / dockerfile):
        raise StackError(
            f"the change brings another {dockerfile}, which would say, as root, how {name} is built on this machine",
            "production's Dockerfile until another one was reviewed",
            "merge the Dockerfile by itself first; or try it on another machine, by ./stack up in a checkout of it",
        )


def _require_inside(theirs: Path, folder: str) -> None:
    place = theirs / folder
    if not place.is_dir() or place.resolve() != theirs.resolve() / folder:
        raise StackError(
            f"the change has no folder {folder}", "the location that is to be built", "name another commit"
        )


def _dockerfile(service: Mapping[str, Any]) -> str:
    return str((service.get("build") or {}).get("dockerfile") or "Dockerfile")


def _bytes(path: Path) -> bytes | None:
    """A file's content; None where there is none, or a link, which may lead anywhere."""
    return path.read_bytes() if path.is_file() and not path.is_symlink() else None


def _copy(source_: Path, target: Path) -> None:
    if source_.is_dir():
        shutil.copytree(source_, target, symlinks=True, ignore=_LEFT)
    elif source_.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source_, target)
