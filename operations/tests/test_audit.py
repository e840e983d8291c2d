import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer import Exit

from operations import audit, locks
from operations.errors import StackError
from operations.tests.fakes import Machine
from operations.verbs import audit as verb

DENIED = {
    "log": "audit",
    "time": "2026-11-21T05:20:52.308+00:00",
    "user": "victor",
    "role": "viewer",
    "operation": "launchRun",
    "locations": ["ingestion"],
    "elsewhere": [],
    "runs": ["0123456789abcdef"],
    "backfills": [],
    "decision": "denied",
    "result": "errors",
}
RUN = {"runId": "abcdef0123", "status": "SUCCESS", "creationTime": 1795200000.5}


def entries(path: Path) -> list[audit.Entry]:
    return list(audit.of_verbs(path))


def test_a_verb_leaves_who_did_what_and_how_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ada")
    with locks.hold(tmp_path / "lock", "./stack up", "first start"):
        pass
    (entry,) = entries(tmp_path / "audit.jsonl")
    assert (entry.who, entry.what, entry.about, entry.result) == ("ada", "./stack up", "first start", "done")


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (StackError("no space left", "", ""), "failed: no space left"),
        (KeyboardInterrupt(), "interrupted"),
        (Exit(3), "exit code 3"),
        (Exit(0), "done"),
        (ValueError(), "failed: ValueError"),
    ],
)
def test_a_verb_that_fails_is_written_down_as_well(tmp_path: Path, error: BaseException, result: str) -> None:
    with pytest.raises(type(error)), locks.hold(tmp_path / "lock", "./stack up"):
        raise error
    assert [entry.result for entry in entries(tmp_path / "audit.jsonl")] == [result]


def test_a_verb_that_was_refused_the_lock_did_nothing_and_is_not_there(tmp_path: Path) -> None:
    with locks.hold(tmp_path / "lock", "./stack up"), pytest.raises(StackError), locks.hold(tmp_path / "lock", "down"):
        pass
    assert [entry.what for entry in entries(tmp_path / "audit.jsonl")] == ["./stack up"]


def test_what_the_webserver_denied_is_told_as_denied() -> None:
    (entry,) = audit.of_webserver(json.dumps(DENIED) + "\n")
    assert entry == audit.Entry(
        "2026-11-21T05:20:52+00:00", "victor", "webserver, as viewer", "launchRun", "ingestion, 01234567", "denied"
    )


def test_a_line_that_was_cut_off_hides_no_other(tmp_path: Path) -> None:
    text = json.dumps(DENIED)
    assert len(list(audit.of_webserver(f"{text[:40]}\n{text}\n[1]\n"))) == 1


@pytest.mark.parametrize(
    ("tags", "who"),
    [
        ({"dagster/schedule_name": "daily"}, ["schedule daily"]),
        ({"dagster/sensor_name": "new_raw_data", "user": "x"}, ["sensor new_raw_data"]),
        ({"dagster/backfill": "abc"}, ["backfill abc"]),
        ({"user": "ada"}, []),
    ],
)
def test_runs_that_dagster_launched_are_told_with_what_launched_them(tags: dict[str, str], who: list[str]) -> None:
    run = {**RUN, "tags": [{"key": key, "value": value} for key, value in tags.items()]}
    assert [entry.who for entry in audit.of_runs([run])] == who


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ("30m", "2026-11-21T07:30:00+00:00"),
        ("12h", "2026-11-20T20:00:00+00:00"),
        ("7d", "2026-11-14T08:00:00+00:00"),
        ("2026-11-01", "2026-11-01T00:00:00+00:00"),
        ("2026-11-01T02:00+02:00", "2026-11-01T00:00:00+00:00"),
    ],
)
def test_a_span_or_a_date_says_since_when(text: str, begin: str) -> None:
    assert audit.since(text, datetime(2026, 11, 21, 8, tzinfo=UTC)) == begin


@pytest.mark.parametrize("text", ["", "yesterday", "7w", "-1d", "99999999999d"])
def test_a_since_that_is_no_time_is_refused(machine: Machine, text: str) -> None:
    (machine.root / ".env").write_text("COMPOSE_FILE=docker-compose.yml\n")
    with pytest.raises(StackError, match="is no time"):
        verb.show(machine.context(), text, "", as_json=False)


def test_trails_that_cannot_be_read_are_named_and_the_others_shown(machine: Machine) -> None:
    (machine.root / ".env").write_text("COMPOSE_FILE=docker-compose.yml\n")
    context = machine.context()
    with locks.hold(context.deployment.state / "lock", "./stack up"):
        pass
    machine.executor.answer("exec", "--no-TTY", "webserver", code=1, stderr="service webserver is not running")
    assert verb.show(context, "1d", "", as_json=False) == 1
    assert "./stack up" in machine.out.getvalue()
    assert "service webserver is not running" in machine.err.getvalue()
    assert "the gateway does not run" in machine.err.getvalue()


def test_one_persons_entries_alone(machine: Machine) -> None:
    (machine.root / ".env").write_text("COMPOSE_FILE=docker-compose.yml\n")
    machine.executor.answer("exec", "--no-TTY", "webserver", stdout=json.dumps(DENIED) + "\n")
    verb.show(machine.context(), "2026-11-01", "victor", as_json=True)
    verb.show(machine.context(), "2026-11-01", "edith", as_json=True)
    first, second = machine.out.getvalue().split("]", 1)
    assert "denied" in first
    assert json.loads(second) == []
