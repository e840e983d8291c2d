"""What does not come from the gateway, from a person with a role, or from our own page, is not served."""

from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

if TYPE_CHECKING:
    from conftest import Server

PATHS = [
    "/",
    "/graphql",
    "/graphql?query={version}",
    "/dagit_info",
    "/logs/a/out",
    "/notebook",
    "/download_debug/x",
    "/x",
]
QUERY = {"query": "{ version }"}


def test_server_info_is_open_for_health_checks(server: "Server") -> None:
    response = server.request(None, "GET", "/server_info", headers={"X-Gateway-Token": "none"})
    assert response.status_code == 200
    assert set(response.json()) == {"dagster_webserver_version", "dagster_version", "dagster_graphql_version"}


@pytest.mark.parametrize(
    "path", ["/server_info/", "//server_info", "/server_info/../graphql", "/server_info%2f", "/SERVER_INFO"]
)
def test_nothing_that_looks_like_server_info_is_open(server: "Server", path: str) -> None:
    response = server.request(None, "GET", path)
    assert response.status_code == 403


def test_server_info_is_open_for_reading_only(server: "Server") -> None:
    assert server.request(None, "POST", "/server_info").status_code == 403


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("token", [None, "", "wrong", "a-secret-of-the-gatewaY", "a-secret-of-the-gateway2"])
def test_without_the_gateways_token_nothing_is_served(server: "Server", path: str, token: str | None) -> None:
    headers = {"X-Forwarded-User": "admin", **({} if token is None else {"X-Gateway-Token": token})}
    response = httpx.get(f"http://127.0.0.1:{server.port}{path}", headers=headers)
    assert response.status_code == 403
    assert "gateway" in response.json()["error"]


@pytest.mark.parametrize("path", PATHS)
def test_without_a_user_nothing_is_served(server: "Server", path: str) -> None:
    assert server.request(None, "GET", path).status_code == 403
    assert server.request("", "GET", path).status_code == 403


@pytest.mark.parametrize("path", PATHS)
def test_a_user_without_a_role_is_told_so(server: "Server", path: str) -> None:
    response = server.request("stranger", "GET", path)
    assert response.status_code == 403
    assert response.json() == {
        "error": "stranger has signed in but has no role in access.yaml. Ask an admin of this deployment."
    }


def test_a_browser_is_told_on_a_page(server: "Server") -> None:
    response = server.request("<b>eve", "GET", "/", headers={"Accept": "text/html,*/*"})
    assert response.status_code == 403
    assert response.headers["Content-Type"].startswith("text/html")
    assert "&lt;b&gt;eve has signed in" in response.text


@pytest.mark.parametrize("name", ["X-Forwarded-User", "X-Forwarded-Groups", "X-Gateway-Token", "X-Forwarded-For"])
def test_a_header_given_twice_is_refused(server: "Server", name: str) -> None:
    response = server.request("vera", "POST", "/graphql", json=QUERY, headers={name: "admin"})
    assert response.status_code == 403
    assert "2 times" in response.json()["error"]


@pytest.mark.parametrize("user", ["admin, vera", "admin\u00a0", "admin\u2028", "\u2028", "admin\u200b", "\u0430dmin"])
def test_a_user_that_is_almost_an_admin_is_none(server: "Server", user: str) -> None:
    assert server.plain("/", {**server.headers(None), "X-Forwarded-User": user.encode()})[0] == 403


def test_names_that_are_not_utf8_are_refused(server: "Server") -> None:
    for name in ("X-Forwarded-User", "X-Forwarded-Groups"):
        assert server.plain("/", {**server.headers("admin"), name: b"admin\xff"})[0] == 403


def test_headers_that_only_resemble_the_gateways_count_for_nothing(server: "Server") -> None:
    forged = {
        "X_Forwarded_User": "admin",
        "Remote-User": "admin",
        "X-Forwarded-Users": "admin",
        "X-Forwarded-Group": "platform",
    }
    response = server.request("vera", "POST", "/graphql", json={"query": "mutation { setNuxSeen }"}, headers=forged)
    assert "vera (viewer) may not" in response.text


def test_groups_make_the_role(server: "Server") -> None:
    query = {"query": "{ permissions { permission value } }"}
    for groups, value in (
        ("platform", True),
        ("everyone , platform", True),
        ("everyone", False),
        ("Platform,everyone", False),
    ):
        answer = server.request("somebody", "POST", "/graphql", groups=groups, json=query).json()
        assert {"permission": "launch_pipeline_execution", "value": value} in answer["data"]["permissions"]


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1"},
    {"Origin": "file://"},
    {"Origin": "http://127.0.0.1:PORT.evil.example"},
    {"Origin": "https://127.0.0.1"},
    {"Origin": "ftp://127.0.0.1:PORT"},
    {"Origin": "http://127.0.0.1:PORT@evil.example"},
    {"Origin": "http://127.0.0.1:PORT, http://evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "http://127.0.0.1:PORT", "Sec-Fetch-Site": "cross-site"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_of_another_site_can_send_nothing(server: "Server", headers: dict[str, str]) -> None:
    sent = {name: value.replace("PORT", str(server.port)) for name, value in headers.items()}
    assert server.request("admin", "POST", "/graphql", json=QUERY, headers=sent).status_code == 403
    assert server.request("admin", "GET", "/graphql?query={version}", headers=sent).status_code == 403
    report = server.request("admin", "POST", "/report_asset_observation/ingestion/raw/daily", headers=sent)
    assert report.status_code == 403
    with pytest.raises(InvalidStatus) as refused:
        server.websocket("admin", **sent).__enter__()
    assert refused.value.response.status_code == 403


def test_our_own_page_can(server: "Server") -> None:
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Sec-Fetch-Site": "same-origin"}
    assert server.request("vera", "POST", "/graphql", json=QUERY, headers=own).status_code == 200
    with server.websocket("vera", **own) as connection:
        assert connection.subprotocol == "graphql-ws"
    for proto in ("https", "http"):
        tls = {"Origin": "https://dagster.example.com", "Host": "dagster.example.com:443", "X-Forwarded-Proto": proto}
        assert server.request("vera", "POST", "/graphql", json=QUERY, headers=tls).status_code == 200


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/graphql",
     "text/plain;application/json", "application/jsonx", ""],
)  # fmt: skip
def test_what_a_form_can_send_is_not_read(server: "Server", kind: str) -> None:
    body = '{"query": "mutation { setNuxSeen }"}'
    headers = {"Content-Type": kind} if kind else {}
    assert server.request("admin", "POST", "/graphql", content=body, headers=headers).status_code == 415
    address = "/graphql?query=mutation{setNuxSeen}"
    assert server.request("admin", "POST", address, content=b"", headers=headers).status_code == 415
    assert server.audit() == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", "/graphql", "/report_asset_check/a", "/logs/a/out"])
def test_other_methods_are_refused(server: "Server", method: str, path: str) -> None:
    assert server.request("admin", method, path).status_code == 405


@pytest.mark.parametrize("path", ["/", "/logs/a/out", "/server_info", "/notebook", "/runs"])
def test_nothing_else_is_posted_to(server: "Server", path: str) -> None:
    assert server.request("admin", "POST", path, json={}).status_code == 405


def test_the_page_and_its_parts_are_served_to_a_viewer(server: "Server") -> None:
    page = server.request("vera", "GET", "/", headers={"Accept": "text/html"})
    assert page.status_code == 200
    assert "nonce" in page.headers["Content-Security-Policy"]
    assert server.request("vera", "GET", "/favicon.png").status_code == 200
    assert server.request("vera", "GET", "/graphql", headers={"Accept": "text/html"}).status_code == 200


def test_websockets_need_what_requests_need(server: "Server") -> None:
    for user in (None, "", "stranger"):
        with pytest.raises(InvalidStatus) as refused:
            server.websocket(user).__enter__()
        assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{server.port}/graphql", additional_headers={"X-Forwarded-User": "admin"}).__enter__()
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{server.port}/other", additional_headers=server.headers("admin")).__enter__()
