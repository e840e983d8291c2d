"""Floods, slow peers, failures inside, and what is written down about them."""

import contextlib
import json
import select
import threading
import time

RUN_ID = "0b4f5c8e-6f3f-4a39-9c1f-2f7d8b1a9e10"


def until(condition, seconds=30.0):
    """Wait for a condition; its last value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return value


def with_settings(world, **changes):
    world.settings = world.settings.model_copy(update=changes)
    world.restart()


def dropped(world, caller):
    return world.audit.metrics.value("run_broker_connections_dropped_total", caller=caller)


def test_a_flood_on_one_socket_leaves_the_other_as_it_was(world):
    with_settings(world, broker_request_timeout=60.0)
    with contextlib.ExitStack() as stack:
        flood = [stack.enter_context(world.connect("webserver")) for _ in range(40)]
        for connection in flood:
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(b"GET /version HTTP/1.1\r\nHost")
        # Every worker and every place in the queue of that caller is taken: the rest is turned away at once.
        turned_away = until(lambda: select.select(flood, [], [], 0)[0])
        assert turned_away
        assert world.read(turned_away[0]).status == 503
        assert world.create().status == 201
        assert world.ask("GET", "/containers/json").status == 200
        expected = 40 - world.settings.broker_workers - world.settings.broker_backlog
        assert until(lambda: dropped(world, "webserver") >= expected)
    assert dropped(world, "daemon") == 0
    # A flood of connections is no flood of lines.
    assert 1 <= len(world.lines("busy")) < expected
    assert until(lambda: world.ask("GET", "/version", caller="webserver").status == 200)


def test_hammering_one_socket_fails_nothing_on_the_other(world):
    stopping = threading.Event()

    def hammer():
        while not stopping.is_set():
            with contextlib.suppress(OSError, IndexError):
                world.ask("GET", "/_ping", caller="webserver")

    hammers = [threading.Thread(target=hammer) for _ in range(6)]
    for thread in hammers:
        thread.start()
    try:
        assert {world.ask("GET", "/_ping").status for _ in range(50)} == {200}
    finally:
        stopping.set()
        for thread in hammers:
            thread.join()


def test_calls_that_wait_for_the_engine_on_one_socket_leave_the_other_free(world):
    identifier = world.create().json["Id"]
    world.ask("POST", f"/containers/{identifier}/start")
    world.engine.gates["/stop"] = threading.Event()
    waiting = [
        threading.Thread(target=world.ask, args=("POST", f"/containers/{identifier}/stop", None, "webserver"))
        for _ in range(world.settings.broker_workers)
    ]
    for thread in waiting:
        thread.start()
        assert world.engine.waiting.acquire(timeout=20)
    assert world.ask("GET", f"/containers/{identifier}/json").status == 200
    world.engine.gates["/stop"].set()
    for thread in waiting:
        thread.join(20)


def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(world):
    with_settings(world, broker_request_timeout=0.5)
    sent = b""
    request = b"GET /version HTTP/1.1\r\nHost: " + b"x" * 600
    with world.connect() as connection:
        # A deadline for each read would be renewed by each of these bytes; the one for the request is not.
        while len(sent) < len(request) and not select.select([connection], [], [], 0.02)[0]:
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(request[len(sent) : len(sent) + 1])
            sent = request[: len(sent) + 1]
        answer = world.read(connection)
    assert (answer.status, answer.json["reason"]) == (408, "too-slow")
    assert 0 < len(sent) < len(request)
    assert world.engine.requests == []


def test_a_client_that_sends_its_body_slowly_is_cut_off(world):
    with_settings(world, broker_request_timeout=0.3)
    with world.connect() as connection:
        connection.sendall(b"POST /containers/create HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        assert world.read(connection).json["reason"] == "too-slow"
    assert world.lines()[-1]["path"] == "/containers/create"


def test_a_client_that_does_not_read_its_answer_loses_it_and_not_the_worker(world):
    with_settings(world, broker_request_timeout=0.3)
    identifier = world.create().json["Id"]
    world.engine.output = (b"\x01\0\0\0" + (16_000).to_bytes(4, "big") + b"x" * 16_000) * 60
    with world.connect() as connection:
        connection.sendall(f"GET /containers/{identifier}/logs?stdout=1 HTTP/1.1\r\n\r\n".encode())
        assert until(lambda: world.audit.metrics.value("run_broker_answers_lost_total", caller="daemon") == 1)
    assert world.ask("GET", "/version").status == 200


def test_a_failure_inside_costs_one_request_and_leaves_its_trace_in_the_log(world, monkeypatch):
    monkeypatch.setattr(world.broker.runs, "list_runs", lambda: 1 / 0)
    answer = world.ask("GET", "/containers/json")
    assert (answer.status, answer.json["reason"]) == (500, "internal-error")
    assert b"ZeroDivisionError" not in answer.body
    assert "ZeroDivisionError" in world.lines("error")[0]["traceback"]
    assert world.ask("GET", "/version").status == 200


def test_a_line_in_a_path_stays_within_its_line_of_the_log(world):
    world.raw(b'GET /x"},{"event":"decision\\n HTTP/1.1\r\n\r\n')
    assert [line["path"] for line in map(json.loads, world.stream.getvalue().splitlines()) if "path" in line] == [
        '/x"},{"event":"decision\\n'
    ]


def test_a_decision_says_who_what_why_and_how_long(world):
    world.create(labels={"run.memory": "9g"})
    (line,) = world.lines()
    assert line.pop("time").endswith("Z")
    assert line.pop("duration_ms") >= 0
    assert line.pop("message").startswith("run.memory=9g is above the cap")
    assert line == {
        "event": "decision",
        "caller": "daemon",
        "method": "POST",
        "path": "/v1.41/containers/create",
        "route": "create",
        "run": RUN_ID,
        "location": "ingestion",
        "container": "",
        "decision": "refused",
        "reason": "above-cap",
        "status": 400,
    }


def test_no_secret_of_a_run_is_logged(world):
    world.create()
    for word in ("DEPLOYMENT", "ExecuteRunArgs", "/run/secrets"):
        assert word not in world.stream.getvalue()


def test_metrics_count_what_the_log_says(world):
    world.create()
    world.ask("GET", "/images/json")
    world.ask("GET", "/_ping")
    text = world.ask("GET", "/metrics").body.decode()
    labels = 'caller="daemon",decision="{}",reason="{}",route="{}",status="{}"'
    for decision, reason, route, status in (
        ("allowed", "ok", "create", 201),
        ("refused", "unknown-endpoint", "none", 403),
        ("allowed", "ok", "ping", 200),
    ):
        assert f"run_broker_decisions_total{{{labels.format(decision, reason, route, status)}}} 1" in text
    assert 'run_broker_decision_seconds_bucket{caller="daemon",le="+Inf",route="create"} 1' in text
    assert "# TYPE run_broker_decision_seconds histogram" in text
    assert text.count("# TYPE run_broker_decisions_total counter") == 1
    # An allowed ping is the health check's, every few seconds: counted, not written down.
    assert [line["route"] for line in world.lines()] == ["create", "none", "metrics"]


def test_no_request_can_make_the_number_of_series_grow(world):
    for number in range(5):
        world.ask("GET", f"/made-up/{number}")
    series = [row for row in world.ask("GET", "/metrics").body.decode().splitlines() if "decisions_total{" in row]
    assert len(series) == 1


def test_ping_asks_the_engine(world):
    assert world.ask("GET", "/_ping").body == b"OK"
    world.engine.failures["GET", "/_ping"] = (500, "broken")
    assert world.ask("GET", "/_ping").status == 500


def test_the_policy_is_printed_before_anything_is_served(world):
    first = json.loads(world.stream.getvalue().splitlines()[0])
    assert first["event"] == "policy"
    assert first["forced"]["CapDrop"] == ["ALL"]
    assert {(row["route"], row["callers"]) for row in first["endpoints"]} >= {("create", "daemon")}
    assert "prod_broker-daemon" in first["never_mounted"]
