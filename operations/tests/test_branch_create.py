"""A branch: what is checked before anything is made, what is made in which order, and what it never gets."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from operations import environment_file, gateway
from operations.branches import delete, images, record
from operations.branches.commands import held
from operations.context import Context
from operations.errors import StackError
from operations.releases import content, tree
from operations.tests import branching
from operations.tests.branching import Interrupted, make, overlay, position, sql
from operations.tests.fakes import EXAMPLE, FakeExecutor, Machine, killed

HOME = ".deployments/branch-7"


class FakeGateway:
    def locations(self) -> list[gateway.Location]:
        return branching.LOADED


def lay_out(_context: Context, _repository: Path, _commit: str, target: Path, _paths: Sequence[str] = ()) -> None:
    """The files of any commit."""
    for name, text in (("deploy/images/python-service.Dockerfile", "FROM x AS location\n"), ("code_locations/x", "")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(text)
    for name in ("ingestion", "analytics"):
        (target / "code_locations" / name).mkdir()


@pytest.fixture
def prod(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(gateway, "as_admin", lambda _: FakeGateway())
    monkeypatch.setattr(tree, "lay_out", lay_out)
    return branching.prepared(machine)


def made(machine: Machine) -> dict[str, str]:
    """The files of the branch, but for what is drawn or dated."""
    home = machine.root / HOME
    files = {str(path.relative_to(home)): path.read_text() for path in sorted(home.rglob("*")) if path.is_file()}
    secrets = {"secrets/postgres_password", "secrets/gateway_token", "secrets/personal_data_key_ingestion"}
    assert all(len(files[name]) == 43 for name in secrets)
    return {name: text for name, text in files.items() if name not in {*secrets, "branch.json", "branch.yml"}}


def test_a_branch_has_settings_secrets_and_a_port_of_its_own(prod: Machine) -> None:
    assert make(prod) == 0
    values = environment_file.read(prod.root / HOME / ".env", prod.root / ".env.example")
    assert values["DEPLOYMENT"] == "branch-7"
    assert values["COMPOSE_FILE"] == "docker-compose.yml:.deployments/branch-7/branch.yml"
    assert values["SECRETS_DIR"] == "./.deployments/branch-7/secrets"
    assert values["GATEWAY_PORT"] == "3955"
    assert values["SMTP_HOST"] == ""
    assert values["INGESTION_TAG"] == "20261101T120000Z-0a1b2c3d4e5f"
    assert (prod.root / ".env").read_text() == EXAMPLE + branching.SETTINGS


def test_people_are_productions_and_passwords_of_machines_are_not(prod: Machine) -> None:
    make(prod)
    secrets = prod.root / HOME / "secrets"
    for name in ("gateway_users", "gateway_groups", "admin_password"):
        assert (secrets / name).read_text() == (prod.root / "secrets" / name).read_text()
    for name in ("postgres_password", "gateway_token", "personal_data_key_ingestion"):
        assert "production's" not in (secrets / name).read_text()
    assert secrets.stat().st_mode & 0o777 == 0o700


def test_only_a_secret_that_is_named_comes_along(prod: Machine) -> None:
    (prod.root / ".env").write_text(
        (prod.root / ".env").read_text().replace("BRANCH_SECRETS=", "BRANCH_SECRETS=personal_data_key_ingestion")
    )
    make(prod)
    key = prod.root / HOME / "secrets/personal_data_key_ingestion"
    assert key.read_text() == "production's personal_data_key_ingestion"


@pytest.mark.parametrize("name", ["postgres_password", "gateway_token", "ingestion_database_password", "no_such"])
def test_a_secret_that_would_open_production_is_refused(prod: Machine, name: str) -> None:
    text = (prod.root / ".env").read_text().replace("BRANCH_SECRETS=", f"BRANCH_SECRETS={name}")
    (prod.root / ".env").write_text(text)
    with pytest.raises(StackError, match=f"BRANCH_SECRETS names {name}"):
        make(prod)
    assert not (prod.root / HOME).exists()


def test_the_clone_is_registered_before_the_first_catalog_is_copied(prod: Machine) -> None:
    make(prod)
    (row,) = sql(prod, "INSERT INTO provisioning.lake_clones")
    assert "('lake_ingestion', 'branch-7'), ('lake_analytics', 'branch-7')" in str(prod.executor.stdins[row])
    copies = [number for number, call in enumerate(prod.executor.calls) if "pg_dump" in call[-1]]
    assert len(copies) == 2
    assert row < position(prod, "--wait", "--wait-timeout", "300", "postgres") < min(copies)
    shown = sql(prod, "kept_events")[0]
    assert (
        shown
        < min(copies)
        < sql(prod, "'/var/lib/production/ingestion/'")[0]
        < position(prod, "--progress", "plain", "up")
    )


def test_the_dump_comes_from_production_and_goes_to_the_branch(prod: Machine) -> None:
    make(prod)
    copy = next(call for call in prod.executor.calls if "pg_dump" in call[-1])
    assert copy[:4] == ["bash", "-o", "pipefail", "-c"]
    source, _, target = copy[-1].partition(" | ")
    assert " prod-postgres pg_dump --username ingestion " in source
    assert source.endswith("--dbname lake_ingestion")
    assert " branch-7-postgres pg_restore --username ingestion " in target
    assert target.endswith("--single-transaction --dbname lake_ingestion")


def test_no_lake_is_entered_as_the_superuser_whom_a_planted_view_would_serve(prod: Machine) -> None:
    make(prod)
    calls = prod.executor.calls
    parts = [part for call in calls for part in (call[-1].split(" | ") if call[0] == "bash" else [" ".join(call)])]
    entered = [part for part in parts if "--dbname lake_" in part]
    assert len(entered) >= 6
    for line in entered:
        owner = line.partition("--dbname lake_")[2].split()[0]
        assert f" --username {owner} " in line, line


def test_nothing_is_written_to_production_but_its_registry(prod: Machine) -> None:
    make(prod)
    for call, stdin in zip(prod.executor.calls, prod.executor.stdins, strict=True):
        if "prod-postgres" in call and stdin:
            written = [word for word in ("INSERT", "UPDATE", "DELETE", "DROP", "ALTER", "CREATE") if word in stdin]
            assert written == (["INSERT"] if "provisioning.lake_clones" in stdin else []), stdin
    changing = [call for call in prod.executor.calls if "--project-name" in call and "prod" in call]
    assert {call[-3] for call in changing} == {"config"}


def test_productions_files_are_mounted_read_only_where_the_lake_is(prod: Machine) -> None:
    make(prod)
    described = overlay(prod)
    for service, lakes in (("ingestion", ["ingestion"]), ("analytics", ["analytics", "ingestion"])):
        mounts = described["services"][service]["volumes"]
        assert [mount["target"] for mount in mounts] == [f"/var/lib/production/{lake}" for lake in lakes]
        assert all(mount["read_only"] and mount["volume"] == {"nocopy": True} for mount in mounts)
    assert described["volumes"]["production_lake-ingestion"] == {"external": True, "name": "prod_lake-ingestion"}


def test_a_branch_builds_nothing_by_itself_backs_nothing_up_and_says_what_it_is(prod: Machine) -> None:
    make(prod)
    services = overlay(prod)["services"]
    assert services["backup"] is None
    assert all("build" in spec and spec["build"] is None for name, spec in services.items() if name != "backup")
    assert services["webserver"]["environment"]["BANNER"].startswith("branch-7 · clone of prod from 20")
    assert services["webserver"]["environment"]["BANNER"].endswith(" UTC · schedules off")


def test_unchanged_images_are_productions_by_what_it_runs(prod: Machine) -> None:
    make(prod)
    tagged = {call[3]: call[2] for call in prod.executor.ran("docker", "tag")}
    assert tagged["branch-7/webserver:local"] == "sha256:webserver"
    assert tagged["branch-7/ingestion:20261101T120000Z-0a1b2c3d4e5f"] == "sha256:ingestion"
    assert prod.executor.ran("--progress", "plain", "build") == [
        call for call in prod.executor.ran("build") if "branch-7" in call
    ]


def test_a_named_location_is_built_with_this_checkouts_dockerfile(prod: Machine, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "code_locations/analytics").mkdir(parents=True)
    make(prod, "analytics", source=str(other))
    (built,) = prod.executor.ran("--file", str(prod.root / HOME / "build.json"))
    assert built[-3:] == ["--progress", "plain", "build"]
    described = (prod.root / HOME / "build.json").read_text()
    assert f'"context": "{prod.root}/.stack/branch-7/recipes/analytics"' in described
    assert '"dockerfile": "deploy/images/python-service.Dockerfile"' in described
    assert '"ingestion"' not in described.partition('"services"')[2].partition("args")[0]
    assert "branch-7/analytics:local" not in {call[3] for call in prod.executor.ran("docker", "tag")}
    about = record.read(prod.context("branch-7").deployment)
    assert about is not None
    assert (about.rebuilt, about.commit, about.state) == (("analytics",), branching.COMMIT[:12], "ready")


def test_what_differs_from_production_is_built(prod: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "of", lambda *args: f"{args[1]} at {args[3] if args[1] == 'analytics' else ''}")
    prod.executor.answer("--quiet", "feature^{commit}", stdout="f" * 40)
    make(prod, source="feature")
    about = record.read(prod.context("branch-7").deployment)
    assert about is not None
    assert (about.rebuilt, about.commit) == (("analytics",), "f" * 12)
    assert "rebuilt analytics (differs from this checkout)" in prod.out.getvalue()


def test_runs_share_the_memory_that_the_services_leave(prod: Machine) -> None:
    make(prod)
    text = (prod.root / HOME / "dagster.yaml").read_text()
    assert "max_concurrent_runs: 3" in text
    assert "limit: 3" in text
    services = overlay(prod)["services"]
    assert services["ingestion"]["mem_limit"] == "512m"
    assert services["ingestion"]["labels"] == {"run.memory": "1024m", "run.memory.max": "1024m", "run.warm": "0"}
    assert services["gateway"]["mem_limit"] == "128m"


def no_memory(prod: Machine) -> None:
    prod.host = replace(prod.host, memory=6000 * 1024**2)


def no_disk(prod: Machine) -> None:
    prod.host = replace(prod.host, disk=1000)


def no_port(prod: Machine) -> None:
    prod.host = replace(prod.host, taken=tuple(range(3001, 4000)))


def small_budget(prod: Machine) -> None:
    (prod.root / ".env").write_text((prod.root / ".env").read_text().replace("MB=6144", "MB=2048"))


def bad_days(prod: Machine) -> None:
    (prod.root / ".env").write_text((prod.root / ".env").read_text().replace("DAYS=7", "DAYS=soon"))


def production_down(prod: Machine) -> None:
    prod.executor.forget("--filter", f"label={branching.PROJECT}=prod")


def half_of_production(prod: Machine) -> None:
    prod.executor.forget(*branching.IMAGES, "prod-postgres")
    prod.executor.answer(*branching.IMAGES, "prod-postgres", stdout="postgres sha256:p\n")


def old_images(prod: Machine) -> None:
    prod.executor.answer(images.SWITCH, code=1)


def lake_elsewhere(prod: Machine) -> None:
    prod.executor.answer("lake_analytics", stdout="s3://bucket/analytics/\n")


def own_deployment(prod: Machine) -> None:
    (prod.root / HOME).mkdir(parents=True)
    (prod.root / HOME / ".env").write_text(EXAMPLE)


REFUSALS: list[tuple[Callable[[Machine], None], str]] = [
    (no_memory, r"6000 MiB of memory are free"),
    (no_disk, r"GiB are free in /var/lib/docker"),
    (no_port, r"no port from 3001 to 3999 is free"),
    (small_budget, r"BRANCH_MEMORY_MB is 2048, of which the services of a branch take \d+"),
    (bad_days, r"BRANCH_DAYS is 'soon'"),
    (production_down, r"the Postgres of prod does not run"),
    (half_of_production, r"prod does not run completely: migrate, ingestion"),
    (old_images, r"the daemon of prod is older than branches"),
    (lake_elsewhere, r"the lake of analytics has its files in s3://bucket/analytics/"),
    (own_deployment, r"there is a deployment branch-7 that ./stack branch did not make"),
]


@pytest.mark.parametrize(("spoil", "told"), REFUSALS, ids=[spoil.__name__ for spoil, _ in REFUSALS])
def test_what_is_wrong_is_told_before_anything_is_made(
    prod: Machine, spoil: Callable[[Machine], None], told: str
) -> None:
    spoil(prod)
    before = sorted(str(path) for path in prod.root.rglob("*") if ".stack" not in str(path))
    with pytest.raises(StackError, match=told):
        make(prod)
    assert sorted(str(path) for path in prod.root.rglob("*") if ".stack" not in str(path)) == before
    assert sql(prod, "INSERT") == []
    assert prod.executor.ran("docker", "tag") == []


@pytest.mark.parametrize(
    "identifier", ["../x", "7/..", "PR-7", "a" * 60, "a" * 33, "-7", "7-", "", "7 8", "ä", "7\n", "$(id)", "7;x"]
)
def test_an_id_that_is_no_name_never_becomes_a_path(prod: Machine, identifier: str) -> None:
    with pytest.raises(StackError, match="is no id for a branch"):
        make(prod, identifier=identifier)
    assert prod.executor.calls == []
    assert not (prod.root / ".deployments").exists()
    assert not (prod.root / ".stack").exists()


def test_an_id_that_is_taken_offers_to_delete_it(prod: Machine) -> None:
    make(prod)
    before = made(prod)
    with pytest.raises(StackError, match="there is a branch 7 already") as error:
        make(prod)
    assert "./stack branch delete 7" in error.value.do
    assert made(prod) == before


def test_a_branch_is_replaced_when_that_is_asked_for_and_keeps_its_address(prod: Machine) -> None:
    make(prod)
    password = (prod.root / HOME / "secrets/postgres_password").read_text()
    prod.host = replace(prod.host, taken=(3000,))
    prod.executor.answer("--quiet", "feature^{commit}", stdout="f" * 40)
    assert make(prod, source="feature", replace=True) == 0
    about = record.read(prod.context("branch-7").deployment)
    assert about is not None
    assert about.commit == "f" * 12
    assert "GATEWAY_PORT=3955\n" in (prod.root / HOME / ".env").read_text()
    assert (prod.root / HOME / "secrets/postgres_password").read_text() != password
    assert sql(prod, "DELETE FROM provisioning.lake_clones")[0] < sql(prod, "INSERT INTO provisioning.lake_clones")[1]


@pytest.mark.parametrize(
    ("locations", "source", "told"),
    [
        (("sales",), "", "there is no code location 'sales'"),
        ((), "no-such-ref", "'no-such-ref' is neither a directory nor a commit"),
        ((), "--upload-pack=x", "is neither a directory nor a commit"),
        ((), ".", "has no code_locations/"),
    ],
)
def test_what_cannot_be_built_is_told(
    prod: Machine, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch,
    locations: tuple[str, ...], source: str, told: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(StackError, match=told):
        make(prod, *locations, source=source)
    assert not any("--upload-pack" in word for call in prod.executor.calls for word in call)
    assert not (prod.root / HOME).exists()


def test_a_branch_of_a_branch_is_refused(prod: Machine) -> None:
    make(prod)
    with pytest.raises(StackError, match="branch-7 is itself a branch"):
        make(prod, identifier="8", origin="branch-7")


@pytest.mark.parametrize("kill", [False, True], ids=["interrupt", "kill"])
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.long)], ids=["some", "all"])
def test_an_interrupt_at_each_call_is_mended_by_repeating_and_by_deleting(
    prod: Machine, tmp_path_factory: pytest.TempPathFactory, kill: bool, every: int
) -> None:
    change = tmp_path_factory.mktemp("change")
    (change / "code_locations/analytics").mkdir(parents=True)
    make(prod, "analytics", source=str(change))
    whole, calls = made(prod), len(prod.executor.calls)
    assert calls > 40
    for at in range(0, calls, every):
        root = tmp_path_factory.mktemp("checkout")
        machine = Machine(root)
        branching.prepared(machine)
        branching.answers(machine, Interrupted(at, kill=kill))
        if kill:
            assert killed(lambda machine=machine: make(machine, "analytics", source=str(change)))  # type: ignore[misc]
        else:
            with pytest.raises(KeyboardInterrupt):
                make(machine, "analytics", source=str(change))
        registered = sql(machine, "INSERT INTO provisioning.lake_clones")
        copied = [number for number, call in enumerate(machine.executor.calls) if "pg_dump" in call[-1]]
        assert not copied or registered[0] < copied[0]
        branching.answers(machine, FakeExecutor())
        if at % 2:
            assert make(machine, "analytics", source=str(change)) == 0
            rebuilt = {name: text.replace(str(root), str(prod.root)) for name, text in made(machine).items()}
            dated = ("build.json", ".env")
            assert {k: v for k, v in rebuilt.items() if k not in dated} == {
                k: v for k, v in whole.items() if k not in dated
            }
        origin = machine.context()
        with held(origin, "7", "branch delete") as branch:
            delete.delete(origin, branch)
        assert not (root / HOME).exists()
        assert not (root / ".stack/branch-7").exists()
