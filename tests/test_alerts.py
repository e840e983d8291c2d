"""Promise: a failed run and a dead daemon are told, once, with what failed and where to look."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support.deployment import Deployment, docker
from tests.support.graphql import GraphQL
from tests.support.waiting import wait_until

pytestmark = pytest.mark.needs("platform")


class Receiver(ThreadingHTTPServer):
    """A webhook in the test's own process, which containers reach at their network's gateway."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("0.0.0.0", 0), Hook)
        self.got: list[str] = []

    def wait_for(self, part: str, seconds: float) -> str:
        """The first text with this part."""
        return wait_until(
            lambda: next((text for text in self.got if part in text), ""), seconds=seconds, what=f"an alert with {part}"
        )


class Hook(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def gateway_of(network: str) -> str:
    """The host's address on a network of Docker's."""
    found: list[dict[str, Any]] = json.loads(docker("network", "inspect", network))
    return str(found[0]["IPAM"]["Config"][0]["Gateway"])


@pytest.fixture(scope="module")
def receiver(deployment: Deployment) -> Iterator[Receiver]:
    """The deployment's webhook, set as an operator sets it: the secret's file, and a restart of the two senders."""
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
    thread.start()
    secret = deployment.home / "secrets" / "alert_webhook_url"
    assert secret.read_text() == ""  # made empty
    address = gateway_of(f"{deployment.name}_platform")
    secret.write_text(f"http://{address}:{server.server_address[1]}/hooks/s3cret")
    senders = [deployment.container(name) for name in ("platform", "webserver")]
    docker("restart", *senders)
    for name in senders:
        wait_until(
            lambda name=name: deployment.inspect(name)["State"]["Health"]["Status"] == "healthy",  # type: ignore[misc]
            seconds=180,
            what=f"{name} to be healthy",
        )
    yield server
    secret.write_text("")
    server.shutdown()
    server.server_close()
    thread.join()


def failed_run(admin: GraphQL, error: str) -> str:
    """A run of probe whose step raises this."""
    config = {"ops": {"run_python": {"config": {"code": f"raise ValueError({error!r})"}}}}
    run = admin.launch("probe", "attack", config=config)
    admin.wait_for(run, "FAILURE")
    return run


TICKS = """query Ticks($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { __typename
  ... on Sensor { sensorState { status ticks(limit: 5) { status skipReason error { message } } } } } }"""


def first_tick(admin: GraphQL) -> None:
    """The sensor runs by itself; what is older than its first tick it does not tell."""
    selector = {
        "repositoryLocationName": "platform",
        "repositoryName": "__repository__",
        "sensorName": "alerts",
    }

    def ticked() -> list[Any]:
        ticks = admin.ask(TICKS, sensor=selector)["sensorOrError"]["sensorState"]["ticks"]
        return [tick for tick in ticks if tick["status"] == "SKIPPED"]

    wait_until(ticked, seconds=120, what="the sensor's first tick", every=1)


def test_a_failed_run_is_told_once_with_cause_and_link(
    deployment: Deployment, admin: GraphQL, receiver: Receiver
) -> None:
    first_tick(admin)
    run = failed_run(admin, "broken pipe\r\n<!channel> http://evil.example password=hunter2")
    text = receiver.wait_for(run, seconds=150)
    assert text.startswith("probe: run failed: attack\n")
    assert "step: run_python\nerror: ValueError: broken pipe " in text
    assert text.endswith(f"http://127.0.0.1:{deployment.port}/runs/{run}")
    assert "hunter2" not in text
    assert "evil.example" in text
    assert "http://evil" not in text
    assert "<!channel>" not in text
    again = failed_run(admin, "another")
    receiver.wait_for(again, seconds=150)
    assert len([text for text in receiver.got if run in text]) == 1


def test_a_secret_address_is_in_no_cursor_and_no_log(deployment: Deployment, receiver: Receiver) -> None:
    assert deployment.sql("select count(*) from jobs where job_body like '%s3cret%'") == [["0"]]
    assert "s3cret" not in deployment.logs("platform") + deployment.logs("webserver") + deployment.logs("daemon")
    for name in ("platform", "webserver"):
        assert "s3cret" not in json.dumps(deployment.inspect(deployment.container(name)))


def test_a_dead_daemon_is_told_and_so_is_its_return(deployment: Deployment, receiver: Receiver) -> None:
    daemon = deployment.container("daemon")
    docker("stop", daemon)
    # Nothing heard of it: the patience of two minutes counts from the webserver's own start.
    deployment.sql("delete from daemon_heartbeats")
    try:
        text = receiver.wait_for("The daemon is dead", seconds=240)
        assert re.search(r"silent: .*SENSOR", text)
    finally:
        docker("start", daemon)
    receiver.wait_for("The daemon is back", seconds=180)
    assert len([text for text in receiver.got if "The daemon is" in text]) == 2
    healthy = lambda: deployment.inspect(daemon)["State"]["Health"]["Status"] == "healthy"  # noqa: E731
    wait_until(healthy, seconds=180, what="the daemon to be healthy")
