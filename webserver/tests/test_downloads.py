"""Downloads give what they are for, and no other file."""

import gzip
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dagster import DagsterInstance, DagsterRun
from dagster._core.debug import DebugRunPayload

from webserver.limits import PACKED_AT_ONCE

if TYPE_CHECKING:
    from conftest import Server

QUERY = "query($k: [String!]!) { capturedLogs(logKey: $k) { stdout } }"
TRICKS = [
    *("../x/out", "a/../../x/out", "./out", "a/./b/out", "a//b/out", "/out", "..%2f..%2fx/out", "%2e%2e/x/out"),
    *("a/..;/out", "a%00b/out", "a\\..\\b/out", "a%5c..%5cb/out", "%252e%252e/x/out", ".%20./out", "", "out"),
]


@pytest.fixture
def log(server: "Server") -> list[str]:
    """The key of a log that is there."""
    key = [server.launch("admin", "ingestion"), "compute_logs", "step"]
    path = Path(server.instance.compute_log_manager.get_captured_local_path(key, "out"))  # type: ignore[attr-defined]
    path.parent.mkdir(parents=True)
    path.write_text("printed\n" * 300_000, encoding="utf-8")
    return key


def test_a_viewer_downloads_a_log_whole(server: "Server", log: list[str]) -> None:
    response = server.request("vera", "GET", f"/logs/{'/'.join(log)}/out")
    assert response.status_code == 200
    assert response.text == "printed\n" * 300_000
    assert response.headers["Content-Disposition"] == f'attachment; filename="{"__".join(log)}.out"'
    assert server.request("vera", "GET", f"/logs/{'/'.join(log)}/err").status_code == 404
    assert server.request("vera", "GET", f"/logs/{'/'.join(log)}/complete").status_code == 404


@pytest.mark.parametrize("path", TRICKS)
def test_a_path_trick_reads_nothing(server: "Server", log: list[str], path: str) -> None:
    status, text = server.plain(f"/logs/{path}", server.headers("vera"))
    assert status in (400, 404)
    assert "printed" not in text
    assert "root:" not in text


@pytest.mark.parametrize(
    "key", [["..", "x"], ["a", "..", "x"], ["a/b"], [""], [], ["."], ["a", ""], ["a\0b"], ["a", "b\\c"], [". "]]
)
def test_a_path_trick_in_graphql_reads_nothing(server: "Server", key: list[str]) -> None:
    answer = server.graphql("vera", QUERY, k=key)
    assert "log" in answer["errors"][0]["message"]


def test_logs_are_read_over_graphql(server: "Server", log: list[str]) -> None:
    assert server.graphql("vera", QUERY, k=log)["data"]["capturedLogs"]["stdout"].startswith("printed\n")


def test_the_events_of_a_run_are_downloaded(server: "Server") -> None:
    run = server.launch("admin", "ingestion")
    response = server.request("vera", "GET", f"/download_debug/{run}")
    assert run in gzip.decompress(response.content).decode()


def test_events_are_packed_beside_what_serves_everybody_and_few_at_once(
    server: "Server", monkeypatch: pytest.MonkeyPatch
) -> None:
    run = server.launch("admin", "ingestion")
    build, going, seen, goes_on = DebugRunPayload.build, threading.Semaphore(0), [], threading.Event()

    def slow(instance: DagsterInstance, found: DagsterRun) -> DebugRunPayload:
        seen.append(found.run_id)
        going.release()
        assert goes_on.wait(60)
        return build(instance, found)

    monkeypatch.setattr(DebugRunPayload, "build", slow)
    with ThreadPoolExecutor(PACKED_AT_ONCE + 2) as pool:
        asked = [
            pool.submit(server.request, "vera", "GET", f"/download_debug/{run}") for _ in range(PACKED_AT_ONCE + 2)
        ]
        try:
            for _ in range(PACKED_AT_ONCE):
                assert going.acquire(timeout=60)
            # Were it packed by the loop, neither would be answered.
            assert server.request("vera", "GET", "/server_info").status_code == 200
            assert server.graphql("vera", "{ version }")["data"]
            assert len(seen) == PACKED_AT_ONCE
        finally:
            goes_on.set()
        assert [run in gzip.decompress(each.result().content).decode() for each in asked] == [True] * len(asked)


@pytest.mark.parametrize(
    ("run", "status"), [("x", 400), ("%2e%2e", 400), ("00000000-0000-4000-8000-000000000000", 404)]
)
def test_events_of_what_is_no_run_are_not(server: "Server", run: str, status: int) -> None:
    assert server.request("vera", "GET", f"/download_debug/{run}").status_code == status


def test_a_notebook_is_for_who_may_change_that_code(server: "Server") -> None:
    path = "/notebook?repoLocName=ingestion&path=/run/secrets/x.ipynb"
    assert server.request("vera", "GET", path).status_code == 403
    assert server.request("ana", "GET", path).status_code == 403
    assert server.request("ana", "GET", path.replace("/notebook", "/dagit/notebook")).status_code == 403
    assert server.request("vera", "GET", "/notebook").status_code == 403
    served = server.request("ines", "GET", path)
    assert served.status_code == 200
    assert served.headers["Content-Security-Policy"] == "sandbox"
