"""The files of the bundled database: a copy before anything changes, a new cluster for a new version, the way back.

The new release's image does it (postgres/upgrade-cluster), in a container that has the volume and nothing else. Only
where the format changes the old image's server is started once more, without a network, to be read.
"""

from typing import Any

from operations import docker
from operations.context import Context
from operations.errors import StackError
from operations.execute import Result
from operations.upgrades.images import Images
from operations.upgrades.journal import Upgrade

SERVICE, VOLUME, SOCKETS = "postgres", "postgres", "postgres-socket"
PROGRAM = "upgrade-cluster"
_ROOT = "/cluster"
# The data of a year of runs is copied at some hundred megabytes a second, and dumped at some ten.
_SECONDS = 6 * 3600
_SANDBOX = (
    # A name of ours that is not here must not be asked for elsewhere: what came would get the database's files.
    *("--pull", "never"),
    *("--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp:size=256m,mode=1777", "--user", "10001:10001"),  # noqa: S108
    *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--shm-size", "256m", "--memory", "2g"),
)
# Whoever reaches the socket is the superuser: it is in the volume, which no other container that runs has.
_SERVE = (
    f"mkdir -p {_ROOT}/upgrade-sockets && echo 'local all all trust' >/tmp/hba && exec postgres -D {_ROOT}/data"
    f" -c hba_file=/tmp/hba -c listen_addresses= -c unix_socket_directories={_ROOT}/upgrade-sockets"
    " -c archive_mode=off -c default_transaction_read_only=on"
)


def is_bundled(config: dict[str, Any]) -> bool:
    """Whether the database is this deployment's own."""
    return SERVICE in config["services"]


def volume(context: Context, name: str = VOLUME) -> str:
    """The engine's name of a volume of the deployment."""
    described = (context.config.get("volumes") or {}).get(name) or {}
    return str(described.get("name") or f"{context.deployment.name}_{name}")


def image(context: Context, images: Images) -> str:
    """The new release's image of Postgres."""
    return images.of(str(context.config["services"][SERVICE]["image"]))


def major(context: Context) -> int:
    """The version of the running cluster's files. Raises `StackError`."""
    asked = _inside(context, 'cat "$PGDATA/PG_VERSION"')
    if not asked.ok or not asked.stdout.strip().isdecimal():
        raise StackError(
            f"the version of the database cannot be read: {asked.last_words}",
            "the service postgres running",
            f"{context.deployment.stack} up",
        )
    return int(asked.stdout)


def size(context: Context) -> int:
    """Bytes of the running cluster."""
    words = _inside(context, 'du -sk "$PGDATA"').stdout.split()
    return int(words[0]) * 1024 if words and words[0].isdecimal() else 0


def _inside(context: Context, script: str) -> Result:
    command = docker.execute(context.deployment, SERVICE, "sh", "-c", script)
    return context.executor.run(command, check=False, timeout=300)


def require_none_left(context: Context, upgrade: Upgrade) -> None:
    """Nothing is left of another upgrade, which this one's way back could take for its own. The server may run."""
    _do(context, upgrade, "ready")


def copy(context: Context, upgrade: Upgrade) -> None:
    """The cluster as it is, beside itself. The server is stopped."""
    _do(context, upgrade, "copy")


def renew(context: Context, upgrade: Upgrade, old_image: str) -> None:
    """A cluster of the new version, with all that the old server says; the old files stay beside it."""
    name = f"{context.deployment.name}-former-postgres"
    stop(context)
    serve = [*("docker", "run", "--detach", "--name", name, "--stop-signal", "SIGINT", *_SANDBOX)]
    serve += ["--volume", f"{upgrade.volume}:{_ROOT}", "--entrypoint", "sh", old_image, "-c", _SERVE]
    context.executor.run(serve)
    try:
        _do(context, upgrade, "fill")
    finally:
        stop(context)
    _do(context, upgrade, "take")


def stop(context: Context) -> None:
    """End the old server and whatever is at work on the files; of a killed call as well."""
    former, at_work = (f"{context.deployment.name}-{suffix}" for suffix in ("former-postgres", "upgrade-cluster"))
    context.executor.run(["docker", "stop", "--time", "120", former], check=False, timeout=180)
    context.executor.run(["docker", "rm", "--force", former, at_work], check=False, timeout=60)


def put_back(context: Context, upgrade: Upgrade) -> None:
    """The files are what they were."""
    stop(context)
    _do(context, upgrade, "put-back")


def settle(context: Context, upgrade: Upgrade) -> None:
    """The new state is the one in force: its log goes to the backups from here on."""
    _do(context, upgrade, "settle")


def tidy(context: Context, upgrade: Upgrade) -> None:
    """Delete what was there before."""
    _do(context, upgrade, "tidy")


def _do(context: Context, upgrade: Upgrade, step: str) -> None:
    name = f"{context.deployment.name}-upgrade-cluster"
    run = ["docker", "run", "--name", name, *_SANDBOX, "--volume", f"{upgrade.volume}:{_ROOT}", "--entrypoint", PROGRAM]
    done = context.executor.run([*run, upgrade.tool, step, _ROOT, upgrade.id], check=False, timeout=_SECONDS)
    if not done.ok:
        raise StackError(
            f"the files of the database: {done.last_words}", "room and a whole cluster", "look at what it says"
        )


def count(context: Context, image: str, since: str = "") -> Result:
    """What the server holds, asked by its socket with the new release's code."""
    run = ["docker", "run", *_SANDBOX, "--volume", f"{volume(context, SOCKETS)}:/var/run/postgresql"]
    # What a catalog says is its owner's: no more than a part of this machine.
    run += ["--memory", "1g", "--interactive", "--env", f"BACKUP_NAME={context.deployment.name}"]
    # By stdin: an argument of all tables' counts may be longer than one is allowed to be.
    asked = [*run, image, "python3", "-m", "backup", "count", *(["--since"] if since else [])]
    return context.executor.run(asked, stdin=since or "", check=False, timeout=3600)
