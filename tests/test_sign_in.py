"""Promise: nobody gets in without signing in, and nobody becomes somebody else by saying so."""

import httpx
import pytest

from tests.support.deployment import PASSWORD, Deployment

PATHS = ["/", "/graphql", "/server_info", "/logs/x", "/runs", "/report_asset_materialization/x", "/download_debug/x"]


@pytest.mark.parametrize("path", PATHS)
def test_every_path_asks_for_a_password(deployment: Deployment, path: str) -> None:
    answer = httpx.get(deployment.address + path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    ("user", "password"), [("admin", "wrong"), ("admin", ""), ("ghost", PASSWORD), ("victor", "wrong")]
)
def test_wrong_passwords_are_refused(deployment: Deployment, user: str, password: str) -> None:
    answer = httpx.post(deployment.address + "/graphql", json={"query": "{ version }"}, auth=(user, password))
    assert answer.status_code == 401


def test_forged_headers_do_not_make_an_admin(deployment: Deployment) -> None:
    forged = {
        "X-Forwarded-User": "admin",
        "X-Forwarded-Groups": "platform",
        "X-Gateway-Token": "x",
        "X_Forwarded_User": "admin",
    }
    assert httpx.get(deployment.address + "/graphql", headers=forged).status_code == 401
    # As somebody who may only look, with headers that claim more.
    query = "{ canAdmin: permissions { permission value } }"
    as_viewer = httpx.post(
        deployment.address + "/graphql", json={"query": query}, headers=forged, auth=("victor", PASSWORD)
    )
    assert as_viewer.status_code == 200
    may = {entry["permission"] for entry in as_viewer.json()["data"]["canAdmin"] if entry["value"]}
    assert may == set()


def test_a_user_without_a_role_gets_nothing(deployment: Deployment) -> None:
    answer = deployment.user("nobody").answer("{ version }")
    assert answer.status_code == 403
    assert "access.yaml" in answer.text


def test_a_user_who_was_removed_is_out_at_once(deployment: Deployment) -> None:
    deployment.stack("user", "add", "shortlived", "--group", "platform", "--password-stdin", stdin=PASSWORD + "\n")
    assert deployment.user("shortlived").answer("{ version }").status_code == 200
    deployment.stack("user", "remove", "shortlived")
    assert deployment.user("shortlived").answer("{ version }").status_code == 401
    assert "shortlived" not in deployment.stack("user", "list")
