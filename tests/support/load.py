"""A queue of short runs of two locations, and what must be true of them whatever happened meanwhile."""

import itertools
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

from tests.support.deployment import Deployment, docker, lake_rows
from tests.support.flights import source_table
from tests.support.graphql import FINAL
from tests.support.loading import Patient
from tests.support.waiting import wait_until

RUNS = """query Load($id: String!) {
  runsOrError(filter: {tags: [{key: "fault", value: $id}]}, limit: 1000) {
    __typename ... on Runs { results { runId status parentRunId rootRunId } } } }"""
# In Dagster's database, where the daemon's and the runs' words are side by side.
LINES = """select l.run_id, count(distinct l.line), count(*) from (
    select e.run_id, substring(e.event from '"user_message": "(line [0-9]+ of [0-9]+)"') as line
    from event_logs e join run_tags t on t.run_id = e.run_id and t.key = 'fault' and t.value = '{id}'
    where e.dagster_event_type is null) l where l.line is not null group by 1"""
RESTARTS = """select e.run_id, count(*) from event_logs e
    join run_tags t on t.run_id = e.run_id and t.key = 'fault' and t.value = '{id}'
    where e.dagster_event_type = 'STEP_RESTARTED' group by 1"""
MAKE_TABLE = """set role probe; create schema if not exists faults;
    create table if not exists faults.marks (name text not null, run_id text not null)"""
SCHEDULE = {"repositoryLocationName": "probe", "repositoryName": "__repository__", "scheduleName": "every_minute"}
TURN = "mutation Turn($selector: ScheduleSelector!) {{ {verb}(scheduleSelector: $selector) {{ __typename }} }}"
START, RESET = TURN.format(verb="startSchedule"), TURN.format(verb="resetSchedule")
TICKS = """select extract(epoch from timestamp)::bigint, status, count(*) from job_ticks
    where tick_body::jsonb ->> 'job_name' = 'every_minute' group by 1, 2 order by 1"""
MARK_LINES = 10
RUN_ID_LENGTH = 36
FLIGHTS = "ingestion/raw/flights"
# A run whose work may be repeated says so: a database that goes away fails its step, and that is a failure of the code.
REPEATABLE = {"dagster/retry_on_asset_or_op_failure": "true"}


def make_table(deployment: Deployment) -> None:
    """Where the probe's runs leave their marks: one row for each time that the work was done."""
    deployment.sql(MAKE_TABLE, "lake_probe")


@contextmanager
def schedule(deployment: Deployment) -> Iterator[None]:
    """A schedule of the probe that ticks each minute, until the block ends."""
    client = Patient(deployment.address, "admin", deployment.secret("admin_password"))
    try:
        assert client.ask(START, selector=SCHEDULE)["startSchedule"]["__typename"] == "ScheduleStateResult"
        try:
            yield
        finally:
            client.ask(RESET, selector=SCHEDULE)
    finally:
        client.http.close()


def one_tick_a_moment(deployment: Deployment, since: float) -> None:
    """A moment after `since` has its tick; no moment has two, and none left two marks but by a retry."""

    def ticked() -> bool:
        return any(int(at) > since and status == "SUCCESS" for at, status, _ in deployment.sql(TICKS))

    wait_until(ticked, seconds=150, what="the schedule to tick again", every=2)
    assert [row for row in deployment.sql(TICKS) if int(row[2]) > 1] == []
    marks = deployment.sql("select name, count(*) from faults.marks where name like '20%' group by 1", "lake_probe")
    runs = Counter(key for (key,) in deployment.sql("select value from run_tags where key = 'dagster/run_key'"))
    assert [(name, count) for name, count in marks if int(count) > runs[name]] == []


def gave_up(chain: list[dict[str, Any]]) -> bool:
    """Whether a run and its retries have failed for good: after two of them nobody tries again."""
    return len(chain) > 2 and chain[-1]["status"] == "FAILURE"


class Load:
    """Runs that were launched together: marks of the probe, and days of flights where there is such a location."""

    def __init__(self, deployment: Deployment, count: int, seed: int, *, flights: bool = True) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.deployment = deployment
        self.client = Patient(deployment.address, "admin", deployment.secret("admin_password"))
        self.random = random.Random(seed)
        self.marks: dict[str, str] = {}
        self.lines: dict[str, int] = {}
        self.days: dict[str, str] = {}
        year = [(date(2013, 1, 1) + timedelta(days=n)).isoformat() for n in range(365)]
        self._days = iter(self.random.sample(year, len(year)) if flights else ())
        self._numbers = itertools.count()
        self._launch(count)

    def _launch(self, count: int) -> None:
        for number in itertools.islice(self._numbers, max(count, 0)):
            if number % 2 and (day := next(self._days, "")):
                self.flight_day(day)
            else:
                self.mark(f"{self.id}-{number}")

    def keep_up(self, count: int) -> None:
        """Launches what is missing of so many runs that have not ended: a fault that meets none shows nothing."""
        self._launch(count - sum(run["status"] not in FINAL for run in self.runs().values()))

    def mark(self, name: str, seconds: float = 1, lines: int = MARK_LINES) -> str:
        """One more mark; its run."""
        config = {"ops": {"leave_mark": {"config": {"name": name, "lines": lines, "seconds": seconds}}}}
        # One that takes its time is what a fault is meant for: it does not wait for the others.
        tags = {**REPEATABLE, "fault": self.id, "dagster/priority": "1" if seconds > 1 else "0"}
        run = self.client.launch("probe", "mark", config=config, tags=tags)
        self.marks[run], self.lines[run] = name, lines
        return run

    def flight_day(self, day: str) -> str:
        """One more day of flights; its run."""
        tags = {**REPEATABLE, "fault": self.id, "dagster/partition": day}
        run = self.client.launch("ingestion", assets=[FLIGHTS], tags=tags)
        self.days[run] = day
        return run

    def again(self, root: str) -> str:
        """Launches what a run and its retries did not do, in their place."""
        if root in self.days:
            return self.flight_day(self.days.pop(root))
        return self.mark(self.marks.pop(root), lines=self.lines.pop(root))

    def runs(self) -> dict[str, dict[str, Any]]:
        """All runs of this load, retries too, by their id."""
        return {run["runId"]: run for run in self.client.ask(RUNS, id=self.id)["runsOrError"]["results"]}

    def containers(self, *filters: str) -> list[str]:
        """Containers of this load's runs."""
        chosen = [f"label=com.docker.compose.project={self.deployment.name}", *filters]
        options = [part for text in chosen for part in ("--filter", text)]
        own = self.runs()
        # A run's id is the end of its container's name, also where the container is older than the run.
        names = docker("ps", "--format", "{{.Names}}", *options).split()
        return [name for name in names if name[-RUN_ID_LENGTH:] in own]

    def wait_for_ended(self, count: int, seconds: float = 600) -> None:
        """Waits until so many runs have ended: the load is in the midst of it then."""

        def ended() -> bool:
            return sum(run["status"] in FINAL for run in self.runs().values()) >= count

        wait_until(ended, seconds=seconds, what=f"{count} runs to have ended", every=1)

    def some_run(self) -> str:
        """A container of a run that is under way, any of them."""
        found = wait_until(lambda: sorted(self.containers()), seconds=120, what="a run under way")
        return self.random.choice(found)

    def chains(self) -> dict[str, list[dict[str, Any]]]:
        """Each launched run with its retries, the last one last."""
        runs = self.runs()
        found: dict[str, list[dict[str, Any]]] = {}
        for root in (*self.marks, *self.days):
            chain = [runs[root]]
            while after := [run for run in runs.values() if run["parentRunId"] == chain[-1]["runId"]]:
                assert len(after) == 1, f"{chain[-1]['runId']} was retried by {after}"
                chain += after
            found[root] = chain
        return found

    def settle(self, seconds: float) -> None:
        """Waits until every launched run, or a retry of it, has succeeded; one that failed for good is named."""

        def over() -> bool:
            chains = self.chains().values()
            assert not [chain for chain in chains if gave_up(chain)], "a run was given up"
            return all(chain[-1]["status"] == "SUCCESS" for chain in chains)

        try:
            wait_until(over, seconds=seconds, what="all runs to succeed", every=2)
        except AssertionError as error:
            left = [run for chain in self.chains().values() for run in chain[-1:] if run["status"] != "SUCCESS"]
            told = "\n".join(self.client.messages(left[0]["runId"])[-12:]) if left else ""
            raise AssertionError(f"{error}\n{len(left)} did not succeed: {left[:5]}\n{told}") from error

    def verify(self) -> None:
        """Work was done as often as it was said, no line is missing, the lake is the source, nothing lives on."""
        chains = self.chains()
        for chain in chains.values():
            assert [run["status"] for run in chain[:-1]] == ["FAILURE"] * (len(chain) - 1), chain
        self._marks_are_counted()
        self._lines_are_complete()
        if self.days:
            self._lake_is_the_source()
        wait_until(lambda: not self.containers(), seconds=150, what="the runs' containers to end")

    def _marks_are_counted(self) -> None:
        query = f"select run_id, name from faults.marks where name like '{self.id}-%'"
        rows = [(run, name) for run, name in self.deployment.sql(query, "lake_probe")]
        restarts = {run: int(count) for run, count in self.deployment.sql(RESTARTS.format(id=self.id))}
        by_run = Counter(run for run, _ in rows)
        assert set(by_run) <= set(self.runs()), "marks of runs that nobody launched"
        for run, count in by_run.items():
            assert count <= 1 + restarts.get(run, 0), (
                f"run {run} left {count} marks, with {restarts.get(run, 0)} retries"
            )
        assert {name for _, name in rows} == set(self.marks.values())

    def _lines_are_complete(self) -> None:
        found = {run: (int(each), int(all_)) for run, each, all_ in self.deployment.sql(LINES.format(id=self.id))}
        restarts = dict(self.deployment.sql(RESTARTS.format(id=self.id)))
        for root, chain in self.chains().items():
            run = chain[-1]["runId"]
            if root in self.marks and run not in restarts:
                each, all_ = found.get(run, (0, 0))
                assert each == all_ == self.lines[root], f"run {run}: {each} different of {all_} lines"

    def _lake_is_the_source(self) -> None:
        days = ", ".join(f"date '{day}'" for day in self.days.values())
        flights = source_table("flights").project("make_date(year, month, day) as day, distance")
        query = "select day, count(*), sum(distance) from {} where day in ({}) group by 1"
        expected = flights.query("loaded", query.format("loaded", days)).fetchall()
        question = f"""select flight_date as day, count(*) as rows, sum(distance) as distance
            from ingestion.raw.flights where flight_date in ({days}) group by 1"""
        rows = lake_rows(self.deployment, "ingestion", question)
        found = {str(row["day"]): (row["rows"], int(row["distance"])) for row in rows}
        assert found == {str(day): (count, int(distance)) for day, count, distance in expected}

    def close(self) -> None:
        """Ends what was launched and its connection."""
        for run in self.runs().values():
            if run["status"] not in FINAL:
                self.client.terminate(run["runId"])
        self.client.http.close()
