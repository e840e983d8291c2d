"""The verb on a small repository of its own: Compose's answer is the file itself, read."""

import json
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from operations import calls
from operations.context import Context
from operations.errors import StackError
from operations.execute import Result
from operations.locations import plan, scaffold
from operations.locations.scaffold import Wish
from operations.tests.fakes import FakeExecutor, Machine
from operations.verbs import location

COMPOSE = """\
x-code-location: &code-location
  read_only: true
  cap_drop: [ALL]
  security_opt: ["no-new-privileges:true"]
  user: "10001:10001"
  mem_limit: 1g
  cpus: 1
  pids_limit: 256
  restart: unless-stopped
  stop_grace_period: 60s
  healthcheck: {test: [CMD, "true"]}
  logging: {options: {max-size: 10m, max-file: "3"}}
x-environment: &environment {DEPLOYMENT: prod}
x-build: &build {BASE_IMAGE: x}

services:
  postgres:
    <<: *code-location
    networks: [database, sales]

  migrate:
    <<: *code-location
    secrets: [sales_database_password]
    networks: [database]

  # Owned by sales.
  sales:
    <<: *code-location
    image: prod/sales:${SALES_TAG:-local}
    build: {context: ., args: {<<: *build, SERVICE: code_locations/sales, NAME: sales}}
    environment: {<<: *environment, POSTGRES_USER: sales, DAGSTER_CURRENT_IMAGE: "prod/sales:${SALES_TAG:-local}"}
    secrets: [{source: sales_database_password, target: database_password}]
    volumes: ["lake-sales:/var/lib/lake/sales", "logs-sales:/var/lib/dagster/logs"]
    networks: [sales]
    labels: {code-location: sales, run.memory: 1g, run.memory.max: 2g, run.cpus: "1", run.cpus.max: "2", run.warm: "1"}

  webserver:
    <<: *code-location
    volumes:
      - logs-sales:/var/lib/dagster/logs/sales:ro
    networks: {edge: {}, sales: {}}
    depends_on: {sales: {condition: service_started}}

  daemon:
    <<: *code-location
    networks: [sales]
    depends_on: {sales: {condition: service_started}}

networks:
  edge: {}
  database: {}
  sales: {}

volumes:
  lake-sales: {}
  logs-sales: {}

secrets:
  sales_database_password: {file: "${SECRETS_DIR:-./secrets}/sales_database_password"}
"""
EXAMPLE = """\
# Files of the deployment.
COMPOSE_FILE=docker-compose.yml:deploy/overlays/source.yml
# Image tags of the code locations.
SALES_TAG=local

# Where secrets are.
SECRETS_DIR=./secrets
"""
OVERLAY = """\
services:
  source: {image: x, networks: [sales]}
  sales: {environment: {SOURCE: source}}
"""
PRIVATE_INDEX = """\
x-private-index: &private-index {args: {LIBRARY_INDEX: x}}
services:
  sales: {build: *private-index}
"""
EXTERNAL_POSTGRES = """\
x-authority: &authority {secrets: [postgres_authority]}
services:
  postgres: !reset null
  sales: {<<: *authority}
  daemon: {<<: *authority}
networks:
  sales: !override {internal: false}
"""
S3_LAKE = """\
x-s3-lake: &s3-lake {LAKE_S3_BUCKET: lakes}
services:
  sales:
    environment: *s3-lake
    secrets: [lake_s3_authority, {source: sales_s3_key, target: lake_s3_key}]
networks:
  sales: !override {internal: false}
secrets:
  sales_s3_key: {file: "${SECRETS_DIR:-./secrets}/sales_s3_key"}
"""
ACCESS = """\
people:
  editor:
    sales: {users: [], groups: [sellers]}
"""
DIGEST = "registry.example/team/elsewhere@sha256:" + "a" * 64


class Compose(FakeExecutor):
    """Answers `docker compose config` from the files of the tree that it is asked about."""

    def run(self, args: list[str], **options: object) -> Result:  # type: ignore[override]
        if "config" in args:
            root = Path(args[args.index("--project-directory") + 1])
            return Result(
                tuple(args), 0, json.dumps(resolved(yaml.safe_load((root / "docker-compose.yml").read_text())))
            )
        if "pip" in args:
            folder = Path(args[args.index("--directory") + 1])
            (folder / "requirements.lock").write_text("dagster==1\n")
        return super().run(args, **options)  # type: ignore[arg-type]


def resolved(config: dict[str, object]) -> dict[str, object]:
    """The long forms of what the files say shortly."""
    for name, spec in config["services"].items():  # type: ignore[attr-defined]
        for key in ("networks",):
            spec[key] = dict.fromkeys(spec.get(key) or ())
        parts = [str(mount).split(":") for mount in spec.get("volumes") or ()]
        spec["volumes"] = [
            {"type": "volume", "source": p[0], "target": p[1], "read_only": p[2:] == ["ro"]} for p in parts
        ]
        spec["secrets"] = [{"source": s, "target": s} if isinstance(s, str) else s for s in spec.get("secrets") or ()]
        spec.setdefault("image", f"prod/{name}:local")
    return config


@pytest.fixture
def root(machine: Machine) -> Path:
    files = {
        "docker-compose.yml": COMPOSE,
        ".env.example": EXAMPLE,
        "deploy/overlays/source.yml": OVERLAY,
        "deploy/overlays/private-index.yml": PRIVATE_INDEX,
        "deploy/overlays/external-postgres.yml": EXTERNAL_POSTGRES,
        "deploy/overlays/s3-lake.yml": S3_LAKE,
        "access.yaml": ACCESS,
        "workspace.yaml": "load_from:\n  - grpc_server: {host: sales, port: 4000, location_name: sales}\n",
        "code_locations/sales/pyproject.toml": "",
        "code_locations/sales/src/sales/definitions.py": "",
        "daemon/pyproject.toml": '[project]\ndependencies = ["dagster==1.13.27", "dagster-postgres==0.29.27"]\n',
        "libraries/index/platform_kit-0.9.0-py3-none-any.whl": "",
        "libraries/index/platform_kit-0.10.0-py3-none-any.whl": "",
        ".github/CODEOWNERS": "*  @acme/platform\n/code_locations/sales/ @acme/sellers\n",
        ".deployments/beside/.env": EXAMPLE,
    }
    for name, text in files.items():
        (machine.root / name).parent.mkdir(parents=True, exist_ok=True)
        (machine.root / name).write_text(text)
    machine.executor = Compose()
    machine.executor.answer("image", "inspect", code=1)
    return machine.root


def everything(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and ".stack" not in path.parts)
    return {str(path.relative_to(root)): path.read_text() for path in files}


def added(machine: Machine, name: str, **wish: object) -> Context:
    context = machine.context()
    location.new(context, Wish(name, **wish))  # type: ignore[arg-type]
    return context


def test_a_new_location_passes_the_checks_and_its_removal_leaves_the_files_as_they_were(
    machine: Machine, root: Path
) -> None:
    before = everything(root)
    added(machine, "demo", reads=("sales",))
    after = everything(root)
    config = yaml.safe_load(after["docker-compose.yml"])
    assert list(config["services"])[2:4] == ["sales", "demo"]
    assert config["services"]["demo"]["volumes"][1] == "lake-sales:/var/lib/lake/sales:ro"
    assert config["networks"]["demo"] == {"internal": True}
    assert "/code_locations/demo/ @acme/demo\n" in after[".github/CODEOWNERS"]
    assert "SALES_TAG=local\nDEMO_TAG=local\n" in after[".env.example"]
    assert "DEMO_TAG=local\n" in after[".deployments/beside/.env"]
    assert "machines: {demo: {reads: [sales]}}" in after["access.yaml"]
    assert "  demo: {build: *private-index}\n" in after["deploy/overlays/private-index.yml"]
    assert "  demo: {<<: *authority}\n" in after["deploy/overlays/external-postgres.yml"]
    for overlay in ("external-postgres", "s3-lake"):
        assert "  demo: !override {internal: false}\n" in after[f"deploy/overlays/{overlay}.yml"]
    bucket = after["deploy/overlays/s3-lake.yml"]
    own = ("{source: demo_s3_key, target: lake_s3_key}", "{source: demo_s3_key_secret, target: lake_s3_key_secret}")
    assert f"  demo:\n    environment: *s3-lake\n    secrets: [lake_s3_authority, {', '.join(own)}]\n" in bucket
    assert '  demo_s3_key_secret: {file: "${SECRETS_DIR:-./secrets}/demo_s3_key_secret"}\n' in bucket
    location.remove(machine.context(), "demo", yes=True)
    left = everything(root)
    # The key that access.yaml had not is the one thing that stays.
    assert left.pop("access.yaml") == before.pop("access.yaml") + "\nmachines: {}\n"
    assert left == before


def test_the_lock_asks_for_the_newest_library_and_the_deployments_dagster(machine: Machine, root: Path) -> None:
    added(machine, "demo")
    pins = tomllib.loads((root / "code_locations/demo/pyproject.toml").read_text())["project"]["dependencies"]
    assert {"dagster==1.13.27", "dagster-postgres==0.29.27", "platform_kit[lake]==0.10.0"} <= set(pins)
    (call,) = machine.executor.ran("pip", "compile")
    assert call[call.index("--find-links") + 1] == "../../libraries/index"


def test_internet_is_said_with_the_network(machine: Machine, root: Path) -> None:
    added(machine, "demo", internet=True)
    assert yaml.safe_load((root / "docker-compose.yml").read_text())["networks"]["demo"] == {}


def test_a_location_that_keeps_others_gets_the_new_ones_lake_and_logs(machine: Machine, root: Path) -> None:
    text = COMPOSE.replace("lake-sales:/var/lib/lake/sales", "lake-platform:/var/lib/lake/platform").replace(
        '"logs-sales:', '"logs-platform:'
    )
    (root / "docker-compose.yml").write_text(text.replace("sales", "platform"))
    for file in ("workspace.yaml", "access.yaml", ".env.example", ".deployments/beside/.env", ".github/CODEOWNERS"):
        (root / file).write_text((root / file).read_text().replace("sales", "platform").replace("SALES", "PLATFORM"))
    shutil.rmtree(root / "deploy")
    (root / "code_locations/sales").rename(root / "code_locations/platform")
    compose = (
        (root / "docker-compose.yml")
        .read_text()
        .replace("platform, NAME: platform", "platform, NAME: platform, PACKAGE: sales")
    )
    (root / "docker-compose.yml").write_text(compose.replace("SALES", "PLATFORM"))
    added(machine, "demo")
    config = yaml.safe_load((root / "docker-compose.yml").read_text())
    assert config["services"]["platform"]["volumes"][2:] == [
        "lake-demo:/var/lib/lake/demo",
        "logs-demo:/var/lib/location-logs/demo",
    ]
    assert yaml.safe_load((root / "access.yaml").read_text())["machines"] == {"platform": {"maintains": ["demo"]}}


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish("Demo"), "'Demo' is no name for a code location"),
        (Wish("postgres"), "taken by a Compose service"),
        (Wish("json"), "would hide Python's own module"),
        (Wish("sales"), "there is a sales already: workspace.yaml names it"),
        (Wish("edge"), "taken by a network"),
        (Wish("database"), "docker-compose.yml has a network of this name"),
        (Wish("demo", like="java"), "--like java is no pattern"),
        (Wish("demo", reads=("sale",)), "--reads sale: no such location"),
        (Wish("demo", owner="a b"), "'a b' is no name for a group"),
        (Wish("demo", like="image"), "--like image without --image"),
        (Wish("demo", image=DIGEST), "--image with --like team"),
        (Wish("demo", like="image", image="a b"), "'a b' is no reference of an image"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    machine: Machine, root: Path, wish: Wish, said: str
) -> None:
    before = everything(root)
    with pytest.raises(StackError) as error:
        location.new(machine.context(), wish)
    assert said in error.value.found
    assert error.value.do
    assert everything(root) == before


def test_a_repository_with_problems_is_mended_first(machine: Machine, root: Path) -> None:
    (root / "code_locations/forgotten").mkdir()
    (root / "code_locations/forgotten/pyproject.toml").touch()
    before = everything(root)
    with pytest.raises(StackError, match="the repository as it is has problems:\n  workspace"):
        added(machine, "demo")
    assert everything(root) == before


def test_no_package_index_leaves_nothing_behind(machine: Machine, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(root)
    monkeypatch.setattr(Compose, "_find", lambda *_: Result((), 2, "", "no route to the index"))
    with pytest.raises(StackError, match="demo cannot be resolved: no route to the index"):
        added(machine, "demo")
    assert everything(root) == before
    assert not (root / ".stack/location").exists()


def test_a_location_built_elsewhere_has_a_block_and_no_folder(machine: Machine, root: Path) -> None:
    added(machine, "elsewhere", like="image", image=DIGEST)
    spec = yaml.safe_load((root / "docker-compose.yml").read_text())["services"]["elsewhere"]
    assert spec["image"] == spec["environment"]["DAGSTER_CURRENT_IMAGE"] == DIGEST
    assert "build" not in spec
    assert not (root / "code_locations/elsewhere").exists()
    assert "ELSEWHERE" not in (root / ".env.example").read_text()
    assert "is not on this machine" in machine.err.getvalue()


NEWER = DIGEST.replace("a" * 64, "b" * 64)


def test_another_image_of_a_location_built_elsewhere_changes_its_two_lines_alone(machine: Machine, root: Path) -> None:
    added(machine, "elsewhere", like="image", image=DIGEST)
    before = everything(root)
    location.take(machine.context(), "elsewhere", NEWER)
    after = everything(root)
    assert before["docker-compose.yml"].count(DIGEST) == 2
    assert after == {**before, "docker-compose.yml": before["docker-compose.yml"].replace(DIGEST, NEWER)}
    location.take(machine.context(), "elsewhere", NEWER)
    assert everything(root) == after
    assert "runs this image already" in machine.out.getvalue()


@pytest.mark.parametrize(
    ("name", "image", "said"),
    [
        ("nobody", NEWER, "there is no location nobody"),
        ("sales", NEWER, "sales is built in this repository"),
        ("elsewhere", "a b", "'a b' is no reference of an image"),
        ("elsewhere", "registry.example/team/elsewhere:newest", "names no digest"),
        ("elsewhere", DIGEST + "\n    privileged: true", "is no reference of an image"),
        ("elsewhere", "${HOME}@sha256:" + "a" * 64, "is no reference of an image"),
    ],
)
def test_an_image_that_cannot_be_taken_changes_nothing(
    machine: Machine, root: Path, name: str, image: str, said: str
) -> None:
    added(machine, "elsewhere", like="image", image=DIGEST)
    before = everything(root)
    with pytest.raises(StackError) as error:
        location.take(machine.context(), name, image)
    assert said in error.value.found
    assert everything(root) == before


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"Labels": {"code-location": "x"}}, "its label code-location is 'x'; expected 'elsewhere'"),
        ({"Entrypoint": None}, "it has no entry point"),
        ({"User": "root"}, "its user is 'root'; expected a number"),
        ({"User": "0:0"}, "its user is '0:0'"),
        ({"ExposedPorts": {"80/tcp": {}}}, "it exposes 80/tcp; expected 4000/tcp"),
    ],
)
def test_an_image_that_does_not_keep_the_contract_is_refused(
    machine: Machine, root: Path, config: dict[str, object], said: str
) -> None:
    good = {
        "Labels": {"code-location": "elsewhere"},
        "Entrypoint": ["/entrypoint"],
        "User": "10001",
        "ExposedPorts": {"4000/tcp": {}},
    }
    machine.executor.forget("image", "inspect")
    machine.executor.answer("image", "inspect", stdout=json.dumps([{"Config": good | config}]))
    machine.executor.answer("docker", "run", stdout="1.13.27\n")
    before = everything(root)
    with pytest.raises(StackError, match="does not keep to the contract") as error:
        added(machine, "elsewhere", like="image", image=DIGEST)
    assert said in error.value.found
    assert everything(root) == before


def image_that_prints(machine: Machine, printed: str) -> None:
    """An image that keeps to the contract, and prints this when it is asked about itself."""
    config = {
        "Labels": {"code-location": "elsewhere"},
        "Entrypoint": ["x"],
        "User": "5",
        "ExposedPorts": {"4000/tcp": {}},
    }
    machine.executor.forget("image", "inspect")
    machine.executor.answer("image", "inspect", stdout=json.dumps([{"Config": config}]))
    machine.executor.answer("docker", "run", stdout=printed)


def test_an_image_that_prints_what_it_should_redact_is_refused(machine: Machine, root: Path) -> None:
    image_that_prints(machine, "nobody@example.com\n1.13.27\n")
    with pytest.raises(StackError, match="its entry point does not redact what is printed"):
        added(machine, "elsewhere", like="image", image=DIGEST)


def test_another_dagster_in_an_image_is_told(machine: Machine, root: Path) -> None:
    image_that_prints(machine, "1.12.0\n")
    with pytest.raises(StackError, match=r"dagster's version: 1\.12\.0; expected 1\.13\.27"):
        added(machine, "elsewhere", like="image", image=DIGEST)


def test_a_lake_that_others_read_is_not_taken_from_them(machine: Machine, root: Path) -> None:
    added(machine, "demo", reads=("sales",))
    before = everything(root)
    with pytest.raises(StackError, match=r"^demo reads the lake of sales"):
        location.remove(machine.context(), "sales", yes=True)
    assert everything(root) == before


def test_the_only_location_stays(machine: Machine, root: Path) -> None:
    with pytest.raises(StackError, match="sales is the only location"):
        location.remove(machine.context(), "sales", yes=True)


def test_an_overlay_that_stands_on_the_locations_network_goes_with_it(machine: Machine, root: Path) -> None:
    added(machine, "demo")
    location.remove(machine.context(), "sales", yes=True)
    left = everything(root)
    assert "deploy/overlays/source.yml" not in left
    assert "COMPOSE_FILE=docker-compose.yml\n" in left[".env.example"]
    assert "COMPOSE_FILE=docker-compose.yml\n" in left[".deployments/beside/.env"]
    assert not [file for file, text in left.items() if "sales" in text.lower()]


def test_a_folder_that_is_a_link_goes_and_what_it_leads_to_stays(machine: Machine, root: Path, tmp_path: Path) -> None:
    added(machine, "demo")
    elsewhere = tmp_path / "work"
    (root / "code_locations/demo").rename(elsewhere)
    (root / "code_locations/demo").symlink_to(elsewhere)
    kept = {path.relative_to(elsewhere): path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    location.remove(machine.context(), "demo", yes=True)
    assert not (root / "code_locations/demo").is_symlink()
    assert {path.relative_to(elsewhere): path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()} == kept
    assert kept
    assert "demo" not in (root / "docker-compose.yml").read_text()


def test_what_nobody_else_uses_goes_as_well(machine: Machine, root: Path) -> None:
    added(machine, "demo")
    before = everything(root)
    own = before["docker-compose.yml"].replace(
        "secrets: [{source: demo_database_password, target: database_password}]",
        "secrets: [{source: demo_database_password, target: database_password}, webhook]",
    )
    own = own.replace('"lake-demo:/var/lib/lake/demo"', '"cache:/cache", "lake-demo:/var/lib/lake/demo"')
    own = own.replace("POSTGRES_USER: demo,", 'POSTGRES_USER: demo, MAIL: "${MAIL_TO:-}",')
    own = own.replace("\nsecrets:\n", "  cache: {}\n\nsecrets:\n  webhook: {file: ./x}\n")
    (root / "docker-compose.yml").write_text(own)
    for file in (".env.example", ".deployments/beside/.env"):
        (root / file).write_text(before[file] + "\n# --- Mail ---\n# To whom.\nMAIL_TO=\n")
    location.remove(machine.context(), "demo", yes=True)
    left = everything(root)
    assert not [file for file, text in left.items() if "webhook" in text or "MAIL" in text or "cache" in text]


def test_what_stays_is_told_with_the_commands_that_delete_it(machine: Machine, root: Path) -> None:
    added(machine, "demo", reads=("sales",))
    location.remove(machine.context(), "demo", yes=True)
    told = machine.out.getvalue()
    for part in (
        "prod_lake-demo",
        "prod_logs-demo",
        "DATABASE lake_demo",
        "ROLE demo",
        "secrets/demo_database_password",
    ):
        assert part in told


def test_removing_asks_and_takes_no_for_an_answer(
    machine: Machine, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(machine, "demo")
    before = everything(root)
    with pytest.raises(StackError, match="there is nobody to ask"):
        location.remove(machine.context(), "demo", yes=False)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "no")
    with pytest.raises(StackError, match="not confirmed"):
        location.remove(machine.context(), "demo", yes=False)
    assert everything(root) == before


def test_the_list_tells_patterns_reads_and_editors(machine: Machine, root: Path) -> None:
    added(machine, "demo", reads=("sales",), owner="analysts")
    added(machine, "elsewhere", like="image", image=DIGEST)
    location.show(machine.context())
    told = [line.split() for line in machine.out.getvalue().splitlines()]
    assert ["demo", "team", "${COMPOSE_PROJECT_NAME}/demo:${DEMO_TAG:-local}", "sales", "analysts"] in [
        line[:5] for line in told
    ]
    assert ["elsewhere", "image", DIGEST, "elsewhere"] in [line[:4] for line in told]


def test_every_pattern_of_the_help_exists() -> None:
    assert scaffold.patterns() == ["components", "dbt", "image", "team"]


def test_the_verbs_may_come_before_the_first_up() -> None:
    assert {"location new", "location remove"} <= set(calls.MAY_BE_FIRST)
    assert plan.variable("flight_data") == "FLIGHT_DATA_TAG"
