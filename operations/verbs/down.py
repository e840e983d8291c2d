"""down: stop and remove the containers, runs included; with --delete-data everything of this deployment."""

import shutil

from operations import docker, external, preflight
from operations.branches import record
from operations.context import Context
from operations.deployment import Deployment
from operations.errors import StackError
from operations.releases import standing
from operations.upgrades import journal, stamp


def down(context: Context, *, delete_data: bool) -> None:
    """Take the deployment down."""
    deployment = context.deployment
    deployment.require_env()
    if delete_data:
        _refuse_clones(deployment)
    preflight.server_version(context)
    elsewhere = external.kept(context) if delete_data else []
    title = "Remove containers, networks" + (", volumes, images" if delete_data else "")
    with context.report.step(title) as step:
        stop = docker.stop(deployment, delete_data=delete_data)
        # A run that ends meanwhile is removed by the broker too, and Compose gives up over "already in progress".
        stopped = context.executor.stream(stop, step.update, check=False).ok
        # The broker may have made a container for the next run after Compose had looked what there is.
        remaining = context.executor.run(docker.containers_of(deployment.name)).stdout.split()
        if remaining or not stopped:
            context.executor.stream(stop, step.update)
        if delete_data:
            remove_left_overs(context)
    if not delete_data:
        context.report.say(f"The data stays; {deployment.stack} up brings everything back.")
        return
    standing.forget(context)
    journal.forget(deployment)
    stamp.forget(deployment)
    _remove_files(context)
    for left in elsewhere:
        context.report.say(f"Left alone, for it is not this machine's: {left}.")
    context.report.say(f"Nothing of {deployment.name} is left" + (" here." if elsewhere else "."))


def _refuse_clones(deployment: Deployment) -> None:
    """A branch is registered in production, which has to learn of its end; and it lives on production's files."""
    if record.read(deployment) is not None:
        identifier = deployment.name.removeprefix(record.PREFIX)
        raise StackError(
            f"{deployment.name} is a branch, registered where it was cloned from",
            "./stack branch delete, which forgets it there as well",
            f"./stack branch delete {identifier}",
        )
    clones = [found.id for _, found in record.every(deployment.root) if found.origin == deployment.name]
    if clones:
        raise StackError(
            f"{', '.join(f'{record.PREFIX}{each}' for each in clones)} would lose the files that they were cloned from",
            "no branch of a deployment whose data is deleted",
            "; ".join(f"{deployment.stack} branch delete {each}" for each in clones),
        )


def remove_left_overs(context: Context) -> None:
    """What Compose does not know of any more: volumes and images of services that left the file."""
    project = context.deployment.name
    label = f"label={docker.PROJECT_LABEL}={project}"
    run = context.executor.run
    ids = run(docker.containers_of(project)).stdout.split()
    if ids:
        run(["docker", "rm", "--force", "--volumes", *ids])
    for kind in ("volume", "network"):
        names = run(["docker", kind, "ls", "--quiet", "--filter", label]).stdout.split()
        if names:
            run(["docker", kind, "rm", *names])
    # By label as well as by name: somebody's own prod/api is none of ours, whatever the deployment is called.
    listing = ["docker", "image", "ls", "--filter", label, "--format", "{{.Repository}}:{{.Tag}}", f"{project}/*"]
    images = run(listing).stdout.split()
    # An untagged image cannot be named, and is no longer the deployment's.
    named = [image for image in images if not image.endswith(":<none>")]
    if named:
        run(["docker", "image", "rm", "--force", *named])


def _remove_files(context: Context) -> None:
    """Secrets go with the database that they open. Settings of prod are somebody's work and stay."""
    deployment = context.deployment
    directory = deployment.secrets()
    # SECRETS_DIR may point outside the checkout: such files belong to whoever put them there.
    if directory.is_relative_to(deployment.root) and directory != deployment.root and directory.is_dir():
        # ./stack makes files there and nothing else: a directory with others below it holds somebody's work.
        # (An empty one is Docker's, in the place of a secret that was missing.)
        folders = sorted(entry.name for entry in directory.iterdir() if entry.is_dir() and any(entry.iterdir()))
        if folders:
            raise StackError(
                f"{directory} holds {', '.join(folders)} beside the secrets, so it was not removed",
                "SECRETS_DIR to name a directory of its own",
                f"remove the secrets in it by hand; everything else of {deployment.name} is gone",
            )
        shutil.rmtree(directory, ignore_errors=True)
        if directory.exists():
            raise StackError(f"{directory} could not be removed", "files of this user", f"sudo rm -r {directory}")
    if deployment.home != deployment.root:
        shutil.rmtree(deployment.home, ignore_errors=True)
