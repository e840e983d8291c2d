"""Who looks at a deployment that is not production is told so on each page, and cannot be told otherwise by it."""

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from webserver import banner
from webserver.app import create_app
from webserver.audit import AuditLog
from webserver.identity import AccessFile
from webserver.settings import from_environment

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Server

TEXT = "branch-1523 · clone of prod from 2026-11-21 12:00 UTC · schedules off"
PAGE = "<html><head><title>x</title></head><body><div></div></body></html>"


def page_of(server: "Server", folder: "Path", text: str, path: str = "/runs") -> httpx.Response:
    """The page that a webserver with this banner serves."""
    access = AccessFile(server.access_file, ["ingestion", "analytics"])
    app = create_app(server.process, access, server.token, AuditLog(folder / "audit.jsonl"), banner_text=text)

    async def get() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), verify=False) as client:
            headers = {**server.headers("vera"), "Accept": "text/html"}
            return await client.get(f"http://webserver{path}", headers=headers)

    return asyncio.run(get())


@pytest.mark.parametrize("path", ["/", "/runs", "/assets/ingestion/raw/flights"])
def test_every_page_of_a_branch_says_that_it_is_one(server: "Server", tmp_path: "Path", path: str) -> None:
    page = page_of(server, tmp_path, TEXT, path)
    assert page.status_code == 200
    assert page.text.count(f'aria-label="Deployment" title="{TEXT}">{TEXT}</aside>') == 1
    assert page.text.index("</aside>") < page.text.index('<div id="__next">')
    assert int(page.headers["content-length"]) == len(page.content)


def test_the_page_keeps_dagsters_own_policy_which_the_banner_obeys(server: "Server", tmp_path: "Path") -> None:
    page = page_of(server, tmp_path, TEXT)
    policy = page.headers["content-security-policy"]
    assert "script-src 'nonce-" in policy
    assert "style-src 'unsafe-inline'" in policy
    assert page.text.count("<script") == page_of(server, tmp_path, "").text.count("<script")


def test_production_has_no_banner(server: "Server", tmp_path: "Path") -> None:
    assert "deployment-banner" not in page_of(server, tmp_path, "").text
    assert "deployment-banner" not in server.request("vera", "GET", "/", headers={"Accept": "text/html"}).text


def test_the_text_is_text() -> None:
    marked = banner.add(PAGE, '<script>alert("x")</script>')
    assert "<script>" not in marked
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;</aside>" in marked


def test_a_page_of_another_make_is_an_error_and_not_a_page_without_its_banner() -> None:
    with pytest.raises(RuntimeError, match="no <head> and <body>"):
        banner.add(PAGE.replace("<body>", '<body class="x">'), TEXT)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ""),
        ({"DEPLOYMENT": "prod"}, ""),
        ({"DEPLOYMENT": "branch-7"}, "branch-7"),
        ({"DEPLOYMENT": "branch-7", "BANNER": TEXT}, TEXT),
    ],
)
def test_without_a_text_the_name_of_what_is_not_production_is_shown(given: dict[str, str], expected: str) -> None:
    assert from_environment({"GATEWAY_TOKEN": "a-secret-of-the-gateway", **given}).banner == expected
