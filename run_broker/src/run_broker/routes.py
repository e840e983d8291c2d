"""Which caller may ask what: the whole policy on requests, as one table and pure functions."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from run_broker.refusal import Refusal

_TARGET = re.compile(r"(/[A-Za-z0-9_./-]*)(?:\?([A-Za-z0-9_.~%&=,+*:-]*))?", re.ASCII)
_PREFIX = r"(?:/v1\.[0-9]{1,2})?"
# A full or shortened id, or the name of a run's container. No dot, no percent sign: nothing a path could hide in.
_ID = r"(?P<id>[A-Za-z0-9][A-Za-z0-9_-]{0,199})"
_FLAG = re.compile(r"0|1|true|false|True|False", re.ASCII)
_NEVER = re.compile(r"0|false|False", re.ASCII)
_ANYTHING = re.compile(r"[^&]*")


@dataclass(frozen=True)
class Route:
    """One thing that can be asked: who may, and the query parameters it takes, each with its whole pattern."""

    name: str
    method: str
    pattern: re.Pattern[str]
    callers: frozenset[str]
    query: Mapping[str, re.Pattern[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Match:
    """A request that the table allows."""

    route: Route
    container: str
    query: Mapping[str, str]


def _route(name: str, request: str, callers: str, **query: re.Pattern[str]) -> Route:
    method, path = request.split(" ")
    # The group is closed before the anchors are added, so that no alternative can escape them.
    pattern = re.compile(f"(?:{_PREFIX}{path.replace('{id}', _ID)})", re.ASCII)
    return Route(name, method, pattern, frozenset(callers.split()), query)


ROUTES = (
    _route("ping", "GET /_ping", "daemon webserver"),
    _route("version", "GET /version", "daemon webserver"),
    _route("create", "POST /containers/create", "daemon"),
    _route("inspect", "GET /containers/{id}/json", "daemon webserver"),
    _route("start", "POST /containers/{id}/start", "daemon"),
    _route("stop", "POST /containers/{id}/stop", "daemon webserver", t=re.compile(r"[0-9]{1,3}", re.ASCII)),
    _route(
        "logs",
        "GET /containers/{id}/logs",
        "daemon",
        stdout=_FLAG,
        stderr=_FLAG,
        timestamps=_FLAG,
        follow=_NEVER,
        tail=re.compile(r"all|[0-9]{1,6}", re.ASCII),
    ),
    # The answer is always this project's runs, whatever is filtered for: docker-py sends all of these.
    _route(
        "list",
        "GET /containers/json",
        "daemon",
        **dict.fromkeys(("all", "filters", "limit", "size", "trunc_cmd", "since", "before"), _ANYTHING),
    ),
    _route("metrics", "GET /metrics", "daemon"),
)


def match_route(caller: str, method: str, target: str) -> Match:
    """The route of a request by `caller`, or the refusal it gets. Deny is the default."""
    path, query = _split_target(target)
    found = [(route, match) for route in ROUTES if (match := route.pattern.fullmatch(path))]
    if not found:
        raise Refusal(403, "unknown-endpoint", f"{path[:120]} is not part of what the run broker offers")
    allowed = [(route, match) for route, match in found if route.method == method]
    if not allowed:
        methods = ", ".join(sorted({route.method for route, _ in found}))
        raise Refusal(405, "method-not-allowed", f"{path[:120]} takes {methods}", allow=methods)
    route, match = allowed[0]
    if caller not in route.callers:
        raise Refusal(403, "not-for-this-caller", f"the {caller} may not {route.name}")
    return Match(route, match.groupdict().get("id") or "", _parse_query(route, query))


def _split_target(target: str) -> tuple[str, str]:
    if not target.startswith("/"):
        raise Refusal(400, "malformed-target", "the target must be a path; no other server is reached from here")
    match = _TARGET.fullmatch(target)
    if match is None:
        raise Refusal(400, "malformed-target", "the path holds an encoded or unusual character")
    path = match[1]
    segments = path.split("/")[1:]
    if any(segment in ("", ".", "..") for segment in segments):
        raise Refusal(400, "malformed-target", "the path has an empty segment or one of dots")
    return path, match[2] or ""


def _parse_query(route: Route, text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for part in text.split("&") if text else []:
        name, _, value = part.partition("=")
        if name not in route.query:
            raise Refusal(400, "unknown-parameter", f"{route.name} takes no parameter {name[:60]!r}")
        if name in values:
            raise Refusal(400, "duplicate-parameter", f"the parameter {name!r} appears twice")
        if route.query[name].fullmatch(value) is None:
            raise Refusal(400, "bad-parameter", f"{value[:60]!r} is no value for {name!r}")
        values[name] = value
    return values


def describe() -> list[dict[str, str]]:
    """The table for the start's log line."""
    return [
        {"route": route.name, "method": route.method, "callers": " ".join(sorted(route.callers))} for route in ROUTES
    ]
