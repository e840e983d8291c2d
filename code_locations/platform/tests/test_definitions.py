"""What the code server serves, with the deployment's own files and without any."""

from pathlib import Path

import dagster as dg
import pytest
from platform_location import settings as retention_settings
from platform_location.defs.external.tables import tables
from platform_location.defs.provisioning.locations import provisioning
from platform_location.defs.retention.locations import retention

from access import load, load_locations

from .conftest import ROOT


def definitions() -> dg.Definitions:
    return dg.Definitions.merge(provisioning(), retention(), tables())


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files of this repository; the locations that are maintained."""
    monkeypatch.setenv("DEPLOYMENT_FILES", str(ROOT))
    return load(ROOT / "access.yaml", load_locations(ROOT / "workspace.yaml")).machines["platform"].maintains


def test_each_maintained_location_has_its_assets(repository: list[str]) -> None:
    keys = {key.to_user_string() for key in definitions().resolve_asset_graph().materializable_asset_keys}
    for name in repository:
        assert f"platform/provisioning/{name}" in keys
        assert {f"platform/retention/lake_{name}", f"platform/retention/compute_logs_{name}"} <= keys
    assert len(keys) == 3 * len(repository) + 2


def test_every_asset_says_what_it_is_and_whose(repository: list[str]) -> None:
    for spec in definitions().resolve_all_asset_specs():
        if spec.key.path[0] == "platform":
            assert spec.description
            assert spec.owners == ["team:platform"]
            assert spec.group_name in ("provisioning", "retention", "watched")
            assert spec.kinds


def test_in_production_all_is_on_but_what_mends_unasked(repository: list[str]) -> None:
    schedules = {one.name: one.default_status.value for one in definitions().schedules or []}  # type: ignore[union-attr]
    assert schedules.pop("mend_provisioning_schedule") == "STOPPED"
    assert len(schedules) == 3
    assert set(schedules.values()) == {"RUNNING"}


def test_elsewhere_nothing_starts_by_itself(repository: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOYMENT", "branch-7")
    assert {one.default_status.value for one in definitions().schedules or []} == {"STOPPED"}  # type: ignore[union-attr]


def test_without_the_deployments_files_it_loads_and_looks_after_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DEPLOYMENT_FILES", str(tmp_path))
    found = definitions().resolve_asset_graph().materializable_asset_keys
    assert {key.path[1] for key in found} <= {"retention"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("days: 180", "days: -1"),
        ("days: 180", "day: 180"),
        ("days: 180", "days: soon"),
        ("orphan_days: 7", "orphan_days: 0"),
    ],
)
def test_a_retention_that_is_none_is_refused(old: str, new: str) -> None:
    text = retention_settings.FILE.read_text()
    assert old in text
    with pytest.raises(ValueError, match=r"validation error"):
        retention_settings.read(text.replace(old, new))


def test_what_is_never_deleted_by_default_is_younger_than_the_file_says() -> None:
    settings = retention_settings.SETTINGS
    assert settings.events.days >= 90
    assert settings.runs.days >= settings.events.days
    # Longer than a transaction of a lake may last (12 h): a file that is being written is no failed write's.
    assert settings.lake.orphan_days >= 1
    assert settings.lake.file_days >= 1
