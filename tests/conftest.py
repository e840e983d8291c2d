"""One running deployment for all end-to-end tests: from nothing at the start, to nothing at the end.

Whoever writes such a test may keep one up: TEST_DEPLOYMENT=test-mine uses, and leaves, the deployment of that name.
"""

import os
from collections.abc import Generator, Iterator

import pytest

from tests.support import locations
from tests.support.deployment import ARTIFACTS, PASSWORD, Deployment
from tests.support.flights import PARTITIONED, REFERENCE, YEAR
from tests.support.graphql import GraphQL

# Fixtures that use shipped locations; whatever asks for one needs those as well.
NEEDED = {"reference": ("ingestion",), "year": ("ingestion",), "marts": ("ingestion", "analytics")}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*names): skipped where the checkout has no code locations of these names")
    config.addinivalue_line("markers", "long: minutes long, so ./stack test runs it with --all alone")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The test that takes everything down comes last, the one that brings it up first; else as collected."""
    order = {"test_up": 0, "test_down": 2}
    items.sort(key=lambda item: order.get(item.path.stem, 1))
    for item in items:
        # Only the test's own body: whoever comes first waits for the deployment to be built.
        item.add_marker(pytest.mark.timeout(900, func_only=True))
        needed = {name for mark in item.iter_markers("needs") for name in mark.args}
        needed |= {name for fixture in getattr(item, "fixturenames", ()) for name in NEEDED.get(fixture, ())}
        if missing := sorted(needed - set(locations.shipped())):
            item.add_marker(pytest.mark.skip(reason=f"this checkout has no code location {', '.join(missing)}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Logs and inspect output while the containers are there: the last test takes them down."""
    report = yield
    found = getattr(item, "funcargs", {}).get("deployment")
    if report.failed and isinstance(found, Deployment):
        report.sections.append(("evidence", f"logs and inspect output of the deployment: {found.keep_evidence()}"))
    return report


@pytest.fixture(scope="session")
def deployment() -> Iterator[Deployment]:
    """The shipped deployment with its sample source and two locations of the tests, brought up by ./stack."""
    kept = os.environ.get("TEST_DEPLOYMENT")
    if kept and (Deployment(kept).home / ".env").exists():
        existing = Deployment.existing(kept)
        yield existing
        existing.close()
        return
    own = Deployment(kept) if kept else Deployment.fresh()
    own.write_settings()
    try:
        printed = own.stack("up", check=False)
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        (ARTIFACTS / "up.log").write_text(printed)
        own.first_up = printed
        for name in ("victor", "edith", "nobody"):
            own.stack("user", "add", name, "--password-stdin", stdin=PASSWORD + "\n")
        own.stack("user", "add", "dana", "--group", "data-engineers", "--password-stdin", stdin=PASSWORD + "\n")
        yield own
    finally:
        if kept:
            own.close()
        else:
            own.remove()


@pytest.fixture(scope="session")
def admin(deployment: Deployment) -> GraphQL:
    """GraphQL as the first user."""
    return deployment.user()


@pytest.fixture(scope="session")
def reference(deployment: Deployment, admin: GraphQL) -> str:
    """The reference tables, materialised."""
    run = admin.launch("ingestion", assets=REFERENCE)
    admin.wait_for(run, "SUCCESS")
    return run


@pytest.fixture(scope="session")
def year(deployment: Deployment, admin: GraphQL, reference: str) -> list[str]:
    """A year of flights and weather by one backfill; its runs."""
    return admin.backfill_to_the_end(PARTITIONED, YEAR, seconds=420)


@pytest.fixture(scope="session")
def marts(deployment: Deployment, admin: GraphQL, year: list[str]) -> str:
    """All of dbt's models on that year; their run."""
    query = "{ assetNodes { assetKey { path } isMaterializable } }"
    keys = ["/".join(node["assetKey"]["path"]) for node in admin.ask(query)["assetNodes"] if node["isMaterializable"]]
    run = admin.launch("analytics", assets=[key for key in keys if key.startswith("analytics/")])
    admin.wait_for(run, "SUCCESS", seconds=300)
    return run
