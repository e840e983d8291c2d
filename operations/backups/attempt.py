"""One try of a restore: what an earlier one left is ended first, and what this one made goes when it fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from operations import docker, prepare
from operations.backups import asking, journal
from operations.context import Context


def end_former(context: Context) -> None:
    """End questions that nobody waits for: when ./stack is killed, the container that it asked goes on, and would lay
    down what the next try has taken away."""
    for each in context.containers():
        if each.service == asking.SERVICE and each.labels.get("com.docker.compose.oneoff") == "True":
            context.executor.run(docker.remove(each.id), check=False, timeout=120)


@contextmanager
def undone_on_failure(context: Context) -> Iterator[None]:
    """Settings and secrets that were made in this block go when it fails: another try may take another backup, and
    would keep them for somebody's own. So do volumes, where there were none: they would count as data of a release."""
    deployment = context.deployment
    had_settings = deployment.env_file.exists()
    # Where they will be: a deployment beside prod has its own place for them, which only its settings will say.
    directory = (deployment.root / prepare.planned(context).get("SECRETS_DIR", "./secrets")).resolve()
    had = _names(directory)
    had_volumes = _volumes(context)
    try:
        yield
    except BaseException:
        # With a journal it goes on from where it is.
        if not had_settings and deployment.env_file.exists() and journal.read(deployment) is None:
            for name in _names(directory) - had:
                (directory / name).unlink(missing_ok=True)
            deployment.env_file.unlink(missing_ok=True)
            context.__dict__.pop("config", None)
            context.report.say("Taken away again: settings and secrets that this try had made. It can be repeated.")
        if not had_volumes and journal.read(deployment) is None:
            _remove_volumes(context)
        raise


def _volumes(context: Context) -> list[str]:
    label = f"label={docker.PROJECT_LABEL}={context.deployment.name}"
    return context.executor.run(["docker", "volume", "ls", "--quiet", "--filter", label]).stdout.split()


def _remove_volumes(context: Context) -> None:
    """Those of this deployment; they are empty. One that a container uses stays."""
    for each in context.containers():
        if each.state != "running":
            context.executor.run(docker.remove(each.id), check=False, timeout=120)
    if made := _volumes(context):
        context.executor.run(["docker", "volume", "rm", *made], check=False, timeout=120)


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} if directory.is_dir() else set()
