"""A deployment repository, the machine that runs it, and what is compared before and after each change."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support import departures
from tests.support.departures import ASSET, LOCATION
from tests.support.deployment import SAMPLE_SOURCE, Deployment, lake_rows
from tests.support.machine import Author, Machine, run

TABLES = """
select table_schema || '.' || table_name as name from information_schema.tables
where table_catalog = '{lake}' and table_type = 'BASE TABLE' order by 1"""


@dataclass(frozen=True)
class State:
    """All that must outlive whatever is done: tables by rows and checksum, runs that ended, schedules that are on."""

    tables: dict[str, tuple[int, str]]
    runs: dict[str, str]
    schedules: dict[str, str]


class Story:
    """The author, the machine, and who watches them."""

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self.folder, self.tell, self.steps = folder, tell, 0
        self.author = Author(folder, LOCATION, keep=("ingestion",))
        departures.allow_reading(self.author.root)
        departures.write(self.author.root, 15)
        self.author.push("A location of our own: who departs late")
        self.backups = folder / "another-disk"
        self.backups.mkdir()
        # The service's user writes there; whoever runs the tests may not be able to give it the folder.
        self.backups.chmod(0o777)
        self.machine = Machine(
            folder, self.author, ("docker-compose.yml", SAMPLE_SOURCE), BACKUP_DIRECTORY=str(self.backups)
        )
        self.branch: Deployment | None = None

    def step(self, title: str) -> float:
        """The next step begins."""
        self.steps += 1
        self.tell(f"{self.steps:2}. {title}")
        return time.monotonic()

    def checked(self, what: str, since: float | None = None) -> None:
        """Something was looked at, and was right."""
        self.tell(f"    ✓ {what}" + (f" ({time.monotonic() - since:.0f} s)" if since else ""))

    def commit(self, subject: str, minutes: int, column: str = "dep_delay") -> str:
        """The author changes what late means, and the machine has the commit."""
        departures.write(self.author.root, minutes, column)
        self.author.push(subject)
        return self.machine.pull()

    def propose(self, subject: str, minutes: int) -> None:
        """A pull request: a branch that the machine has fetched."""
        self.author.git("switch", "--quiet", "--create", "proposed")
        departures.write(self.author.root, minutes)
        self.author.git("commit", "--quiet", "--all", "--message", subject)
        self.author.git("push", "--quiet", "origin", "proposed")
        run(self.machine.root, "git", "fetch", "--quiet", "origin", "proposed")

    def merge(self) -> None:
        """The pull request is merged, and the machine has the branch."""
        self.author.git("switch", "--quiet", "main")
        self.author.git("merge", "--quiet", "--no-ff", "--message", "Merge what was proposed", "proposed")
        self.author.git("push", "--quiet", "origin", "main")
        self.machine.pull()

    def new_release(self) -> str:
        """Another minor release, which asks an operator to read; its version."""
        project, notes = self.author.root / "pyproject.toml", self.author.root / "docs" / "releases.md"
        text = project.read_text()
        (found,) = re.findall(r'^version = "(\d+)\.(\d+)\.\d+"$', text, re.MULTILINE)
        version = f"{found[0]}.{int(found[1]) + 1}.0"
        project.write_text(re.sub(r'^version = ".*"$', f'version = "{version}"', text, flags=re.MULTILINE))
        head, mark, rest = notes.read_text().partition("\n## ")
        notes.write_text(f"{head}\n## {version}\n\n- Operator: Read this first.\n{mark}{rest}")
        self.author.push(f"Merge release {version}")
        self.machine.pull()
        return version

    def image(self) -> str:
        return str(self.machine.services()[LOCATION]["Config"]["Image"])

    def count(self, machine: Deployment | None = None, password: str | None = None) -> str:
        """A run of the location's asset."""
        user = (machine or self.machine).user("admin", password)
        launched = user.launch(LOCATION, assets=[ASSET])
        user.wait_for(launched, "SUCCESS")
        return launched

    def equals_the_package(self, minutes: int, machine: Deployment | None = None) -> None:
        """The table, row by row, against the package's own file."""
        query = f"select carrier, flights, late from {ASSET.replace('/', '.')} order by carrier"
        rows = lake_rows(machine or self.machine, LOCATION, query)
        assert [tuple(row.values()) for row in rows] == departures.truth(minutes)
        late = sum(int(row["late"]) for row in rows)
        self.checked(
            f"{ASSET}: {len(rows)} carriers, {late} flights over {minutes} minutes late, equal to the package's"
        )

    def state(self) -> State:
        """What is there now."""
        return State(
            {name: sums for lake in ("ingestion", LOCATION) for name, sums in self.sums(lake).items()},
            dict(self.machine.sql("select run_id, status from runs where status in ('SUCCESS', 'FAILURE')")),  # type: ignore[arg-type]
            dict(self.machine.sql("select selector_id, status from instigators")),  # type: ignore[arg-type]
        )

    def sums(self, lake: str) -> dict[str, tuple[int, str]]:
        """Rows and checksum of each table of a lake."""
        names = [f"{lake}.{row['name']}" for row in lake_rows(self.machine, lake, TABLES.format(lake=lake))]
        parts = [f"select '{each}' as t, count(*) as n, bit_xor(hash(one)) as s from {each} as one" for each in names]
        return {row["t"]: (row["n"], str(row["s"])) for row in lake_rows(self.machine, lake, " union all ".join(parts))}

    def is_as(self, before: State) -> None:
        """Nothing of what was there before is lost or changed."""
        now = self.state()
        assert now.tables == before.tables
        assert {run: now.runs.get(run) for run in before.runs} == before.runs
        assert now.schedules == before.schedules
        rows = sum(rows for rows, _ in now.tables.values())
        self.checked(
            f"{len(now.tables)} tables with {rows} rows, {len(before.runs)} runs and the schedule are as before"
        )

    def remove(self) -> None:
        """Nothing of it stays."""
        if self.branch:
            self.machine.stack("branch", "delete", self.branch.name.removeprefix("branch-"), "--yes", check=False)
            self.branch.close()
        self.machine.remove()
