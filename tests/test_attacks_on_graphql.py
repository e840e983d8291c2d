"""Attack: somebody without the right to it sends a mutation, any of Dagster's, by any way there is.

Attackers are nobody, somebody without a role, a viewer, and an editor of another location. What they aim at is the
location `probe`, a run of it and its schedule, which are as they were afterwards.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus, NegotiationError
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.support import attacks
from tests.support.deployment import PASSWORD, Deployment
from tests.support.graphql import GraphQL

SIGNED_IN = ["victor", pytest.param("dana", marks=pytest.mark.needs("ingestion"))]
SCHEDULES = """query($s: RepositorySelector!) { schedulesOrError(repositorySelector: $s) { ... on Schedules { results {
  id scheduleState { id selectorId status } } } } }"""
RELOAD = 'mutation { reloadRepositoryLocation(repositoryLocationName: "probe") { __typename } }'
STATES = "subscription s { locationStateChangeEvents { event { message } } }"


def schedule(admin: GraphQL) -> dict[str, Any]:
    """The one schedule of the attacked location."""
    selector = {"repositoryLocationName": "probe", "repositoryName": "__repository__"}
    (found,) = admin.ask(SCHEDULES, s=selector)["schedulesOrError"]["results"]
    state: dict[str, Any] = {"origin": found["id"], **found["scheduleState"]}
    return state


@pytest.fixture(scope="module")
def aim(deployment: Deployment, admin: GraphQL) -> dict[str, Any]:
    """What the arguments of all mutations name."""
    run, timer = attacks.finished_run(deployment), schedule(admin)
    return {
        **dict.fromkeys(("runId", "parentRunId"), run),
        "runIds": [run],
        **dict.fromkeys(("repositoryLocationName", "locationName"), "probe"),
        "repositoryName": "__repository__",
        "jobName": "succeed",
        "scheduleName": "every_minute",
        **dict.fromkeys(("scheduleOriginId", "jobOriginId"), timer["id"]),
        **dict.fromkeys(("scheduleSelectorId", "jobSelectorId"), timer["selectorId"]),
        "path": ["probe", "table"],
        "strategy": "ALL_STEPS",
        "concurrencyKey": "attack",
    }


@pytest.fixture(scope="module", autouse=True)
def nothing_is_changed(deployment: Deployment, admin: GraphQL, aim: dict[str, Any]) -> Iterator[None]:
    """The run, the schedule, the location and the pools, before the first attack and after the last."""

    def state() -> tuple[Any, ...]:
        pools = admin.ask("{ instance { concurrencyLimits { concurrencyKey limit } autoMaterializePaused } }")
        return admin.run(aim["runId"]), schedule(admin), admin.locations()["probe"], pools

    before = state()
    assert before[0]["status"] == "SUCCESS"
    yield
    assert state() == before
    for attacker in ("victor", "dana"):
        launched = "query($f: RunsFilter!) { runsOrError(filter: $f) { ... on Runs { results { runId } } } }"
        tags = [{"key": "user", "value": attacker}, {"key": ".dagster/repository", "value": "__repository__@probe"}]
        assert admin.ask(launched, f={"tags": tags})["runsOrError"]["results"] == []


def test_dagster_has_the_mutations_that_are_tried_here(admin: GraphQL) -> None:
    served = admin.ask("{ __schema { mutationType { fields { name } } } }")["__schema"]["mutationType"]["fields"]
    assert {each["name"] for each in served} == set(attacks.mutations())
    assert len(served) >= 40


@pytest.mark.parametrize("mutation", attacks.mutations())
@pytest.mark.parametrize("attacker", SIGNED_IN)
def test_a_mutation_is_refused(deployment: Deployment, aim: dict[str, Any], attacker: str, mutation: str) -> None:
    answer = deployment.user(attacker).answer(attacks.document(mutation), **attacks.variables(mutation, aim))
    message = attacks.refusal(answer.json())
    assert message.startswith(f"{attacker} (")
    assert f"may not do {mutation}" in message


@pytest.mark.parametrize("mutation", attacks.mutations())
@pytest.mark.parametrize(("attacker", "status"), [(None, 401), ("nobody", 403)], ids=["not signed in", "no role"])
def test_a_mutation_is_not_even_read(
    deployment: Deployment, aim: dict[str, Any], attacker: str | None, status: int, mutation: str
) -> None:
    client = deployment.user(attacker) if attacker else deployment.user("anonymous", "")
    answer = client.answer(attacks.document(mutation), **attacks.variables(mutation, aim))
    assert answer.status_code == status
    assert "data" not in answer.text


@pytest.fixture(scope="module")
def sockets(deployment: Deployment) -> Iterator[dict[str, ClientConnection]]:
    """A WebSocket of each attacker, as the UI opens one."""
    opened: dict[str, ClientConnection] = {}
    yield opened
    for connection in opened.values():
        connection.close()


def websocket(
    deployment: Deployment, user: str | None, protocol: str = "graphql-ws", **headers: str
) -> ClientConnection:
    """A WebSocket of this user."""
    sent = {**headers}
    if user:
        name, _, value = attacks.signed_in(deployment, user).decode().strip().partition(": ")
        sent[name] = value
    address = deployment.address.replace("http://", "ws://") + "/graphql"
    return connect(address, subprotocols=[Subprotocol(protocol)], additional_headers=sent, open_timeout=20)


def over_websocket(connection: ClientConnection, name: str, **payload: Any) -> dict[str, Any]:
    """Starts an operation and returns the first answer to it."""
    connection.send(json.dumps({"id": name, "type": "start", "payload": payload}))
    while True:
        answer: dict[str, Any] = json.loads(connection.recv(timeout=30))
        if answer.get("id") == name:
            return answer


@pytest.mark.parametrize("mutation", attacks.mutations())
@pytest.mark.parametrize("attacker", SIGNED_IN)
def test_a_mutation_over_a_websocket_is_refused(
    deployment: Deployment, sockets: dict[str, ClientConnection], aim: dict[str, Any], attacker: str, mutation: str
) -> None:
    if attacker not in sockets:
        sockets[attacker] = websocket(deployment, attacker)
    given = attacks.variables(mutation, aim)
    answer = over_websocket(sockets[attacker], mutation, query=attacks.document(mutation), variables=given)
    assert answer["type"] == "error"
    assert answer["payload"] == {"message": "Over WebSockets only subscriptions are served."}


HIDDEN = {
    "behind a subscription": {"query": f"{STATES} {RELOAD.replace('mutation', 'mutation m')}"},
    "behind a subscription, by name": {
        "query": f"{STATES} {RELOAD.replace('mutation', 'mutation m')}",
        "operation_name": "m",
    },
    "behind a subscription, by another name": {
        "query": f"{STATES} {RELOAD.replace('mutation', 'mutation m')}",
        "operationName": "m",
    },
    "before a subscription": {"query": f"{RELOAD.replace('mutation', 'mutation m')} {STATES}", "operation_name": "s"},
    "by a fragment": {"query": f"mutation {{ ...f }} fragment f on Mutation {RELOAD.removeprefix('mutation')}"},
    "after a comment": {"query": f"# subscription\n,,{RELOAD}"},
    "after a byte order mark": {"query": f"\ufeff{RELOAD}"},
}


@pytest.mark.parametrize("payload", HIDDEN.values(), ids=HIDDEN.keys())
def test_a_hidden_mutation_over_a_websocket_is_refused(deployment: Deployment, payload: dict[str, Any]) -> None:
    # Even an admin's: who may send it is not what it is refused for.
    with websocket(deployment, "admin") as connection:
        assert over_websocket(connection, "hidden", **payload)["type"] == "error"


FOREIGN = {
    "not signed in": (None, {}, 401),
    "a wrong password": (None, {"Authorization": "Basic YWRtaW46d3Jvbmc="}, 401),
    "a forged user": (None, {"X-Forwarded-User": "admin", "X-Forwarded-Groups": "platform"}, 401),
    "no role": ("nobody", {}, 403),
    "a page of another site": ("admin", {"Origin": "https://evil.example"}, 403),
    "a page without an origin": ("admin", {"Origin": "null"}, 403),
    "a page that says it is foreign": ("admin", {"Sec-Fetch-Site": "cross-site"}, 403),
}


@pytest.mark.parametrize(("user", "headers", "status"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_websocket_is_not_opened_by(
    deployment: Deployment, user: str | None, headers: dict[str, str], status: int
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        websocket(deployment, user, **headers)
    assert refused.value.response.status_code == status


def test_a_websocket_that_speaks_another_protocol_gets_nothing(deployment: Deployment) -> None:
    with pytest.raises(NegotiationError):
        websocket(deployment, "victor", "graphql-transport-ws")


JSON = {"Content-Type": "application/json"}
BODY = json.dumps({"query": RELOAD})
# A request that a page of any site can have an admin's browser send, password included; or one that hides what it is.
WAYS: dict[str, tuple[str, dict[str, Any], int]] = {
    "a form": ("POST", {"data": {"query": RELOAD}}, 415),
    "a form in parts": ("POST", {"files": {"query": (None, RELOAD)}}, 415),
    "plain text": ("POST", {"content": BODY, "headers": {"Content-Type": "text/plain"}}, 415),
    "GraphQL as a body": ("POST", {"content": RELOAD, "headers": {"Content-Type": "application/graphql"}}, 415),
    "no type": ("POST", {"content": BODY}, 415),
    "two types": ("POST", {"content": BODY, "headers": {"Content-Type": "text/plain, application/json"}}, 415),
    "a type that looks like JSON": ("POST", {"content": BODY, "headers": {"Content-Type": "application/jsonp"}}, 415),
    "a foreign page": ("POST", {"content": BODY, "headers": {**JSON, "Origin": "https://evil.example"}}, 403),
    "a page of a name that begins with ours": (
        "POST",
        {"content": BODY, "headers": {**JSON, "Origin": "http://127.0.0.1.evil.example"}},
        403,
    ),
    "a page of another port": ("POST", {"content": BODY, "headers": {**JSON, "Origin": "http://127.0.0.1:1"}}, 403),
    "a foreign frame": ("POST", {"content": BODY, "headers": {**JSON, "Origin": "null"}}, 403),
    "a page of a neighbour's site": (
        "POST",
        {"content": BODY, "headers": {**JSON, "Sec-Fetch-Site": "same-site"}},
        403,
    ),
    "a link": ("GET", {"params": {"query": RELOAD}}, 405),
    "a foreign link": ("GET", {"params": {"query": RELOAD}, "headers": {"Sec-Fetch-Site": "cross-site"}}, 403),
    "a link that asks for a page": ("GET", {"params": {"query": RELOAD}, "headers": {"Accept": "text/html"}}, 200),
    "a method that is overridden": (
        "GET",
        {"params": {"query": RELOAD}, "headers": {"X-HTTP-Method-Override": "POST"}},
        405,
    ),
    "PUT": ("PUT", {"content": BODY, "headers": JSON}, 405),
    "PATCH": ("PATCH", {"content": BODY, "headers": JSON}, 405),
    "DELETE": ("DELETE", {"content": BODY, "headers": JSON}, 405),
    "a list": ("POST", {"json": [{"query": RELOAD}]}, 400),
    "a list of a thousand": ("POST", {"json": [{"query": RELOAD}] * 1000}, 400),
    "a persisted query": ("POST", {"json": {"extensions": {"persistedQuery": {"sha256Hash": "0" * 64}}}}, 400),
    "a query and a mutation": ("POST", {"json": {"query": f"query q {{ version }} {RELOAD}"}}, 400),
    "a compressed body": (
        "POST",
        {"content": b"\x1f\x8b\x08\x00", "headers": {**JSON, "Content-Encoding": "gzip"}},
        400,
    ),
}


@pytest.mark.parametrize(("method", "sent", "status"), WAYS.values(), ids=WAYS.keys())
def test_an_admins_mutation_is_not_taken_from(
    deployment: Deployment, method: str, sent: dict[str, Any], status: int
) -> None:
    auth = ("admin", deployment.secret("admin_password"))
    answer = httpx.request(method, deployment.address + "/graphql", auth=auth, timeout=30, **sent)
    assert answer.status_code == status
    assert "WorkspaceLocationEntry" not in answer.text


def test_the_same_mutation_is_taken_from_an_admin(deployment: Deployment, admin: GraphQL) -> None:
    auth = ("admin", deployment.secret("admin_password"))
    own = {**JSON, "Origin": deployment.address}
    answer = httpx.post(deployment.address + "/graphql", content=BODY, headers=own, auth=auth, timeout=30)
    assert answer.json()["data"]["reloadRepositoryLocation"]["__typename"] == "WorkspaceLocationEntry"
    # And by an editor of the location, whom the attackers are not.
    allowed = deployment.user("edith").ask(RELOAD)["reloadRepositoryLocation"]["__typename"]
    assert allowed == "WorkspaceLocationEntry"


SPELLED = {
    "an upper-case name": "VICTOR",
    "a blank behind the name": "victor ",
    "an admin's name and a null byte": "admin\0",
    "a name in another alphabet": "аdmin",
    "a placeholder of the gateway": "{http.auth.user.id}",
    "a pattern": "*",
    "no name": "",
}


@pytest.mark.parametrize("name", SPELLED.values(), ids=SPELLED.keys())
def test_nobody_signs_in_by(deployment: Deployment, name: str) -> None:
    answer = httpx.post(deployment.address + "/graphql", json={"query": RELOAD}, auth=(name, PASSWORD), timeout=30)
    assert answer.status_code == 401
