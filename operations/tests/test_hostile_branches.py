"""The attack: a branch deployment whose id, source, settings or texts mean more than they say. Whoever opens a pull
request chooses some of them; what is made of them is a path, SQL, a file that Compose reads, a command of git.
"""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml

from operations import environment_file
from operations.branches import create, lakes, memory, overlay, postgres, record, registry, source
from operations.branches import settings as branch_settings
from operations.branches.lakes import Lake
from operations.branches.memory import Shares
from operations.branches.settings import Settings
from operations.context import Context
from operations.deployment import Deployment
from operations.errors import StackError
from operations.execute import Shell
from operations.report import Report
from operations.tests.fakes import EXAMPLE, Machine
from operations.tests.test_branch_files import described, location
from operations.tests.test_branch_source import commit, git
from operations.tests.test_hostile_settings import NAMED, composed, refusal, told, without
from operations.tests.valid_deployment import volume
from platform_kit.migrations import scratch

OURS = Settings(6144, 7, (), "127.0.0.1", branch_settings.NETWORKS)


# --- Its id ----------------------------------------------------------------------------------------------------------


@NAMED
def test_a_hostile_id_is_refused_before_it_becomes_a_path(machine: Machine, attack: str) -> None:
    with pytest.raises(StackError) as error:
        record.deployment(machine.root, attack)
    assert "no id for a branch" in told(machine, error.value)


@pytest.mark.parametrize(
    "identifier", ["-1", "1-", "a_b", "A", "a.b", "1/2", "a" * 33, "1523\n", "１５２３", "branch 1"]
)
def test_an_id_that_is_nearly_one_is_refused(machine: Machine, identifier: str) -> None:
    with pytest.raises(StackError):
        record.deployment(machine.root, identifier)


@pytest.mark.parametrize("identifier", ["1", "1523", "fix-the-lake", "a" * 32, "prod", "postgres"])
def test_an_id_as_documented_is_a_deployment_of_its_own(machine: Machine, identifier: str) -> None:
    branch = record.deployment(machine.root, identifier)
    assert branch.name == f"branch-{identifier}"
    assert branch.home == machine.root / ".deployments" / f"branch-{identifier}"


@NAMED
def test_a_folder_of_a_hostile_name_is_no_branch(machine: Machine, attack: str) -> None:
    """What is listed, and expires by a timer, is what `branch create` made."""
    if "/" in attack or "\0" in attack or len(attack) > 200:
        attack = "not a folder's name"
    folder = machine.root / ".deployments" / f"branch-{attack}"
    folder.mkdir(parents=True)
    (folder / "branch.json").write_text("{}")
    record.write(record.deployment(machine.root, "7"), record.Record("7", "prod", record.now()))
    assert [found.id for _, found in record.every(machine.root)] == ["7"]


RECORDS = ["", "{", "[]", "null", '"x"', "{}", '{"id": 1}', '{"id": "../x", "origin": "prod"}', "\0"]


@pytest.mark.parametrize("text", RECORDS, ids=[text[:30] or "empty" for text in RECORDS])
def test_a_record_that_cannot_be_read_is_of_a_branch_that_is_half_there(machine: Machine, text: str) -> None:
    branch = record.deployment(machine.root, "7")
    record.path(branch).parent.mkdir(parents=True)
    record.path(branch).write_text(text)
    found = record.read(branch)
    assert found is not None
    assert (found.id, found.state, found.rebuilt) == ("7", record.MAKING, ())


# --- Its source ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """Production, made from a git repository."""
    root = tmp_path_factory.mktemp("checkout")
    git(root, "init", "--quiet", "--initial-branch=main")
    (root / ".env.example").write_text(EXAMPLE)
    commit(root, "code_locations/ingestion/src/ingestion/definitions.py", "defs = 1\n")
    context = Context(Deployment(root), Shell(root), Report())
    context.__dict__["config"] = {
        "services": {"ingestion": {"build": {"context": "."}, "labels": {"code-location": "ingestion"}}}
    }
    return context


@without("empty")  # means this checkout
def test_a_hostile_source_is_refused(
    machine: Machine, origin: Context, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where . and .. are folders that are no work tree.
    monkeypatch.chdir(machine.root)
    with pytest.raises(StackError) as error:
        source.resolve(origin, attack)
    told(machine, error.value)


@pytest.mark.parametrize("option", ["--output=x", "--exec=id", "--upload-pack=id", "-c", "--git-dir=/", "--all", "-"])
def test_an_option_of_git_in_the_place_of_a_commit_is_refused(origin: Context, option: str) -> None:
    with pytest.raises(StackError, match="neither a directory nor a commit"):
        source.resolve(origin, option)


def test_a_source_as_documented_is_found(origin: Context) -> None:
    head = git(origin.deployment.root, "rev-parse", "HEAD")
    assert source.resolve(origin, "main").commit == head
    assert source.resolve(origin, str(origin.deployment.root)).as_it_lies


@NAMED
def test_a_hostile_location_to_build_is_refused(machine: Machine, origin: Context, attack: str) -> None:
    found = source.resolve(origin, "main")
    with pytest.raises(StackError) as error:
        source.choose(origin, found, ["ingestion", attack])
    told(machine, error.value)


# --- Its settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["BRANCH_MEMORY_MB", "BRANCH_DAYS", "BRANCH_BIND", "BRANCH_NETWORKS"])
@without("empty")  # means the default
def test_a_hostile_setting_of_branches_is_refused(machine: Machine, setting: str, attack: str) -> None:
    with pytest.raises(StackError) as error:
        branch_settings.of({setting: attack}, [])
    assert setting in told(machine, error.value)


NUMBERS = {
    "BRANCH_MEMORY_MB": ("-1", "0", "1.5", "1e9", "²", "６", "9" * 5000, "0x10", "1_000"),
    "BRANCH_DAYS": ("-1", "1.5", "9" * 10, "７"),
    "BRANCH_BIND": ("localhost", "127.0.0.1:3000", "127.0.0.1/8", "127.1", "0177.0.0.1", "[::1]", "example.com"),
    "BRANCH_NETWORKS": ("0.0.0.0/0", "8.8.8.0/23", "10.0.0.0/30", "10.0.0.1/16", "::/0", "198.18.0.0"),
}


@pytest.mark.parametrize(("setting", "value"), [(name, each) for name, values in NUMBERS.items() for each in values])
def test_a_setting_of_branches_that_is_nearly_one_is_refused(setting: str, value: str) -> None:
    with pytest.raises(StackError, match=setting):
        branch_settings.of({setting: value}, [])


def test_settings_of_branches_as_documented_are_taken() -> None:
    values = {"BRANCH_MEMORY_MB": "4096", "BRANCH_DAYS": "0", "BRANCH_BIND": "::1", "BRANCH_NETWORKS": "10.64.0.0/16"}
    found = branch_settings.of(values, [])
    assert (found.memory_mib, found.days, found.bind, str(found.networks)) == (4096, 0, "::1", "10.64.0.0/16")


@without("empty", "blank")  # names none
def test_a_hostile_secret_to_share_is_refused(machine: Machine, attack: str) -> None:
    production = machine.context()
    production.__dict__["config"] = {"secrets": {"smtp_password": {}}}
    found = branch_settings.of({"BRANCH_SECRETS": f"smtp_password,{attack}"}, ["ingestion"])
    with pytest.raises(StackError) as error:
        create._require_secrets(production, found)
    told(machine, error.value)


@pytest.mark.parametrize("name", [*branch_settings.OWN, "ingestion_database_password", " gateway_token "])
def test_a_key_of_productions_is_never_shared(name: str) -> None:
    with pytest.raises(StackError, match="BRANCH_SECRETS names"):
        branch_settings.of({"BRANCH_SECRETS": f"smtp_password,{name}"}, ["ingestion"])


@NAMED
def test_a_hostile_setting_of_production_is_the_branchs_same_value_or_there_is_no_branch(
    tmp_path: Path, attack: str
) -> None:
    """It is read, changed and written: here a value would become another, or two."""
    path, example = tmp_path / "branch" / ".env", tmp_path / ".env.example"
    example.write_text(EXAMPLE)
    production = {
        **{key: each.value for key, each in environment_file.parse(EXAMPLE, "x").items()},
        "PACKAGE_INDEX": attack,
    }
    values = overlay.values(production, "branch-7", "3007", OURS, {})
    if refusal(lambda: environment_file.create(path, example, values)):
        assert not path.exists()
    else:
        found = {key: each.value for key, each in environment_file.parse(path.read_text(), ".env").items()}
        assert found == values
        assert (found["SECRETS_DIR"], found["GATEWAY_BIND"]) == ("./.deployments/branch-7/secrets", "127.0.0.1")


# --- Its overlay -----------------------------------------------------------------------------------------------------


@without("surrogate")
def test_a_hostile_text_in_the_overlay_is_that_text_to_compose(attack: str) -> None:
    banner = overlay.banner("branch-7", attack, datetime(2026, 11, 21, tzinfo=UTC))
    config = described(sales=location("1073741824", "1g", volume("lake-sales", "/var/lib/lake/sales")))
    config["services"]["webserver"] = {"environment": {}}
    # As Compose resolved it, and so with two dollars for one.
    config["volumes"]["lake-sales"]["name"] = attack.replace("$", "$$")
    text = overlay.render(config, "branch-7", Shares(), banner, {"sales": "198.18.0.0/27"})
    found = composed(yaml.safe_load(text))
    assert set(found) == {"services", "networks", "volumes"}
    assert found["services"]["webserver"] == {"environment": {"BANNER": banner}}
    assert found["volumes"] == {"production_lake-sales": {"external": True, "name": attack}}


@NAMED
def test_a_hostile_limit_of_runs_never_makes_a_branch_larger_than_its_share(attack: str) -> None:
    config = described(sales=location("1073741824", attack))
    shares = memory.share(config, 2048)
    assert shares.runs == {"sales": 1024}
    assert shares.concurrent >= 1


@pytest.mark.parametrize("size", ["999999999999g", "9" * 5000 + "g", "²g", "-1g", "1e9g"])
def test_a_size_beyond_all_bounds_never_makes_a_branch_larger_than_its_share(size: str) -> None:
    assert memory.share(described(sales=location("1073741824", size)), 2048).runs["sales"] <= 2048


# --- SQL, and programs in a row --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows() -> Any:
    """Asks a real Postgres of the tests' own."""
    with scratch.database() as place:
        connection = psycopg2.connect(
            host=place.host, port=place.port, dbname=place.database, user=place.user, connect_timeout=10
        )
        connection.autocommit = True

        def ask(statement: str) -> list[tuple[Any, ...]]:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []

        ask("CREATE SCHEMA provisioning")
        ask("CREATE TABLE provisioning.lake_clones (lake text, clone text, PRIMARY KEY (lake, clone))")
        yield ask
        connection.close()


@without("null", "surrogate")  # no text of Postgres
def test_a_hostile_text_in_a_statement_is_that_text(rows: Any, attack: str) -> None:
    assert rows(f"SELECT {postgres.literal(attack)}") == [(attack,)]


@without("null", "surrogate")
def test_a_hostile_name_in_the_register_of_clones_is_that_name_and_goes_again(rows: Any, attack: str) -> None:
    said: list[str] = []

    class Engine:
        def run(self, *_: Any, stdin: str, **__: Any) -> None:
            said.append(stdin)

    class Origin:
        executor = Engine()

    rows("INSERT INTO provisioning.lake_clones VALUES ('lake_other', 'other')")
    registry.register(Origin(), "x", [f"lake_{attack}"], attack)  # type: ignore[arg-type]
    rows(said[0])
    assert (f"lake_{attack}", attack) in rows("SELECT * FROM provisioning.lake_clones")
    registry.forget(Origin(), "x", attack)  # type: ignore[arg-type]
    rows(said[1])
    assert rows("SELECT * FROM provisioning.lake_clones") == [("lake_other", "other")]
    rows("DELETE FROM provisioning.lake_clones")


def test_what_makes_a_copy_a_clone_is_one_statement_that_postgres_reads(rows: Any) -> None:
    rows(lakes.statements(Lake("sales", "prod_lake-sales")))


@without("null")  # no argument of a program
def test_a_hostile_argument_between_two_programs_is_one_argument(attack: str) -> None:
    command = postgres.pipe(["printf", "%s", attack], ["cat"])
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout.decode("utf-8", "surrogateescape") == attack


@NAMED
def test_a_hostile_name_of_a_database_is_one_argument_of_psql(attack: str) -> None:
    command = postgres.psql("container", attack, role=attack)
    assert command[command.index("--username") + 1] == attack
    assert command[command.index("--dbname") + 1] == attack
    assert command.count(attack) == 2 + (attack in ("-",))


def test_the_record_of_a_branch_is_whole_whatever_is_in_it(machine: Machine) -> None:
    branch = record.deployment(machine.root, "7")
    for attack in ('"}, "state": "ready', "\n", "\0", "\u2028", "x" * 10000):
        record.write(branch, record.Record("7", "prod", record.now(), source=attack))
        assert json.loads(record.path(branch).read_text())["source"] == attack
        found = record.read(branch)
        assert found is not None
        assert (found.source, found.state) == (attack, record.MAKING)
