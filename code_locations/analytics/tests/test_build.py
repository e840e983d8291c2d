"""The image's build: the project is parsed offline, and what it leaves behind holds no secret."""

import json
from pathlib import Path

import pytest
from analytics import build, project

from platform_kit.environment import Environment, Kind

PROD = Environment(Kind.PROD, "prod", "analytics")


@pytest.mark.parametrize("target", ["prod", "branch"])
def test_each_target_of_an_image_has_its_manifest(prepared: Path, target: str) -> None:
    content = json.loads((prepared / target / "manifest.json").read_text(encoding="utf-8"))
    model = content["nodes"]["model.analytics.delays_by_day"]
    assert model["relation_name"] == '"analytics"."marts"."delays_by_day"'
    assert (prepared / target / project.PARTIAL_PARSE).is_file()


def test_nothing_that_the_build_leaves_names_a_host_or_a_password(prepared: Path) -> None:
    files = [path for path in prepared.rglob("*") if path.is_file()]
    assert len(files) >= 4
    for path in files:
        assert b"the-password-of-this-test" not in path.read_bytes()
        assert b"postgres.of.this.test" not in path.read_bytes()


def test_a_container_passes_no_variables_so_that_dbt_parses_nothing_again() -> None:
    assert project.arguments(PROD) == []


def test_a_run_takes_the_parsed_project_along_and_cleans_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with project.workspace() as folder:
        assert (folder / project.PARTIAL_PARSE).is_file()
        assert folder.parent == tmp_path
    assert not folder.exists()
    with pytest.raises(RuntimeError), project.workspace() as folder:
        raise RuntimeError("dbt failed")
    assert (folder / project.PARTIAL_PARSE).is_file(), "the evidence of a failure stays"


def test_a_missing_manifest_says_which_command_makes_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(project, "PREPARED", tmp_path)
    with pytest.raises(project.ProjectError, match=r"python -m analytics\.build"):
        project.prepared(PROD)


def test_a_broken_model_stops_the_build_with_dbts_own_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "dbt_project"
    shutil.copytree(project.DIRECTORY, broken, ignore=shutil.ignore_patterns("target"))
    (broken / "models/marts/broken.sql").write_text("select * from {{ ref('nothing_of_that_name') }}", encoding="utf-8")
    monkeypatch.setattr(project, "DIRECTORY", broken)
    monkeypatch.setattr(project, "PREPARED", broken / "target")
    with pytest.raises(project.ProjectError, match="nothing_of_that_name"):
        build.main()
