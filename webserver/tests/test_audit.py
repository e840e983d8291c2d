"""The audit log has one line for each change and each attempt, and cannot be written from outside."""

import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from access import Permissions, Role
from webserver.audit import AuditLog
from webserver.identity import Identity
from webserver.touched import Touched

if TYPE_CHECKING:
    from conftest import Server

VERA = Identity("vera", frozenset({"b", "a"}), "192.0.2.7")
RELOAD = 'mutation { reloadRepositoryLocation(repositoryLocationName: "nowhere") { __typename } }'


def write(log: AuditLog, operation: str = "launchRun", result: str = "LaunchRunSuccess") -> None:
    log.record(operation, VERA, Permissions(Role.VIEWER), Touched(frozenset({"x"})), allowed=True, result=result)


def test_a_line_says_who_what_where_when_and_how_it_ended(server: "Server") -> None:
    run = server.launch("ines", "ingestion")
    (line,) = server.audit()
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "log": "audit",
        "user": "ines",
        "groups": [],
        "role": "editor",
        "client": "192.0.2.7",
        "operation": "launchRun",
        "locations": ["ingestion"],
        "elsewhere": [],
        "runs": [run],
        "backfills": [],
        "decision": "allowed",
        "result": "LaunchRunSuccess",
    }


def test_queries_leave_no_line(server: "Server") -> None:
    server.graphql("vera", "{ version }")
    server.request("vera", "GET", "/")
    assert server.audit() == []


def test_what_fails_has_a_line(server: "Server") -> None:
    server.graphql("admin", RELOAD)
    (line,) = server.audit()
    assert (line["decision"], line["result"]) == ("allowed", "RepositoryLocationNotFound")


def test_no_run_configuration_reaches_the_log(server: "Server") -> None:
    parameters = {"selector": server.selector("ingestion"), "runConfigData": {"ops": {"secret-of-a-run": {}}}}
    document = "mutation($p: ExecutionParams!) { launchRun(executionParams: $p) { __typename } }"
    server.mutate("ines", document, p=parameters)
    assert "secret-of-a-run" not in server.audit_file.read_text(encoding="utf-8")


def test_a_name_cannot_make_a_second_line(server: "Server") -> None:
    document = "mutation($n: String!) { reloadRepositoryLocation(repositoryLocationName: $n) { __typename } }"
    name = 'x"}\n{"log": "audit", "user": "admin", "allowed": true}\r\n\u2028'
    server.graphql("vera", document, n=name)
    (line,) = server.audit()
    assert (line["user"], line["locations"]) == ("vera", [name])


def test_lines_of_many_at_once_stay_whole(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl")
    threads = [threading.Thread(target=lambda: [write(log, "x" * 2000) for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (tmp_path / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 400
    assert all(json.loads(line)["operation"] == "x" * 2000 for line in lines)


def test_a_full_file_is_set_aside_and_none_is_lost(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", rotate_at=1000)
    for number in range(20):
        write(log, f"operation {number}")
    files = sorted(tmp_path.iterdir())
    assert len(files) > 5
    assert all(file.stat().st_size <= 1000 for file in files)
    found = [json.loads(line)["operation"] for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    assert sorted(found) == sorted(f"operation {number}" for number in range(20))


def test_a_file_that_cannot_be_set_aside_is_reported_and_nothing_is_closed_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # A descriptor closed twice is, the second time, whatever another thread has opened meanwhile: a client's socket.
    log = AuditLog(tmp_path / "audit.jsonl", rotate_at=1)

    def refused(*_: object) -> None:
        raise OSError("not renamed")

    monkeypatch.setattr(Path, "rename", refused)
    write(log)
    assert "not renamed" in caplog.text


def test_a_file_that_cannot_be_written_later_is_reported_and_standard_output_has_the_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(tmp_path / "folder" / "audit.jsonl")
    (tmp_path / "folder" / "audit.jsonl").unlink()
    (tmp_path / "folder" / "audit.jsonl").mkdir()
    write(log)
    assert json.loads(capsys.readouterr().out)["operation"] == "launchRun"
    assert "cannot be written" in caplog.text


def test_a_file_that_cannot_be_written_keeps_the_server_from_starting(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    with pytest.raises(OSError, match="directory"):
        AuditLog(tmp_path / "audit.jsonl")


def test_the_file_is_not_for_others(tmp_path: Path) -> None:
    AuditLog(tmp_path / "audit.jsonl")
    assert os.stat(tmp_path / "audit.jsonl").st_mode & 0o007 == 0
