import ast
import pickle
from datetime import date, timedelta
from pathlib import Path

import pytest

from platform_kit import environment
from platform_kit.environment import FileCatalog, Kind, PostgresCatalog, Secret, SettingError

ROOT = Path(__file__).parents[3]
POSTGRES = {"POSTGRES_HOST": "postgres", "POSTGRES_USER": "ingestion", "POSTGRES_PASSWORD": "hunter2"}


def deployed(monkeypatch: pytest.MonkeyPatch, deployment: str) -> environment.Environment:
    for name, value in {"DEPLOYMENT": deployment, **POSTGRES}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LAKE_ROOT")
    return environment.current()


@pytest.mark.parametrize(
    ("deployment", "kind", "name"),
    [
        ("", Kind.LOCAL, "local"),
        ("prod", Kind.PROD, "prod"),
        ("branch-1523", Kind.BRANCH, "branch-1523"),
        ("branch-fix-delays", Kind.BRANCH, "branch-fix-delays"),
    ],
)
def test_deployment_says_where_code_runs(
    monkeypatch: pytest.MonkeyPatch, deployment: str, kind: Kind, name: str
) -> None:
    monkeypatch.setenv("DEPLOYMENT", deployment)
    here = environment.current()
    assert (here.kind, here.name, here.dbt_target) == (kind, name, kind.value)


def test_no_deployment_at_all_is_local() -> None:
    assert environment.current().kind is Kind.LOCAL


@pytest.mark.parametrize(
    "deployment", ["production", "PROD", "branch-", "branch-A", "branch-1/2", "local", " prod", "dev"]
)
def test_an_unknown_deployment_is_an_error_that_lists_the_legal_ones(
    monkeypatch: pytest.MonkeyPatch, deployment: str
) -> None:
    monkeypatch.setenv("DEPLOYMENT", deployment)
    with pytest.raises(SettingError, match=r"expected prod, branch-<id> .* or nothing") as caught:
        environment.current()
    assert repr(deployment) in str(caught.value)


@pytest.mark.parametrize("deployment", ["prod", "branch-1523"])
def test_a_deployed_location_has_its_catalog_in_its_own_database(
    monkeypatch: pytest.MonkeyPatch, deployment: str
) -> None:
    here = deployed(monkeypatch, deployment)
    assert here.lake_catalog() == PostgresCatalog("postgres", 5432, "lake_ingestion", "ingestion", Secret("hunter2"))
    assert here.lake_data_path() == Path("/var/lib/lake/ingestion")
    assert here.schema("raw") == "raw"


def test_another_locations_catalog_is_read_with_this_locations_role(monkeypatch: pytest.MonkeyPatch) -> None:
    here = deployed(monkeypatch, "prod")
    other = here.lake_catalog("analytics")
    assert isinstance(other, PostgresCatalog)
    assert (other.database, other.user) == ("lake_analytics", "ingestion")
    assert here.lake_data_path("analytics") == Path("/var/lib/lake/analytics")


def test_a_local_lake_is_in_files(lake_root: Path) -> None:
    here = environment.current()
    assert here.is_embedded
    assert here.lake_catalog() == FileCatalog(lake_root / "ingestion.ducklake")
    assert here.lake_data_path() == lake_root / "ingestion"


def test_a_deployed_location_without_postgres_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOYMENT", "prod")
    with pytest.raises(SettingError, match="POSTGRES_HOST is not set"):
        environment.current().lake_catalog()


def test_two_developers_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    ada = environment.current().schema("raw")
    monkeypatch.setenv("DEVELOPER", "Grace.Hopper")
    assert (ada, environment.current().schema("raw")) == ("ada_raw", "grace_hopper_raw")


def test_a_developer_is_known_by_the_login_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEVELOPER")
    monkeypatch.setattr("getpass.getuser", lambda: "linus")
    assert environment.current().schema("raw") == "linus_raw"


def test_a_user_without_a_name_still_has_a_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise OSError("no entry for this user id")

    monkeypatch.delenv("DEVELOPER")
    monkeypatch.setattr("getpass.getuser", nobody)
    assert environment.current().schema("raw").startswith("user")


@pytest.mark.parametrize(
    ("deployment", "window"), [("prod", None), ("branch-7", timedelta(days=90)), ("", timedelta(90))]
)
def test_the_data_window_is_short_outside_production(
    monkeypatch: pytest.MonkeyPatch, deployment: str, window: timedelta | None
) -> None:
    monkeypatch.setenv("DEPLOYMENT", deployment)
    here = environment.current()
    start, end = date(2013, 1, 1), date(2014, 1, 1)
    assert here.data_window == window
    assert here.first_day(start, end) == (start if window is None else date(2013, 10, 3))
    assert here.first_day(date(2013, 12, 1), end) == date(2013, 12, 1)


def test_two_names_for_one_location_are_an_error() -> None:
    with pytest.raises(
        SettingError, match="CODE_LOCATION is 'ingestion', but the code that runs says it is 'analytics'"
    ):
        environment.current("analytics")


def test_a_location_without_a_name_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CODE_LOCATION")
    with pytest.raises(SettingError, match="CODE_LOCATION is not set"):
        environment.current()
    assert environment.current("analytics").catalog_database == "lake_analytics"


@pytest.mark.parametrize("name", ["../ingestion", "Ingestion", "1st", "a-b", "a" * 32, "a b", "a;drop"])
def test_a_location_name_that_could_leave_its_place_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("CODE_LOCATION", name)
    with pytest.raises(SettingError, match="is not the name of a code location"):
        environment.current()
    monkeypatch.setenv("CODE_LOCATION", "ingestion")
    with pytest.raises(SettingError, match="is not the name of a code location"):
        environment.current().lake_data_path(name)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(SettingError, match="NO_SUCH_SETTING is not set"):
        environment.setting("NO_SUCH_SETTING")
    assert environment.setting("NO_SUCH_SETTING", "fallback") == "fallback"


@pytest.mark.parametrize("port", ["0", "65536", "-1", "abc", "5432 "])
def test_a_port_that_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("POSTGRES_PORT", port)
    with pytest.raises(SettingError, match=r"POSTGRES_PORT is .* expected a port number"):
        environment.port_setting("POSTGRES_PORT", 5432)


def test_a_secret_comes_from_the_environment_or_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from a file\n")
    monkeypatch.setenv("SOURCE_TOKEN_FILE", str(tmp_path / "token"))
    assert environment.secret("SOURCE_TOKEN").reveal() == "from a file"
    monkeypatch.setenv("SOURCE_TOKEN", "from the environment")
    assert environment.secret("SOURCE_TOKEN").reveal() == "from the environment"


def test_a_missing_secret_is_named_with_both_of_its_places(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        SettingError, match="expected a secret in SOURCE_TOKEN, or a file with it named by SOURCE_TOKEN_FILE"
    ):
        environment.secret("SOURCE_TOKEN")
    monkeypatch.setenv("SOURCE_TOKEN_FILE", "/nowhere/token")
    with pytest.raises(SettingError, match="SOURCE_TOKEN_FILE names /nowhere/token, which cannot be read"):
        environment.secret("SOURCE_TOKEN")


def test_a_secret_is_never_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = deployed(monkeypatch, "prod").lake_catalog()
    for text in (str(catalog), repr(catalog), f"{catalog}", str([Secret("hunter2")]), f"{Secret('hunter2')}"):
        assert "hunter2" not in text
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(Secret("hunter2"))


def test_only_the_environment_module_reads_the_environment() -> None:
    sources = [*ROOT.glob("libraries/platform_kit/src/**/*.py"), *ROOT.glob("code_locations/*/src/**/*.py")]
    assert len(sources) > 20
    readers = {str(path.relative_to(ROOT)) for path in sources if _reads_environment(path)}
    assert readers == {"libraries/platform_kit/src/platform_kit/environment.py"}


def _reads_environment(path: Path) -> bool:
    names = {"environ", "environb", "getenv", "getenvb", "EnvVar"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in names:
            return True
        if isinstance(node, ast.ImportFrom) and names & {alias.name for alias in node.names}:
            return True
    return False
