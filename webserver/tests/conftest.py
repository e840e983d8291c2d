"""A webserver, on a real port, over a real workspace of two code locations and a temporary instance."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from dagster import DagsterInstance
from dagster._core.test_utils import instance_for_test
from dagster._core.workspace.load_target import WorkspaceFileTarget
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from webserver.__main__ import http_server
from webserver.app import create_app
from webserver.audit import AuditLog
from webserver.context import ProcessContext
from webserver.gate import App
from webserver.identity import AccessFile

WORKSPACE = Path(__file__).parent / "workspace"
LOCATIONS = ["ingestion", "analytics"]
TOKEN = "a-secret-of-the-gateway"
# httpx reads all authorities of the machine for each client, even for plain HTTP; that takes longer than the request.
TLS = httpx.create_ssl_context()
DAILY = {"ingestion": ["ingestion", "raw", "daily"], "analytics": ["analytics", "marts", "daily"]}
LAUNCH = """mutation($p: ExecutionParams!) { launchRun(executionParams: $p) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on UnauthorizedError { message }
  ... on PythonError { message } ... on RunConfigValidationInvalid { errors { message } } } }"""
BACKFILL = """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on UnauthorizedError { message }
  ... on PythonError { message } } }"""
ACCESS = """\
people:
  admin: {users: [admin], groups: [platform]}
  editor:
    ingestion: {users: [ines], groups: [data-engineers]}
    analytics: {users: [ana], groups: [analysts]}
  viewer: {users: [vera], groups: [everyone]}
"""


def pytest_configure(config: pytest.Config) -> None:
    """Warnings of Dagster's own code about itself; everything else stays an error, in the server's threads as well."""
    config.addinivalue_line(
        "filterwarnings", "ignore:Function `AssetSelection.sources` is deprecated:DeprecationWarning"
    )


@contextmanager
def served(app: App) -> Iterator[int]:
    """Serve the application in a thread, as the service does, and say on which port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = http_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        # The socket already listens: a connection made before the server is ready waits in its queue.
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(timeout=30)
        assert not thread.is_alive()


class Server:
    """The running server, its files, and requests of each person. Tests get it by fixture, not by import."""

    token = TOKEN
    access_text = ACCESS
    daily = DAILY

    def __init__(self, instance: DagsterInstance, process: ProcessContext, folder: Path, port: int) -> None:
        self.instance = instance
        self.process = process
        self.access_file = folder / "access.yaml"
        self.audit_file = folder / "audit.jsonl"
        self.port = port

    def headers(self, user: str | None, groups: str = "") -> dict[str, str]:
        """What the gateway would send for this user."""
        sent = {"X-Gateway-Token": TOKEN, "X-Forwarded-For": "192.0.2.7"}
        return sent if user is None else {**sent, "X-Forwarded-User": user, "X-Forwarded-Groups": groups}

    def request(self, user: str | None, method: str, path: str, groups: str = "", **arguments: Any) -> httpx.Response:
        """One request of this user."""
        headers = [*self.headers(user, groups).items(), *httpx.Headers(arguments.pop("headers", {})).multi_items()]
        address = f"http://127.0.0.1:{self.port}{path}"
        return httpx.request(method, address, headers=headers, timeout=60, verify=TLS, **arguments)

    def plain(self, path: str, headers: dict[str, Any]) -> tuple[int, str]:
        """A GET by the plainest client: others tidy up addresses and headers before they send them."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def graphql(self, user: str, document: str, /, **variables: Any) -> dict[str, Any]:
        """The answer to a GraphQL operation of this user."""
        body = {"query": document, "variables": variables}
        answer: dict[str, Any] = self.request(user, "POST", "/graphql", json=body).json()
        return answer

    def mutate(self, user: str, document: str, /, **variables: Any) -> Any:
        """The value of the one field of a mutation, or the message of its error."""
        answer = self.graphql(user, document, **variables)
        return answer["errors"][0]["message"] if answer.get("errors") else next(iter(answer["data"].values()))

    def repository(self, location: str) -> str:
        """The name of the repository in this location."""
        place = self.process.create_request_context().get_code_location(location)
        return next(iter(place.get_repositories()))

    def selector(self, location: str, job: str = "plain_job") -> dict[str, str]:
        """The selector of a job."""
        return {**self.repository_selector(location), "jobName": job}

    def repository_selector(self, location: str) -> dict[str, str]:
        """The selector of the repository in this location."""
        return {"repositoryLocationName": location, "repositoryName": self.repository(location)}

    def launch(self, user: str, location: str, **metadata: Any) -> Any:
        """Launch the plain job of a location: the id of the queued run, or the refusal."""
        parameters = {"selector": self.selector(location), "executionMetadata": metadata}
        result = self.mutate(user, LAUNCH, p=parameters)
        if isinstance(result, str):
            return {"__typename": "Error", "message": result}
        return result["run"]["runId"] if result["__typename"] == "LaunchRunSuccess" else result

    def backfill(self, user: str, *locations: str, **parameters: Any) -> Any:
        """Launch a backfill of the daily assets of these locations: its id, or the refusal."""
        keys = [{"path": DAILY[location]} for location in locations]
        given = {"assetSelection": keys, "partitionNames": ["one"], **parameters}
        result = self.mutate(user, BACKFILL, p=given)
        return result["backfillId"] if result["__typename"] == "LaunchBackfillSuccess" else result

    def websocket(self, user: str | None, protocol: str = "graphql-ws", **headers: str) -> ClientConnection:
        """A WebSocket of this user; a context manager."""
        sent = {**self.headers(user), **headers}
        address = f"ws://127.0.0.1:{self.port}/graphql"
        return connect(address, subprotocols=[Subprotocol(protocol)], additional_headers=sent, open_timeout=20)

    def audit(self) -> list[dict[str, Any]]:
        """All lines of the audit log."""
        return [json.loads(line) for line in self.audit_file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The code servers of the workspace take seconds to start, so all tests share them."""
    folder = tmp_path_factory.mktemp("webserver")
    (folder / "access.yaml").write_text(ACCESS, encoding="utf-8")
    access = AccessFile(folder / "access.yaml", LOCATIONS)
    coordinator = {"module": "run_launcher.coordinator", "class": "AttributingRunCoordinator"}
    target = WorkspaceFileTarget([str(WORKSPACE / "workspace.yaml")])
    with (
        instance_for_test(overrides={"run_coordinator": coordinator}) as instance,
        ProcessContext(instance, target, access) as process,
    ):
        assert not process.create_request_context().code_location_errors()
        app = create_app(process, access, TOKEN, AuditLog(folder / "audit.jsonl"))
        with served(app) as port:
            yield Server(instance, process, folder, port)


@pytest.fixture
def server(running: Server) -> Server:
    """The server with an empty audit log and the access file of the tests."""
    running.audit_file.write_text("", encoding="utf-8")
    running.access_file.write_text(ACCESS, encoding="utf-8")
    # Read now, so that it is the last good version for what the test writes.
    assert running.request("vera", "GET", "/dagit_info").status_code == 200
    return running
