"""branch delete: a branch with all that is its own, however far it was made or removed; production's files stay.

By labels and by the record, never by the branch's Compose files: those may be half written, or name files of a
deployment that is gone. The rows in production's registry of clones go last, the record with the branch's folder after.
"""

import shutil
from dataclasses import replace

from operations.branches import postgres, record, registry
from operations.branches.record import Record
from operations.context import Context
from operations.deployment import Deployment
from operations.errors import StackError
from operations.verbs import down


def delete(origin: Context, branch: Context) -> None:
    """Remove a branch. Does nothing where nothing is left of it."""
    found = record.read(branch.deployment)
    if found is None and branch.deployment.env_file.exists():
        raise StackError(
            f"{branch.deployment.name} was not made by ./stack branch",
            "a branch",
            f"{branch.deployment.stack} down --delete-data removes a deployment",
        )
    with origin.report.step(f"Remove {branch.deployment.name}"):
        remove(origin, branch, found)
    origin.report.say(f"Nothing of {branch.deployment.name} is left.")


def former(origin: Context, branch: Context) -> None:
    """Before a branch is made: take away the one that it replaces, or what an interrupted command left of it."""
    found = record.read(branch.deployment)
    if found is not None:
        what = "" if found.state == record.READY else "what is left of "
        with origin.report.step(f"Remove {what}the former {branch.deployment.name}"):
            remove(origin, branch, found)


def remove(origin: Context, branch: Context, found: Record | None) -> None:
    """Containers, volumes, networks, images; then the rows in the registry; then the files."""
    if found is not None and found.state != record.DELETING:
        record.write(branch.deployment, replace(found, state=record.DELETING))
    down.remove_left_overs(branch)
    if found is not None:
        _images(branch, found)
    _forget(origin, found, branch.deployment.name)
    shutil.rmtree(branch.deployment.state, ignore_errors=True)
    _files(branch.deployment)


def _images(branch: Context, found: Record) -> None:
    """Names that production's images were given carry production's labels: only the record knows them."""
    there = branch.executor.run(
        ["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{found.name}/*"]
    ).stdout.split()
    own = sorted(set(there) & set(found.images))
    if own:
        branch.executor.run(["docker", "image", "rm", "--force", *own])


def _forget(origin: Context, found: Record | None, name: str) -> None:
    """From now on production may expire files that the branch referred to."""
    if found is not None and found.origin and found.origin != origin.deployment.name:
        origin = Context(Deployment(origin.deployment.root, found.origin), origin.executor, origin.report, origin.host)
    if not origin.deployment.env_file.exists():
        # The deployment it was cloned from is gone, and its registry with it.
        return
    server = postgres.container(origin)
    if server is None:
        raise StackError(
            f"{name} is removed but for its entry in the registry of clones: the Postgres of"
            f" {origin.deployment.name} does not run",
            "it to run: while the entry is there, old files of the lakes are kept",
            f"{origin.deployment.stack} up, then repeat",
        )
    registry.forget(origin, server, name)


def _files(deployment: Deployment) -> None:
    """The folder, the record last: while it is there, the branch is known."""
    if not deployment.home.is_dir():
        return
    for entry in deployment.home.iterdir():
        if entry == record.path(deployment):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    shutil.rmtree(deployment.home, ignore_errors=True)
    if deployment.home.exists():
        raise StackError(
            f"{deployment.home} could not be removed", "files of this user", f"sudo rm -r {deployment.home}"
        )
