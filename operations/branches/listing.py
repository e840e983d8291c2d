"""branch list, and which branches nobody uses any more."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from rich.table import Table

from operations import docker, gateway
from operations.branches import postgres, record, registry
from operations.branches import settings as branch_settings
from operations.branches.record import Record
from operations.context import Context
from operations.deployment import Deployment

# Runs that were copied with the clone are older than the branch, so the newest is one of its own or does not count.
LAST_RUN = "SELECT floor(extract(epoch FROM max(create_timestamp))) FROM runs;"
STATES = {record.MAKING: "half-made", record.DELETING: "half-deleted"}
COLUMNS = ("BRANCH", "ADDRESS", "FROM", "REBUILT", "AGE", "SIZE", "EXPIRES", "STATE")


@dataclass(frozen=True)
class Row:
    """One branch as it is shown. `size` is bytes in its own volumes; production's files are not among them."""

    id: str
    address: str
    commit: str
    rebuilt: tuple[str, ...]
    created: str
    last_used: str
    size: int | None
    expires: str
    state: str

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return bool(self.expires) and datetime.fromisoformat(self.expires) <= datetime.now(UTC)


def show(origin: Context, *, as_json: bool) -> int:
    """List the branches of a deployment."""
    rows = collect(origin, sizes=True)
    if as_json:
        origin.report.console.print_json(json.dumps([asdict(row) for row in rows]), ensure_ascii=True)
        return 0
    if rows:
        origin.report.show(_table(rows))
    else:
        origin.report.say(f"There is no branch of {origin.deployment.name}.")
    for name in _unknown(origin, rows):
        origin.report.warn(
            f"{name} is registered as a clone, and no branch of this checkout: while it is, its files are kept."
            f" `{origin.deployment.stack} branch delete {name.removeprefix(record.PREFIX)}` forgets it"
        )
    return 0


def collect(origin: Context, *, sizes: bool) -> list[Row]:
    """All branches of this deployment. A half-made one whose record cannot be read may be anybody's, so also ours."""
    days = branch_settings.of(origin.deployment.settings(), origin.locations).days
    found = record.every(origin.deployment.root)
    ours = [pair for pair in found if pair[1].origin in (origin.deployment.name, "")]
    return [_row(origin, branch, about, days, sizes=sizes) for branch, about in ours]


def expired(origin: Context) -> list[str]:
    """Ids of the branches whose time is over."""
    return [row.id for row in collect(origin, sizes=False) if row.expired]


def _row(origin: Context, deployment: Deployment, about: Record, days: int, *, sizes: bool) -> Row:
    branch = Context(deployment, origin.executor, origin.report, origin.host)
    containers = branch.containers()
    running = [each for each in containers if each.is_service and each.state == "running"]
    used = max(about.made_at, _last_run(branch, running) or about.made_at)
    settled = STATES.get(about.state) or ("running" if running else "stopped")
    return Row(
        id=about.id,
        address=gateway.address(deployment.settings()) if deployment.env_file.exists() else "",
        commit=about.commit,
        rebuilt=about.rebuilt,
        created=about.created,
        last_used=used.isoformat(),
        size=_size(branch, about) if sizes else None,
        expires=(used + timedelta(days=days)).isoformat() if days else "",
        state=settled,
    )


def _last_run(branch: Context, running: Iterable[docker.Container]) -> datetime | None:
    server = next((each.id for each in running if each.service == postgres.SERVICE), None)
    if server is None:
        return None
    asked = branch.executor.run(postgres.psql(server, "dagster"), stdin=LAST_RUN, check=False, timeout=30)
    text = asked.stdout.strip()
    return datetime.fromtimestamp(int(text), UTC) if asked.ok and text.isdigit() else None


def _size(branch: Context, about: Record) -> int | None:
    """Bytes in the branch's own volumes, read by a container with nothing but them."""
    label = f"label={docker.PROJECT_LABEL}={about.name}"
    volumes = branch.executor.run(["docker", "volume", "ls", "--quiet", "--filter", label]).stdout.split()
    image = next((name for name in about.images if name.startswith(f"{about.name}/postgres:")), None)
    if not volumes or image is None:
        return 0 if not volumes else None
    mounts = [part for name in volumes for part in ("--volume", f"{name}:/volumes/{name}:ro")]
    confined = ["--network", "none", "--read-only", "--cap-drop", "ALL", "--cap-add", "DAC_READ_SEARCH"]
    command = [
        "docker",
        "run",
        "--rm",
        "--pull",
        "never",
        *confined,
        "--user",
        "0:0",
        *mounts,
        "--entrypoint",
        "du",
        image,
    ]
    printed = branch.executor.run([*command, "--summarize", "--bytes", "/volumes"], check=False, timeout=120)
    words = printed.stdout.split()
    return int(words[0]) if printed.ok and words and words[0].isdigit() else None


def _unknown(origin: Context, rows: list[Row]) -> list[str]:
    server = postgres.container(origin)
    if server is None:
        return []
    known = {f"{record.PREFIX}{row.id}" for row in rows}
    clones = registry.clones(origin, server)
    return sorted(name for name in clones - known if name.startswith(record.PREFIX))


def _table(rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        table.add_column(column, overflow="fold")
    for row in rows:
        rebuilt = ", ".join(row.rebuilt) or "nothing"
        size = "" if row.size is None else f"{row.size / 1024**2:.0f} MB"
        ends = f"{row.expires[:16].replace('T', ' ')}{' (over)' if row.expired else ''}" if row.expires else "never"
        table.add_row(row.id, row.address, row.commit, rebuilt, _age(row.created), size, ends, row.state)
    return table


def _age(created: str) -> str:
    passed = datetime.now(UTC) - datetime.fromisoformat(created)
    hours = int(passed.total_seconds() // 3600)
    return f"{hours // 24} d" if hours >= 48 else f"{hours} h" if hours else f"{int(passed.total_seconds() // 60)} min"
