"""No operation of one person takes the webserver from the others, however little it says."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from graphql import GraphQLError, get_introspection_query

from webserver import limits

if TYPE_CHECKING:
    from conftest import Server


def doubling(depth: int) -> str:
    """Each level is twice the repository of each asset of the one before."""
    levels = [
        f"fragment f{level} on AssetNode {{ a: repository {{ assetNodes {{ ...f{level + 1} }} }}"
        f" b: repository {{ assetNodes {{ ...f{level + 1} }} }} }}"
        for level in range(depth)
    ]
    return " ".join(["{ assetNodes { ...f0 } }", *levels, f"fragment f{depth} on AssetNode {{ id }}"])


TOO_LONG = {
    "ten thousand aliases": "{" + " ".join(f"a{number}: version" for number in range(10_000)) + "}",
    "a name of megabytes": '{ __type(name: "' + "x" * 200_000 + '") { name } }',
    "comments": "{ version " + "#\n" * 60_000 + "}",
    "blanks": "{ version " + " " * 200_000 + "}",
    "a thousand levels": "{ repositoriesOrError " * 1000 + "}" * 1000,
    "fields of one name": "{" + "version " * 20_000 + "}",
}


@pytest.mark.parametrize("document", TOO_LONG.values(), ids=TOO_LONG.keys())
def test_a_document_that_is_too_long_is_refused_unread(server: "Server", document: str) -> None:
    with pytest.raises(GraphQLError):
        limits.parse(document)
    response = server.request("vera", "POST", "/graphql", json={"query": document})
    assert response.status_code == 400
    assert "Syntax Error" in response.json()["error"]


TOO_MUCH = {
    "fragments that double": doubling(8),
    "introspection again and again": "{"
    + " ".join(f"a{number}: __schema {{ types {{ fields {{ name type {{ name }} }} }} }}" for number in range(400))
    + "}",
}


def allow(monkeypatch: pytest.MonkeyPatch, fields: int = limits.FIELDS, seconds: float = limits.SECONDS) -> None:
    """What an operation may cost from now on."""
    original = limits.Spending.__init__
    monkeypatch.setattr(limits.Spending, "__init__", lambda spending: original(spending, fields, seconds))


@pytest.mark.parametrize("document", TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_an_answer_that_is_too_much_is_not_finished(
    server: "Server", monkeypatch: pytest.MonkeyPatch, document: str
) -> None:
    allow(monkeypatch, fields=20_000)
    response = server.request("vera", "POST", "/graphql", json={"query": document})
    assert response.status_code == 400
    assert response.json() == {"error": "The answer has more than 20000 fields: ask for less at once."}
    assert server.request("vera", "POST", "/graphql", json={"query": "{ version }"}).status_code == 200


def test_an_answer_that_takes_too_long_is_not_finished(server: "Server", monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, seconds=0)
    response = server.request("vera", "POST", "/graphql", json={"query": "{ version }"})
    assert response.json() == {"error": "The answer takes longer than 0 s: ask for less at once."}


def test_a_mutation_is_not_left_undone(server: "Server", monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, seconds=0)
    assert isinstance(server.launch("ines", "ingestion"), str)


def test_the_answer_to_an_event_is_limited_and_the_next_one_has_its_own(
    server: "Server", monkeypatch: pytest.MonkeyPatch
) -> None:
    run = server.launch("admin", "ingestion")
    query = "subscription($r: ID!) { pipelineRunLogs(runId: $r) { __typename } }"
    for allowed, expected in ((0, "more than 0 fields"), (2, "PipelineRunLogsSubscriptionSuccess")):
        monkeypatch.setattr(limits, "EVENT_FIELDS", allowed)
        with server.websocket("vera") as connection:
            for name in ("first", "second"):
                start = {"id": name, "type": "start", "payload": {"query": query, "variables": {"r": run}}}
                connection.send(json.dumps(start))
                answer = json.loads(connection.recv(timeout=30))
                assert (answer["type"], answer["id"]) == ("data", name)
                assert expected in json.dumps(answer["payload"])


def test_a_body_above_the_limit_is_refused(server: "Server") -> None:
    for size, status in ((limits.BODY - 1000, 200), (limits.BODY + 1, 413)):
        body = {"query": "{ version }", "variables": {"x": "x" * size}}
        assert server.request("vera", "POST", "/graphql", json=body).status_code == status


def test_introspection_and_what_scripts_ask_together_is_answered(server: "Server") -> None:
    together = "{" + " ".join(f'a{number}: runOrError(runId: "x") {{ __typename }}' for number in range(500)) + "}"
    for document in (get_introspection_query(), together):
        assert server.graphql("vera", document)["data"]


def unfinished(server: "Server", user: str) -> socket.socket:
    """A request of this user whose body does not come."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    headers = {**server.headers(user), "Host": "x", "Content-Type": "application/json", "Content-Length": "100"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    connection.sendall(f"POST /graphql HTTP/1.1\r\n{lines}\r\n".encode())
    return connection


def test_who_asks_too_much_at_once_waits_for_themselves_alone(server: "Server") -> None:
    asked = {"query": "{ version }"}
    with ExitStack() as open_requests:
        for _ in range(limits.AT_ONCE):
            open_requests.enter_context(unfinished(server, "vera"))
        own = ThreadPoolExecutor().submit(server.request, "vera", "POST", "/graphql", json=asked)
        assert server.request("ines", "POST", "/graphql", json=asked).status_code == 200
        assert not own.done()
    assert own.result(timeout=30).status_code == 200
