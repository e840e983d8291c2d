"""What branch list shows, and which branches have been forgotten."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from operations.branches import listing, record
from operations.errors import StackError
from operations.tests import branching
from operations.tests.fakes import EXAMPLE, Machine

NOW = datetime.now(UTC)


@pytest.fixture
def prod(machine: Machine) -> Machine:
    return branching.prepared(machine)


def branch(machine: Machine, identifier: str = "7", *, days: float = 0, state: str = record.READY) -> record.Record:
    """A branch of prod that was made some days ago."""
    made = record.Record(
        id=identifier,
        origin="prod",
        created=(NOW - timedelta(days=days)).isoformat(timespec="seconds"),
        state=state,
        commit="0123456789ab",
        rebuilt=("analytics",),
        images=(f"branch-{identifier}/postgres:local",),
    )
    record.write(machine.context(f"branch-{identifier}").deployment, made)
    return made


def last_run(machine: Machine, days: float) -> None:
    """When the newest run in the branch was."""
    then = int((NOW - timedelta(days=days)).timestamp())
    machine.executor.answer("branch-7-postgres", "psql", stdout=f"{then}\n")


def rows(machine: Machine) -> list[listing.Row]:
    return listing.collect(machine.context(), sizes=True)


def test_a_branch_is_listed_with_what_one_wants_to_know(prod: Machine) -> None:
    branch(prod, days=3)
    (prod.root / ".deployments/branch-7/.env").write_text(EXAMPLE.replace("PORT=3000", "PORT=3007"))
    prod.executor.answer("volume", "ls", stdout="branch-7_postgres\nbranch-7_lake-ingestion\n")
    prod.executor.answer("--entrypoint", "du", stdout=f"{64 * 1024**2}\t/volumes\n")
    assert listing.show(prod.context(), as_json=False) == 0
    told = prod.out.getvalue()
    for part in ("7", "http://127.0.0.1:3007", "0123456789ab", "analytics", "3 d", "64 MB", "running"):
        assert part in told
    (measured,) = prod.executor.ran("--entrypoint", "du")
    assert "branch-7_lake-ingestion:/volumes/branch-7_lake-ingestion:ro" in measured
    assert not any("prod" in word for word in measured)


def test_programs_get_all_of_it(prod: Machine) -> None:
    branch(prod)
    listing.show(prod.context(), as_json=True)
    (row,) = json.loads(prod.out.getvalue())
    assert (row["id"], row["commit"], row["rebuilt"], row["state"]) == ("7", "0123456789ab", ["analytics"], "running")
    assert set(row) == set(listing.Row.__dataclass_fields__)


@pytest.mark.parametrize(("state", "shown"), [("making", "half-made"), ("deleting", "half-deleted")])
def test_what_an_interrupt_left_is_listed_as_such(prod: Machine, state: str, shown: str) -> None:
    branch(prod, state=state)
    assert rows(prod)[0].state == shown


def test_a_record_that_was_cut_off_is_listed_and_expires(prod: Machine) -> None:
    branch(prod)
    (prod.root / ".deployments/branch-7/branch.json").write_text("{")
    assert rows(prod)[0].state == "half-made"
    assert listing.expired(prod.context()) == ["7"]


def test_a_branch_of_another_deployment_is_not_ours(prod: Machine) -> None:
    made = branch(prod)
    other = record.Record(**{**made.__dict__, "origin": "staging"})
    record.write(prod.context("branch-7").deployment, other)
    assert rows(prod) == []


def test_nothing_there_is_said(prod: Machine) -> None:
    listing.show(prod.context(), as_json=False)
    assert "There is no branch of prod." in prod.out.getvalue()


def test_a_row_of_the_registry_without_a_branch_is_told(prod: Machine) -> None:
    prod.executor.answer("prod-postgres", "psql", stdout="branch-9\nlake_ingestion_of_somebody\n")
    listing.show(prod.context(), as_json=False)
    assert "branch-9 is registered as a clone" in prod.err.getvalue()
    assert "somebody" not in prod.err.getvalue()


@pytest.mark.parametrize(
    ("made", "run", "over"),
    [(6.9, None, False), (7.1, None, True), (30, 6.9, False), (30, 7.1, True), (3, 200, False)],
)
def test_a_branch_expires_when_nobody_has_used_it(prod: Machine, made: float, run: float | None, over: bool) -> None:
    branch(prod, days=made)
    if run is not None:
        last_run(prod, run)
    assert listing.expired(prod.context()) == (["7"] if over else [])


def test_it_never_expires_where_nobody_wants_that(prod: Machine) -> None:
    (prod.root / ".env").write_text((prod.root / ".env").read_text().replace("DAYS=7", "DAYS=0"))
    branch(prod, days=1000)
    assert listing.expired(prod.context()) == []
    assert rows(prod)[0].expires == ""


def test_a_branch_whose_database_does_not_answer_counts_from_its_making(prod: Machine) -> None:
    branch(prod, days=8)
    prod.executor.answer("branch-7-postgres", "psql", code=2, stderr="starting up")
    assert listing.expired(prod.context()) == ["7"]


def test_settings_that_make_no_sense_delete_nothing(prod: Machine) -> None:
    (prod.root / ".env").write_text((prod.root / ".env").read_text().replace("DAYS=7", "DAYS=-1"))
    branch(prod, days=1000)
    with pytest.raises(StackError, match="BRANCH_DAYS is '-1'"):
        listing.expired(prod.context())
