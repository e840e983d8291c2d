import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from operations import gateway
from operations.tests.fakes import Machine


class Answer(BaseHTTPRequestHandler):
    """Answers GraphQL to whoever signs in as admin."""

    status = 200
    body: Any = None
    asked: dict[str, Any] = {}  # noqa: RUF012

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        wanted = "Basic " + base64.b64encode(b"admin:right").decode()
        status = type(self).status if self.headers["Authorization"] == wanted else 401
        type(self).asked = json.loads(sent)
        payload = json.dumps(type(self).body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[dict[str, str]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        yield {"GATEWAY_BIND": "127.0.0.1", "GATEWAY_PORT": str(listening.server_address[1])}
        listening.shutdown()
        thread.join()
    Answer.status, Answer.body = 200, None


def entry(name: str, status: str = "LOADED", **found: Any) -> dict[str, Any]:
    return {"name": name, "loadStatus": status, "locationOrLoadError": found or None}


def test_locations_are_loaded_loading_or_say_why_not(server: dict[str, str]) -> None:
    entries = [
        entry("ingestion", __typename="RepositoryLocation"),
        entry(
            "analytics",
            __typename="PythonError",
            message="Error occurred during the loading\n",
            errorChain=[{"error": {"message": "ModuleNotFoundError: No module named 'dbt'\n"}}],
        ),
        entry("eta", "LOADING", __typename="RepositoryLocation"),
        entry("new", "LOADING"),
    ]
    Answer.body = {"data": {"workspaceOrError": {"__typename": "Workspace", "locationEntries": entries}}}
    assert gateway.Gateway(server, "admin", "right").locations() == [
        gateway.Location("ingestion", loading=False),
        gateway.Location(
            "analytics",
            loading=False,
            error="Error occurred during the loading\nModuleNotFoundError: No module named 'dbt'",
        ),
        gateway.Location("eta", loading=True),
        gateway.Location("new", loading=True),
    ]


def test_a_wrong_password_is_told_from_a_gateway_that_is_away(server: dict[str, str]) -> None:
    with pytest.raises(gateway.RefusedError):
        gateway.Gateway(server, "admin", "wrong").locations()
    with pytest.raises(gateway.UnreachableError) as error:
        gateway.Gateway({"GATEWAY_PORT": "1"}, "admin", "right").locations()
    assert not isinstance(error.value, gateway.RefusedError)


@pytest.mark.parametrize("body", [None, [], "text", {"errors": [{"message": "no"}]}, {"data": None}])
def test_an_answer_that_is_no_answer_is_unreachable(server: dict[str, str], body: Any) -> None:
    Answer.status, Answer.body = 502, body
    with pytest.raises(gateway.UnreachableError):
        gateway.Gateway(server, "admin", "right").run_counts()


def test_daemons_that_are_not_required_are_not_judged(server: dict[str, str]) -> None:
    statuses = [
        {"daemonType": "SENSOR", "required": True, "healthy": False, "lastHeartbeatErrors": [{"message": "boom"}]},
        {"daemonType": "ASSET", "required": False, "healthy": None, "lastHeartbeatErrors": []},
    ]
    Answer.body = {"data": {"instance": {"daemonHealth": {"allDaemonStatuses": statuses}}}}
    assert gateway.Gateway(server, "admin", "right").daemons() == [gateway.Daemon("SENSOR", False, "boom")]


def test_run_states_are_asked_by_id_and_without_ids_not_at_all(server: dict[str, str]) -> None:
    Answer.asked = {}
    client = gateway.Gateway(server, "admin", "right")
    assert client.run_states([]) == {}
    assert Answer.asked == {}
    Answer.body = {"data": {"runsOrError": {"__typename": "Runs", "results": [{"runId": "a", "status": "SUCCESS"}]}}}
    assert client.run_states(["a", "b"]) == {"a": "SUCCESS"}
    assert Answer.asked["variables"] == {"filter": {"runIds": ["a", "b"]}, "limit": 2}


def test_a_run_that_goes_on_has_no_end(server: dict[str, str]) -> None:
    runs = [{"runId": "a", "status": "SUCCESS", "endTime": 12.5}, {"runId": "b", "status": "STARTED", "endTime": None}]
    Answer.body = {"data": {"runsOrError": {"__typename": "Runs", "results": runs}}}
    assert gateway.Gateway(server, "admin", "right").run_ends(["a", "b"]) == {"a": 12.5}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "http://127.0.0.1:3000"),
        ({"GATEWAY_BIND": "0.0.0.0", "GATEWAY_PORT": "80"}, "http://127.0.0.1"),
        ({"GATEWAY_BIND": "10.0.0.7"}, "http://10.0.0.7:3000"),
        ({"GATEWAY_BIND": "::1"}, "http://[::1]:3000"),
        ({"SITE_ADDRESS": "data.example", "GATEWAY_BIND": "0.0.0.0", "GATEWAY_PORT": "443"}, "https://data.example"),
        ({"SITE_ADDRESS": "data.internal", "GATEWAY_PORT": "3000"}, "https://data.internal:3000"),
    ],
)
def test_the_address_is_the_one_that_people_type(settings: dict[str, str], expected: str) -> None:
    assert gateway.address(settings) == expected


def test_the_admins_password_is_read_from_its_file(machine: Machine, server: dict[str, str]) -> None:
    machine.made_env(GATEWAY_PORT=server["GATEWAY_PORT"])
    (machine.root / "secrets").mkdir()
    (machine.root / "secrets/admin_password").write_text("right\n")
    Answer.body = {"data": {"queued": {"count": 2}, "started": {"count": 1}}}
    assert gateway.as_admin(machine.context().deployment).run_counts() == (2, 1)
