"""The files and statements that make a clone: pure, so compared as they are."""

from typing import Any

import pytest
import yaml

from operations.branches import history, lakes, memory, overlay, postgres
from operations.branches.memory import Shares
from operations.branches.settings import Settings
from operations.errors import StackError
from operations.tests.valid_deployment import service, volume

MIB = 1024**2


def described(**services: dict[str, Any]) -> dict[str, Any]:
    volumes = {f"lake-{name}": {"name": f"prod_lake-{name}"} for name in ("sales", "crm")}
    return {"services": services, "volumes": volumes}


def location(limit: str = "1073741824", run: str = "1g", *mounts: dict[str, Any]) -> dict[str, Any]:
    return service(mem_limit=limit, labels={"code-location": "x", "run.memory": run}, volumes=list(mounts))


def test_settings_are_productions_less_what_leaves_the_machine() -> None:
    origin = {
        "COMPOSE_FILE": ":".join(["docker-compose.yml", *overlay.PRODUCTIONS, "mine.yml"]),
        "DEPLOYMENT": "prod",
        "SITE_ADDRESS": "dagster.example.com",
        "GATEWAY_BIND": "0.0.0.0",
        "ALERT_EMAIL_TO": "on-call@example.com",
        "POSTGRES_HOST": "db.example.com",
        "BACKUPS": "on",
        "BACKUP_S3_BUCKET": "precious",
        "MINE": "kept",
    }
    values = overlay.values(origin, "branch-7", "3009", Settings(6144, 7, (), "127.0.0.1"), {"CRM_TAG": "t"})
    assert values == {
        "COMPOSE_FILE": "docker-compose.yml:mine.yml:.deployments/branch-7/branch.yml",
        "DEPLOYMENT": "branch-7",
        "SITE_ADDRESS": "",
        "GATEWAY_BIND": "127.0.0.1",
        "ALERT_EMAIL_TO": "",
        "POSTGRES_HOST": "postgres",
        "BACKUPS": "off",
        "BACKUP_S3_BUCKET": "",
        "MINE": "kept",
        "CRM_TAG": "t",
    }


def test_the_overlay_is_what_compose_reads() -> None:
    config = described(sales=location("1073741824", "1g", volume("lake-sales", "/var/lib/lake/sales")))
    text = overlay.render(config, "branch-7", Shares({"sales": 384}, {"sales": 512}), "x", {"sales": "198.18.0.0/27"})
    assert yaml.safe_load(text) == {
        "services": {
            "sales": {
                "mem_limit": "384m",
                "labels": {"run.memory": "512m", "run.memory.max": "512m", "run.warm": "0"},
                "volumes": [
                    {
                        "type": "volume",
                        "source": "production_lake-sales",
                        "target": "/var/lib/production/sales",
                        "read_only": True,
                        "volume": {"nocopy": True},
                    }
                ],
            }
        },
        "volumes": {"production_lake-sales": {"external": True, "name": "prod_lake-sales"}},
        "networks": {"sales": {"ipam": {"config": [{"subnet": "198.18.0.0/27"}]}}},
    }


def test_a_volume_that_is_no_lake_is_not_productions() -> None:
    mounts = [volume("logs-sales", "/var/lib/dagster/logs"), volume("lake-sales", "/var/lib/lake/sales")]
    assert [mount["target"] for mount in lakes.mounts({"volumes": mounts})] == ["/var/lib/lake/sales"]
    assert lakes.mounts({}) == []


def test_the_dagster_yaml_differs_in_how_many_runs_go_at_once() -> None:
    text = "run_coordinator:\n  config:\n    max_concurrent_runs: 12\nretention: {schedule: {x: 1}}\n"
    changed = yaml.safe_load(overlay.dagster_yaml(text, 2))
    assert changed == {"run_coordinator": {"config": {"max_concurrent_runs": 2}}, "retention": {"schedule": {"x": 1}}}


def test_memory_is_shared_out_within_the_budget() -> None:
    config = described(
        postgres=service(mem_limit=str(2048 * MIB)),
        sales=location(),
        crm=location(run="2g"),
        sample=service(mem_limit=str(256 * MIB)),
        migrate=service(restart="no"),
        backup=service(),
    )
    shares = memory.share(config, 4096)
    assert shares.services == {"postgres": 512, "sales": 512, "crm": 512}
    assert shares.runs == {"sales": 1024, "crm": 2048}
    assert shares.concurrent == 1
    assert memory.share(config, 8192).concurrent == 3
    assert sum(shares.services.values()) + 256 + shares.concurrent * 2048 <= 4096


def test_a_limit_is_lowered_and_never_raised() -> None:
    config = described(sales=location(limit=str(200 * MIB), run="256m"), gateway=service(mem_limit=str(64 * MIB)))
    shares = memory.share(config, 2048)
    assert shares.services == {"sales": 200, "gateway": 64}
    assert shares.runs == {"sales": 256}


def test_a_budget_in_which_no_run_would_start_is_refused_with_the_least_that_would_do() -> None:
    with pytest.raises(StackError) as error:
        memory.share(described(sales=location(), webserver=service()), 1024)
    assert error.value.expected.startswith("at least 1536")
    assert memory.share(described(sales=location(), webserver=service()), 1536).runs == {"sales": 512}


def test_every_file_of_a_clone_has_its_whole_path() -> None:
    text = lakes.statements(lakes.Lake("sales", "prod_lake-sales"))
    assert "base CONSTANT text := '/var/lib/lake/sales/'" in text
    assert "there CONSTANT text := '/var/lib/production/sales/'" in text
    for table in ("ducklake_data_file", "ducklake_delete_file"):
        assert f"UPDATE {table} AS f SET path_is_relative = false" in text
    assert "DELETE FROM ducklake_files_scheduled_for_deletion" in text
    assert "{" not in text


def test_what_dagster_shows_is_copied_by_the_names_of_columns_in_one_snapshot() -> None:
    text = history.script({"snapshots": "id, snapshot_body", "event_logs": 'id, "timestamp"'})
    assert text.startswith("BEGIN ISOLATION LEVEL REPEATABLE READ;")
    assert "\\echo 'COPY event_logs (id, \"timestamp\") FROM STDIN;'\n" in text
    assert "\\echo '\\\\.'\n" in text
    assert text.index("COPY snapshots") < text.index("COPY event_logs") < text.index("COMMIT;")
    assert "COPY runs" not in text
    assert "setval(pg_get_serial_sequence(''event_logs'', ''id'')" in text


def test_no_password_is_in_an_argument_list() -> None:
    dump, restore = postgres.dump("a", "lake_sales", "sales"), postgres.restore("b", "lake_sales", "sales")
    line = " ".join(postgres.pipe(dump, restore))
    assert line.count("--username sales") == 2
    assert "--password" not in line
    assert "PGPASSWORD" not in line


@pytest.mark.parametrize("text", ["it's", "a'; DROP TABLE x; --", ""])
def test_texts_in_sql_are_texts(text: str) -> None:
    assert postgres.literal(text) == "'" + text.replace("'", "''") + "'"
