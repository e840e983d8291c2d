"""The files of a commit, apart from the checkout: what is built is what git has, whatever lies around it."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from operations.context import Context
from operations.errors import StackError
from operations.execute import Executor, Result

# All that makes git write other bytes than it has, or none.
NO_ATTRIBUTES = "-export-ignore -export-subst -text -eol -crlf -ident -filter -working-tree-encoding"


@dataclass(frozen=True)
class Tree:
    """A commit, and the folder that its files were written to."""

    root: Path
    repository: Path
    commit: str


@contextmanager
def exported(context: Context, repository: Path, commit: str) -> Iterator[Tree]:
    """The files of a commit for as long as they are needed. One that was killed left its own: they are replaced."""
    area = context.deployment.state / "releasing"
    remove(area)
    try:
        lay_out(context, repository, commit, area / "tree")
        yield Tree(area / "tree", repository, commit)
    finally:
        remove(area)


def lay_out(context: Context, repository: Path, commit: str, target: Path, paths: Sequence[str] = ()) -> None:
    """Write files of a commit to a folder, all or those below some paths, each byte for byte as its hash is of it.

    A commit's .gitattributes may leave files out of an archive, or write others than were hashed and tried: none
    counts here. So a file in Git LFS is its pointer.
    """
    target.mkdir(parents=True)
    if paths:
        paths = [path for path in paths if blobs(context.executor, repository, commit, [path])]
        if not paths:
            return
    aside = target.with_name(f"{target.name}.git")
    archive = target.with_name(f"{target.name}.tar")
    try:
        _bare(context.executor, repository, aside)
        # Modes as a checkout has them: the builder compares them, and would find nothing it knows.
        write = ["-c", "tar.umask=0022", "archive", "--format=tar", "--output", str(archive), commit, "--", *paths]
        git(context.executor, aside, *write)
        context.executor.run(
            ["tar", "--extract", "--preserve-permissions", "--file", str(archive), "--directory", str(target)]
        )
    finally:
        remove(aside)
        archive.unlink(missing_ok=True)


def _bare(executor: Executor, repository: Path, aside: Path) -> None:
    """A repository with the objects of another and with attributes of its own, which overrule those of commits."""
    about = ["rev-parse", "--path-format=absolute", "--show-object-format", "--git-path", "objects"]
    kind, _, objects = git(executor, repository, *about).stdout.strip().partition("\n")
    init = ["git", "init", "--quiet", "--bare", "--template=", f"--object-format={kind}", str(aside)]
    executor.run(init, timeout=60)
    for name, text in (("attributes", f"* {NO_ATTRIBUTES}\n"), ("alternates", f"{objects}\n")):
        folder = aside / ("info" if name == "attributes" else "objects/info")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def remove(area: Path) -> None:
    """Remove what was exported."""
    shutil.rmtree(area, ignore_errors=True)


def resolve(executor: Executor, repository: Path, commit: str | None) -> str:
    """The full id of a commit, of the one that is checked out unless another is named."""
    # A name that begins with a hyphen would be an option to git.
    wanted = "HEAD" if commit is None else commit
    asked = ["rev-parse", "--verify", "--quiet", f"{wanted}^{{commit}}"]
    found = None if wanted.startswith("-") or "\0" in wanted else git(executor, repository, *asked, check=False)
    if found is not None and found.ok:
        return found.stdout.strip()
    inside = git(executor, repository, "rev-parse", "--is-inside-work-tree", check=False)
    if not inside.ok:
        raise StackError(
            f"{repository} is no git checkout: {inside.last_words}",
            "a checkout: a release is named after its commit",
            "git clone the deployment's repository, or git init and commit",
        )
    raise StackError(
        f"{repository} has no commit {'yet' if commit is None else repr(commit)}",
        "a commit that git knows",
        "git fetch, or name another",
    )


def require_clean(executor: Executor, repository: Path, paths: Iterable[str]) -> None:
    """Refuse what is built when it differs from the commit: edited, or not known to git. Other files do not matter."""
    status = git(executor, repository, "status", "--porcelain", "--untracked-files=all", "--", *paths)
    if status.stdout.strip():
        changed = [line[3:] for line in status.stdout.splitlines()]
        listed = "".join(f"\n    {name}" for name in changed[:12])
        more = f"\n    and {len(changed) - 12} more" if len(changed) > 12 else ""
        raise StackError(
            f"not committed:{listed}{more}",
            "what is deployed to be a commit: that is what the release is named after, and what can be built again",
            "git commit (or git stash) these files, then repeat",
        )


def blobs(executor: Executor, repository: Path, commit: str, paths: Iterable[str]) -> dict[str, str]:
    """Files of a commit below some paths: the mode and id of each."""
    listed = git(executor, repository, "ls-tree", "-r", "-z", commit, "--", *paths)
    entries = (entry.partition("\t") for entry in listed.stdout.split("\0") if entry)
    return {path: about for about, _, path in entries}


def git(executor: Executor, repository: Path, *args: str, check: bool = True) -> Result:
    """Ask git about a repository."""
    return executor.run(["git", "-C", str(repository), *args], check=check, timeout=120)
