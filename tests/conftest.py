"""One running deployment for all end-to-end tests: from nothing at the start, to nothing at the end.

Whoever writes such a test may keep one up: TEST_DEPLOYMENT=test-mine uses, and leaves, the deployment of that name.
"""

import os
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest

from tests.support import locations
from tests.support.deployment import ARTIFACTS, PASSWORD, Deployment
from tests.support.graphql import GraphQL
from tests.support.loading import STEPS, Loading

# Fixtures that use shipped locations; whatever asks for one needs those as well.
NEEDED = {"reference": ("ingestion",), "year": ("ingestion",), "marts": ("ingestion", "analytics")}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--lane", choices=("deployment", "apart"), help="only tests that use the running deployment, or only the others"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*names): skipped where the checkout has no code locations of these names")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The test that takes everything down comes last, the one that brings it up first; else as collected."""
    if lane := config.getoption("--lane"):
        chosen = [
            item for item in items if ("deployment" in getattr(item, "fixturenames", ())) == (lane == "deployment")
        ]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen
    order = {"test_up": 0, "test_down": 2}
    items.sort(key=lambda item: order.get(item.path.stem, 1))
    for item in items:
        # Only the test's own body: whoever comes first waits for the deployment to be built.
        if not item.get_closest_marker("timeout"):
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
    # A test may have a deployment of its own, or one beside the common one.
    found = [each for each in getattr(item, "funcargs", {}).values() if isinstance(each, Deployment)]
    if report.failed:
        report.sections += [
            ("evidence", f"logs and inspect output of the deployment: {each.keep_evidence()}") for each in found
        ]
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
        for who in (("victor",), ("edith",), ("nobody",), ("dana", "--group", "data-engineers")):
            code, said = own.ask("user", "add", *who, "--password-stdin", stdin=PASSWORD + "\n")
            # One location of the tests is broken, so ./stack up never ends with 0; this shows whether it did its work.
            assert code == 0, f"{said}\n./stack up had said:\n{printed[-6000:]}"
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


@pytest.fixture(scope="session", autouse=True)
def loading(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Any]]:
    """Begins to load what tests of this session want as soon as the deployment is up; waits for a step of it."""
    items = [item for item in request.session.items if not item.get_closest_marker("skip")]
    used = [set(item.fixturenames) for item in items if isinstance(item, pytest.Function)]
    wanted = {name for names in used if "deployment" in names for name in names.intersection(STEPS)}
    if not wanted:
        yield lambda _: None
        return
    begun = Loading(request.getfixturevalue("deployment"), wanted)
    yield begun.wait_for
    begun.end()


@pytest.fixture(scope="session")
def reference(deployment: Deployment, loading: Callable[[str], Any]) -> str:
    """The reference tables, materialised."""
    return str(loading("reference"))


@pytest.fixture(scope="session")
def year(deployment: Deployment, loading: Callable[[str], Any], reference: str) -> list[str]:
    """A year of flights and weather by one backfill; its runs."""
    runs: list[str] = loading("year")
    return runs


@pytest.fixture(scope="session")
def marts(deployment: Deployment, loading: Callable[[str], Any], year: list[str]) -> str:
    """All of dbt's models on that year; their run."""
    return str(loading("marts"))
