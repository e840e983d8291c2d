"""A client cannot get around a rule by the way it asks, nor by what it says about itself."""

import json
from typing import TYPE_CHECKING, Any

import pytest
from dagster._core.execution.backfill import BulkActionStatus

if TYPE_CHECKING:
    from conftest import Server

RELOAD = "reloadRepositoryLocation"
FIELD = RELOAD + '(repositoryLocationName: "analytics")'
WRITTEN = {
    "an alias": "mutation { version: " + FIELD + " { __typename } }",
    "a fragment": "mutation { ...f } fragment f on Mutation { " + FIELD + " { __typename } }",
    "an inline fragment": "mutation { ... on Mutation { " + FIELD + " { __typename } } }",
    "a directive": "mutation { " + FIELD + " @include(if: true) { __typename } }",
    "a name like a query's": "mutation version { " + FIELD + " { __typename } }",
    "a comment before it": "# query\n,,,mutation{" + FIELD + "{__typename}}",
    "a byte order mark": "\ufeffmutation { " + FIELD + " { __typename } }",
}


@pytest.mark.parametrize("document", WRITTEN.values(), ids=WRITTEN.keys())
def test_a_mutation_is_refused_however_it_is_written(server: "Server", document: str) -> None:
    answer = server.graphql("ines", document)
    assert next(iter(answer["data"].values())) == {"__typename": "UnauthorizedError"}
    assert [(line["operation"], line["decision"]) for line in server.audit()] == [(RELOAD, "denied")]


def test_of_several_operations_the_one_that_is_executed_counts(server: "Server") -> None:
    document = "query a { version } mutation b " + WRITTEN["an inline fragment"].removeprefix("mutation")
    for name, expected in (("a", "version"), ("b", RELOAD)):
        body = {"query": document, "operationName": name}
        answer = server.request("ines", "POST", "/graphql", json=body).json()
        assert list(answer["data"]) == [expected]
    assert answer["data"][RELOAD] == {"__typename": "UnauthorizedError"}
    assert len(server.audit()) == 1
    both = server.request("ines", "POST", "/graphql", json={"query": document})
    assert both.status_code == 400


def test_each_of_several_mutations_is_decided_alone(server: "Server") -> None:
    document = """mutation($s: RepositorySelector!) {
      own: addDynamicPartition(repositorySelector: $s, partitionsDefName: "ingestion_own", partitionKey: "k")
        { __typename }
      other: reloadRepositoryLocation(repositoryLocationName: "analytics") { __typename } }"""
    answer = server.graphql("ines", document, s=server.repository_selector("ingestion"))
    assert answer["data"]["own"] == {"__typename": "AddDynamicPartitionSuccess"}
    assert answer["data"]["other"] == {"__typename": "UnauthorizedError"}


BODIES: dict[str, Any] = {
    "a list": [{"query": "mutation { setNuxSeen }"}],
    "a list in a list": [[{"query": "mutation { setNuxSeen }"}]],
    "text": "mutation { setNuxSeen }",
    "a number": 1,
    "no query": {"operationName": "x"},
    "a persisted query": {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "0" * 64}}},
    "a query that is a list": {"query": ["mutation { setNuxSeen }"]},
    "a name that is a list": {"query": "mutation a { setNuxSeen }", "operationName": ["a"]},
    "variables that are a list": {"query": "mutation { setNuxSeen }", "variables": [1]},
    "variables that are text": {"query": "mutation { setNuxSeen }", "variables": "{}"},
    "no GraphQL": {"query": "mutation {"},
    "a deep query": {"query": "{" * 5000},
    "a deep selection": {"query": "{a" * 5000 + "}" * 5000},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_what_is_not_one_operation_is_refused(server: "Server", body: Any) -> None:
    response = server.request("admin", "POST", "/graphql", json=body)
    assert response.status_code == 400
    assert set(response.json()) == {"error"}
    assert server.audit() == []


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b"[" * 100_000, b"null", b'{"query": "{ version }"', b""])
def test_what_is_not_json_is_refused(server: "Server", text: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert server.request("admin", "POST", "/graphql", content=text, headers=headers).status_code == 400


def test_a_get_asks_and_changes_nothing(server: "Server") -> None:
    assert server.request("vera", "GET", "/graphql", params={"query": "{ version }"}).status_code == 200
    variables = {
        "query": "query($r: ID!) { runOrError(runId: $r) { __typename } }",
        "variables": json.dumps({"r": "x"}),
    }
    assert server.request("vera", "GET", "/graphql", params=variables).status_code == 200
    for document in (
        "mutation { setNuxSeen }",
        "query a { version } mutation b { setNuxSeen }",
        "subscription { locationStateChangeEvents { event { message } } }",
    ):
        response = server.request("admin", "GET", "/graphql", params={"query": document, "operationName": "b"})
        assert response.status_code == 405
    assert (
        server.request("admin", "GET", "/graphql", params={"query": "{ version }", "variables": "{"}).status_code == 400
    )
    assert server.request("admin", "HEAD", "/graphql").status_code in (400, 405)
    assert server.audit() == []


def tags_of(server: "Server", run_id: str) -> dict[str, str]:
    """The tags of a run that was launched."""
    run = server.instance.get_run_by_id(run_id)
    assert run is not None
    return dict(run.tags)


@pytest.mark.parametrize("user", ["ines", "admin"])
def test_a_launch_is_attributed_to_who_sent_it(server: "Server", user: str) -> None:
    assert tags_of(server, server.launch(user, "ingestion"))["user"] == user
    forged = [{"key": "user", "value": "vera"}, {"key": "team", "value": "raw"}, {"key": "user", "value": "ana"}]
    tags = tags_of(server, server.launch(user, "ingestion", tags=forged))
    assert (tags["user"], tags["team"]) == (user, "raw")


def test_the_location_of_a_run_cannot_be_forged(server: "Server") -> None:
    forged = [{"key": "dagster/code_location", "value": "analytics"}]
    assert tags_of(server, server.launch("ines", "ingestion", tags=forged))["dagster/code_location"] == "ingestion"


AGAIN = """mutation($p: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $p) {
  ... on LaunchRunSuccess { run { runId } } ... on UnauthorizedError { message } ... on PythonError { message } } }"""


def test_a_run_that_is_executed_again_is_attributed_to_who_does_it(server: "Server") -> None:
    original = server.launch("admin", "ingestion")
    forged = [{"key": "user", "value": "ana"}]
    parameters = {"parentRunId": original, "strategy": "ALL_STEPS", "useParentRunTags": True, "extraTags": forged}
    again = server.mutate("ines", AGAIN, p=parameters)["run"]["runId"]
    assert tags_of(server, again)["user"] == "ines"
    assert tags_of(server, original)["user"] == "admin"


def test_a_backfill_is_attributed_to_who_launched_it(server: "Server") -> None:
    forged = [{"key": "user", "value": "ana"}]
    backfill = server.instance.get_backfill(server.backfill("ines", "ingestion", tags=forged))
    assert backfill is not None
    assert backfill.tags == {"user": "ines"}


def test_a_backfill_that_is_executed_again_is_attributed_to_who_does_it(server: "Server") -> None:
    original = server.instance.get_backfill(server.backfill("admin", "ingestion"))
    assert original is not None
    server.instance.update_backfill(original.with_status(BulkActionStatus.CANCELED))
    document = """mutation($p: ReexecutionParams!) { reexecutePartitionBackfill(reexecutionParams: $p) {
      ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }"""
    parameters = {"parentRunId": original.backfill_id, "strategy": "ALL_STEPS"}
    again = server.instance.get_backfill(server.mutate("ines", document, p=parameters)["backfillId"])
    assert again is not None
    assert again.tags["user"] == "ines"
    assert server.audit()[-1]["backfills"] == [original.backfill_id, again.backfill_id]


def test_the_id_of_a_run_is_not_the_clients_choice(server: "Server") -> None:
    # It becomes a container's name and a directory's. Should Dagster begin to take one, it needs a rule.
    assert "'runId' is not defined" in server.launch("admin", "ingestion", runId="../../etc")["message"]


@pytest.mark.parametrize("run_id", ["../../etc", "x", "A" * 36, "00000000-0000-4000-8000-00000000000G", "a/b", " "])
def test_a_run_is_named_by_an_id_and_nothing_else(server: "Server", run_id: str) -> None:
    for user in ("ines", "admin"):
        result = server.launch(user, "ingestion", parentRunId=run_id, rootRunId=run_id)
        assert result["message"].endswith("is no id of a run; expected a lower-case UUID.")
