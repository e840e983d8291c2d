"""The deployment repository: what its branch has, whether it may come here, and moving the checkout there and back."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from operations.errors import StackError
from operations.execute import Executor, Result

FETCH_SECONDS = 120
SUBMODULE_SECONDS = 600
# Nobody is there to be asked for a password. Ours are the words that git's messages are looked at for.
ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
# What is made here and must never come from a commit: git overwrites ignored files without a word.
OWN = (".env", "secrets", ".stack", ".deployments", ".venv")


@dataclass(frozen=True)
class Branch:
    """A branch of a remote."""

    remote: str
    name: str

    @property
    def ref(self) -> str:
        """Where this checkout keeps what it last saw of it."""
        return f"refs/remotes/{self.remote}/{self.name}"

    def __str__(self) -> str:
        """As git and people write it."""
        return f"{self.remote}/{self.name}"


def git(root: Path, *args: str) -> list[str]:
    """A git command in a work tree. No hook of this clone runs: what they do is in no commit."""
    return ["git", "-C", str(root), "-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false", *args]


class Repository:
    """The checkout that reconcile moves."""

    def __init__(self, root: Path, executor: Executor) -> None:
        self.root = root
        self._executor = executor

    def require(self) -> None:
        """A checkout that git knows, in a state in which it can be moved."""
        found = self._try("rev-parse", "--show-toplevel")
        if found.code == 127:
            raise StackError("git is not installed", "git ≥ 2.34", "install it (Debian, Ubuntu: apt-get install git)")
        if not found.ok:
            raise StackError(
                f"{self.root} is no git checkout that can be used: {found.last_words}",
                "a clone of your deployment repository, owned by the user who runs reconcile",
                "clone it (git clone URL), or make this user its owner",
            )
        if Path(found.stdout.strip()).resolve() != self.root.resolve():
            raise StackError(
                f"{self.root} lies inside another repository ({found.stdout.strip()})",
                "the deployment to be the root of its repository",
                "clone the deployment repository by itself",
            )

    def branch(self, wanted: str) -> Branch:
        """The branch to follow: the named one, or the upstream of what is checked out."""
        current = self._try("symbolic-ref", "--quiet", "--short", "HEAD").stdout.strip()
        remote = self._config(f"branch.{current}.remote") if current else ""
        upstream = self._config(f"branch.{current}.merge").removeprefix("refs/heads/") if current else ""
        if wanted:
            if not self._try("check-ref-format", f"refs/heads/{wanted}").ok:
                raise StackError(
                    f"RECONCILE_BRANCH is {wanted!r}", "the name of one branch", "correct RECONCILE_BRANCH in .env"
                )
            return Branch(remote or "origin", wanted)
        if not remote or not upstream:
            raise StackError(
                f"{'the branch ' + current if current else 'a detached HEAD'} follows no branch of a remote",
                "a branch to follow",
                f"git branch --set-upstream-to origin/{current or 'main'}, or set RECONCILE_BRANCH in .env",
            )
        return Branch(remote, upstream)

    def fetch(self, branch: Branch) -> str:
        """Ask the remote; returns the branch's commit there. Nothing but what git remembers of the remote changes."""
        spec = f"+refs/heads/{branch.name}:{branch.ref}"
        args = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", branch.remote, spec)
        result = self._try(*args, seconds=FETCH_SECONDS)
        if "couldn't find remote ref" in result.stderr:
            raise StackError(
                f"the remote {branch.remote} has no branch {branch.name}",
                "the branch that this deployment follows",
                "correct RECONCILE_BRANCH in .env, or push the branch",
            )
        if not result.ok:
            raise StackError(
                f"the remote {branch.remote} does not answer: {result.last_words}",
                "the deployment repository; without it nothing is looked at and nothing is changed",
                f"git -C {self.root} fetch {branch.remote} shows the same; the deployment goes on as it is",
            )
        return self.commit(branch.ref)

    def commit(self, revision: str) -> str:
        """The commit that a name means."""
        return self._run("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").stdout.strip()

    def subject(self, commit: str) -> str:
        """The first line of what the commit says."""
        return self._try("show", "--no-patch", "--no-show-signature", "--format=%s", commit).stdout.strip()

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether one commit led to the other."""
        return self._try("merge-base", "--is-ancestor", older, newer).ok

    def require_forward(self, head: str, candidate: str, branch: Branch) -> None:
        """Refuse whatever is no fast-forward: it would lose commits that ran here."""
        if self.is_ancestor(head, candidate):
            return
        if self.is_ancestor(candidate, head):
            raise StackError(
                f"{branch} is at {candidate[:12]}, which is older than this checkout ({head[:12]})",
                "history that only grows: either commits were made here, or the branch was set back",
                f"push what was made here, or undo on the branch by git revert; to go back all the same: git -C"
                f" {self.root} reset --keep {candidate[:12]}",
            )
        raise StackError(
            f"the history of {branch} was rewritten: {candidate[:12]} does not contain {head[:12]}, which runs here",
            "history that only grows, for it is the audit trail",
            f"find out who forced it; to accept it: git -C {self.root} reset --keep {candidate[:12]}",
        )

    def require_clean(self) -> None:
        """Refuse local changes of tracked files, by name: git is the only source of truth."""
        changed = self.local_changes()
        if changed:
            raise StackError(
                f"files of this checkout differ from its commit: {', '.join(changed)}",
                "no local changes: what runs is what the repository says",
                "commit and push them, or take them back (git restore NAME); .env and secrets/ may differ",
            )

    def local_changes(self) -> list[str]:
        """Tracked files that are not as in the commit."""
        listed = self._run("status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames").stdout
        return sorted(entry[3:] for entry in listed.split("\0") if entry)

    def require_room(self, head: str, candidate: str) -> None:
        """Refuse a commit that would overwrite what is made here, or a file that nobody knows of."""
        listed = self._run("diff", "--name-only", "-z", "--no-renames", "--diff-filter=A", head, candidate).stdout
        added = [name for name in listed.split("\0") if name]
        own = [name for name in added if name.split("/")[0] in OWN]
        if own:
            raise StackError(
                f"the commit {candidate[:12]} contains {', '.join(own)}",
                "a commit without .env, secrets and state: they belong to the machine",
                "remove them from the repository; secrets that were in it are to be changed. For settings in git see"
                " RECONCILE_SETTINGS",
            )
        present = [name for name in added if (self.root / name).exists()]
        if present:
            raise StackError(
                f"files that git does not know are where the commit {candidate[:12]} brings its own:"
                f" {', '.join(present)}",
                "no file of that name",
                "move them away, or commit them",
            )

    def tracks(self, commit: str, path: str) -> bool:
        """Whether a commit has a file of this path."""
        return self._try("cat-file", "-e", f"{commit}:{path}").ok

    def changed_files(self, older: str, newer: str) -> list[str]:
        """Paths that differ between two commits."""
        listed = self._run("diff", "--name-only", "-z", "--no-renames", older, newer).stdout
        return [name for name in listed.split("\0") if name]

    def lay_out(self, tree: Path, commit: str) -> None:
        """A work tree of its own with this commit: nothing of an earlier one is left in it, submodules included."""
        if not (tree / ".git").exists() or not self._try("rev-parse", "HEAD", at=tree).ok:
            shutil.rmtree(tree, ignore_errors=True)
            tree.parent.mkdir(parents=True, exist_ok=True)
            self._run("worktree", "prune")
            self._run("worktree", "add", "--quiet", "--force", "--detach", str(tree), commit)
        else:
            self._run("checkout", "--quiet", "--force", "--detach", commit, at=tree)
        self._run("clean", "-ffdxq", "--exclude=/.venv", at=tree)
        self._submodules(tree)

    def forward(self, commit: str) -> None:
        """Move the checkout to a commit that contains the present one."""
        self._run("merge", "--quiet", "--ff-only", commit)
        self._submodules(self.root)

    def back(self, commit: str) -> None:
        """Move the checkout to an older commit; refused where that would lose somebody's change."""
        self._run("reset", "--quiet", "--keep", commit)
        self._submodules(self.root)

    def mend_half_move(self, *commits: str) -> None:
        """After an interrupted move: put files that have the content of one of its commits back to HEAD.

        Git changes the files first and the commit last. Whatever else somebody changed stays, to be refused by name.
        """
        changed = self.local_changes()
        if not changed or not all(self._is_of(name, commits) for name in changed):
            return
        self._run("reset", "--quiet", "--hard", "HEAD")
        for name in self.changed_files(*commits[:2]) if len(commits) > 1 else ():
            if (self.root / name).is_file() and not self.tracks("HEAD", name) and self._is_of(name, commits):
                (self.root / name).unlink()

    def _is_of(self, name: str, commits: tuple[str, ...]) -> bool:
        path = self.root / name
        blobs = {self._try("rev-parse", "--verify", "--quiet", f"{commit}:{name}").stdout.strip() for commit in commits}
        own = self._try("hash-object", "--", name).stdout.strip() if path.is_file() else ""
        return own in blobs

    def _submodules(self, tree: Path) -> None:
        if not (tree / ".gitmodules").exists():
            return
        self._run("submodule", "--quiet", "sync", "--recursive", at=tree)
        args = ("submodule", "--quiet", "update", "--init", "--recursive", "--force")
        self._run(*args, at=tree, seconds=SUBMODULE_SECONDS)

    def _config(self, key: str) -> str:
        return self._try("config", "--get", key).stdout.strip()

    def _run(self, *args: str, at: Path | None = None, seconds: float = 60) -> Result:
        return self._executor.run(git(at or self.root, *args), env=ENVIRONMENT, timeout=seconds)

    def _try(self, *args: str, at: Path | None = None, seconds: float = 60) -> Result:
        return self._executor.run(git(at or self.root, *args), env=ENVIRONMENT, timeout=seconds, check=False)
