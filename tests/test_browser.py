"""Promise: a person signs in, launches in the UI and sees the asset graph, in a real browser."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Locator, Page, expect, sync_playwright

from tests.support.deployment import ARTIFACTS, ROOT, Deployment
from tests.support.graphql import GraphQL

SCREENSHOT = ROOT / "docs" / "images" / "asset-graph.png"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The distribution's chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "found no chromium, expected the distribution's package: apt-get install chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, deployment: Deployment, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A window signed in as admin; a failed test leaves what it saw."""
    context = browser.new_context(
        base_url=deployment.address,
        http_credentials={"username": "admin", "password": deployment.secret("admin_password")},
        viewport={"width": 1440, "height": 900},
    )
    opened = context.new_page()
    yield opened
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    opened.screenshot(path=ARTIFACTS / f"{request.node.name}.png")
    context.close()


def test_without_a_password_the_browser_is_turned_away(browser: Browser, deployment: Deployment) -> None:
    stranger = browser.new_context(base_url=deployment.address)
    with pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
        stranger.new_page().goto("/")
    stranger.close()


@pytest.mark.needs("eta", "reporting")
def test_the_asset_graph_leads_from_the_source_to_a_report_through_all_locations(page: Page, marts: str) -> None:
    page.goto("/assets/reporting/reports/model_error?view=lineage&lineageScope=upstream&lineageDepth=9")
    reload_while_loading(page, page.get_by_text("stg_flights", exact=True).first)
    for name in ("stg_flights", "delays_by_day", "delay_model", "model_error"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible(timeout=60_000)
    if os.environ.get("UPDATE_SCREENSHOT"):
        keep_screenshot(page, SCREENSHOT)


def test_a_run_is_launched_with_a_click(page: Page, admin: GraphQL) -> None:
    page.goto("/locations/probe/jobs/succeed/playground")
    page.get_by_role("button", name="Launch run").click()
    page.wait_for_url("**/runs/*", timeout=60_000)
    run = page.url.rstrip("/").rpartition("/")[2].partition("?")[0]
    assert admin.wait_for(run, "SUCCESS")
    assert admin.tags(run)["user"] == "admin"


def reload_while_loading(page: Page, wanted: Locator) -> None:
    """As a person does: on a busy machine the graph's first layout is now and then never told to Dagster's page."""
    for _ in range(3):
        try:
            wanted.wait_for(timeout=30_000)
            return
        except Error:
            page.reload()


def keep_screenshot(page: Page, path: Path) -> None:
    """Writes the README's picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path)
