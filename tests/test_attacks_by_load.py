"""Attack: questions without end, bodies without measure, connections that say nothing, passwords guessed.

Each is answered or ended in time, others are served meanwhile, and afterwards the same two containers are there.
"""

import contextlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.support import attacks
from tests.support.attacks import answers, raw, signed_in
from tests.support.deployment import PASSWORD, Deployment

pytestmark = pytest.mark.long
# What one question may take at most (limits.py, and a busy machine), and how long somebody else waits meanwhile.
ANSWERED, OTHERS = 45, 5
CROWD = 50


@pytest.fixture(scope="module", autouse=True)
def nothing_fell_over(deployment: Deployment) -> Iterator[None]:
    """Gateway and webserver are neither restarted nor were any of their processes killed for memory."""

    def state() -> list[tuple[Any, ...]]:
        found = [deployment.inspect(deployment.container(name)) for name in ("gateway", "webserver")]
        return [(each["State"]["StartedAt"], each["RestartCount"], each["State"]["OOMKilled"]) for each in found]

    before = state()
    yield
    assert state() == before
    assert not [oom for _, _, oom in before if oom]


def nested(depth: int) -> str:
    """Each level has all assets of the repository of each asset of the one before."""
    inside = "assetNodes { repository { " * depth + "name" + " } }" * depth
    return "{ repositoriesOrError { ... on RepositoryConnection { nodes { " + inside + " } } } }"


def doubling(depth: int) -> str:
    """The same, twice at each level, by fragments: a few hundred letters ask for billions of names."""
    levels = [
        f"fragment f{level} on AssetNode {{ a: repository {{ assetNodes {{ ...f{level + 1} }} }}"
        f" b: repository {{ assetNodes {{ ...f{level + 1} }} }} }}"
        for level in range(depth)
    ]
    return " ".join(["{ assetNodes { ...f0 } }", *levels, f"fragment f{depth} on AssetNode {{ id }}"])


def many(field: str, number: int) -> str:
    """The same field under so many names."""
    return "{" + " ".join(f"a{each}: {field}" for each in range(number)) + "}"


CIRCLE = "{ assetNodes { ...a } } fragment a on AssetNode { ...b } fragment b on AssetNode { ...a }"
DEEP_LIST = "[" * 3000 + "]" * 3000
QUESTIONS = {
    "a thousand levels": "{ repositoriesOrError { nodes " * 500 + "}" * 1000,
    "a hundred thousand brackets": "{" * 100_000,
    "a list in a list in a list": f"{{ runsOrError(filter: {{ runIds: {DEEP_LIST} }}) {{ __typename }} }}",
    "ten thousand aliases": many("version", 10_000),
    "six hundred thousand aliases": many("version", 600_000),
    "a thousand times all assets": many("assetNodes { id definition { description } }", 1000),
    "a thousand times all runs": many("runsOrError { ... on Runs { results { id tags { key } } } }", 1000),
    "fifty thousand fields of one name": "{" + "version " * 50_000 + "}",
    "a hundred thousand comments": "{ version }" + "#\n" * 100_000,
    "a name of nine megabytes": '{ __type(name: "' + "x" * 9_000_000 + '") { name } }',
    "fragments in a circle": CIRCLE,
    "a fragment in itself": "{ assetNodes { ...a } } fragment a on AssetNode { repository { assetNodes { ...a } } }",
    "a thousand fragments": "{ version ...f0 }"
    + "".join(f" fragment f{each} on Query {{ ...f{each + 1} ...f{each + 1} }}" for each in range(1000))
    + " fragment f1000 on Query { version }",
    "lists in lists": nested(12),
    "fragments that double": doubling(10),
    "introspection four hundred times": many("__schema { types { fields { name type { name } } } }", 400),
    "introspection of introspection": "{ __schema { types " + "{ fields { type " * 12 + "{ name }" + "} }" * 12 + "} }",
    "a thousand directives": "{ version " + "@include(if: true) " * 1000 + "}",
    "a thousand variables": "query(" + " ".join(f"$v{each}: Int" for each in range(1000)) + ") { version }",
    "a thousand operations": " ".join(f"query q{each} {{ version }}" for each in range(1000)),
}


def others_wait(deployment: Deployment, until: threading.Event) -> float:
    """The longest that somebody else waits for a small question, until the event."""
    worst = 0.0
    while True:
        begun = time.monotonic()
        assert deployment.user("edith").ask("{ version }")
        worst = max(worst, time.monotonic() - begun)
        if until.wait(0.1):
            return worst


def ask(deployment: Deployment, query: str, **variables: Any) -> httpx.Response:
    """A viewer's question."""
    sent = {"query": query, "variables": variables}
    return httpx.post(deployment.address + "/graphql", json=sent, auth=("victor", PASSWORD), timeout=150)


def during(deployment: Deployment, attack: Any) -> tuple[Any, float, float]:
    """What the attack returned, how long it took, and how long others waited meanwhile."""
    over, begun = threading.Event(), time.monotonic()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(others_wait, deployment, over)
        try:
            returned = attack()
        finally:
            took = time.monotonic() - begun
            over.set()
        return returned, took, waiting.result(timeout=60)


@pytest.mark.parametrize("query", QUESTIONS.values(), ids=QUESTIONS.keys())
def test_a_question_without_end_is_answered_in_time(deployment: Deployment, query: str) -> None:
    answer, took, waited = during(deployment, lambda: ask(deployment, query))
    assert answer.status_code in (200, 400, 413)
    assert took < ANSWERED
    assert waited < OTHERS


def test_many_of_them_at_once_are_their_senders_alone(deployment: Deployment) -> None:
    def crowd() -> list[int]:
        with ThreadPoolExecutor(12) as pool:
            asked = [pool.submit(ask, deployment, doubling(10)) for _ in range(12)]
            return [each.result().status_code for each in asked]

    statuses, _, waited = during(deployment, crowd)
    assert set(statuses) == {400}
    assert waited < 2 * OTHERS


BODIES = {
    "ten megabytes of nothing": b" " * 10_500_000,
    "nine megabytes of nothing": b" " * 9_000_000,
    "two million objects": b'{"query": "{version}", "variables": {"x": [' + b"{}," * 2_000_000 + b"{}]}}",
    "a million brackets": b'{"query": "{version}", "variables": ' + b"[" * 1_000_000,
    "a hundred thousand levels": b'{"query": "{version}", "variables": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    "a number of a million digits": b'{"query": "{version}", "variables": {"x": ' + b"9" * 1_000_000 + b"}}",
    "a thousand operations": json.dumps([{"query": "{ version }"}] * 1000).encode(),
    "the same key a hundred thousand times": b'{"query": "{version}",' + b'"variables": {},' * 50_000 + b'"x": 1}',
    "text that is no text": b'{"query": "' + b"\xff" * 100_000 + b'"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_body_without_measure_is_answered_in_time(deployment: Deployment, body: bytes) -> None:
    def post() -> int:
        headers = {"Content-Type": "application/json"}
        with contextlib.suppress(httpx.WriteError, httpx.RemoteProtocolError):
            auth = ("victor", PASSWORD)
            return httpx.post(
                deployment.address + "/graphql", content=body, headers=headers, auth=auth, timeout=90
            ).status_code
        return 413

    status, took, waited = during(deployment, post)
    assert status in (200, 400, 413)
    assert took < ANSWERED
    assert waited < OTHERS


def test_many_names_of_runs_are_answered_in_time(deployment: Deployment) -> None:
    query = "query($f: RunsFilter!) { runsOrError(filter: $f) { ... on Runs { results { id } } } }"
    found, took, waited = during(deployment, lambda: ask(deployment, query, f={"runIds": ["x" * 36] * 25_000}))
    assert found.status_code in (200, 400)
    assert took < ANSWERED
    assert waited < OTHERS


HEADS = {
    "a header of a megabyte": b"X-Custom: " + b"x" * 1_000_000 + b"\r\n",
    "ten thousand headers": b"".join(b"X-%d: x\r\n" % number for number in range(10_000)),
    "a cookie of a megabyte": b"Cookie: " + b"a=b; " * 200_000 + b"\r\n",
    "a thousand ranges": b"Range: bytes=" + b",".join(b"%d-" % number for number in range(1000)) + b"\r\n",
    "a range of everything, often": b"Range: bytes=" + b",".join([b"0-"] * 1000) + b"\r\n",
    "a thousand languages": b"Accept-Language: " + b",".join([b"en;q=0.1"] * 1000) + b"\r\n",
    "a thousand encodings": b"Accept-Encoding: " + b",".join([b"gzip;q=0.1"] * 1000) + b"\r\n",
}


@pytest.mark.parametrize("lines", HEADS.values(), ids=HEADS.keys())
@pytest.mark.parametrize("path", ["/favicon.png", "/server_info"])
def test_headers_without_measure_are_answered_in_time(deployment: Deployment, path: str, lines: bytes) -> None:
    begun = time.monotonic()
    plain = attacks.request(deployment, "victor", path)
    answer = attacks.request(deployment, "victor", path, lines=lines)
    assert answer.status in (0, 200, 206, 400, 416, 431)
    # Parts of a file are not more than the file.
    assert len(answer.body) <= 2 * len(plain.body) + 1000
    assert time.monotonic() - begun < ANSWERED


def test_a_message_without_measure_ends_the_websocket(deployment: Deployment) -> None:
    address = deployment.address.replace("http://", "ws://") + "/graphql"
    name, _, value = signed_in(deployment, "victor").decode().strip().partition(": ")
    with connect(address, subprotocols=[Subprotocol("graphql-ws")], additional_headers={name: value}) as connection:
        connection.send("x" * 2_000_000)
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=20)


def test_many_subscriptions_hold_up_nobody(deployment: Deployment) -> None:
    query = "subscription($r: ID!) { pipelineRunLogs(runId: $r) { __typename } }"
    run = attacks.finished_run(deployment)
    address = deployment.address.replace("http://", "ws://") + "/graphql"
    name, _, value = signed_in(deployment, "victor").decode().strip().partition(": ")

    def subscribe() -> Counter[str]:
        with connect(address, subprotocols=[Subprotocol("graphql-ws")], additional_headers={name: value}) as connection:
            for number in range(200):
                payload = {"query": query, "variables": {"r": run}}
                connection.send(json.dumps({"id": str(number), "type": "start", "payload": payload}))
            kinds: dict[str, str] = {}
            while len(kinds) < 200:
                said = json.loads(connection.recv(timeout=60))
                kinds.setdefault(said["id"], said["type"])
            return Counter(kinds.values())

    kinds, _, waited = during(deployment, subscribe)
    assert kinds.total() == 200
    # As many as one person may have.
    assert kinds["error"] == 100, kinds
    assert waited < OTHERS


SLOW = {
    "nothing at all": (None, b""),
    "half a line": (None, b"GET / HT"),
    "headers that do not end": (None, b"GET / HTTP/1.1\r\nHost: x\r\nX-Custom: "),
    "a body that does not come, not signed in": (
        None,
        b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
    ),
    "a body that does not come": (
        "victor",
        b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n{sign_in}\r\n{",
    ),
    "chunks that do not end": (
        "victor",
        b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{sign_in}"
        b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    ),
    "an answer that is not read": ("victor", b"GET /Dagster_world.mp4 HTTP/1.1\r\nHost: x\r\n{sign_in}\r\n" * 5),
}


@pytest.mark.parametrize(("user", "said"), SLOW.values(), ids=SLOW.keys())
def test_connections_that_say_little_hold_up_nobody(deployment: Deployment, user: str | None, said: bytes) -> None:
    said = said.replace(b"{sign_in}", signed_in(deployment, user))
    with contextlib.ExitStack() as crowd:
        for _ in range(CROWD):
            connection = crowd.enter_context(socket.create_connection(("127.0.0.1", deployment.port), timeout=20))
            connection.sendall(said)
        for asker in ("edith", "victor") if user is None else ("edith",):
            begun = time.monotonic()
            assert deployment.user(asker).ask("{ version }")
            assert time.monotonic() - begun < OTHERS


def test_headers_that_do_not_end_are_ended(deployment: Deployment) -> None:
    begun = time.monotonic()
    received = raw(deployment, b"GET / HTTP/1.1\r\nHost: x\r\nX-Custom: ", seconds=30)
    assert time.monotonic() - begun < ANSWERED
    assert all(answer.status in (400, 408) for answer in answers(received))


def test_guessed_passwords_are_refused_slowed_and_logged(deployment: Deployment) -> None:
    guesses = [f"guess-{time.time_ns()}-{number}" for number in range(20)]
    begun = time.time()

    def guess(password: str) -> int:
        address = deployment.address + "/graphql"
        return httpx.post(address, json={"query": "{ version }"}, auth=("victor", password), timeout=90).status_code

    def one_after_the_other() -> list[int]:
        return [guess(password) for password in guesses]

    statuses, took, waited = during(deployment, one_after_the_other)
    assert statuses == [401] * len(guesses)
    # A hash that is slow on purpose: thousands of guesses take hours.
    assert took / len(guesses) > 0.2
    assert waited < OTHERS
    # Who knows the password still gets in, and the log has the guesses, not what was guessed.
    assert deployment.user("victor").ask("{ version }")
    log = attacks.recent_log(deployment, "gateway")
    refused = [json.loads(line) for line in log.splitlines() if '"status":401' in line]
    recent = [line for line in refused if line["ts"] > begun]
    assert len(recent) >= len(guesses)
    assert all(line["request"]["remote_ip"] for line in recent)
    assert not [password for password in guesses if password in log]


def test_a_crowd_of_guessers_locks_nobody_out(deployment: Deployment) -> None:
    def guess(number: int) -> int:
        address = deployment.address + "/graphql"
        auth = (f"ghost{number}", f"guess-{time.time_ns()}")
        return httpx.post(address, json={"query": "{ version }"}, auth=auth, timeout=150).status_code

    def crowd() -> list[int]:
        with ThreadPoolExecutor(10) as pool:
            return list(pool.map(guess, range(10)))

    statuses, _, waited = during(deployment, crowd)
    assert statuses == [401] * 10
    assert waited < OTHERS
