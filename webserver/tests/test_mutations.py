"""Each mutation of Dagster's GraphQL has a rule, and each rule holds for each role."""

import json
from collections.abc import Callable
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from dagster._core.execution.backfill import BulkActionStatus
from dagster_graphql.schema import create_schema
from graphql import (
    GraphQLEnumType,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLUnionType,
)

from webserver.audit import AuditLog
from webserver.guard import guard_schema
from webserver.mutations import MUTATIONS

if TYPE_CHECKING:
    from conftest import Server

SCHEMA = create_schema().graphql_schema
assert SCHEMA.mutation_type is not None
FIELDS = SCHEMA.mutation_type.fields
DEPLOYMENT_WIDE = {
    *(
        "reloadWorkspace",
        "shutdownRepositoryLocation",
        "setAutoMaterializePaused",
        "setConcurrencyLimit",
        "logTelemetry",
    ),
    *("deleteConcurrencyLimit", "freeConcurrencySlots", "freeConcurrencySlotsForRun", "setNuxSeen"),
}


def test_every_mutation_of_the_schema_has_a_rule_and_no_rule_is_left_over() -> None:
    assert set(MUTATIONS) == set(FIELDS)


def document(name: str) -> str:
    """A mutation with all of its arguments as variables, in a form that every kind of answer fits."""
    field = FIELDS[name]
    declared = ", ".join(f"${argument}: {kind.type}" for argument, kind in field.args.items())
    passed = ", ".join(f"{argument}: ${argument}" for argument in field.args)
    answer = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
    selection = ""
    if isinstance(answer, GraphQLUnionType):
        refused = any(kind.name == "UnauthorizedError" for kind in answer.types)
        selection = "{ __typename " + ("... on UnauthorizedError { message }" if refused else "") + " }"
    return f"mutation{f'({declared})' if declared else ''} {{ {name}{f'({passed})' if passed else ''} {selection} }}"


class Arguments:
    """Complete and correct arguments for any mutation, all of them about one location."""

    def __init__(self, server: "Server", location: str) -> None:
        self.server, self.location = server, location
        self.named: dict[str, Callable[[], Any]] = {
            "runId": lambda: self.run,
            "runIds": lambda: [self.run],
            "parentRunId": lambda: self.run,
            "rootRunId": lambda: self.run,
            "backfillId": lambda: self.backfill,
            "repositoryLocationName": lambda: location,
            "locationName": lambda: location,
            "repositoryName": lambda: server.repository(location),
            "path": lambda: server.daily[location],
            "jobName": lambda: "plain_job",
            "scheduleName": lambda: "own_schedule",
            "sensorName": lambda: "own_sensor",
            "partitionNames": lambda: ["one"],
            "partitionsDefName": lambda: f"{location}_own",
        }

    @cached_property
    def run(self) -> str:
        """A run in the queue."""
        return str(self.server.launch("admin", self.location))

    @cached_property
    def finished(self) -> str:
        """A run that has ended."""
        run_id = self.server.launch("admin", self.location)
        run = self.server.instance.get_run_by_id(run_id)
        assert run is not None
        self.server.instance.report_run_canceled(run)
        return run.run_id

    @cached_property
    def backfill(self) -> str:
        """A backfill that was requested."""
        return str(self.server.backfill("admin", self.location))

    def of(self, name: str) -> dict[str, Any]:
        """The variables of this mutation."""
        if name == "reexecutePartitionBackfill":
            backfill = self.server.instance.get_backfill(self.backfill)
            assert backfill is not None
            self.server.instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELED))
            return {"reexecutionParams": {"parentRunId": self.backfill, "strategy": "ALL_STEPS"}}
        if name in ("launchRunReexecution", "launchPipelineReexecution"):
            return {"reexecutionParams": {"parentRunId": self.run, "strategy": "ALL_STEPS"}}
        if name in ("deleteRun", "deletePipelineRun"):
            return {"runId": self.finished}
        if name == "launchPartitionBackfill":
            path = self.server.daily[self.location]
            return {"backfillParams": {"assetSelection": [{"path": path}], "partitionNames": ["one"]}}
        return {argument: self._value(argument, kind.type) for argument, kind in FIELDS[name].args.items()}

    def _value(self, name: str, kind: Any) -> Any:
        if isinstance(kind, GraphQLNonNull):
            return self._value(name, kind.of_type)
        if name in self.named:
            return self.named[name]()
        if isinstance(kind, GraphQLList):
            return [self._value(name, kind.of_type)]
        if isinstance(kind, GraphQLInputObjectType):
            needed = {
                key: field
                for key, field in kind.fields.items()
                if isinstance(field.type, GraphQLNonNull) or key in ("jobName", "partitionNames")
            }
            return {key: self._value(key, field.type) for key, field in needed.items()}
        if isinstance(kind, GraphQLEnumType):
            return next(iter(kind.values))
        assert isinstance(kind, GraphQLScalarType)
        return {"Boolean": True, "Int": 1, "Float": 1.0}.get(kind.name, "x")


@pytest.fixture(scope="module")
def about_analytics(running: "Server") -> Arguments:
    """Arguments about the location that its neighbours try to change."""
    return Arguments(running, "analytics")


def instigator(server: "Server", location: str, name: str) -> dict[str, Any]:
    """The ids of the schedule or sensor of this location, in the arguments of this mutation."""
    place = server.process.create_request_context().get_code_location(location)
    repository = place.get_repository(server.repository(location))
    found = repository.get_schedules()[0] if name == "stopRunningSchedule" else repository.get_sensors()[0]
    return {"id": found.get_compound_id().to_string()}


def refusal_of(server: "Server", user: str, name: str, variables: dict[str, Any]) -> str:
    """The message with which this user is refused; empty when they are not."""
    answer = server.graphql(user, document(name), **variables)
    if answer.get("errors"):
        assert answer["errors"][0]["extensions"] == {"code": "FORBIDDEN"}, answer
        return str(answer["errors"][0]["message"])
    value = answer["data"][name]
    if isinstance(value, dict) and value["__typename"] == "UnauthorizedError":
        return str(value["message"])
    return ""


def variables_for(server: "Server", arguments: Arguments, location: str, name: str) -> dict[str, Any]:
    """Complete arguments of a mutation about this location."""
    return instigator(server, location, name) if name in ("stopRunningSchedule", "stopSensor") else arguments.of(name)


@pytest.mark.parametrize("name", FIELDS)
def test_a_viewer_changes_nothing(server: "Server", about_analytics: Arguments, name: str) -> None:
    variables = variables_for(server, about_analytics, "analytics", name)
    server.audit_file.write_text("", encoding="utf-8")
    message = refusal_of(server, "vera", name, variables)
    needed = "the role admin" if name in DEPLOYMENT_WIDE else "the role editor of analytics"
    assert message.startswith(f"vera (viewer) may not do {name}: it needs {needed}"), json.dumps(variables)
    (line,) = server.audit()
    assert (line["user"], line["operation"], line["decision"]) == ("vera", name, "denied")


@pytest.mark.parametrize("name", FIELDS)
def test_an_editor_changes_nothing_of_another_location(server: "Server", about_analytics: Arguments, name: str) -> None:
    variables = variables_for(server, about_analytics, "analytics", name)
    server.audit_file.write_text("", encoding="utf-8")
    message = refusal_of(server, "ines", name, variables)
    needed = "the role admin" if name in DEPLOYMENT_WIDE else "the role editor of analytics"
    assert message.startswith(f"ines (editor of ingestion) may not do {name}: it needs {needed}")
    assert [line["decision"] for line in server.audit()] == ["denied"]


# These end servers, write files of the webserver, or exist in Dagster+ only; what they may do is tested above.
NOT_TRIED = {
    "shutdownRepositoryLocation",
    "logTelemetry",
    "setNuxSeen",
    "setAppManagedComponent",
    "deleteAppManagedComponent",
}


@pytest.mark.parametrize("name", sorted(set(FIELDS) - DEPLOYMENT_WIDE - NOT_TRIED))
def test_an_editor_changes_the_own_location(server: "Server", name: str) -> None:
    variables = variables_for(server, Arguments(server, "ingestion"), "ingestion", name)
    server.audit_file.write_text("", encoding="utf-8")
    assert refusal_of(server, "ines", name, variables) == ""
    (line,) = server.audit()
    assert (line["user"], line["role"], line["operation"]) == ("ines", "editor", name)
    assert (line["locations"], line["decision"]) == (["ingestion"], "allowed")


@pytest.mark.parametrize("name", sorted(DEPLOYMENT_WIDE - NOT_TRIED))
def test_an_admin_changes_the_deployment(server: "Server", name: str) -> None:
    variables = Arguments(server, "ingestion").of(name)
    if name.endswith("Limit"):
        variables["concurrencyKey"] = "pool"
    assert refusal_of(server, "admin", name, variables) == ""
    assert server.audit()[-1]["operation"] == name
    if name == "setAutoMaterializePaused":
        assert refusal_of(server, "admin", name, {"paused": False}) == ""


def test_a_mutation_without_a_rule_is_an_admins(server: "Server", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(MUTATIONS, "setNuxSeen")
    schema = create_schema().graphql_schema
    guard_schema(schema, AuditLog(server.audit_file))
    assert schema.mutation_type is not None

    info = SimpleNamespace(
        context=server.process.create_request_context(),
        return_type=schema.mutation_type.fields["setNuxSeen"].type,
        field_nodes=[],
        path=SimpleNamespace(as_list=lambda: ["setNuxSeen"]),
    )
    resolve = schema.mutation_type.fields["setNuxSeen"].resolve
    assert resolve is not None
    with pytest.raises(GraphQLError, match="an operation this deployment has no rule for"):
        resolve(None, info)
