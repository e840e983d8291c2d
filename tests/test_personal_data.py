"""Personal data is kept from who has no right to it: in lake and catalog, in the UI, in every log.

The sample's contacts are in ingestion's lake; analytics and reporting read that lake, without a right to these columns.
"""

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.deployment import Deployment, docker, lake_rows
from tests.support.graphql import GraphQL
from tests.support.waiting import wait_until

pytestmark = pytest.mark.needs("ingestion", "analytics", "reporting")

ASSET = "ingestion/raw/airline_contacts"
TABLE = "ingestion.raw.airline_contacts"
# Of the sample's made-up people.
CLEAR = ("Sampleton", "Mustermann", "ada.sampleton", "@9e.example", "202-555-01")
# What the probe's job "leak" prints, and its password both ways round.
PRINTED = ("anna.smith", "example.com", "555 2671", "4111 1111", "ghp_a1B2")
WAYS = ("print", "stderr", "write", "logging", "child")

METADATA = """
query Metadata($key: AssetKeyInput!) {
  assetOrError(assetKey: $key) { ... on Asset { assetMaterializations(limit: 1) { metadataEntries {
    label
    ... on MarkdownMetadataEntry { mdStr }
    ... on TextMetadataEntry { text }
    ... on TableSchemaMetadataEntry { schema { columns { name tags { key } } } }
  } } } }
}"""
CAPTURED = """query Logs($key: [String!]!) { capturedLogs(logKey: $key) { stdout stderr } }"""
FILE_KEY = """query Key($run: ID!) { logsForRun(runId: $run, limit: 1000) {
  ... on EventConnection { events { ... on LogsCapturedEvent { fileKey } } } } }"""
SCAN = """
import os, psycopg2
clear = {clear!r}
files = [os.path.join(folder, name) for folder, _, names in os.walk("/var/lib/lake/ingestion") for name in names]
for path in files:
    content = open(path, "rb").read()
    print("REACHED" if any(word.encode() in content for word in clear) else "refused", path)
connection = psycopg2.connect(host=os.environ["POSTGRES_HOST"], dbname="lake_ingestion",
    user=os.environ["POSTGRES_USER"], password=os.environ["POSTGRES_PASSWORD"])
connection.autocommit = True
cursor = connection.cursor()
cursor.execute("SELECT schemaname, tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)'")
for schema, table in cursor.fetchall():
    try:
        cursor.execute(f'SELECT t::text FROM "{{schema}}"."{{table}}" t')
        told = " ".join(row[0] for row in cursor.fetchall())
        print("REACHED" if any(word in told for word in clear) else "refused", schema, table)
    except psycopg2.Error:
        print("refused", schema, table, "closed")
"""


@pytest.fixture(scope="module")
def contacts(deployment: Deployment, admin: GraphQL) -> str:
    """The contacts, materialised; their run."""
    run = admin.launch("ingestion", assets=[ASSET])
    admin.wait_for(run, "SUCCESS", seconds=180)
    return run


@pytest.fixture(scope="module")
def leaking(deployment: Deployment, admin: GraphQL) -> Iterator[tuple[str, str]]:
    """A run that has printed all it knows, and goes on; its id and the key of its log."""
    run = admin.launch("probe", "leak")

    def key() -> str | None:
        events = admin.ask(FILE_KEY, run=run)["logsForRun"]["events"]
        return next((event["fileKey"] for event in events if event.get("fileKey")), None)

    found = wait_until(key, seconds=120, what="the run's log to be captured")
    assert found is not None
    captured = wait_until(
        lambda: "all is printed" in (logs(admin, run, found)["stdout"] or ""), seconds=60, what="the run to print all"
    )
    assert captured
    yield run, found
    admin.terminate(run)
    admin.wait_for(run, "CANCELED", seconds=120)


def logs(user: GraphQL, run: str, key: str) -> dict[str, str]:
    """A run's log as the UI shows it now."""
    found: dict[str, str] = user.ask(CAPTURED, key=[run, "compute_logs", key])["capturedLogs"]
    return found


def container_log(deployment: Deployment, run: str) -> str:
    """What Docker has of the run's container."""
    (container,) = deployment.run_containers(run)
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout + done.stderr


def assert_hidden(text: str, deployment: Deployment) -> None:
    """Nothing of what the probe printed is in the text."""
    password = deployment.secret("probe_database_password")
    for value in (*PRINTED, password, password[::-1]):
        assert value not in text, text[max(0, text.find(value) - 200) :][:400]


def test_the_owner_reads_its_personal_columns(deployment: Deployment, contacts: str) -> None:
    source = f"""
from platform_kit.lake import LakeResource
frame = LakeResource().query("FROM {TABLE} ORDER BY carrier LIMIT 1")
print(frame.row(0))
"""
    printed = deployment.python("ingestion", source)
    assert printed.strip() == "('9E', 'Ada Sampleton', 'ada.sampleton@9e.example', '+1 202-555-0100')"


def test_neither_file_nor_catalog_shows_them_to_who_reads_the_lake(deployment: Deployment, contacts: str) -> None:
    lines = deployment.python("analytics", SCAN.format(clear=CLEAR)).splitlines()
    assert not [line for line in lines if line.startswith("REACHED")], lines
    assert [line for line in lines if line.endswith(".parquet")]
    assert [line for line in lines if "ducklake_file_column_stats" in line and "closed" not in line]


def test_a_reader_without_the_right_gets_seals_that_still_count(deployment: Deployment, contacts: str) -> None:
    query = f"SELECT email, count(*) OVER () AS rows FROM {TABLE}"
    rows = lake_rows(deployment, "reporting", query, ("ingestion",))
    assert {row["rows"] for row in rows} == {16}
    assert len({row["email"] for row in rows}) == 16
    assert all(row["email"].startswith("personal:v1:ingestion:") for row in rows)


def test_no_container_but_the_owners_has_the_key(deployment: Deployment, contacts: str) -> None:
    key = "test -e /run/secrets/personal_data_key_ingestion && echo REACHED || echo refused"
    for service in ("analytics", "reporting", "eta", "platform", "probe", "webserver", "daemon"):
        assert docker("exec", deployment.container(service), "sh", "-c", key).strip() == "refused", service
    assert docker("exec", deployment.container("ingestion"), "sh", "-c", key).strip() == "REACHED"


def test_the_ui_shows_a_viewer_that_they_are_personal_and_not_what_they_are(
    deployment: Deployment, contacts: str
) -> None:
    shown = deployment.user("victor").ask(METADATA, key={"path": ASSET.split("/")})
    text = json.dumps(shown)
    assert "| 9E | (personal) | (personal) | (personal) |" in text
    assert '"tags": [{"key": "personal"}]' in text
    assert not [word for word in CLEAR if word in text]


def test_the_run_that_loads_them_tells_nobody(deployment: Deployment, contacts: str) -> None:
    told = container_log(deployment, contacts) + str(
        deployment.sql(f"SELECT event FROM event_logs WHERE run_id = '{contacts}'")
    )
    assert contacts in told
    assert not [word for word in CLEAR if word in told]


def test_a_log_is_redacted_while_the_run_goes_on(
    deployment: Deployment, admin: GraphQL, leaking: tuple[str, str]
) -> None:
    run, key = leaking
    assert admin.run(run)["status"] == "STARTED"
    shown = logs(deployment.user("victor"), run, key)
    assert_hidden(shown["stdout"] + shown["stderr"], deployment)
    redacted = "[email] | [phone] | [card] | [token] | password=[secret] | [secret]"
    for way in WAYS:
        assert f"{way} {redacted}" in shown["stdout"] + shown["stderr"], shown
    # Printed in two halves, half a second apart.
    assert "\n[email]\nall is printed\n" in shown["stdout"]


def test_a_log_is_redacted_where_it_is_stored(deployment: Deployment, leaking: tuple[str, str]) -> None:
    run, _ = leaking
    files = docker("exec", deployment.container("probe"), "sh", "-c", f"cat /var/lib/dagster/logs/{run}/compute_logs/*")
    assert "print [email]" in files
    assert_hidden(files, deployment)


def test_the_containers_own_log_is_redacted(deployment: Deployment, leaking: tuple[str, str]) -> None:
    text = container_log(deployment, leaking[0])
    assert "print [email]" in text
    assert_hidden(text, deployment)


def test_events_and_errors_of_a_run_are_stored_redacted(deployment: Deployment, admin: GraphQL) -> None:
    run = admin.launch("probe", "leak", config={"ops": {"print_personal_data": {"config": {"fail": True}}}})
    admin.wait_for(run, "FAILURE", seconds=120)
    stored = str(deployment.sql(f"SELECT event FROM event_logs WHERE run_id = '{run}'"))
    # psql's answer is split at each "|".
    assert "context [email]" in stored
    assert "ValueError: error [email]" in stored
    assert_hidden(stored, deployment)
    assert_hidden(container_log(deployment, run), deployment)
