"""Dagster's GraphQL through the gateway: the same way that people come, so that an answer proves all of it."""

import base64
import http.client
import json
import re
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from operations.checking.assets import Asset
from operations.deployment import Deployment
from operations.docker import Container
from operations.errors import StackError

LOCATIONS = """{ workspaceOrError { __typename ... on PythonError { message }
  ... on Workspace { locationEntries { name loadStatus
    locationOrLoadError { __typename ... on PythonError { message errorChain { error { message } } } } } } } }"""
# Tag of an asset that a component found while the deployment runs: nothing in git can know it.
FOUND = "found-in-state"
DAEMONS = """{ instance { daemonHealth { allDaemonStatuses {
  daemonType required healthy lastHeartbeatTime lastHeartbeatErrors { message } } } } }"""
RUNS = """query Runs($filter: RunsFilter, $limit: Int) { runsOrError(filter: $filter, limit: $limit) {
  __typename ... on Runs { results { runId status endTime } } ... on PythonError { message } } }"""
ASSETS = """{ assetNodes { assetKey { path } dependencyKeys { path } groupName isMaterializable isAutoCreatedStub
  tags { key } repository { location { name } } } }"""
# The newest; an automatic launch that is older than a thousand runs is history, and Dagster still has it.
LAUNCHES = """{ runsOrError(limit: 1000) { __typename ... on PythonError { message }
  ... on Runs { results { runId status creationTime tags { key value } } } } }"""
COUNTS = """{ queued: runsOrError(filter: {statuses: [QUEUED]}) { ... on Runs { count } }
  started: runsOrError(filter: {statuses: [STARTING, STARTED, CANCELING]}) { ... on Runs { count } } }"""


class UnreachableError(Exception):
    """Nobody answers GraphQL, or not with what was asked for."""


class RefusedError(UnreachableError):
    """The gateway answers, but does not know this user and password."""


@dataclass(frozen=True)
class Location:
    """A code location as the webserver sees it; `error` is why it does not load."""

    name: str
    loading: bool
    error: str = ""


@dataclass(frozen=True)
class Daemon:
    """One of Dagster's daemons."""

    kind: str
    healthy: bool
    error: str = ""


def address(settings: dict[str, str]) -> str:
    """Where people find the deployment."""
    site, bind = settings.get("SITE_ADDRESS", ""), settings.get("GATEWAY_BIND") or "127.0.0.1"
    port = settings.get("GATEWAY_PORT") or "3000"
    host = site or ("127.0.0.1" if bind == "0.0.0.0" else bind)  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    scheme, default = ("https", "443") if site else ("http", "80")
    return f"{scheme}://{host}" + ("" if port == default else f":{port}")


class Gateway:
    """A client of the deployment's own address."""

    # How long an answer may take.
    seconds = 15.0

    def __init__(self, settings: dict[str, str], user: str, password: str) -> None:
        self._site = settings.get("SITE_ADDRESS", "")
        bind = settings.get("GATEWAY_BIND") or "127.0.0.1"
        self._host = "127.0.0.1" if bind == "0.0.0.0" else bind  # noqa: S104
        self._port = _port(settings.get("GATEWAY_PORT") or "3000")
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        if self._site:
            self._headers["Host"] = self._site

    def locations(self) -> list[Location]:
        """All code locations with their state."""
        workspace = self._ask(LOCATIONS)["workspaceOrError"]
        if workspace["__typename"] != "Workspace":
            raise UnreachableError(workspace.get("message", workspace["__typename"]))
        return [_location(entry) for entry in workspace["locationEntries"]]

    def daemons(self) -> list[Daemon]:
        """The daemons that this deployment requires."""
        statuses = self._ask(DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return [
            Daemon(
                status["daemonType"],
                bool(status["healthy"]),
                "\n".join(error["message"].strip() for error in status["lastHeartbeatErrors"] or ()),
            )
            for status in statuses
            if status["required"]
        ]

    def run_states(self, run_ids: list[str]) -> dict[str, str]:
        """States of these runs; a run that does not exist is not among them."""
        return {run["runId"]: run["status"] for run in self._runs(run_ids)}

    def run_ends(self, run_ids: list[str]) -> dict[str, float]:
        """When these runs ended, in seconds since 1970; one that goes on is not among them."""
        return {run["runId"]: run["endTime"] for run in self._runs(run_ids) if run["endTime"]}

    def _runs(self, run_ids: list[str]) -> list[dict[str, Any]]:
        if not run_ids:
            return []
        data = self._ask(RUNS, {"filter": {"runIds": run_ids}, "limit": len(run_ids)})["runsOrError"]
        if data["__typename"] != "Runs":
            raise UnreachableError(data.get("message", data["__typename"]))
        results: list[dict[str, Any]] = data["results"]
        return results

    def run_counts(self) -> tuple[int, int]:
        """How many runs are queued, and how many are under way."""
        data = self._ask(COUNTS)
        return int(data["queued"]["count"]), int(data["started"]["count"])

    def launches(self) -> list[dict[str, Any]]:
        """The newest runs with their tags."""
        data = self._ask(LAUNCHES)["runsOrError"]
        if data["__typename"] != "Runs":
            raise UnreachableError(data.get("message", data["__typename"]))
        results: list[dict[str, Any]] = data["results"]
        return results

    def assets(self) -> list[Asset]:
        """All assets that locations define, less those found only while the deployment runs."""
        return [
            Asset(
                location=node["repository"]["location"]["name"],
                key=tuple(node["assetKey"]["path"]),
                deps=tuple(sorted(tuple(dep["path"]) for dep in node["dependencyKeys"])),
                external=not node["isMaterializable"],
                group=node["groupName"] or "",
            )
            for node in self._ask(ASSETS)["assetNodes"]
            if not node["isAutoCreatedStub"] and FOUND not in {tag["key"] for tag in node["tags"]}
        ]

    def ask(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """The data of an answer to any query. Raises `UnreachableError`."""
        return self._ask(query, variables)

    def _ask(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables or {}})
        try:
            connection = self._connect()
            try:
                connection.request("POST", "/graphql", body, self._headers)
                response = connection.getresponse()
                status, text = response.status, response.read()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            # ValueError: a SITE_ADDRESS that can stand in no header.
            raise UnreachableError(f"{self._host}:{self._port}: {error}") from error
        if status == 401:
            raise RefusedError("the gateway refuses the admin's password")
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise UnreachableError(f"status {status} from {self._host}:{self._port}") from error
        if not isinstance(answer, dict) or not isinstance(answer.get("data"), dict):
            raise UnreachableError(f"status {status}: {json.dumps(answer)[:300]}")
        data: dict[str, Any] = answer["data"]
        return data

    def _connect(self) -> http.client.HTTPConnection:
        if not self._site:
            return http.client.HTTPConnection(self._host, self._port, timeout=self.seconds)
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=self.seconds)
        # An address of this machine is dialled, not the domain's, so nobody sits in between; and a certificate
        # of the gateway's own authority, or one that is still being issued, must not hide what else is wrong.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        plain = socket.create_connection((self._host, self._port), timeout=self.seconds)
        connection.sock = context.wrap_socket(plain, server_hostname=self._site)
        return connection


def runs(containers: Iterable[Container]) -> bool:
    """Whether our gateway holds the port. Nobody signs in otherwise: any user of this machine may listen on a port that
    is free, and would be sent the admin's password."""
    return any(each.service == "gateway" and each.is_service and each.state == "running" for each in containers)


def as_admin(deployment: Deployment) -> Gateway:
    """A client that signs in as the first user."""
    path = deployment.secrets() / "admin_password"
    try:
        password = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise StackError(
            f"{path} cannot be read: {error.strerror}",
            "the password of the user admin, made by ./stack up",
            f"run as the user who owns it, or make a new one: {deployment.stack} user add admin --replace",
        ) from error
    return Gateway(deployment.settings(), "admin", password)


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text):
        raise StackError(f"GATEWAY_PORT is {text!r}", "1 to 65535", "correct it in .env")
    return int(text)


def _location(entry: dict[str, Any]) -> Location:
    found = entry["locationOrLoadError"]
    if found is None or entry["loadStatus"] == "LOADING":
        return Location(entry["name"], loading=True)
    if found["__typename"] == "RepositoryLocation":
        return Location(entry["name"], loading=False)
    # The outermost error says that the definitions did not load; why, says the innermost.
    chain = [found.get("message", found["__typename"])]
    chain += [link["error"]["message"] for link in found.get("errorChain") or ()]
    return Location(entry["name"], loading=False, error="\n".join(message.strip() for message in chain))
