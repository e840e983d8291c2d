"""The files that what runs was made from. The checkout has moved on, and the way back needs them: Compose file,
overlays, and what containers mount. They are written out of git, and stay while a container of them is there."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from operations import docker
from operations.context import Context
from operations.docker import Container
from operations.errors import StackError
from operations.releases import tree
from operations.upgrades import release, stamp

_WORKING_DIRECTORY = "com.docker.compose.project.working_dir"
# Its description changes without a restart as locations come and go (operations/live_networks.py).
_NOT_COMPARED = ("postgres",)
_LOOK_BACK = 200


def commit(context: Context, found: stamp.Stamp) -> str:
    """The commit that the running containers were made from. Raises `StackError` where none can be told for sure."""
    services = {each.service: each for each in context.containers() if each.is_service}
    tried: set[str] = set()
    for candidate in [*_of_way_back(context, services.values()), *_candidates(context, found)]:
        files = _compose_files(context, candidate)
        key = "\0".join([*files.values(), *([candidate] if _folder(context, candidate).is_dir() else [])])
        if not files or key in tried:
            continue
        tried.add(key)
        if _made_from(context, candidate, files, services):
            return candidate
    raise StackError(
        f"no commit of this repository describes what runs in {context.deployment.name}: {len(tried)} were compared",
        "the commit that the containers were made from, with .env as it was: the way back leads there",
        "git checkout that commit, ./stack up, git checkout this one again; in a shallow clone git fetch --unshallow",
    )


def _of_way_back(context: Context, services: Iterable[Container]) -> list[str]:
    """After a way back, containers were made from files that are named after their commit."""
    folders = {Path(each.labels.get(_WORKING_DIRECTORY, "")) for each in services}
    area = _area(context)
    return sorted(folder.parent.name for folder in folders if folder.parent.parent == area)


def _candidates(context: Context, found: stamp.Stamp) -> Iterator[str]:
    """Commits that may be the one: as written down, as a release was made, then back from the one checked out."""
    root = context.deployment.root
    if found.commit:
        yield found.commit
    if listed := release.commit_of(root, found.release.version):
        yield listed
    for listing in (["reflog", "--format=%H"], ["rev-list", "HEAD"]):
        answer = tree.git(context.executor, root, *listing, "-n", str(_LOOK_BACK), check=False)
        yield from answer.stdout.split()


def _compose_files(context: Context, candidate: str) -> dict[str, str]:
    """The Compose file and its overlays as a commit has them; none where it does not have the first."""
    root = context.deployment.root
    names = context.deployment.settings().get("COMPOSE_FILE", "docker-compose.yml").split(":")
    found = {}
    for name in names:
        shown = tree.git(context.executor, root, "show", f"{candidate}:./{name}", check=False)
        if shown.ok:
            found[name] = shown.stdout
    return found if names[0] in found else {}


def _made_from(context: Context, candidate: str, files: dict[str, str], services: dict[str, Container]) -> bool:
    """Whether Compose would leave every running service as it is with these files: where they lie in a checkout, or,
    after a way back, in their own folder. Then those whose description names no path are as if of the checkout."""
    root = context.deployment.root
    with tempfile.TemporaryDirectory(prefix="stack-") as folder:
        paths = []
        for name in context.deployment.settings().get("COMPOSE_FILE", "docker-compose.yml").split(":"):
            path = root / name
            if name in files:
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(files[name], encoding="utf-8")
            paths.append(path)
        here = _hashes(context, docker.compose_of(context.deployment, root, paths, "config", "--hash", "*"))
    target = _folder(context, candidate)
    there = _hashes(context, compose(context, target, "config", "--hash", "*")) if target.is_dir() else {}
    compared = [name for name in services if name not in _NOT_COMPARED]
    labels = {name: services[name].labels.get(docker.HASH_LABEL) for name in compared}
    return bool(compared) and all(labels[name] in (here.get(name), there.get(name)) for name in compared)


def _hashes(context: Context, asked: list[str]) -> dict[str, str]:
    printed = context.executor.run(asked, check=False, timeout=60).stdout
    return dict(line.split() for line in printed.splitlines() if len(line.split()) == 2)


def write_out(context: Context, sha: str) -> Path:
    """The files of a commit in a folder of their own, with what git does not have led to where it is."""
    target = _folder(context, sha)
    folder = target.parent
    if target.is_dir():
        return target
    shutil.rmtree(folder, ignore_errors=True)
    aside = folder / "writing"
    aside.mkdir(parents=True)
    archive = folder / "tree.tar"
    root = context.deployment.root
    tree.git(context.executor, root, "archive", "--format=tar", "--output", str(archive), sha)
    context.executor.run(["tar", "--extract", "--file", str(archive), "--directory", str(aside)])
    archive.unlink(missing_ok=True)
    # Secrets, .env, and whatever else the settings name by a path in the checkout.
    for entry in sorted(root.iterdir()):
        if not (aside / entry.name).exists() and entry.name not in (".git", ".stack", ".venv"):
            (aside / entry.name).symlink_to(entry)
    aside.rename(target)
    return target


def compose(context: Context, folder: Path, *args: str) -> list[str]:
    """A docker compose command on these files with the settings as .env has them."""
    names = context.deployment.settings().get("COMPOSE_FILE", "docker-compose.yml").split(":")
    files = [folder / name if (folder / name).is_file() else context.deployment.root / name for name in names]
    return docker.compose_of(context.deployment, folder, files, *args)


def forget(context: Context) -> None:
    """Remove what no container is made from any more."""
    used = {each.labels.get(_WORKING_DIRECTORY, "") for each in context.containers()}
    area = _area(context)
    for folder in sorted(area.iterdir()) if area.is_dir() else []:
        if str(folder / "tree") not in used:
            shutil.rmtree(folder, ignore_errors=True)


def _folder(context: Context, sha: str) -> Path:
    return _area(context) / sha / "tree"


def _area(context: Context) -> Path:
    return context.deployment.state / "former"
