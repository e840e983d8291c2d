"""Hostile requests below the level of JSON. Each is refused with its status, logged, and never reaches the engine."""

import json
import socket

import pytest

from run_broker.audit import Decision
from run_broker.http_message import RequestReader
from run_broker.refusal import Refusal

ID = "f" * 64
OK = b"Host: localhost\r\n"


def request(line: str | bytes, headers: bytes = OK, body: bytes = b"") -> bytes:
    head = line.encode("latin-1") if isinstance(line, str) else line
    return head + b"\r\n" + headers + b"\r\n" + body


def get(target: str) -> bytes:
    return request(f"GET {target} HTTP/1.1")


def post(target: str, headers: bytes = b"", body: bytes = b"") -> bytes:
    return request(f"POST {target} HTTP/1.1", OK + headers, body)


def case(name: str, raw: bytes, status: int, reason: str, caller: str = "daemon") -> object:
    return pytest.param(raw, status, reason, caller, id=name)


CREATE = "/containers/create"
JSON = b"Content-Type: application/json\r\n"

PATHS = [
    case("path-with-encoded-slash", get(f"/containers/x%2f..%2f{ID}/json"), 400, "malformed-target"),
    case("path-with-encoded-letter", get("/containers/jso%6e"), 400, "malformed-target"),
    case("path-with-double-encoding", get(f"/containers/%252e%252e/{ID}/json"), 400, "malformed-target"),
    case("path-with-encoded-null", get(f"/containers/{ID}%00/json"), 400, "malformed-target"),
    case("path-with-dot-dot", get("/containers/../images/json"), 400, "malformed-target"),
    case("path-with-dot-dot-at-the-end", get(f"/containers/{ID}/json/.."), 400, "malformed-target"),
    case("path-with-single-dot", get(f"/containers/./{ID}/json"), 400, "malformed-target"),
    case("path-with-double-slash", get(f"//containers/{ID}/json"), 400, "malformed-target"),
    case("path-with-inner-double-slash", get(f"/containers//{ID}/json"), 400, "malformed-target"),
    case("path-with-trailing-slash", get(f"/containers/{ID}/json/"), 400, "malformed-target"),
    case("path-with-backslash", get(f"/containers\\{ID}\\json"), 400, "malformed-target"),
    case("path-with-semicolon", get(f"/containers/{ID}/json;x=1"), 400, "malformed-target"),
    case("path-with-fragment", get(f"/containers/{ID}/json#x"), 400, "malformed-target"),
    case("path-with-non-ascii", request(f"GET /containers/{ID}é/json HTTP/1.1"), 400, "malformed-request-line"),
    case("path-absolute-uri", get(f"http://localhost/containers/{ID}/json"), 400, "malformed-target"),
    case("path-absolute-uri-of-another-host", get("http://169.254.169.254/latest"), 400, "malformed-target"),
    case("path-authority-form", get("localhost:80"), 400, "malformed-target"),
    case("path-asterisk-form", get("*"), 400, "malformed-target"),
    case("path-empty", request("GET  HTTP/1.1"), 400, "malformed-request-line"),
    case("path-root", get("/"), 400, "malformed-target"),
    case("path-in-capitals", get("/Containers/json"), 403, "unknown-endpoint"),
    case("path-with-two-versions", get("/v1.41/v1.41/version"), 403, "unknown-endpoint"),
    case("path-with-version-without-number", get("/v1/version"), 403, "unknown-endpoint"),
    case("path-with-version-of-three-parts", get("/v1.41.1/version"), 403, "unknown-endpoint"),
    case("path-with-something-before-it", get("/x/containers/json"), 403, "unknown-endpoint"),
    case("path-with-something-behind-it", get("/version/x"), 403, "unknown-endpoint"),
    case("path-longer-than-any-id", get(f"/containers/{'a' * 400}/json"), 403, "unknown-endpoint"),
    case("path-that-is-a-novel", get("/" + "a" * 4000), 414, "target-too-long"),
    case("path-that-never-ends", b"GET /" + b"a" * 40_000, 414, "target-too-long"),
]

ENDPOINTS = [
    case(f"endpoint-{name}", raw, 403, "unknown-endpoint")
    for name, raw in {
        "exec-create": post(f"/v1.41/containers/{ID}/exec"),
        "exec-start": post(f"/exec/{ID}/start"),
        "exec-inspect": get(f"/exec/{ID}/json"),
        "archive-read": get(f"/containers/{ID}/archive?path=etc"),
        "export": get(f"/containers/{ID}/export"),
        "attach": post(f"/containers/{ID}/attach?stdin=1"),
        "attach-websocket": get(f"/containers/{ID}/attach/ws"),
        "kill": post(f"/containers/{ID}/kill"),
        "update": post(f"/containers/{ID}/update"),
        "rename": post(f"/containers/{ID}/rename?name=x"),
        "restart": post(f"/containers/{ID}/restart"),
        "pause": post(f"/containers/{ID}/pause"),
        "top": get(f"/containers/{ID}/top"),
        "changes": get(f"/containers/{ID}/changes"),
        "stats": get(f"/containers/{ID}/stats"),
        "wait": post(f"/containers/{ID}/wait"),
        "resize": post(f"/containers/{ID}/resize?h=1"),
        "prune-containers": post("/containers/prune"),
        "prune-volumes": post("/volumes/prune"),
        "list-images": get("/images/json"),
        "pull": post("/images/create?fromImage=evil"),
        "load": post("/images/load"),
        "tag": post("/images/prod/ingestion/tag?repo=x"),
        "build": post("/build"),
        "commit": post(f"/commit?container={ID}"),
        "session": post("/session"),
        "grpc": post("/grpc"),
        "networks": get("/networks"),
        "network-connect": post("/networks/bridge/connect"),
        "volumes": get("/volumes"),
        "volume-create": post("/volumes/create"),
        "info": get("/info"),
        "events": get("/events"),
        "system-df": get("/system/df"),
        "swarm-init": post("/swarm/init"),
        "secrets": get("/secrets"),
        "plugins": get("/plugins"),
        "auth": post("/auth"),
    }.items()
]

METHODS = [
    case("method-delete-container", request(f"DELETE /containers/{ID} HTTP/1.1"), 405, "method-not-allowed"),
    case("method-put-archive", request(f"PUT /containers/{ID}/archive HTTP/1.1"), 405, "method-not-allowed"),
    case("method-head", request("HEAD /_ping HTTP/1.1"), 405, "method-not-allowed"),
    case("method-options", request("OPTIONS * HTTP/1.1"), 405, "method-not-allowed"),
    case("method-trace", request("TRACE / HTTP/1.1"), 405, "method-not-allowed"),
    case("method-connect", request("CONNECT localhost:2375 HTTP/1.1"), 405, "method-not-allowed"),
    case("method-patch", request(f"PATCH /containers/{ID}/json HTTP/1.1"), 405, "method-not-allowed"),
    case("method-in-small-letters", request("get /version HTTP/1.1"), 400, "malformed-request-line"),
    case("method-get-on-create", get(CREATE), 405, "method-not-allowed"),
    case("method-get-on-start", get(f"/containers/{ID}/start"), 405, "method-not-allowed"),
    case("method-post-on-inspect", post(f"/containers/{ID}/json"), 405, "method-not-allowed"),
    case("method-post-on-ping", post("/_ping"), 405, "method-not-allowed"),
]

CALLERS = [
    case("webserver-creates", post(CREATE), 403, "not-for-this-caller", "webserver"),
    case("webserver-starts", post(f"/containers/{ID}/start"), 403, "not-for-this-caller", "webserver"),
    case("webserver-reads-output", get(f"/containers/{ID}/logs?stdout=1"), 403, "not-for-this-caller", "webserver"),
    case("webserver-lists", get("/containers/json"), 403, "not-for-this-caller", "webserver"),
    case("webserver-reads-metrics", get("/metrics"), 403, "not-for-this-caller", "webserver"),
]

QUERIES = [
    case("query-name-on-create", post(f"{CREATE}?name=prod-postgres-1"), 400, "unknown-parameter"),
    case("query-platform-on-create", post(f"{CREATE}?platform=linux"), 400, "unknown-parameter"),
    case("query-detach-keys-on-start", post(f"/containers/{ID}/start?detachKeys=x"), 400, "unknown-parameter"),
    case("query-checkpoint-on-start", post(f"/containers/{ID}/start?checkpoint-dir=etc"), 400, "unknown-parameter"),
    case("query-size-on-inspect", get(f"/containers/{ID}/json?size=1"), 400, "unknown-parameter"),
    case("query-signal-on-stop", post(f"/containers/{ID}/stop?signal=STOP"), 400, "unknown-parameter"),
    case("query-negative-stop", post(f"/containers/{ID}/stop?t=-1"), 400, "bad-parameter"),
    case("query-endless-stop", post(f"/containers/{ID}/stop?t=99999"), 400, "bad-parameter"),
    case("query-stop-not-a-number", post(f"/containers/{ID}/stop?t=1e9"), 400, "bad-parameter"),
    case("query-duplicate", post(f"/containers/{ID}/stop?t=1&t=999"), 400, "duplicate-parameter"),
    case("query-encoded-name", post(f"/containers/{ID}/stop?%74=1"), 400, "unknown-parameter"),
    case("query-follow-for-ever", get(f"/containers/{ID}/logs?stdout=1&follow=1"), 400, "bad-parameter"),
    case("query-tail-huge", get(f"/containers/{ID}/logs?stdout=1&tail=99999999"), 400, "bad-parameter"),
    case("query-tail-negative", get(f"/containers/{ID}/logs?stdout=1&tail=-5"), 400, "bad-parameter"),
    case("query-second-question-mark", get("/version?a?b"), 400, "malformed-target"),
    case("query-empty-name", get("/version?=1"), 400, "unknown-parameter"),
    case("query-newline", get("/version?%0d%0aX"), 400, "unknown-parameter"),
]

FRAMING = [
    case("chunked-body", post(CREATE, b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"), 411, "transfer-encoding"),
    case(
        "chunked-and-length",
        post(CREATE, b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        411,
        "transfer-encoding",
    ),
    case("identity-coding", post(CREATE, b"Transfer-Encoding: identity\r\n"), 411, "transfer-encoding"),
    case("two-lengths", post(CREATE, b"Content-Length: 2\r\nContent-Length: 40\r\n", b"{}"), 400, "duplicate-header"),
    case(
        "two-equal-lengths", post(CREATE, b"Content-Length: 2\r\ncontent-length: 2\r\n", b"{}"), 400, "duplicate-header"
    ),
    case("length-list", post(CREATE, b"Content-Length: 2, 2\r\n", b"{}"), 400, "malformed-content-length"),
    case("length-with-plus", post(CREATE, b"Content-Length: +2\r\n", b"{}"), 400, "malformed-content-length"),
    case("length-negative", post(CREATE, b"Content-Length: -2\r\n", b"{}"), 400, "malformed-content-length"),
    case("length-hexadecimal", post(CREATE, b"Content-Length: 0x2\r\n", b"{}"), 400, "malformed-content-length"),
    case("length-with-zeros-before", post(CREATE, b"Content-Length: 002\r\n", b"{}"), 400, "malformed-content-length"),
    case("length-with-underscore", post(CREATE, b"Content-Length: 1_0\r\n", b"{}"), 400, "malformed-content-length"),
    case("length-empty", post(CREATE, b"Content-Length: \r\n", b"{}"), 400, "malformed-content-length"),
    case("length-over-the-limit", post(CREATE, b"Content-Length: 262145\r\n"), 413, "body-too-large"),
    case("length-astronomic", post(CREATE, b"Content-Length: " + b"9" * 60 + b"\r\n"), 413, "body-too-large"),
    case("body-without-length", post(CREATE, JSON, b"{}"), 400, "trailing-bytes"),
    case("body-longer-than-length", post(CREATE, JSON + b"Content-Length: 2\r\n", b"{}{}"), 400, "trailing-bytes"),
    case("body-on-get", request("GET /version HTTP/1.1", OK + b"Content-Length: 2\r\n", b"{}"), 400, "unexpected-body"),
    case(
        "body-on-start", post(f"/containers/{ID}/start", JSON + b"Content-Length: 2\r\n", b"{}"), 400, "unexpected-body"
    ),
    case(
        "body-on-stop", post(f"/containers/{ID}/stop", JSON + b"Content-Length: 2\r\n", b"{}"), 400, "unexpected-body"
    ),
    case("pipelined-requests", get("/version") + get("/version"), 400, "trailing-bytes"),
    case(
        "smuggled-request",
        post(CREATE, JSON + b"Content-Length: 2\r\n", b"{}" + get("/version")),
        400,
        "trailing-bytes",
    ),
    case("compressed-body", post(CREATE, b"Content-Encoding: gzip\r\n"), 415, "content-encoding"),
    case("expect-continue", post(CREATE, b"Expect: 100-continue\r\n"), 417, "expectation"),
    case("upgrade-tcp", post(CREATE, b"Connection: Upgrade\r\nUpgrade: tcp\r\n"), 400, "upgrade"),
    case("upgrade-h2c", request("GET /version HTTP/1.1", OK + b"Upgrade: h2c\r\n"), 400, "upgrade"),
    case(
        "upgrade-hidden-in-a-list", request("GET /version HTTP/1.1", b"Connection: close, upgrade\r\n"), 400, "upgrade"
    ),
    case("connection-names-a-header", request("GET /version HTTP/1.1", b"Connection: host\r\n"), 400, "upgrade"),
]

SYNTAX = [
    case("http-2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "malformed-request-line"),
    case("http-1-0", b"GET /version HTTP/1.0\r\n\r\n", 400, "malformed-request-line"),
    case("http-0-9", b"GET /version\r\n\r\n", 400, "malformed-request-line"),
    case("tls-client-hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "malformed-request-line"),
    case("two-spaces", request("GET  /version HTTP/1.1"), 400, "malformed-request-line"),
    case("tab-for-space", request("GET\t/version HTTP/1.1"), 400, "malformed-request-line"),
    case("space-before-method", request(" GET /version HTTP/1.1"), 400, "malformed-request-line"),
    case("empty-line-first", b"\r\n" + get("/version"), 400, "malformed-request-line"),
    case("bare-line-feeds", b"GET /version HTTP/1.1\nHost: x\n\n\r\n\r\n", 400, "malformed-request-line"),
    case("line-feed-in-a-header", request("GET /version HTTP/1.1", b"Host: x\nX: y\r\n"), 400, "malformed-header"),
    case(
        "carriage-return-in-a-header", request("GET /version HTTP/1.1", b"Host: x\rX: y\r\n"), 400, "malformed-header"
    ),
    case("folded-header", request("GET /version HTTP/1.1", b"Host: x\r\n y\r\n"), 400, "malformed-header"),
    case("space-before-colon", post(CREATE, b"Content-Length : 2\r\n"), 400, "malformed-header"),
    case("space-before-header", post(CREATE, b" Content-Length: 2\r\n"), 400, "malformed-header"),
    case("header-without-colon", request("GET /version HTTP/1.1", b"Host\r\n"), 400, "malformed-header"),
    case("header-without-name", request("GET /version HTTP/1.1", b": x\r\n"), 400, "malformed-header"),
    case("null-in-a-header", request("GET /version HTTP/1.1", b"Host: x\x00y\r\n"), 400, "malformed-header"),
    case("non-ascii-header", request("GET /version HTTP/1.1", "Host: ſ\r\n".encode()), 400, "malformed-header"),
    case("two-hosts", request("GET /version HTTP/1.1", b"Host: a\r\nHost: b\r\n"), 400, "duplicate-header"),
    case(
        "header-flood",
        request("GET /version HTTP/1.1", b"".join(b"A%d: x\r\n" % n for n in range(65))),
        431,
        "headers-too-large",
    ),
    case("header-of-a-megabyte", request("GET /version HTTP/1.1", b"A: " + b"x" * 1_000_000), 431, "headers-too-large"),
    case("headers-that-never-end", b"GET /version HTTP/1.1\r\n" + b"A: x\r\n" * 4000, 431, "headers-too-large"),
]


@pytest.mark.parametrize(
    ("raw", "status", "reason", "caller"), PATHS + ENDPOINTS + METHODS + CALLERS + QUERIES + FRAMING + SYNTAX
)
def test_a_hostile_request_is_refused_and_never_reaches_the_engine(world, raw, status, reason, caller):
    answer = world.raw(raw, caller)
    assert (answer.status, answer.json["reason"]) == (status, reason)
    assert answer.json["message"]
    assert world.engine.requests == []
    (line,) = world.lines()
    assert (line["caller"], line["decision"], line["status"], line["reason"]) == (caller, "refused", status, reason)


class OneRequestAtATime:
    """A connection whose reads end where the first request ends, as they may when the peer sends in two pieces."""

    def __init__(self, connection, size):
        self.setblocking, self.settimeout = connection.setblocking, connection.settimeout
        self._connection, self._left = connection, size

    def recv(self, size, flags=0):
        data = self._connection.recv(min(size, self._left or size), flags)
        self._left = max(0, self._left - len(data))
        return data


def test_a_second_request_that_was_not_read_with_the_first_is_seen():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        first = post(CREATE, JSON + b"Content-Length: 2\r\n", b"{}")
        theirs.sendall(first + get("/version"))
        with pytest.raises(Refusal, match="bytes follow"):
            RequestReader(OneRequestAtATime(ours, len(first)), 10.0, Decision("daemon")).read()


def test_a_truncated_head_is_refused(world):
    with world.connect() as connection:
        connection.sendall(b"GET /version HTTP/1.1\r\nHost:")
        connection.shutdown(1)
        assert world.read(connection).status == 400
    assert world.lines()[0]["reason"] == "truncated-request"


def test_a_truncated_body_is_refused_and_creates_nothing(world, body):
    content = json.dumps(body()).encode()
    with world.connect() as connection:
        connection.sendall(post(CREATE, JSON + b"Content-Length: %d\r\n" % (len(content) + 1), content))
        connection.shutdown(1)
        assert world.read(connection).json["reason"] == "truncated-request"
    assert world.engine.requests == []


def test_a_connection_that_says_nothing_is_no_decision(world):
    world.connect().close()
    assert world.ask("GET", "/version").status == 200
    assert [line["route"] for line in world.lines()] == ["version"]


def test_a_405_names_what_is_allowed(world):
    assert "Allow: POST" in world.ask("GET", CREATE).headers


@pytest.mark.parametrize("prefix", ["", "/v1.24", "/v1.41", "/v1.99"])
def test_a_version_in_the_path_changes_nothing(world, prefix):
    assert world.ask("GET", f"{prefix}/version").json["ApiVersion"] == "1.41"
