"""Promise: a table new in the source is an asset after a refresh, and a location loads when its source is away."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.deployment import ROOT, Deployment, docker, lake_rows
from tests.support.graphql import GraphQL
from tests.support.waiting import wait_until

pytestmark = pytest.mark.needs("ingestion")
GATES, ODD = "ingestion/source/gates", "ingestion/source/robert_drop_table_flights"
REFRESH, SERVICE = "refresh_source_tables", "sample_flight_operations"
ASSETS = "{ assetNodes { assetKey { path } description kinds owners { ... on TeamAssetOwner { team } } } }"
RELOAD = """mutation { reloadRepositoryLocation(repositoryLocationName: "ingestion") {
  __typename ... on WorkspaceLocationEntry { locationOrLoadError { __typename } }
} }"""
ROWS = """query Rows($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  assetMaterializations(limit: 1) { metadataEntries { label ... on IntMetadataEntry { intValue } } }
} } }"""
FAILURE = """query Failure($runId: ID!) { logsForRun(runId: $runId) { ... on EventConnection { events {
  ... on ExecutionStepFailureEvent { error { message errorChain { error { message } } } }
} } } }"""
# As the people of the source would; the second table's name is an attack.
TABLES = """
    CREATE TABLE gates (gate text NOT NULL, terminal integer);
    COMMENT ON TABLE gates IS 'Gates of the airports';
    INSERT INTO gates VALUES ('A1', 1), ('B22', 4), ('C3', NULL);
    CREATE TABLE "Robert""); DROP TABLE flights; --" ("Id" integer, "it's" bytea);
    INSERT INTO "Robert""); DROP TABLE flights; --" VALUES (1, '\\xff');
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO flight_reader;
"""


class Source:
    """A second sample source in the place of the first, whose owner may log in: nobody can change the shipped one."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.name = f"{deployment.name}-source-of-the-test"
        self.network = f"{deployment.name}_ingestion"

    def start(self) -> None:
        """Take the shipped source's place."""
        access = self.deployment.home / "pg_hba.conf"
        shipped = (ROOT / "deploy/sample_source/pg_hba.conf").read_text()
        access.write_text(f"{shipped}local flight_operations postgres trust\n")
        secret = "sample_source_database_password"
        docker("network", "disconnect", self.network, self.deployment.container(SERVICE))
        docker(
            *("run", "--detach", "--name", self.name, "--label", f"com.docker.compose.project={self.deployment.name}"),
            *("--network", self.network, "--network-alias", SERVICE, "--user", "10005:10005", "--read-only"),
            *("--tmpfs", "/tmp:mode=1777,size=16m"),
            *("--tmpfs", "/var/lib/postgresql:uid=10005,gid=10005,mode=0700,size=400m"),
            *("--volume", f"{self.deployment.home / 'secrets' / secret}:/run/secrets/{secret}:ro"),
            *("--volume", f"{access}:/app/pg_hba.conf:ro"),
            *(f"{self.deployment.name}/sample_source:local", "python", "-m", "sample_source.database"),
        )
        self.wait()

    def wait(self) -> None:
        """Until it answers."""
        wait_until(lambda: self.sql("SELECT 1", check=False).strip() == "1", seconds=120, what="the source of the test")

    def sql(self, statements: str, check: bool = True) -> str:
        """Run statements as the owner of the database."""
        ask = ("psql", "-h", "/tmp", "-U", "postgres", "-d", "flight_operations", "-qAtX", "-v", "ON_ERROR_STOP=1")
        return docker("exec", "-i", self.name, *ask, check=check, stdin=statements)

    def remove(self) -> None:
        """Give the shipped source its place back."""
        docker("rm", "--force", "--volumes", self.name, check=False)
        docker("network", "connect", "--alias", SERVICE, self.network, self.deployment.container(SERVICE), check=False)


def assets(admin: GraphQL) -> dict[str, dict[str, Any]]:
    return {"/".join(node["assetKey"]["path"]): node for node in admin.ask(ASSETS)["assetNodes"]}


def refresh(admin: GraphQL) -> list[str]:
    """Run the job; what the run said."""
    run = admin.launch("ingestion", REFRESH)
    admin.wait_for(run, "SUCCESS")
    return admin.messages(run)


@pytest.fixture(scope="module")
def source(deployment: Deployment, admin: GraphQL) -> Iterator[Source]:
    """A source with two tables more, which the location knows."""
    assert GATES not in assets(admin)
    own = Source(deployment)
    try:
        own.start()
        own.sql(TABLES)
        assert GATES not in assets(admin), "nothing is read from the source unless somebody says so"
        assert any("New: gates, robert_drop_table_flights;" in message for message in refresh(admin))
        # Nobody reloads anything: the run ends the code server, Compose starts it, the webserver notices.
        wait_until(lambda: {GATES, ODD} <= assets(admin).keys(), seconds=120, what="the new tables among the assets")
        yield own
    finally:
        own.remove()
        if GATES in assets(admin):  # where the last test did not run, or failed
            refresh(admin)


def test_a_new_table_is_an_asset_with_its_comment_and_owner(admin: GraphQL, source: Source) -> None:
    node = assets(admin)[GATES]
    assert node["description"] == "Gates of the airports"
    assert node["owners"] == [{"team": "data-engineers"}]
    assert sorted(node["kinds"]) == ["ducklake", "postgres"]
    assert not [key for key in assets(admin) if key.startswith("ingestion/source/") and key not in (GATES, ODD)]


def test_a_new_table_is_loaded_whole_and_checked(deployment: Deployment, admin: GraphQL, source: Source) -> None:
    run = admin.launch("ingestion", assets=[GATES, ODD])
    admin.wait_for(run, "SUCCESS")
    assert lake_rows(deployment, "ingestion", "from ingestion.source.gates order by gate") == [
        {"gate": "A1", "terminal": 1},
        {"gate": "B22", "terminal": 4},
        {"gate": "C3", "terminal": None},
    ]
    odd = lake_rows(deployment, "ingestion", "from ingestion.source.robert_drop_table_flights")
    assert odd == [{"id": 1, "it_s": "\\xff"}]
    assert source.sql("SELECT count(*) FROM flights").strip() == "336776"
    answer = admin.ask(ROWS, key={"path": GATES.split("/")})["assetNodeOrError"]
    (materialisation,) = answer["assetMaterializations"]
    found = {entry["label"]: entry.get("intValue") for entry in materialisation["metadataEntries"]}
    assert found["dagster/row_count"] == 3
    checks = [event["evaluation"] for event in admin.events(run) if event.get("evaluation")]
    assert [(check["checkName"], check["success"]) for check in checks] == [("as_many_rows_as_the_source", True)] * 2


def test_the_location_loads_when_its_source_is_away_and_a_refresh_says_what_is_wrong(
    deployment: Deployment, admin: GraphQL, source: Source
) -> None:
    docker("stop", source.name)
    try:
        docker("restart", deployment.container("ingestion"))

        def loaded() -> bool:
            entry = admin.ask(RELOAD)["reloadRepositoryLocation"]
            return (entry.get("locationOrLoadError") or {}).get("__typename") == "RepositoryLocation"

        wait_until(loaded, seconds=120, what="the code server that was restarted", every=2)
        assert {GATES, ODD, "ingestion/raw/flights"} <= assets(admin).keys()
        run = admin.launch("ingestion", REFRESH)
        admin.wait_for(run, "FAILURE")
        errors = [event["error"] for event in admin.ask(FAILURE, runId=run)["logsForRun"]["events"] if event]
        assert "cannot connect to database flight_operations" in str(errors)
    finally:
        # In memory: it comes back with the tables that it is shipped with.
        docker("start", source.name)
        source.wait()


def test_a_table_that_has_gone_is_an_asset_no_more_and_its_rows_stay(
    deployment: Deployment, admin: GraphQL, source: Source
) -> None:
    source.sql('DROP TABLE IF EXISTS gates, "Robert""); DROP TABLE flights; --"')
    assert any("gone: gates, robert_drop_table_flights;" in message for message in refresh(admin))
    wait_until(lambda: not {GATES, ODD} & assets(admin).keys(), seconds=120, what="the assets to be gone")
    kept = "select count(*) as tables from duckdb_tables() where schema_name = 'source' and table_name = 'gates'"
    assert lake_rows(deployment, "ingestion", kept) == [{"tables": 1}]
