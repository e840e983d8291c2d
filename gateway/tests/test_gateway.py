"""Nobody passes without a password, nobody passes as somebody else, and what is broken harms nothing that works."""

import base64
import json
import socket
import ssl
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from operations import sign_ins

if TYPE_CHECKING:
    from conftest import Backend, Gateway

NewGateway = Callable[..., "Gateway"]


@pytest.mark.parametrize(
    "path", ["/", "/graphql", "/server_info", "/health", "/logs/x/out", "/favicon.ico", "//", "/%2e/"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS"])
def test_every_path_asks_for_a_password(gateway: "Gateway", method: str, path: str) -> None:
    response = gateway.request(method, path, user=None)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    "credentials",
    [
        ("admin", "wrong"),
        ("admin", ""),
        ("nobody", "correct horse"),
        ("", ""),
        ("Admin", "correct horse"),
        ("{env.HOME}", "x"),
        ("ines", "correct horse"),
    ],
)
def test_a_wrong_name_or_password_is_refused(gateway: "Gateway", credentials: tuple[str, str]) -> None:
    assert gateway.request(auth=credentials).status_code == 401


@pytest.mark.parametrize("value", ["Bearer x", "Basic", "Basic !!!", "Basic " + "YWRtaW46", "basic"])
def test_a_malformed_authorization_is_refused(gateway: "Gateway", value: str) -> None:
    assert gateway.request(user=None, headers={"Authorization": value}).status_code == 401


def test_the_backend_learns_who_it_is_and_never_the_password(gateway: "Gateway") -> None:
    for user, groups in gateway.groups.items():
        seen = gateway.sees(user=user)
        assert seen["x-forwarded-user"] == [user]
        assert seen["x-forwarded-groups"] == [groups]
        assert seen["x-gateway-token"] == [gateway.token]
        assert seen["x-forwarded-for"] == ["127.0.0.1"]
        assert seen["x-forwarded-proto"] == ["http"]
        assert "authorization" not in seen


FORGED = [
    *("X-Forwarded-User", "x-forwarded-user", "X_Forwarded_User", "X-Forwarded_User", "X-FORWARDED-GROUPS"),
    *("X-Gateway-Token", "X_Gateway_Token", "X-Gateway-Anything", "X-Forwarded-For", "X-Forwarded-Host"),
    *(
        "X-Forwarded-Proto",
        "X-Real-IP",
        "Forwarded",
        "Remote-User",
        "Remote_User",
        "Remote-Groups",
        "X-Auth-Request-User",
    ),
]


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_header_is_dropped(gateway: "Gateway", name: str) -> None:
    response = gateway.request(user="ines", headers=[(name, "forged"), (name, "forged")])
    assert response.status_code == 200
    assert "forged" not in response.text
    assert gateway.seen_in(response)["x-forwarded-user"] == ["ines"]


@pytest.mark.parametrize("name", ["X-Forwarded-User", "X-Forwarded-Groups", "X-Gateway-Token", "X-Forwarded-For"])
def test_a_connection_header_cannot_remove_what_the_gateway_says(gateway: "Gateway", name: str) -> None:
    seen = gateway.sees(headers={"Connection": f"close, {name}"})
    assert seen["x-forwarded-user"] == ["admin"]
    assert seen["x-forwarded-groups"] == [gateway.groups["admin"]]
    assert seen["x-gateway-token"] == [gateway.token]
    assert seen["x-forwarded-for"] == ["127.0.0.1"]


def test_placeholders_in_a_request_are_text(gateway: "Gateway") -> None:
    for place in ("{env.SECRET_OF_THE_PROCESS}", "{file./etc/passwd}", "{vars.user}"):
        response = gateway.request(path=f"/{place}?x={place}", headers={"X-Custom": place, "User-Agent": place})
        assert gateway.seen_in(response)["x-custom"] == [place]
        assert "not for clients" not in response.text
        assert "root:" not in response.text


INNER = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
SMUGGLED = {
    "two lengths": b"Content-Length: 5\r\nContent-Length: 0\r\n\r\nhello",
    "length and chunks": b"Content-Length: 4\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + INNER,
    "two encodings": CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n" + INNER,
    "an obscured encoding": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + INNER,
    "another encoding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + INNER,
    "a folded header": b"X-Custom: a\r\n X-Forwarded-User: ines\r\n\r\n",
    "a bare line feed": b"X-Custom: a\nX-Forwarded-User: ines\r\n\r\n",
    "a header without a name": b": x\r\n\r\n",
    "a blank in a name": b"X-Forwarded-User : ines\r\n\r\n",
    "a negative length": b"Content-Length: -1\r\n\r\n",
    "a length with a sign": b"Content-Length: +5\r\n\r\nhello",
    "a chunk that lies": b"Transfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("rest", SMUGGLED.values(), ids=SMUGGLED.keys())
def test_a_smuggled_request_does_not_pass(gateway: "Gateway", backend: "Backend", rest: bytes) -> None:
    head = f"POST /outer HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {gateway.basic}\r\n".encode()
    answer = gateway.raw(head + rest)
    assert "/smuggled" not in backend.seen
    # An inner request, where one is read at all, has no password; and nobody becomes somebody else.
    assert b"smuggled" not in answer
    assert b'"X-Forwarded-User", "ines"' not in answer


CHUNKS = {
    "a negative size": b"-1\r\nhello\r\n0\r\n\r\n",
    "a size that is no number": b"zz\r\nhello\r\n0\r\n\r\n",
    "a wrong size after a good chunk": b"5\r\nhello\r\nzz\r\n\r\n",
    "a chunk longer than its size": b"5\r\nhelloXX0\r\n\r\n",
    "a bare line feed": b"5\nhello\r\n0\r\n\r\n",
    "a size beyond all numbers": b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "a trailer that is no header": b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
}


@pytest.mark.parametrize("body", CHUNKS.values(), ids=CHUNKS.keys())
def test_malformed_chunks_are_the_clients_mistake(gateway: "Gateway", body: bytes) -> None:
    head = f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic {gateway.basic}\r\n"
    answer = gateway.raw(f"{head}{CHUNKED.decode()}\r\n".encode() + body)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b"does not answer" not in answer


def test_to_ask_for_the_options_of_no_path_tells_nothing(gateway: "Gateway") -> None:
    # Answered by Go's own server before Caddy sees it, and nothing can be set: empty, whoever asks.
    answer = gateway.raw(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").decode().split("\r\n")
    assert [line for line in answer if line and not line.startswith("Date: ")] == [
        "HTTP/1.1 200 OK",
        "Content-Length: 0",
        "Connection: close",
    ]


def test_a_body_above_the_limit_is_refused(gateway: "Gateway") -> None:
    assert gateway.request("POST", content=b"x" * (9 * 1024 * 1024)).json()["length"] == 9 * 1024 * 1024
    response = gateway.request("POST", content=b"x" * (11 * 1024 * 1024))
    assert response.status_code == 413


def test_headers_above_the_limit_are_refused(gateway: "Gateway") -> None:
    assert gateway.request(headers={"X-Custom": "x" * 60_000}).status_code == 431


def test_a_client_that_never_ends_its_headers_is_dropped(gateway: "Gateway") -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert b"200" not in b"".join(iter(lambda: connection.recv(4096), b""))


def test_answers_carry_security_headers(gateway: "Gateway") -> None:
    for response in (gateway.request(), gateway.request(user=None)):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        assert "Server" not in response.headers
        assert "Via" not in response.headers
        assert "Strict-Transport-Security" not in response.headers


def test_the_access_log_has_the_user_and_no_credentials(gateway: "Gateway") -> None:
    gateway.request(path="/logged", headers={"Cookie": "session=hidden-cookie"})
    gateway.request(path="/logged", auth=("admin", "hidden-password"))
    text = gateway.log.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines() if '"uri":"/logged"' in line]
    assert lines[0]["user_id"] == "admin"
    assert [line["status"] for line in lines] == [200, 401]
    for secret in (gateway.basic, "hidden-cookie", base64.b64encode(b"admin:hidden-password").decode(), gateway.token):
        assert secret not in text


def test_a_wrong_name_or_password_is_told_from_none_in_the_log(new_gateway: NewGateway) -> None:
    with new_gateway().running() as gateway:
        assert gateway.request().status_code == 200
        assert gateway.request(user=None).status_code == 401
        assert sign_ins.failures(gateway.log.read_text(encoding="utf-8").splitlines()) == {}
        for credentials in (("admin", "wrong"), ("nobody", "correct horse"), ("", "")):
            assert gateway.request(auth=credentials).status_code == 401
        assert gateway.request(user=None, headers={"Authorization": "Basic !!!"}).status_code == 401
        assert sign_ins.failures(gateway.log.read_text(encoding="utf-8").splitlines()) == {"127.0.0.1": 4}


def test_an_answer_that_breaks_off_is_logged_without_the_token(new_gateway: NewGateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        upstream.settimeout(30)
        gateway = new_gateway(upstream=upstream.getsockname()[1])
        with gateway.running(), socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as client:
            credentials = f"Authorization: Basic {gateway.basic}"
            client.sendall(f"GET /broken HTTP/1.1\r\nHost: x\r\n{credentials}\r\n\r\n".encode())
            connection, _ = upstream.accept()
            with connection:
                seen = b"".join(iter(lambda: connection.recv(1), b"\n")) + connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nnot all of it")
            assert gateway.token.encode() in seen
            while client.recv(65536):
                pass
        text = gateway.log.read_text(encoding="utf-8")
    assert "incomplete response" in text
    assert gateway.token not in text
    assert gateway.basic not in text


def test_the_admin_interface_is_a_socket_of_its_owner_alone(gateway: "Gateway") -> None:
    socket_file = Path(gateway.environment["GATEWAY_ADMIN"])
    assert stat.S_IMODE(socket_file.stat().st_mode) == 0o200
    assert gateway.request(path="/config/").json()["path"] == "/config/"


def test_a_user_who_is_added_or_removed_counts_after_a_reload(gateway: "Gateway") -> None:
    try:
        gateway.write_users({**gateway.users, "new": "trustno1"}, {**gateway.groups, "new": "analysts"})
        assert gateway.request(auth=("new", "trustno1")).status_code == 401
        assert gateway.command("gateway-reload").returncode == 0
        assert gateway.sees(auth=("new", "trustno1"))["x-forwarded-groups"] == ["analysts"]
        gateway.write_users(gateway.users, gateway.groups)
        assert gateway.command("gateway-reload").returncode == 0
        assert gateway.request(auth=("new", "trustno1")).status_code == 401
    finally:
        gateway.write_users(gateway.users, gateway.groups)


@pytest.mark.parametrize("line", ["broken\n", "admin not-a-hash\n", 'import "/etc/passwd\n', "}\n"])
def test_a_broken_users_file_changes_nothing(gateway: "Gateway", line: str) -> None:
    users = gateway.folder / "secrets" / "gateway_users"
    before = users.read_text(encoding="utf-8")
    try:
        users.write_text(before + line, encoding="utf-8")
        result = gateway.command("gateway-reload")
        assert result.returncode != 0
        assert result.stderr
        assert gateway.request().status_code == 200
    finally:
        users.write_text(before, encoding="utf-8")


def test_an_empty_users_file_lets_nobody_in(new_gateway: NewGateway) -> None:
    gateway = new_gateway()
    gateway.write_users({}, {})
    with gateway.running():
        assert gateway.request().status_code == 401
        assert gateway.request(user=None).status_code == 401
        assert gateway.request(auth=("", "")).status_code == 401


def test_a_user_in_no_group_has_no_groups(new_gateway: NewGateway) -> None:
    gateway = new_gateway()
    gateway.write_users(gateway.users, {"admin": ""})
    with gateway.running():
        for user in gateway.users:
            assert gateway.sees(user=user)["x-forwarded-groups"] == [""]


def test_websockets_pass_with_the_user_and_not_without(new_gateway: NewGateway, websocket_backend: int) -> None:
    with new_gateway(upstream=websocket_backend).running() as gateway:
        address = f"ws://127.0.0.1:{gateway.port}/graphql"
        forged = {"Authorization": f"Basic {gateway.basic}", "X-Forwarded-User": "ines"}
        with connect(address, additional_headers=forged) as connection:
            connection.send("hello")
            assert connection.recv(timeout=20) == "admin: hello"
        with pytest.raises(InvalidStatus) as refused:
            connect(address)
        assert refused.value.response.status_code == 401


def test_a_webserver_that_is_down_is_said_to_be(new_gateway: NewGateway) -> None:
    with new_gateway(upstream=1).running() as gateway:
        response = gateway.request()
        assert response.status_code == 503
        assert "does not answer" in response.text
        assert gateway.request(user=None).status_code == 401


def test_health_fails_when_the_gateway_is_not_there(new_gateway: NewGateway) -> None:
    gateway = new_gateway()
    assert gateway.command("gateway-health").returncode != 0
    with gateway.running():
        assert gateway.command("gateway-health").returncode == 0
    assert gateway.command("gateway-health").returncode != 0


def test_a_local_name_has_tls_of_the_gateways_own_authority(new_gateway: NewGateway) -> None:
    with new_gateway(site="localhost").running() as gateway:
        root = gateway.folder / "data" / "pki" / "authorities" / "local" / "root.crt"
        trust = ssl.create_default_context(cafile=str(root))
        # The certificate is made after the gateway has begun to serve.
        transport = httpx.HTTPTransport(verify=trust, retries=6)
        with httpx.Client(transport=transport, auth=("admin", gateway.users["admin"])) as client:
            response = client.get(f"https://localhost:{gateway.port}/")
        assert gateway.seen_in(response)["x-forwarded-proto"] == ["https"]
        assert "Strict-Transport-Security" not in response.headers
        with pytest.raises(httpx.ConnectError):
            gateway.request()
        plain = httpx.get(f"http://localhost:{gateway.port}/", auth=("admin", gateway.users["admin"]))
        assert plain.status_code == 400


LOCAL = [
    "localhost",
    "dagster",
    "dagster.local",
    "a.b.internal",
    "nas.lan",
    "x.localhost",
    "10.0.0.7",
    "::1",
    "2001:db8::7",
]
PUBLIC = ["dagster.example.com", "xn--bcher-kva.example", "data.example.co.uk"]
SITES = {"": "plain", **dict.fromkeys(LOCAL, "internal"), **dict.fromkeys(PUBLIC, "acme")}


@pytest.mark.parametrize(("site", "kind"), SITES.items())
@pytest.mark.parametrize("mail", ["", "ops@example.com"])
def test_every_form_of_the_address_makes_a_valid_configuration(
    new_gateway: NewGateway, site: str, kind: str, mail: str
) -> None:
    gateway = new_gateway(site)
    gateway.environment["ACME_EMAIL"] = mail
    configured = json.loads(configuration(gateway))
    text = json.dumps(configured)
    assert ('"module": "acme"' in text, '"module": "internal"' in text) == (kind == "acme", kind == "internal")
    assert ("Strict-Transport-Security" in text) == (kind == "acme")
    if kind == "acme":
        assert '"http": {"disabled": true}' in text
        assert ('"email": "ops@example.com"' in text) == bool(mail)
    servers = configured["apps"]["http"]["servers"].values()
    assert {listen for server in servers for listen in server["listen"]} == {
        f":{gateway.port}",
        f"127.0.0.1:{gateway.health_port}",
    }


def configuration(gateway: "Gateway") -> str:
    """What Caddy makes of the Caddyfile, after checking it."""
    script = '. "$0"; exec caddy adapt --validate --adapter caddyfile --config "$GATEWAY_CONFIG"'
    environment = str(Path(__file__).parents[1] / "bin" / "gateway-environment")
    result = subprocess.run(
        ["sh", "-c", script, environment], env=gateway.environment, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    "site",
    [
        "https://dagster.example.com",
        "dagster.example.com:443",
        "a b",
        "a,b",
        "{env.HOME}",
        "*.example.com",
        "x/y",
        "-x",
        ".x",
    ],
)
def test_an_address_that_is_none_ends_the_start_with_what_is_expected(new_gateway: NewGateway, site: str) -> None:
    result = new_gateway(site).command("gateway-start")
    assert result.returncode == 1
    assert "expected" in result.stderr


def test_a_mail_address_that_is_none_ends_the_start(new_gateway: NewGateway) -> None:
    gateway = new_gateway("dagster.example.com")
    gateway.environment["ACME_EMAIL"] = "a@example.com\n} import /etc/passwd"
    result = gateway.command("gateway-start")
    assert result.returncode == 1
    assert "ACME_EMAIL" in result.stderr


def test_single_sign_on_replaces_the_password(new_gateway: NewGateway, sign_on: int) -> None:
    gateway = new_gateway()
    gateway.environment["GATEWAY_SIGN_IN"] = str(Path(__file__).parents[1] / "single-sign-on.caddy")
    gateway.environment["SIGN_ON_SERVICE"] = f"127.0.0.1:{sign_on}"
    forged = {"Remote-User": "admin", "Remote-Groups": "platform", "X-Forwarded-User": "admin"}
    with gateway.running():
        for method in ("GET", "POST"):
            answer = gateway.request(method, user="admin", headers=forged)
            assert (answer.status_code, answer.headers["Location"]) == (302, "https://login.example.com/")
        seen = gateway.sees(user=None, headers={**forged, "Cookie": "session=ines,analysts,everyone"})
        assert (seen["x-forwarded-user"], seen["x-forwarded-groups"]) == (["ines"], ["analysts,everyone"])
        # A service that names nobody, or no groups, leaves them empty: the webserver lets an empty name do nothing.
        seen = gateway.sees(user=None, headers={**forged, "Cookie": "session=ines"})
        assert (seen["x-forwarded-user"], seen["x-forwarded-groups"]) == (["ines"], [""])
        seen = gateway.sees(user=None, headers={**forged, "Cookie": "session="})
        assert (seen["x-forwarded-user"], seen["x-forwarded-groups"]) == ([""], [""])
        seen = gateway.sees(user=None, headers={"Cookie": "session=ines", "Connection": "Remote-User, Remote-Groups"})
        assert seen["x-forwarded-user"] == ["ines"]


def test_a_sign_on_header_of_any_name_is_not_a_clients_word(new_gateway: NewGateway, sign_on: int) -> None:
    gateway = new_gateway()
    gateway.environment["GATEWAY_SIGN_IN"] = str(Path(__file__).parents[1] / "single-sign-on.caddy")
    gateway.environment["SIGN_ON_SERVICE"] = f"127.0.0.1:{sign_on}"
    gateway.environment["SIGN_ON_USER_HEADER"] = "Corporate-User"
    gateway.environment["SIGN_ON_GROUPS_HEADER"] = "Corporate-Groups"
    with gateway.running():
        forged = {"Cookie": "session=", "Corporate-User": "admin", "Corporate-Groups": "platform"}
        seen = gateway.sees(user=None, headers=forged)
        assert (seen["x-forwarded-user"], seen["x-forwarded-groups"]) == ([""], [""])


def test_single_sign_on_that_does_not_answer_lets_nobody_in(new_gateway: NewGateway) -> None:
    gateway = new_gateway()
    gateway.environment["GATEWAY_SIGN_IN"] = str(Path(__file__).parents[1] / "single-sign-on.caddy")
    gateway.environment["SIGN_ON_SERVICE"] = "127.0.0.1:1"
    with gateway.running():
        answer = gateway.request(headers={"Remote-User": "admin"})
        assert answer.status_code == 503
        assert "headers" not in answer.text
