"""What attackers from the network have: raw bytes, forged operations, and ways to see what came of them."""

import base64
import contextlib
import socket
import subprocess
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from dagster_graphql.schema import create_schema
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLUnionType,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
)

from tests.support.deployment import PASSWORD, Deployment

# Arguments that name what is attacked though they may be left out.
AIMED = {"jobName", "reexecutionParams", "scheduleOriginId", "scheduleSelectorId", "jobOriginId", "jobSelectorId"}
AIMED |= {"assetSelection"}
# What somebody who may read any file would read first.
PASSWORDS = b"root:x:0:0:"


@dataclass
class Answer:
    """One answer of HTTP, as far as it came."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def answers(received: bytes) -> list[Answer]:
    """All answers on one connection."""
    found = []
    while received.startswith(b"HTTP/1."):
        head, _, rest = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        # One that only says "go on" has no body, and another behind it.
        body, received = _body(headers, rest) if status >= 200 else (b"", rest)
        if status >= 200:
            found.append(Answer(status, headers, body))
    return found


def _body(headers: dict[str, str], rest: bytes) -> tuple[bytes, bytes]:
    """The body of an answer, and what comes after it."""
    if headers.get("transfer-encoding") != "chunked":
        length = int(headers.get("content-length", len(rest)))
        return rest[:length], rest[length:]
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        body, rest = body + rest[:length], rest[length + 2 :]
        if not length:
            break
    return body, rest


def raw(deployment: Deployment, data: bytes, seconds: float = 20) -> bytes:
    """Sends these bytes to the published port; all that comes back until the gateway closes, or says no more."""
    received = b""
    # Not closed half-way: the gateway takes that for a client that has left.
    connection = socket.create_connection(("127.0.0.1", deployment.port), timeout=seconds)
    with connection, contextlib.suppress(ConnectionError, TimeoutError):
        connection.sendall(data)
        while part := connection.recv(65536):
            received += part
    return received


def signed_in(deployment: Deployment, user: str | None) -> bytes:
    """The line that says who it is; nothing for nobody."""
    if user is None:
        return b""
    password = deployment.secret("admin_password") if user == "admin" else PASSWORD
    return b"Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()) + b"\r\n"


def request(deployment: Deployment, user: str | None, target: str, method: str = "GET", lines: bytes = b"") -> Answer:
    """A request whose target nobody tidies up."""
    head = f"{method} {target} HTTP/1.1\r\nHost: {urlsplit(deployment.address).netloc}\r\nConnection: close\r\n"
    received = raw(deployment, head.encode("latin-1") + signed_in(deployment, user) + lines + b"\r\n")
    return next(iter(answers(received)), Answer(0))


def secrets(deployment: Deployment) -> list[bytes]:
    """What no answer may hold."""
    files = [path for path in (deployment.home / "secrets").iterdir() if path.is_file()]
    values = [path.read_bytes().strip() for path in files if path.suffix != ".pub"]
    return [PASSWORDS, b"run_coordinator:", *(value for value in values if len(value) >= 16)]


@cache
def finished_run(deployment: Deployment) -> str:
    """A run of the location that attackers may not change; one for all tests that need one."""
    edith = deployment.user("edith")
    run = edith.launch("probe", "succeed")
    edith.wait_for(run, "SUCCESS")
    return run


def seen_by_the_webserver(deployment: Deployment, marker: str) -> bool:
    """Whether a request with this in its path came through: it logs each that it refuses."""
    return marker in recent_log(deployment, "webserver")


def recent_log(deployment: Deployment, service: str) -> str:
    """What a service printed in the last minutes."""
    command = ["docker", "logs", "--since", "5m", deployment.container(service)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


@cache
def mutations() -> dict[str, GraphQLField]:
    """Each mutation of this version of Dagster."""
    kind = create_schema().graphql_schema.mutation_type
    assert kind is not None
    return dict(kind.fields)


def document(name: str) -> str:
    """A mutation with all that it takes, as variables."""
    attacked = mutations()[name]
    given = {each: argument for each, argument in attacked.args.items() if is_wanted(each, argument)}
    declared = ", ".join(f"${each}: {argument.type}" for each, argument in given.items())
    passed = ", ".join(f"{each}: ${each}" for each in given)
    kind = get_named_type(attacked.type)
    answers_so = isinstance(kind, GraphQLUnionType) and any(each.name == "UnauthorizedError" for each in kind.types)
    refusal = " ... on UnauthorizedError { message }" if answers_so else ""
    selection = "" if is_leaf_type(kind) else f" {{ __typename{refusal} }}"
    return f"mutation{f'({declared})' if given else ''} {{ {name}{f'({passed})' if given else ''}{selection} }}"


def variables(name: str, aim: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a mutation, aimed at these; what is not named there is anything of its type."""
    given = {each: argument for each, argument in mutations()[name].args.items() if is_wanted(each, argument)}
    return {each: _value(each, argument.type, aim) for each, argument in given.items()}


def is_wanted(name: str, given: GraphQLArgument | GraphQLInputField) -> bool:
    """Whether something is needed, or says what is attacked."""
    return isinstance(given.type, GraphQLNonNull) or name in AIMED


def _value(name: str, kind: Any, aim: dict[str, Any]) -> Any:
    if name in aim:
        return aim[name]
    bare = get_nullable_type(kind)
    if isinstance(bare, GraphQLList):
        return [_value(name, bare.of_type, aim)]
    if isinstance(bare, GraphQLInputObjectType):
        return {each: _value(each, given.type, aim) for each, given in bare.fields.items() if is_wanted(each, given)}
    if isinstance(bare, GraphQLEnumType):
        return next(iter(bare.values))
    return {"Int": 0, "Float": 0.0, "Boolean": False, "RunConfigData": {}}.get(bare.name, "attack")


def refusal(body: dict[str, Any]) -> str:
    """The sentence a mutation was refused with; AssertionError when it was not."""
    if body.get("errors"):
        (error,) = body["errors"]
        assert error.get("extensions", {}).get("code") == "FORBIDDEN", error
        return str(error["message"])
    (value,) = body["data"].values()
    assert value["__typename"] == "UnauthorizedError", value
    return str(value["message"])
