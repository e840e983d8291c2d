"""A lake that the service `backup` does not mount would be missing on the day it is needed."""

from pathlib import Path

import pytest

from operations.checking import hardening, topology
from operations.tests.valid_deployment import model, service, valid, volume


def copies(*lakes: str, read_only: bool = True) -> dict[str, object]:
    return service(volumes=[volume(f"lake-{name}", f"/var/lib/lake/{name}", read_only) for name in lakes])


def problems(root: Path, backup: dict[str, object]) -> list[str]:
    config = valid()
    config["services"]["backup"] = backup
    made = model(root, config)
    return [problem.message for problem in (*topology.check(made), *hardening.check(made))]


def test_all_lakes_read_only_is_as_it_should_be(tmp_path: Path) -> None:
    assert problems(tmp_path, copies("ingestion", "analytics")) == []


def test_a_lake_that_is_left_out_is_named(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, copies("analytics"))
    assert "does not mount lake-ingestion read-only" in found


def test_a_lake_that_it_could_write_is_named(tmp_path: Path) -> None:
    found = problems(tmp_path, copies("ingestion", "analytics", read_only=False))
    assert any("mounts lake-ingestion writable" in problem for problem in found)


@pytest.mark.parametrize(("target", "refused"), [("/var/lib/backups", False), ("/srv", True)])
def test_of_the_host_it_writes_the_repository_alone(tmp_path: Path, target: str, refused: bool) -> None:
    backup = copies("ingestion", "analytics")
    assert isinstance(backup["volumes"], list)
    backup["volumes"].append({"type": "bind", "source": "/mnt/backups", "target": target})
    assert any("may write to /mnt/backups" in problem for problem in problems(tmp_path, backup)) is refused
