"""Attack: headers that claim to be somebody else, and requests that hide another one behind themselves.

Each is sent byte by byte to the published port, by somebody who has not signed in and by a viewer. What nobody but the
gateway may say is never believed, and a hidden request neither reaches the webserver nor is answered as anybody.
"""

import json
import uuid

import pytest

from tests.support import attacks
from tests.support.attacks import Answer, answers, raw, signed_in
from tests.support.deployment import Deployment
from tests.support.waiting import wait_until

BODY = json.dumps(
    {"query": "mutation { reloadWorkspace { __typename ... on UnauthorizedError { message } } }"}
).encode()
START = b"POST /graphql HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
END = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY

CLAIMS = {
    "the gateway's own header": b"X-Forwarded-User: admin\r\nX-Forwarded-Groups: platform\r\n",
    "the groups alone": b"X-Forwarded-Groups: platform\r\n",
    "lower case": b"x-forwarded-user: admin\r\nx-forwarded-groups: platform\r\n",
    "upper case": b"X-FORWARDED-USER: admin\r\nX-FORWARDED-GROUPS: platform\r\n",
    "underscores": b"X_Forwarded_User: admin\r\nX_Forwarded_Groups: platform\r\n",
    "one underscore": b"X-Forwarded_User: admin\r\nX-Forwarded_Groups: platform\r\n",
    "twice": b"X-Forwarded-User: admin\r\nX-Forwarded-User: admin\r\n",
    "in two spellings": b"X-Forwarded-User: admin\r\nX_Forwarded-User: admin\r\n",
    "a blank before the colon": b"X-Forwarded-User : admin\r\n",
    "a tab before the colon": b"X-Forwarded-User\t: admin\r\n",
    "a blank before the name": b" X-Forwarded-User: admin\r\n",
    "folded into another": b"X-Custom: a\r\n X-Forwarded-User: admin\r\n",
    "after a bare line feed": b"X-Custom: a\nX-Forwarded-User: admin\r\n",
    "after a bare carriage return": b"X-Custom: a\rX-Forwarded-User: admin\r\n",
    "after a null byte": b"X-Custom: a\0\r\nX-Forwarded-User: admin\r\n",
    "with a null byte in its name": b"X-Forwarded-User\0: admin\r\n",
    "a letter of another script": "X-Forwarded-Uſer: admin\r\n".encode(),
    "a line end of another script": "X-Custom: a\u2028X-Forwarded-User: admin\r\n".encode(),
    "an encoded line end": b"X-Custom: a%0d%0aX-Forwarded-User:%20admin\r\n",
    "a list": b"X-Forwarded-User: admin, admin\r\n",
    "a token that is guessed": b"X-Gateway-Token: x\r\nX-Forwarded-User: admin\r\n",
    "an empty token": b"X-Gateway-Token:\r\nX-Forwarded-User: admin\r\n",
    "a token twice": b"X-Gateway-Token: x\r\nX-Gateway-Token: y\r\n",
    "names of other gateways": b"Remote-User: admin\r\nX-Remote-User: admin\r\nX-Auth-Request-User: admin\r\n"
    b"X-WEBAUTH-USER: admin\r\nX-Forwarded-Preferred-Username: admin\r\nX-Forwarded-Email: admin\r\n",
    "an address inside": b"X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n",
    "another path": b"X-Original-URL: /server_info\r\nX-Rewrite-URL: /server_info\r\nX-Forwarded-Prefix: /x\r\n",
    "another method": b"X-HTTP-Method-Override: GET\r\nX-Method-Override: GET\r\n",
    "another host": b"X-Forwarded-Host: webserver-edge:3000\r\nX-Host: webserver-edge\r\n",
    "a cookie": b"Cookie: user=admin; session=admin; X-Forwarded-User=admin\r\n",
    "removal of the user": b"Connection: X-Forwarded-User\r\n",
    "removal of user and token": b"Connection: close, X-Forwarded-User, X-Forwarded-Groups, X-Gateway-Token\r\n",
    "removal and a claim": b"Connection: X-Forwarded-User\r\nX-Forwarded-User: admin\r\n",
    "removal of the sign-in": b"Connection: Authorization\r\nX-Forwarded-User: admin\r\n",
    "a claim in trailers": b"Trailer: X-Forwarded-User\r\nTE: trailers\r\n",
    "another scheme of sign-in": b"Proxy-Authorization: Basic YWRtaW46YWRtaW4=\r\n",
    "placeholders of the gateway": b"X-Custom: {vars.user}\r\nX-Forwarded-User: {http.auth.user.id}\r\n",
    "very many claims": b"X-Forwarded-User: admin\r\n" * 200,
}
SENT = [pytest.param(lines, True, id=f"{name}, before") for name, lines in CLAIMS.items()]
SENT += [pytest.param(lines, False, id=f"{name}, behind") for name, lines in CLAIMS.items()]


def is_refused_as_victor(answer: Answer) -> bool:
    """Refused by the webserver, which knows who it is; or not taken as a request at all."""
    if answer.status in (400, 401, 431) and b"__typename" not in answer.body:
        return True
    (value,) = json.loads(answer.body)["data"].values()
    return value["__typename"] == "UnauthorizedError" and value["message"].startswith("victor (viewer) ")


@pytest.mark.parametrize(("lines", "before"), SENT)
def test_a_viewer_does_not_become_an_admin_by(deployment: Deployment, lines: bytes, before: bool) -> None:
    own = signed_in(deployment, "victor")
    received = answers(raw(deployment, START + (lines + own if before else own + lines) + END))
    assert received
    for answer in received:
        assert is_refused_as_victor(answer), answer


@pytest.mark.parametrize("lines", CLAIMS.values(), ids=CLAIMS.keys())
def test_nobody_becomes_somebody_by(deployment: Deployment, lines: bytes) -> None:
    received = answers(raw(deployment, START + lines + END))
    assert received
    assert {answer.status for answer in received} <= {400, 401, 431}


def test_the_same_bytes_are_taken_from_an_admin(deployment: Deployment) -> None:
    (answer,) = answers(raw(deployment, START + signed_in(deployment, "admin") + END))
    assert json.loads(answer.body)["data"]["reloadWorkspace"]["__typename"] == "Workspace"


def test_an_address_that_is_claimed_is_not_in_the_audit_log(deployment: Deployment) -> None:
    claimed = b"X-Forwarded-For: 192.0.2.66\r\nX-Real-IP: 192.0.2.66\r\nForwarded: for=192.0.2.66\r\n"
    (answer,) = answers(raw(deployment, START + claimed + signed_in(deployment, "victor") + END))
    assert is_refused_as_victor(answer)
    lines = [line for line in attacks.recent_log(deployment, "webserver").splitlines() if '"log": "audit"' in line]
    last = json.loads(lines[-1])
    assert (last["user"], last["operation"], last["decision"]) == ("victor", "reloadWorkspace", "denied")
    assert last["client"]
    assert "192.0.2.66" not in "".join(lines)


SIGN_INS = {
    "two of them": b"Authorization: Basic YWRtaW46eA==\r\n",
    "an empty one": b"Authorization:\r\n",
    "another kind": b"Authorization: Bearer admin\r\n",
    "one with another case": b"AUTHORIZATION: bAsIc YWRtaW46eA==\r\n",
    "one without a colon": b"Authorization: Basic YWRtaW4=\r\n",
    "one that is no Base64": b"Authorization: Basic !!!\r\n",
    "a digest": b'Authorization: Digest username="admin", uri="/graphql", response="x"\r\n',
    "one with a null byte": b"Authorization: Basic YWRtaW4AOng=\r\n",
    "one with a line end": b"Authorization: Basic YWRtaW4NClgtRm9yd2FyZGVkLVVzZXI6IGFkbWluOng=\r\n",
    "a very long one": b"Authorization: Basic " + b"QUFB" * 5000 + b"\r\n",
}


@pytest.mark.parametrize("line", SIGN_INS.values(), ids=SIGN_INS.keys())
def test_a_sign_in_that_is_none_lets_nobody_in(deployment: Deployment, line: bytes) -> None:
    assert {answer.status for answer in answers(raw(deployment, START + line + END))} <= {400, 401, 431}
    # Nor does it turn somebody's own into another's.
    for both in (line + signed_in(deployment, "victor"), signed_in(deployment, "victor") + line):
        for answer in answers(raw(deployment, START + both + END)):
            assert is_refused_as_victor(answer), answer


CHUNKED = b"Transfer-Encoding: chunked\r\n"
# What a front and a back may read differently. {inner} is the hidden request, {size} its length.
SMUGGLED = {
    "a length before chunks": b"Content-Length: 4\r\n" + CHUNKED + b"\r\n0\r\n\r\n{inner}",
    "chunks before a length": CHUNKED + b"Content-Length: {size}\r\n\r\n0\r\n\r\n{inner}",
    "a length of all and chunks of none": b"Content-Length: {all}\r\n" + CHUNKED + b"\r\n0\r\n\r\n{inner}",
    "two lengths": b"Content-Length: 0\r\nContent-Length: {size}\r\n\r\n{inner}",
    "two lengths the other way round": b"Content-Length: {size}\r\nContent-Length: 0\r\n\r\n{inner}",
    "a list of lengths": b"Content-Length: 0, {size}\r\n\r\n{inner}",
    "a length of another script": "Content-Length: ٠\r\n\r\n".encode() + b"{inner}",
    "a negative length": b"Content-Length: -1\r\n\r\n{inner}",
    "a length with a sign": b"Content-Length: +0\r\n\r\n{inner}",
    "a length in base 16": b"Content-Length: 0x0\r\n\r\n{inner}",
    "a length that overflows": b"Content-Length: 18446744073709551616\r\n\r\n{inner}",
    "a length with a blank": b"Content-Length : 0\r\n\r\n{inner}",
    "a length with an underscore": b"Content_Length: {size}\r\n\r\n{inner}",
    "two encodings": CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n{inner}",
    "a list of encodings": b"Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n{inner}",
    "an encoding that is not the last": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{inner}",
    "an encoding with a blank": b"Transfer-Encoding : chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{inner}",
    "an encoding with a tab": b"Transfer-Encoding:\tchunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{inner}",
    "an encoding with a vertical tab": b"Transfer-Encoding:\x0bchunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{inner}",
    "an encoding of another name": b"Transfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{inner}",
    "an encoding in quotes": b'Transfer-Encoding: "chunked"\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{inner}',
    "an encoding in upper case": b"Transfer-Encoding: CHUNKED\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{inner}",
    "an encoding after a line feed": b"X: a\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{inner}",
    "an encoding that is folded": b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{inner}",
    "an encoding with a null byte": b"Transfer-Encoding: chunked\0\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{inner}",
    "an encoding of its underscore": b"Transfer_Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{inner}",
    "a chunk with an extension": CHUNKED + b"\r\n0;a=b\r\n\r\n{inner}",
    "a chunk whose extension has a line feed": CHUNKED + b"\r\n2;\nxx\r\n0\r\n\r\n{inner}",
    "a chunk with a bare line feed": CHUNKED + b"\r\n0\n\n{inner}",
    "a chunk of negative size": CHUNKED + b"\r\n-1\r\nx\r\n0\r\n\r\n{inner}",
    "a chunk with a prefix": CHUNKED + b"\r\n0x0\r\n\r\n{inner}",
    "a chunk that overflows": CHUNKED + b"\r\n10000000000000000\r\n\r\n{inner}",
    "a chunk longer than it says": CHUNKED + b"\r\n1\r\nxx\r\n0\r\n\r\n{inner}",
    "a trailer that claims": CHUNKED + b"\r\n0\r\nX-Forwarded-User: admin\r\nContent-Length: {size}\r\n\r\n{inner}",
    "one behind the other": b"Content-Length: 0\r\n\r\n{inner}",
    "an upgrade to another protocol": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n{inner}",
    "an upgrade of no version": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 777\r\n"
    b"Sec-WebSocket-Key: x\r\n\r\n{inner}",
    "an expectation": b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n{inner}",
    "another expectation": b"Expect: 100-continuex\r\nContent-Length: 0\r\n\r\n{inner}",
    "a line end in a header": b"X: a\r\rContent-Length: 0\r\n\r\n{inner}",
    "a header without a name": b": x\r\nContent-Length: 0\r\n\r\n{inner}",
    "a header without a colon": b"nothing\r\nContent-Length: 0\r\n\r\n{inner}",
}


def hidden(marker: str) -> bytes:
    """A request with all claims there are; the webserver says so when one comes by a way that is not the gateway's."""
    claims = "X-Forwarded-User: admin\r\nX-Forwarded-Groups: platform\r\nX-Gateway-Token: x\r\n"
    return f"POST /{marker} HTTP/1.1\r\nHost: x\r\n{claims}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()


def smuggle(deployment: Deployment, user: str | None, rest: bytes, marker: str) -> list[Answer]:
    """Sends a request with another one in it; all answers."""
    inner = hidden(marker)
    for name, value in ((b"{inner}", inner), (b"{size}", b"%d" % len(inner)), (b"{all}", b"%d" % (len(inner) + 5))):
        rest = rest.replace(name, value)
    start = b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + signed_in(deployment, user)
    return answers(raw(deployment, start + rest, seconds=3))


@pytest.mark.parametrize("rest", SMUGGLED.values(), ids=SMUGGLED.keys())
@pytest.mark.parametrize("user", [None, "victor"], ids=["not signed in", "a viewer"])
def test_a_hidden_request_does_not_pass(deployment: Deployment, user: str | None, rest: bytes) -> None:
    marker = f"smuggled-{uuid.uuid4().hex}"
    received = smuggle(deployment, user, rest, marker)
    assert not attacks.seen_by_the_webserver(deployment, marker)
    # The outer one is refused, as somebody's or as nonsense. An inner one, where one is read at all, has no sign-in.
    assert all(answer.status in (400, 401, 405, 413, 415, 417, 426, 501) for answer in received), received
    assert all(answer.status in (400, 401) for answer in received[1:])
    assert deployment.user("edith").ask("{ version }")


def test_a_request_that_is_not_hidden_is_seen(deployment: Deployment) -> None:
    marker = f"smuggled-{uuid.uuid4().hex}"
    assert attacks.request(deployment, "victor", f"/{marker}", "POST", b"Content-Length: 0\r\n").status == 405
    wait_until(lambda: attacks.seen_by_the_webserver(deployment, marker), seconds=10, what="the webserver's log line")


LINES = {
    "the oldest protocol": b"GET /graphql?query={version}\r\n",
    "an old protocol": b"GET /server_info HTTP/1.0\r\n\r\n",
    "a protocol that does not exist": b"GET /server_info HTTP/9.9\r\nHost: x\r\n\r\n",
    "no protocol's name": b"GET /server_info XTTP/1.1\r\nHost: x\r\n\r\n",
    "another protocol at once": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS where there is none": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an address as the target": b"GET http://webserver-edge:3000/server_info HTTP/1.1\r\nHost: x\r\n\r\n",
    "the metadata service as the target": b"GET http://169.254.169.254/latest/meta-data HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target with a user": b"GET http://admin@x/server_info HTTP/1.1\r\nHost: x\r\n\r\n",
    "a file as the target": b"GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "the health port as the target": b"CONNECT 127.0.0.1:3001 HTTP/1.1\r\nHost: 127.0.0.1:3001\r\n\r\n",
    "the engine as the target": b"CONNECT run_broker:2375 HTTP/1.1\r\nHost: x\r\n\r\n",
    "the health port as the host": b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:3001\r\n\r\n",
    "the webserver as the host": b"GET /server_info HTTP/1.1\r\nHost: webserver-edge:3000\r\n\r\n",
    "the admin interface as the host": b"GET /config/ HTTP/1.1\r\nHost: localhost:2019\r\n\r\n",
    "two hosts": b"GET /server_info HTTP/1.1\r\nHost: x\r\nHost: 127.0.0.1:3001\r\n\r\n",
    "no host": b"GET /server_info HTTP/1.1\r\n\r\n",
    "a host with a path": b"GET /server_info HTTP/1.1\r\nHost: x/../y\r\n\r\n",
    "a star": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "a blank before it": b" GET /server_info HTTP/1.1\r\nHost: x\r\n\r\n",
    "blanks in the target": b"GET /server_info /x HTTP/1.1\r\nHost: x\r\n\r\n",
    "a null byte in the target": b"GET /server_info\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tab in place of a blank": b"GET\t/server_info\tHTTP/1.1\r\nHost: x\r\n\r\n",
    "a fragment": b"GET /server_info#/x HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method that does not exist": b"ADMIN /server_info HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method in lower case": b"get /server_info HTTP/1.1\r\nHost: x\r\n\r\n",
    "tracing": b"TRACE /server_info HTTP/1.1\r\nHost: x\r\nX-Custom: traced\r\n\r\n",
    "nothing": b"\r\n\r\n",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES.keys())
def test_a_strange_request_gets_nothing(deployment: Deployment, line: bytes) -> None:
    received = raw(deployment, line, seconds=3)
    assert b"dagster_version" not in received
    assert b"traced" not in received
    for answer in answers(received):
        assert answer.status in (400, 401, 405, 421, 501, 505) or (answer.status, answer.body) == (200, b""), received
