"""What a location that keeps others in order is given, and nobody else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from access import loads
from operations.checking import topology
from operations.tests.valid_deployment import location, model, valid, volume

ACCESS = """
people: {admin: {users: [admin]}}
machines:
  analytics: {maintains: [ingestion]}
"""
GIVEN = (
    volume("lake-ingestion", "/var/lib/lake/ingestion"),
    volume("logs-ingestion", "/var/lib/location-logs/ingestion"),
)
PASSWORD = {"source": "ingestion_database_password", "target": "ingestion_database_password"}


def messages(root: Path, change: Callable[[dict[str, Any]], Any], access: str = ACCESS) -> list[str]:
    config = valid()
    keeper = config["services"]["analytics"] = location("analytics", *GIVEN)
    keeper["secrets"].append(PASSWORD)
    change(keeper)
    built = model(root, config)
    built = topology.Model(root, config, built.locations, loads(access, built.locations), built.places)
    return [problem.message for problem in topology.check(built)]


def test_a_maintainer_has_lakes_logs_and_passwords_of_those_it_maintains(tmp_path: Path) -> None:
    assert messages(tmp_path, lambda _: None) == []


SPOILED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no logs": (lambda s: s["volumes"].pop(), "does not mount logs-ingestion writable at /var/lib/location-logs/ing"),
    "logs elsewhere": (
        lambda s: s["volumes"].__setitem__(-1, volume("logs-ingestion", "/var/lib/dagster/logs/ingestion")),
        "does not mount logs-ingestion writable at /var/lib/location-logs/ingestion",
    ),
    "a lake it cannot write": (
        lambda s: s["volumes"].__setitem__(-2, volume("lake-ingestion", "/var/lib/lake/ingestion", True)),
        "mounts lake-ingestion at /var/lib/lake/ingestion, read-only; expected /var/lib/lake/ingestion, writable",
    ),
    "no password": (lambda s: s["secrets"].pop(), "does not get ingestion_database_password, but maintains ingestion"),
}


@pytest.mark.parametrize(("change", "message"), SPOILED.values(), ids=SPOILED.keys())
def test_what_a_maintainer_lacks_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    assert any(message in found for found in messages(tmp_path, change))


def test_who_only_reads_gets_neither_logs_nor_password_nor_a_writable_lake(tmp_path: Path) -> None:
    found = messages(tmp_path, lambda _: None, ACCESS.replace("maintains", "reads"))
    assert any("mounts logs-ingestion, but access.yaml does not let analytics maintain it" in one for one in found)
    assert any("gets ingestion_database_password, another location's secret" in one for one in found)
    assert any("mounts lake-ingestion at /var/lib/lake/ingestion, writable" in one for one in found)
