"""Who is given which key of the lakes' bucket: `./stack check` finds one that is missing and one too many."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from access import loads
from operations.checking import object_storage, topology
from operations.tests.valid_deployment import model, valid

ACCESS = """
people: {admin: {users: [admin]}}
machines:
  analytics: {reads: [ingestion]}
"""
MAINTAINED = ACCESS.replace("reads", "maintains")


def own(name: str) -> list[dict[str, str]]:
    return [{"source": f"{name}_{part}", "target": f"lake_{part}"} for part in object_storage.PARTS]


def messages(root: Path, change: Callable[[dict[str, Any]], Any], access: str = ACCESS) -> list[str]:
    config = valid()
    for name in ("ingestion", "analytics"):
        config["services"][name]["environment"]["LAKE_S3_BUCKET"] = "lakes"
        config["services"][name]["secrets"] += own(name)
    change(config["services"])
    built = model(root, config)
    built = topology.Model(root, config, built.locations, loads(access, built.locations), built.places)
    return [problem.message for problem in object_storage.check(built)]


def test_each_location_has_its_own_key_and_no_other(tmp_path: Path) -> None:
    assert messages(tmp_path, lambda _: None) == []


def test_lakes_in_volumes_need_no_key(tmp_path: Path) -> None:
    assert object_storage.check(model(tmp_path, valid())) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s["analytics"]["secrets"].append({"source": "ingestion_s3_key", "target": "x"}),
            "analytics: gets ingestion_s3_key, another location's key",
        ),
        (
            lambda s: s["webserver"].setdefault("secrets", []).append({"source": "ingestion_s3_key_secret"}),
            "webserver: gets ingestion_s3_key_secret, another location's key",
        ),
        (lambda s: s["analytics"]["secrets"].pop(), "analytics: does not get the secret analytics_s3_key_secret as"),
        (
            lambda s: s["analytics"]["secrets"][-2].update(source="ingestion_s3_key"),
            "analytics: gets ingestion_s3_key, another location's key",
        ),
        (lambda s: s["analytics"]["environment"].pop("LAKE_S3_BUCKET"), "analytics: has no LAKE_S3_BUCKET"),
    ],
)
def test_a_key_too_many_or_too_few_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    found = messages(tmp_path, change)
    assert any(one.startswith(message) for one in found), found


def test_who_maintains_a_lake_needs_its_owners_key(tmp_path: Path) -> None:
    assert messages(tmp_path, lambda _: None, MAINTAINED) == [
        f"analytics: does not get ingestion_{part}, but maintains ingestion" for part in object_storage.PARTS
    ]
    given = [{"source": f"ingestion_{part}", "target": f"ingestion_{part}"} for part in object_storage.PARTS]
    assert messages(tmp_path, lambda s: s["analytics"]["secrets"].extend(given), MAINTAINED) == []
