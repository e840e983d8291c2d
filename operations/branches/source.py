"""Where a branch's code comes from: this checkout, another work tree of it, or a commit of its repository."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operations.context import Context
from operations.errors import StackError
from operations.releases import content, history, tree

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Source:
    """A repository, the commit in it, and whether its work tree as it lies there is meant or the commit alone."""

    repository: Path
    commit: str
    as_it_lies: bool

    @property
    def shown(self) -> str:
        """The commit as people see it."""
        return self.commit[:12]


def resolve(origin: Context, wish: str) -> Source:
    """What `--from` means; raises `StackError` when it is neither a work tree nor a commit."""
    root = origin.deployment.root
    if not wish:
        return Source(root, tree.resolve(origin.executor, root, None), as_it_lies=True)
    path = folder(wish)
    if path is not None:
        if not (path / "code_locations").is_dir():
            raise StackError(
                f"{path} has no code_locations/", "the root of a work tree of this repository", "name it, or a commit"
            )
        return Source(path, tree.resolve(origin.executor, path, None), as_it_lies=True)
    # A name that begins with a hyphen would be an option to git.
    asked = ["rev-parse", "--verify", "--quiet", f"{wish}^{{commit}}"]
    found = None if wish.startswith("-") or "\0" in wish else tree.git(origin.executor, root, *asked, check=False)
    if found is None or not COMMIT.fullmatch(found.stdout.strip()):
        raise StackError(
            f"{wish!r} is neither a directory nor a commit of this repository",
            "a work tree, or a branch, tag or commit that was fetched",
            "fetch it first: git fetch origin pull/1523/head, then --from FETCH_HEAD",
        )
    return Source(root, found.stdout.strip(), as_it_lies=False)


def folder(text: str) -> Path | None:
    """The folder that a text names; None where there is none, or where no folder could be called so."""
    try:
        path = Path(text).expanduser().absolute()
        return path if path.is_dir() else None
    except (OSError, ValueError, RuntimeError):
        # Longer than a name may be; the home of nobody.
        return None


@contextmanager
def files(branch: Context, source: Source) -> Iterator[Path]:
    """The files: where they lie, or those of the commit for as long as they are needed."""
    if source.as_it_lies:
        yield source.repository
    else:
        with tree.exported(branch, source.repository, source.commit) as exported:
            yield exported.root


def choose(origin: Context, source: Source, named: Iterable[str]) -> dict[str, str]:
    """Which locations are built from the source, each with the reason: those that were named, or those that differ
    from what production runs."""
    services = {name: origin.config["services"][name] for name in origin.locations}
    wanted = list(dict.fromkeys(named))
    for name in wanted:
        if name not in services:
            raise StackError(
                f"there is no code location {name!r} in {origin.deployment.name}",
                f"one of {', '.join(services)}; a new one is mirrored when this checkout's docker-compose.yml has it",
                "./stack location list shows them",
            )
        if not services[name].get("build"):
            raise StackError(
                f"the location {name} comes as an image, {services[name]['image']}",
                "a location with a folder in this repository",
                f"try it in another checkout, with a deployment of its own: ./stack location image {name} --image REF",
            )
    if wanted:
        return dict.fromkeys(wanted, "named")
    reasons = {name: _difference(origin, source, name, spec) for name, spec in services.items() if spec.get("build")}
    return {name: reason for name, reason in reasons.items() if reason}


def _difference(origin: Context, source: Source, name: str, service: Mapping[str, Any]) -> str:
    """Why a location of the source is not what production runs; nothing where it is."""
    executor, root = origin.executor, origin.deployment.root
    if source.as_it_lies and source.repository != root:
        status = ["status", "--porcelain", "--", *content.inputs(name, service)]
        if tree.git(executor, source.repository, *status).stdout.strip():
            return "has changes that are not committed"
    now = content.of(source.repository, name, service, source.commit, executor)
    release = history.in_force(origin.deployment, name)
    if release is not None:
        return "" if release.content == now else f"differs from {release.tag}"
    # Never released: ./stack up built it from this checkout.
    return "" if content.of(root, name, service, "HEAD", executor) == now else "differs from this checkout"
