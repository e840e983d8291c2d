"""Promise: a change is reviewed on a mirror of production, which costs no data and cannot harm it, and then is gone."""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.support.deployment import ROOT, Deployment, docker, lake_rows
from tests.support.graphql import GraphQL

pytestmark = pytest.mark.needs("ingestion", "analytics")

ID = f"e2e-{uuid.uuid4().hex[:6]}"
FLIGHTS = "ingestion/raw/flights"
CONTENTS = "select count(*) as rows, sum(hash(f) // 1024) as checksum from ingestion.raw.flights as f"
DAY = "2013-12-05"
SHOWN = """query Shown($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  partitionStats { numMaterialized numPartitions } assetMaterializations(limit: 1) { runId } } } }"""
JOBS = """{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError {
  ... on RepositoryLocation { repositories { jobs { name } } } } } } } }"""
DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
RETENTION = "platform/retention/lake_ingestion"
NOW = {"snapshot_days": 0, "file_days": 0, "small_files": 2}
PLANTED = "RUN = 'planted by the change'"
SNAPSHOTS = "select count(*) from ducklake_snapshot"
# The files that the clone lives on, by their paths in production.
REFERRED = """
select replace(path, '/var/lib/production/', '/var/lib/lake/') from (
    select path from ducklake_data_file union select path from ducklake_delete_file
) as files where starts_with(path, '/var/lib/production/')"""
# Of every file below a lake: what a run in a branch must leave as it is, byte for byte.
CHECKSUMS = """
import hashlib, json, pathlib
lake = pathlib.Path("/var/lib/lake/ingestion")
print(json.dumps({str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in lake.rglob("*.parquet")}))
"""


@pytest.fixture(scope="module")
def change(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work tree of a pull request that adds a job to one location."""
    tree = tmp_path_factory.mktemp("change") / "tree"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tree)], check=True, capture_output=True)
    file = tree / "tests/locations/probe/src/probe/definitions.py"
    text = file.read_text().replace("defs = dg.Definitions(jobs=[", "defs = dg.Definitions(jobs=[under_review, ")
    job = '@dg.job(executor_def=dg.in_process_executor)\ndef under_review() -> None:\n    """New."""\n    quick()\n\n\n'
    file.write_text(text.replace("defs = dg.Definitions(", f"{job}defs = dg.Definitions("))
    # And tries to say how images are built.
    for name in ("entrypoint", "code-server", "python-service.Dockerfile"):
        with (tree / "deploy/images" / name).open("a") as recipe:
            recipe.write(f"{PLANTED}\n")
    with (tree / "libraries/redaction/src/redaction/__init__.py").open("a") as library:
        library.write(f"{PLANTED}\n")
    return tree


@pytest.fixture(scope="module")
def branch(deployment: Deployment, year: list[str], change: Path) -> Iterator[Deployment]:
    """A branch of the running deployment, made and removed by ./stack."""
    made = Deployment(f"branch-{ID}")
    with pytest.MonkeyPatch.context() as settings:
        # For two locations more than are shipped.
        settings.setenv("BRANCH_MEMORY_MB", "8192")
        printed = deployment.stack("branch", "create", ID, "--location", "probe", "--from", str(change), check=False)
    try:
        # The location `broken` does not load, here as in production, and says so.
        assert "people sign in as there" in printed, printed[-4000:]
        made.port = int((made.home / ".env").read_text().partition("\nGATEWAY_PORT=")[2].split()[0])
        made.address = f"http://127.0.0.1:{made.port}"
        yield made
    finally:
        for client in made._clients.values():
            client.http.close()
        deployment.stack("branch", "delete", ID, "--yes", check=False)


@pytest.fixture(scope="module")
def reviewer(deployment: Deployment, branch: Deployment) -> GraphQL:
    """Signs in to the branch with the password that production's admin has."""
    return branch.user("admin", deployment.secret("admin_password"))


def checksums(deployment: Deployment) -> dict[str, str]:
    """Every file of production's lake."""
    found: dict[str, str] = json.loads(deployment.python("ingestion", CHECKSUMS))
    return found


def listed(deployment: Deployment) -> dict[str, dict[str, object]]:
    """The branches that ./stack lists, by id."""
    printed = deployment.stack("branch", "list", "--json")
    return {row["id"]: row for row in json.loads(printed)}


def test_the_branch_reads_productions_lake_and_has_no_file_of_its_own(
    deployment: Deployment, branch: Deployment
) -> None:
    there = lake_rows(deployment, "ingestion", CONTENTS)
    assert there[0]["rows"] > 300_000
    assert lake_rows(branch, "ingestion", CONTENTS) == there
    assert lake_rows(branch, "analytics", CONTENTS, ("ingestion",)) == there
    assert checksums(branch) == {}
    (row,) = [row for key, row in listed(deployment).items() if key == ID]
    assert (row["state"], row["rebuilt"], row["address"]) == ("running", ["probe"], branch.address)
    assert isinstance(row["size"], int)


def test_the_ui_shows_what_the_clone_has_within_the_window_of_90_days(
    deployment: Deployment, branch: Deployment, admin: GraphQL, reviewer: GraphQL
) -> None:
    key = {"path": FLIGHTS.split("/")}
    here = reviewer.ask(SHOWN, key=key)["assetNodeOrError"]
    assert here["partitionStats"] == {"numMaterialized": 90, "numPartitions": 90}
    assert here["assetMaterializations"] == admin.ask(SHOWN, key=key)["assetNodeOrError"]["assetMaterializations"]
    assert reviewer.run(here["assetMaterializations"][0]["runId"])["status"] == "SUCCESS"


def test_only_the_changed_location_is_another_image(
    deployment: Deployment, branch: Deployment, admin: GraphQL, reviewer: GraphQL
) -> None:
    def image(of: Deployment, service: str) -> str:
        return str(of.inspect(of.container(service))["Image"])

    def jobs(user: GraphQL) -> set[str]:
        entries = user.ask(JOBS)["workspaceOrError"]["locationEntries"]
        (probe,) = [entry["locationOrLoadError"] for entry in entries if entry["name"] == "probe"]
        return {job["name"] for repository in probe["repositories"] for job in repository["jobs"]}

    assert image(branch, "probe") != image(deployment, "probe")
    for service in ("ingestion", "webserver", "daemon", "run_broker", "postgres", "gateway"):
        assert image(branch, service) == image(deployment, service)
    assert jobs(reviewer) - jobs(admin) == {"under_review"}


def test_the_change_does_not_say_how_its_image_is_built(deployment: Deployment, branch: Deployment) -> None:
    read = "cat /usr/local/bin/entrypoint /usr/local/bin/code-server /opt/libraries/redaction/__init__.py"
    files = docker("exec", branch.container("probe"), "sh", "-c", read)
    assert "planted" not in files
    assert files == docker("exec", deployment.container("probe"), "sh", "-c", read)
    # Its lock is production's, so its packages are those very layers; the steps with its code are in none of them.
    own, theirs = (
        json.loads(docker("image", "inspect", each.inspect(each.container("probe"))["Image"]))[0]["RootFS"]["Layers"]
        for each in (branch, deployment)
    )
    shared = [layer for layer, other in zip(own, theirs, strict=False) if layer == other]
    assert 0 < len(shared) < len(own)
    assert "planted" not in docker("history", "--no-trunc", branch.inspect(branch.container("probe"))["Image"])


def test_productions_files_cannot_be_written_from_a_branch(branch: Deployment) -> None:
    for service in ("ingestion", "analytics"):
        mounts = {m["Destination"]: m["RW"] for m in branch.inspect(branch.container(service))["Mounts"]}
        assert mounts["/var/lib/production/ingestion"] is False
    tried = branch.python("ingestion", "open('/var/lib/production/ingestion/x', 'w')", check=False)
    assert tried == ""


def test_a_branch_has_none_of_productions_passwords_and_keys(deployment: Deployment, branch: Deployment) -> None:
    shared = {"gateway_users", "gateway_groups", "admin_password"}
    for file in (branch.home / "secrets").iterdir():
        theirs = deployment.home / "secrets" / file.name
        if file.name not in shared and theirs.is_file() and theirs.read_text():
            assert file.read_text() != theirs.read_text(), file.name


def test_a_run_writes_and_deletes_in_the_branch_alone(
    deployment: Deployment, branch: Deployment, reviewer: GraphQL
) -> None:
    files, rows = checksums(deployment), lake_rows(deployment, "ingestion", CONTENTS)
    reviewer.backfill_to_the_end([FLIGHTS], [DAY], seconds=120)
    written = checksums(branch)
    assert written
    delete = """
from platform_kit.lake import LakeResource
with LakeResource().connect() as lake:
    lake.sql("DELETE FROM ingestion.raw.flights WHERE month = 11")
"""
    branch.python("ingestion", delete)
    left = lake_rows(branch, "ingestion", CONTENTS)
    assert left[0]["rows"] < rows[0]["rows"]
    assert checksums(deployment) == files
    assert lake_rows(deployment, "ingestion", CONTENTS) == rows


def test_nothing_starts_by_itself_whatever_the_code_says(
    deployment: Deployment, branch: Deployment, reviewer: GraphQL
) -> None:
    # In production the same code, with default_status RUNNING, has ticked; in the branch flights have changed since.
    assert deployment.sql("select count(*) > 0 from job_ticks") == [["t"]]
    assert branch.sql("select count(*) from job_ticks") == [["0"]]
    daemons = reviewer.ask(DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
    kinds = {daemon["daemonType"] for daemon in daemons}
    assert kinds >= {"BACKFILL", "QUEUED_RUN_COORDINATOR", "MONITORING"}
    assert not kinds & {"SCHEDULER", "SENSOR", "ASSET"}
    assert all(daemon["healthy"] for daemon in daemons)
    assert [finding["subject"] for finding in branch.findings()] == ["location broken"]


def test_each_page_says_that_it_is_a_branch_and_covers_nothing(deployment: Deployment, branch: Deployment) -> None:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "found no chromium, expected the distribution's package: apt-get install chromium"
    who = {"username": "admin", "password": deployment.secret("admin_password")}
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        page = browser.new_context(base_url=branch.address, http_credentials=who).new_page()  # type: ignore[arg-type]
        page.goto("/runs")
        banner = page.get_by_role("complementary", name="Deployment")
        expect(banner).to_be_visible()
        expect(banner).to_contain_text(f"branch-{ID} · clone of {deployment.name} from 20")
        expect(banner).to_contain_text("schedules off")
        catalog = page.get_by_role("link", name="Catalog").first
        expect(catalog).to_be_visible(timeout=60_000)
        strip, link, root = banner.bounding_box(), catalog.bounding_box(), page.locator("#root").bounding_box()
        assert strip
        assert link
        assert root
        assert strip["y"] == 0
        assert link["y"] >= strip["height"]
        # The page fills what is left: nothing of it is covered, nor pushed out of sight.
        assert root["y"] >= strip["height"]
        assert root["y"] + root["height"] <= page.viewport_size["height"] + 1  # type: ignore[index]
        browser.close()


@pytest.mark.needs("platform")
def test_files_of_the_clone_survive_productions_expiry(
    deployment: Deployment, branch: Deployment, admin: GraphQL, year: list[str]
) -> None:
    referred = {path for (path,) in branch.sql(REFERRED, "lake_ingestion")}
    before, mirrored = checksums(deployment), lake_rows(branch, "ingestion", CONTENTS)
    assert referred <= set(before)
    admin.backfill_to_the_end([FLIGHTS], ["2013-03-01", "2013-03-03"], seconds=120)
    step = RETENTION.replace("/", "__")
    run = admin.launch("platform", assets=[RETENTION], config={"ops": {step: {"config": NOW}}})
    admin.wait_for(run, "SUCCESS", seconds=240)
    # In production nothing of before is left to travel back to; the branch still has it.
    assert int(deployment.sql(SNAPSHOTS, "lake_ingestion")[0][0]) < int(branch.sql(SNAPSHOTS, "lake_ingestion")[0][0])
    after = checksums(deployment)
    assert {file: after.get(file) for file in referred} == {file: before[file] for file in referred}
    assert lake_rows(branch, "ingestion", CONTENTS) == mirrored


def test_a_second_branch_of_the_same_name_is_refused(deployment: Deployment, branch: Deployment) -> None:
    printed = deployment.stack("branch", "create", ID, check=False)
    assert f"there is a branch {ID} already" in printed
    assert f"branch delete {ID}" in printed


def test_a_forgotten_branch_goes_by_the_timer_with_everything_that_was_its_own(
    deployment: Deployment, branch: Deployment
) -> None:
    files = checksums(deployment)
    assert "No branch has expired." in deployment.stack("branch", "delete", "--expired")
    assert branch.leftovers()["volumes"]
    about = json.loads((branch.home / "branch.json").read_text())
    (branch.home / "branch.json").write_text(json.dumps({**about, "created": "2026-01-01T00:00:00+00:00"}))
    branch.sql("update runs set create_timestamp = '2026-01-01'")
    deployment.stack("branch", "delete", "--expired")
    assert branch.leftovers() == {"containers": [], "volumes": [], "networks": [], "images": []}
    assert not branch.home.exists()
    assert not (ROOT / ".stack" / branch.name).exists()
    assert deployment.sql(f"select * from provisioning.lake_clones where clone = '{branch.name}'") == []
    assert ID not in listed(deployment)
    assert checksums(deployment) == files
    assert docker("ps", "--quiet", "--filter", f"name={deployment.container('ingestion')}").split()
