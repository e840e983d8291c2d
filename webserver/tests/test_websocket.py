"""Over a WebSocket there are subscriptions, for as long as their person has a role."""

import json
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed, NegotiationError
from websockets.sync.client import ClientConnection

if TYPE_CHECKING:
    from conftest import Server

STATES = "subscription { locationStateChangeEvents { event { message } } }"
RUN = "subscription($r: ID!) { pipelineRunLogs(runId: $r) { __typename } }"
RELOAD = 'mutation { reloadRepositoryLocation(repositoryLocationName: "ingestion") { __typename } }'


def send(connection: ClientConnection, **message: Any) -> None:
    """Send one message of the protocol."""
    connection.send(json.dumps(message))


def ask(connection: ClientConnection, query: Any, kind: str = "start", **payload: Any) -> dict[str, Any]:
    """Start an operation; the first answer to it."""
    send(connection, id="1", type=kind, payload={"query": query, **payload})
    answer: dict[str, Any] = json.loads(connection.recv(timeout=30))
    return answer


def read_to_the_end(connection: ClientConnection) -> None:
    """Take messages until the server ends it."""
    while True:
        connection.recv(timeout=30)


def test_a_viewer_subscribes(server: "Server") -> None:
    run = server.launch("admin", "ingestion")
    with server.websocket("vera") as connection:
        send(connection, type="connection_init", payload={})
        assert json.loads(connection.recv(timeout=30)) == {"type": "connection_ack"}
        answer = ask(connection, RUN, variables={"r": run})
        assert answer["type"] == "data"
        assert answer["payload"]["data"]["pipelineRunLogs"]["__typename"] == "PipelineRunLogsSubscriptionSuccess"


@pytest.mark.parametrize("kind", ["start", "subscribe", "START"])
@pytest.mark.parametrize("user", ["vera", "admin"])
def test_a_mutation_over_a_websocket_is_not_executed(server: "Server", kind: str, user: str) -> None:
    before = server.process.create_request_context().get_location_entry("ingestion")
    with server.websocket(user) as connection:
        send(connection, type="connection_init")
        connection.recv(timeout=30)
        send(connection, id="0", type=kind, payload={"query": RELOAD})
        # The answer to a query behind it says that the first has been dealt with.
        answers = [ask(connection, STATES + " subscription b { __typename }", operationName="b")]
        if kind == "start":
            assert answers[0] == {
                "type": "error",
                "id": "0",
                "payload": {"message": "Over WebSockets only subscriptions are served."},
            }
    assert server.process.create_request_context().get_location_entry("ingestion") is before
    assert all(line["decision"] == "denied" for line in server.audit())


def test_the_newer_protocol_is_not_spoken(server: "Server") -> None:
    with pytest.raises(NegotiationError, match="graphql-ws"):
        server.websocket("vera", "graphql-transport-ws").__enter__()


def test_a_subscription_hides_no_mutation(server: "Server") -> None:
    for document in (
        STATES + " " + RELOAD.replace("mutation", "mutation m"),
        RELOAD + STATES.replace("subscription", "query"),
    ):
        with server.websocket("admin") as connection:
            for name in ("operationName", "operation_name"):
                answer = ask(connection, document, **{name: "m"})
                assert answer["type"] == "error"
    (line, *_) = server.audit()
    assert (line["operation"], line["decision"]) == ("mutation over a WebSocket", "denied")


@pytest.mark.parametrize("query", [None, 1, [], {}, "", "{", "{ version }", "subscription { nothing }", "{" * 5000])
def test_what_is_no_subscription_is_answered_with_an_error(server: "Server", query: Any) -> None:
    with server.websocket("vera") as connection:
        assert ask(connection, query)["type"] == "error"


def test_a_path_trick_in_a_subscription_reads_nothing(server: "Server") -> None:
    document = "subscription($k: [String!]!) { capturedLogs(logKey: $k) { stdout } }"
    for key in (["..", "x"], ["a", "../x"], []):
        with server.websocket("vera") as connection:
            answer = ask(connection, document, variables={"k": key})
            assert answer["type"] == "error"
            assert "log" in answer["payload"]["message"]


@pytest.mark.parametrize(
    "message", ["", "x", "[]", "1", "null", '{"type": "start"}', '{"type": "start", "payload": []}', "[" * 9999]
)
def test_a_message_that_makes_no_sense_ends_the_connection(server: "Server", message: str) -> None:
    with server.websocket("vera") as connection:
        connection.send(message)
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=30)


def test_a_subscription_ends_when_its_person_loses_the_role(server: "Server") -> None:
    run = server.launch("admin", "ingestion")
    with server.websocket("vera") as connection:
        assert ask(connection, RUN, variables={"r": run})["type"] == "data"
        server.access_file.write_text(server.access_text.replace("vera", "someone"), encoding="utf-8")
        server.instance.report_engine_event("something happens", server.instance.get_run_by_id(run))
        with pytest.raises(ConnectionClosed) as closed:
            read_to_the_end(connection)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "access has ended")
