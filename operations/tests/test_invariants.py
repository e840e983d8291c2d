"""Each invariant: what breaks it is found, what is on its way is not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from operations.invariants import examining, times
from operations.invariants.facts import (
    Facts,
    Materialised,
    Pool,
    Run,
    RunContainer,
    Slot,
    Table,
    Tick,
    Told,
)

NOW = 1_000_000.0
ROOT = Path(__file__).resolve().parents[2]
ASSET = ("ingestion", "raw", "flights")
WHOLE = (
    Told("r1", "PIPELINE_STARTING", last=1),
    Told("r1", "PIPELINE_START", last=2),
    Told("r1", "STEP_START", "load", last=3),
    Told("r1", "STEP_SUCCESS", "load", last=4),
    Told("r1", "PIPELINE_SUCCESS", last=5),
)


def run(status: str, ago: float = 0, run_id: str = "r1", **tags: str) -> Run:
    renamed = {key.replace("__", "/"): value for key, value in tags.items()}
    return Run(run_id, status, "job", NOW - ago, NOW - ago, None, renamed)


def container(state: str = "running", ago: float = 0, run_id: str = "r1", **more: Any) -> RunContainer:
    ended = NOW - ago if state == "exited" else None
    return RunContainer(
        more.pop("id", "c1"), more.pop("name", f"prod-ingestion-run-{run_id}"), run_id, "ingestion", state,
        created=NOW - ago, started=None if state == "created" else NOW - ago, finished=ended, **more,
    )  # fmt: skip


def facts(*runs: Run, **more: Any) -> Facts:
    return Facts(now=NOW, runs={each.id: each for each in runs}, **more)


def kinds(found: Facts) -> list[object]:
    return [each.key[0] for each in examining.violations(found)]


def ended(told: Sequence[Told] = WHOLE, **more: Any) -> Facts:
    return facts(run("SUCCESS", 20), told=tuple(told), **more)


LATE = 10_000.0


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (facts(run("STARTED"), containers=(container(),)), []),
        (facts(run("STARTED", LATE), containers=(container(ago=LATE),)), []),
        (facts(run("QUEUED", LATE)), []),
        # A container that has just died, and one whose death nobody found.
        (facts(run("STARTED", LATE), containers=(container("exited", ago=40),)), []),
        (facts(run("STARTED", LATE), containers=(container("exited", ago=80),)), ["no-container"]),
        (facts(run("STARTED", 80)), ["no-container"]),
        (facts(run("STARTED", 40)), []),
        (facts(run("STARTING", LATE), containers=(container("exited", ago=80),)), ["never-started"]),
        (facts(run("STARTING", 200), containers=(container("exited", ago=100),)), ["no-container"]),
        (facts(run("STARTING", 200)), []),
        (facts(run("STARTING", 400)), ["never-started"]),
        (facts(run("NOT_STARTED", 400)), ["never-started"]),
        (facts(run("CANCELING", 100), containers=(container(ago=LATE),)), []),
        (facts(run("CANCELING", 200), containers=(container(ago=LATE),)), ["never-canceled"]),
        (facts(containers=(container(ago=100),)), []),
        (facts(containers=(container(ago=LATE),)), ["left-over"]),
        (facts(containers=(container("created", ago=100),)), []),
        (facts(containers=(container("created", ago=LATE),)), ["not-started"]),
        (facts(containers=(container("exited", ago=LATE),)), []),
        (
            facts(run("STARTED", 5), containers=(container(), container("exited", id="c2", name="prod-other-run-r1"))),
            ["two-containers"],
        ),
        (facts(run("STARTED", dagster__code_location="eta"), containers=(container(),)), ["foreign-container"]),
    ],
)
def test_a_run_under_way_has_one_live_container_and_no_other(found: Facts, expected: list[str]) -> None:
    assert kinds(found) == expected


def test_a_container_that_outlives_its_run_is_named_with_the_command_that_ends_it() -> None:
    late = facts(replace(run("SUCCESS", 200)), told=WHOLE, containers=(container(ago=LATE),))
    (found,) = examining.violations(late)
    assert found.key[:2] == ("left-over", "container prod-ingestion-run-r1")
    assert "docker stop prod-ingestion-run-r1" in found.finding.do
    assert "SUCCESS" in found.finding.what
    soon = facts(run("SUCCESS", 100), told=WHOLE, containers=(container(ago=LATE),))
    assert kinds(soon) == []


def test_a_container_that_waits_is_nobodys_and_then_its_runs() -> None:
    waiting = container(run_id="", warm=True, name="prod-ingestion-warm-1", ago=LATE)
    assert kinds(facts(containers=(waiting,))) == []
    # With the run it gets the run's name; it was started long before.
    taken = container(ago=LATE)
    assert kinds(facts(run("STARTED", 5), containers=(taken,))) == []
    assert kinds(facts(run("SUCCESS", 200), told=WHOLE, containers=(taken,))) == ["left-over"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (ended(), []),
        (ended(WHOLE[:4]), ["no-end"]),
        (ended([*WHOLE[:4], Told("r1", "PIPELINE_FAILURE", last=5)]), ["other-end"]),
        (ended([*WHOLE, Told("r1", "PIPELINE_FAILURE", last=0)]), ["two-ends"]),
        (ended([*WHOLE[:3], WHOLE[4]]), ["step-without-end"]),
        (ended([WHOLE[0], *WHOLE[2:]]), ["no-start"]),
        (ended([*WHOLE, Told("r1", "PIPELINE_START", last=9)]), ["started-twice"]),
        (ended([*WHOLE, Told("r1", "STEP_START", "load", last=9)]), ["step-twice"]),
        (ended([*WHOLE, Told("r1", "STEP_RESTARTED", "load", last=9)]), []),
        (facts(run("STARTED", 20), told=WHOLE, containers=(container(),)), []),
        (facts(run("STARTED", 100), told=WHOLE, containers=(container(),)), ["end-not-recorded"]),
        (
            facts(
                run("FAILURE", 5),
                told=(Told("r1", "PIPELINE_CANCELED", last=1), Told("r1", "PIPELINE_FAILURE", last=2)),
            ),
            [],
        ),
    ],
)
def test_a_run_that_has_ended_was_told_all_of_it_once(found: Facts, expected: list[str]) -> None:
    assert kinds(found) == expected


FAILED = (Told("r1", "PIPELINE_FAILURE", last=1),)
OWED = {"dagster__will_retry": "true"}
RETRY = {"dagster__parent_run_id": "r1", "dagster__retry_number": "1"}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (facts(run("FAILURE", 100, **OWED), told=FAILED), []),
        (facts(run("FAILURE", 200, **OWED), told=FAILED), ["not-retried"]),
        (facts(run("FAILURE", 200, **OWED, dagster__auto_retry_run_id="r2"), told=FAILED), []),
        (facts(run("FAILURE", 200, dagster__will_retry="false"), told=FAILED), []),
        (facts(run("FAILURE", 200, **OWED), run("QUEUED", 5, "r2", **RETRY), told=FAILED), []),
        (
            facts(
                run("FAILURE", 200, **OWED), run("QUEUED", 5, "r2", **RETRY), run("QUEUED", 5, "r3", **RETRY),
                told=FAILED,
            ),
            ["retried-twice"],
        ),
        # Somebody repeats by hand what Dagster repeats as well.
        (
            facts(
                run("FAILURE", 200, **OWED), run("QUEUED", 5, "r2", **RETRY),
                run("QUEUED", 5, "r3", dagster__parent_run_id="r1"), told=FAILED,
            ),
            [],
        ),
    ],
)  # fmt: skip
def test_a_crash_is_retried_once(found: Facts, expected: list[str]) -> None:
    assert kinds(found) == expected


def tick(number: int, status: str = "SUCCESS", at: float = NOW, **more: Any) -> Tick:
    return Tick(number, "every_morning", "s1", more.pop("kind", "SCHEDULE"), status, at, more.pop("updated", NOW))


def ticked(run_id: str, **more: str) -> Run:
    tags = {
        "dagster/schedule_name": "every_morning", ".dagster/scheduled_execution_time": "2026-01-01T06:00:00",
        "dagster/run_key": "2026-01-01", **more,
    }  # fmt: skip
    return Run(run_id, "QUEUED", "job", NOW, NOW, None, tags)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (facts(ticks=(tick(1, at=NOW - 60), tick(2))), []),
        (facts(ticks=(tick(1), tick(2))), ["ticked-twice"]),
        (facts(ticks=(tick(1, kind="SENSOR"), tick(2, kind="SENSOR"))), []),
        (facts(ticks=(tick(1, "STARTED", updated=NOW - 500),)), []),
        (facts(ticks=(tick(1, "STARTED", updated=NOW - 700),)), ["tick-hangs"]),
        # Interrupted, and given up for the moments after it.
        (facts(ticks=(tick(1, "STARTED", at=NOW - 900, updated=NOW - 900), tick(2))), []),
        (facts(ticked("r1"), ticked("r2")), ["ran-twice"]),
        (facts(ticked("r1"), ticked("r2", **{"dagster/parent_run_id": "r1"})), []),
        (facts(ticked("r1"), ticked("r2", **{"dagster/run_key": "another"})), []),
        (facts(ticked("r1", **{"dagster/run_key": ""}), ticked("r2", **{"dagster/run_key": ""})), []),
    ],
)
def test_a_schedule_has_one_tick_a_moment_and_one_run_a_request(found: Facts, expected: list[str]) -> None:
    assert kinds(found) == expected


def slot(status: str | None = "STARTED", ago: float = LATE, **more: Any) -> Slot:
    return Slot("database", "r1", "load", status, NOW - ago, **more)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (facts(slots=(slot(),)), []),
        (facts(slots=(slot("SUCCESS", 300),)), []),
        (facts(slots=(slot("SUCCESS"),)), ["kept-slot"]),
        (facts(slots=(slot(None),)), ["kept-slot"]),
        (facts(slots=(slot("CANCELED", waits=True),)), ["kept-slot"]),
        (facts(pools=(Pool("database", 1),), slots=(slot(), slot(waits=True))), []),
        (facts(pools=(Pool("database", 1),), slots=(slot(), slot())), ["overfull"]),
    ],
)
def test_a_pool_is_not_overfull_and_no_place_is_kept(found: Facts, expected: list[str]) -> None:
    assert kinds(found) == expected


def told(partition: str | None, rows: int, snapshot: int = 3) -> Materialised:
    return Materialised(ASSET, partition, rows, snapshot)


DAYS = (told("2013-01-01", 842), told("2013-01-02", 943))


def lake(rows: int, snapshot: int = 5, **partitions: int) -> tuple[Table]:
    renamed = {key.strip("_").replace("_", "-"): number for key, number in partitions.items()}
    return (Table(ASSET, True, rows, renamed, snapshot),)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (facts(materialised=DAYS, tables=lake(1785, _2013_01_01=842, _2013_01_02=943)), []),
        (facts(materialised=DAYS, tables=lake(1785, _2013_01_01=842, _2013_01_02=944)), ["other-rows"]),
        (facts(materialised=DAYS, tables=lake(842, _2013_01_01=842)), ["other-rows"]),
        (facts(materialised=(*DAYS, told("2013-01-03", 0)), tables=lake(1785, _2013_01_01=842, _2013_01_02=943)), []),
        # Rows are told apart by something else than the partitions' names: the whole is compared.
        (facts(materialised=DAYS, tables=lake(1785, other=1785)), []),
        (facts(materialised=DAYS, tables=lake(1786, other=1786)), ["other-rows"]),
        (facts(materialised=DAYS, tables=lake(1785)), []),
        (facts(materialised=(told(None, 16),), tables=lake(16)), []),
        (facts(materialised=(told(None, 16),), tables=lake(32)), ["other-rows"]),
        (facts(materialised=(told(None, 16),), tables=lake(32), being_written=frozenset({ASSET})), []),
        (facts(materialised=(told(None, 16, snapshot=6),), tables=lake(16)), ["lost-snapshot"]),
        (facts(materialised=(told(None, 16),), tables=(Table(ASSET, False, snapshot=5),)), ["no-table"]),
        (facts(materialised=(told(None, 16),)), []),
    ],
)
def test_a_table_holds_what_its_newest_materialisations_tell(found: Facts, expected: list[str]) -> None:
    assert kinds(found) == expected


def test_a_finding_says_which_partition_what_is_there_and_what_should_be() -> None:
    (found,) = examining.violations(facts(materialised=DAYS, tables=lake(1686, _2013_01_01=842, _2013_01_02=844)))
    assert found.finding.subject == "asset ingestion/raw/flights, partition 2013-01-02"
    assert found.finding.what == "holds 844 rows"
    assert found.finding.why == "expected: 943, as its newest materialisation says"
    assert "materialise it again" in found.finding.do


def test_the_allowed_times_are_those_of_dagster_yaml_and_of_the_docs() -> None:
    monitoring = yaml.safe_load((ROOT / "dagster.yaml").read_text())["run_monitoring"]
    assert monitoring["poll_interval_seconds"] == times.DEAD_IS_FOUND
    assert monitoring["start_timeout_seconds"] == times.MUST_START
    assert monitoring["cancel_timeout_seconds"] == times.IS_CANCELED
    assert monitoring["free_slots_after_run_end_seconds"] == times.SLOTS_ARE_FREE
    page = (ROOT / "docs/runs.md").read_text()
    for what, seconds in (
        ("A dead container of a started run is found", times.DEAD_IS_FOUND),
        ("… of a run that had not started yet", times.DEAD_BEFORE_START_IS_FOUND),
        ("A container whose run has ended is stopped", f"60 to {times.LEFT_OVER_IS_STOPPED}"),
        ("A run must start", times.MUST_START),
        ("A canceled run is CANCELED whatever its container does", times.IS_CANCELED),
        ("A crash is retried", times.IS_RETRIED),
    ):
        assert f"| {what} | {seconds} |" in page
