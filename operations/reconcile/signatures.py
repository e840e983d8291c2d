"""Who may change this machine: SSH signatures of commits, against a list that no commit can bring along."""

from pathlib import Path

from operations.deployment import Deployment
from operations.errors import StackError
from operations.execute import Executor
from operations.reconcile.repository import ENVIRONMENT, Repository, git

SETTING = "RECONCILE_SIGNERS"


def signers_file(deployment: Deployment, repository: Repository, *commits: str) -> Path | None:
    """The allowed signers; None where signatures are not asked for. Never a file that a commit could replace."""
    named = deployment.settings().get(SETTING, "")
    if not named:
        return None
    path = deployment.root / named
    if not path.is_file():
        raise StackError(
            f"{SETTING} is {named}, and there is no such file",
            'an allowed-signers file: NAME namespaces="git" ssh-ed25519 KEY, one line a signer',
            "write it (docs/operations/reconcile.md), or empty the setting in .env",
        )
    inside = [each for each in (path, path.resolve()) if each.is_relative_to(deployment.root)]
    for each in inside:
        name = str(each.relative_to(deployment.root))
        # A submodule is a commit's as well: its path is the tracked one.
        parts = [str(Path(*Path(name).parts[: count + 1])) for count in range(len(Path(name).parts))]
        if any(repository.tracks(commit, part) for commit in commits for part in (name, *_files(parts, deployment))):
            raise StackError(
                f"{SETTING} is {named}, which is part of the repository",
                "a file that the commit to be verified cannot bring along",
                "move it out of the repository, such as to /etc or secrets/",
            )
    return path


def _files(parts: list[str], deployment: Deployment) -> list[str]:
    """Those of the folders on the way that are repositories of their own."""
    return [part for part in parts if (deployment.root / part / ".git").exists()]


def verify(executor: Executor, root: Path, commit: str, signers: Path) -> str:
    """Who signed the commit; raises `StackError` for nobody, a stranger, or another kind of signature.

    Only the commit that is to run is looked at: its tree is all that runs, and who signs it vouches for that tree and,
    by the ids of its parents, for the history below.
    """
    command = git(
        root,
        *("-c", f"gpg.ssh.allowedSignersFile={signers}"),
        # A key ring of this machine's user says nothing about who may deploy: only SSH signatures count.
        *("-c", "gpg.program=false", "-c", "gpg.openpgp.program=false", "-c", "gpg.x509.program=false"),
        *("verify-commit", "--raw", commit),
    )
    result = executor.run(command, env=ENVIRONMENT, timeout=60, check=False)
    said = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
    good = next((line for line in said if line.startswith('Good "git" signature for ')), "")
    if result.ok and good:
        return good.removeprefix('Good "git" signature for ').split(" with ")[0]
    if any("ssh-keygen" in line and "not" in line for line in said):
        raise StackError(
            f"signatures cannot be verified: {' '.join(said)}",
            "ssh-keygen",
            "install it: apt-get install openssh-client",
        )
    reason = said[0] if said else "it is not signed"
    raise StackError(
        f"the commit {commit[:12]} is not signed by one of {signers}: {reason}",
        "a commit with an SSH signature of an allowed signer, at the tip of the branch",
        "sign it (git -c gpg.format=ssh commit -S), or add the signer to the file on this machine; nothing was changed",
    )
