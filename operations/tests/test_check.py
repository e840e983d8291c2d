import json
from pathlib import Path

import pytest

from operations import lineage
from operations.checking import definitions, settings, standards
from operations.deployment import Deployment
from operations.tests.fakes import Machine
from operations.tests.valid_deployment import model, valid
from operations.verbs import check as verb

ROOT = Path(__file__).parents[2]


def test_variables_are_found_as_compose_interpolates_them(tmp_path: Path) -> None:
    path = tmp_path / "docker-compose.yml"
    path.write_text("a: ${ONE:-x} $TWO\n# ${NOT}\nb: $${NEITHER} $$THIS $$${THREE}\nc: ${ONE}${FOUR:?needed}\n")
    assert settings.variables([path]) == {
        "ONE": (path.name, 1),
        "TWO": (path.name, 1),
        "THREE": (path.name, 3),
        "FOUR": (path.name, 4),
    }


def test_settings_that_differ_between_the_three_lists_are_all_told(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("a: ${A} ${UNDOCUMENTED} ${COMPOSE_PROJECT_NAME}\n")
    (tmp_path / ".env.example").write_text("# All of it.\nCOMPOSE_FILE=x\nA=1\n\nUNUSED=1\n")
    (tmp_path / ".env").write_text("COMPOSE_FILE=x\nOLD=1\n")
    assert [str(problem) for problem in settings.check(Deployment(tmp_path))] == [
        "docker-compose.yml:1: uses UNDOCUMENTED, which .env.example does not document",
        ".env.example:5: UNUSED is used by no Compose file",
        ".env.example:5: UNUSED has no comment",
        ".env: A is missing; ./stack up appends it",
        ".env: UNUSED is missing; ./stack up appends it",
        ".env:2: unknown setting OLD; .env.example has all that exist",
    ]


def test_half_written_settings_are_told_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("a: ${A}\n")
    (tmp_path / ".env.example").write_text("# A.\nA=1\n")
    (tmp_path / ".env").write_text("A=1\nCOMPOSE_FI")
    (problem,) = settings.check(Deployment(tmp_path))
    assert str(problem).startswith(".env:2: 'COMPOSE_FI' has no value")


@pytest.fixture
def checkout(machine: Machine) -> Machine:
    (machine.root / ".env.example").write_text("# Files.\nCOMPOSE_FILE=docker-compose.yml\n")
    machine.executor.answer("config", "--format", "json", stdout=json.dumps(valid()))
    model(machine.root, valid())
    machine.executor.answer("prod/ingestion:local", "python", "-", stdout='{"assets": [], "checks": []}')
    machine.executor.answer("prod/analytics:local", "python", "-", stdout='{"assets": [], "checks": []}')
    (machine.root / "docs").mkdir()
    (machine.root / lineage.FILE).write_text(lineage.page([]))
    (machine.root / standards.FILE).write_text((ROOT / standards.FILE).read_text())
    return machine


def test_definitions_are_loaded_in_their_image_without_network_or_secrets(checkout: Machine) -> None:
    assert verb.check(checkout.context(), fast=False) == 0
    (call,) = checkout.executor.ran("prod/analytics:local", "python", "-")
    assert call[call.index("--network") + 1] == "none"
    assert {"--read-only", "--rm", "prod/analytics:local", "CODE_LOCATION_PACKAGE=analytics"} <= set(call)
    assert not {"--volume", "-v", "--mount"} & set(call)


def test_definitions_that_do_not_load_are_told_with_their_error(checkout: Machine) -> None:
    checkout.executor.forget("prod/analytics:local", "python", "-")
    checkout.executor.answer("prod/analytics:local", "python", "-", code=1, stderr="ImportError: x\n")
    assert verb.check(checkout.context(), fast=False) == 1
    assert "code_locations/analytics: does not load:\n    ImportError: x" in checkout.out.getvalue()


def test_an_image_from_elsewhere_is_held_to_the_contract(checkout: Machine) -> None:
    config = valid()
    del config["services"]["analytics"]["build"]
    checkout.executor.forget("config", "--format", "json")
    checkout.executor.answer("config", "--format", "json", stdout=json.dumps(config))
    image = {
        "Labels": {"code-location": "analytics"},
        "Entrypoint": ["x"],
        "User": "root",
        "ExposedPorts": {"4000/tcp": {}},
    }
    checkout.executor.answer("image", "inspect", "prod/analytics:local", stdout=json.dumps([{"Config": image}]))
    (checkout.root / "daemon").mkdir(exist_ok=True)
    (checkout.root / "daemon/pyproject.toml").write_text((ROOT / "daemon/pyproject.toml").read_text())
    assert verb.check(checkout.context(), fast=False) == 1
    told = checkout.out.getvalue()
    assert "analytics: prod/analytics:local: its user is 'root'; expected a number that is not 0" in told
    assert "say of dagster's version" in told


def test_an_asset_that_keeps_to_no_standard_is_told(checkout: Machine) -> None:
    asset = {
        **{"key": ["analytics", "marts", "Delays"], "deps": [], "external": False, "group": "marts", "owners": []},
        **{"kinds": ["dbt"], "description": "Delays.", "partitioned": False, "columns": [], "lineage": {}},
        **{"file": None, "line": None},
    }
    checkout.executor.forget("prod/analytics:local", "python", "-")
    checkout.executor.answer(
        "prod/analytics:local", "python", "-", stdout=json.dumps({"assets": [asset], "checks": []})
    )
    assert verb.check(checkout.context(), fast=False) == 1
    printed = checkout.out.getvalue()
    assert "code_locations/analytics: analytics/marts/Delays: the name 'Delays' does not match" in printed
    assert "analytics/marts/Delays: has no owners" in printed
    assert "docs/lineage.md: differs from the definitions" in printed


def test_fast_looks_at_files_alone(checkout: Machine) -> None:
    assert verb.check(checkout.context(), fast=True) == 0
    assert [call for call in checkout.executor.calls if "config" not in call] == []


def test_every_problem_is_told_not_the_first_alone(checkout: Machine) -> None:
    (checkout.root / ".env").write_text("COMPOSE_FILE=docker-compose.yml\nOLD=1\n")
    config = valid()
    config["services"]["daemon"]["privileged"] = True
    del config["services"]["analytics"]["read_only"]
    checkout.executor.forget("config", "--format", "json")
    checkout.executor.answer("config", "--format", "json", stdout=json.dumps(config))
    (checkout.root / ".env").write_text("COMPOSE_FILE=docker-compose.yml\n")
    assert verb.check(checkout.context(), fast=True) == 1
    assert "daemon: privileged" in checkout.out.getvalue()
    assert "analytics: its root file system is writable" in checkout.out.getvalue()
    assert checkout.out.getvalue().endswith("2 problems.\n")


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("workspace.yaml", "load_from: []\n", "workspace.yaml:1: load_from: found a list; expected"),
        ("access.yaml", "people: {admin: {user: [a]}}\n", "access.yaml:1: people.admin.user: unknown key 'user'"),
        ("access.yaml", "people: [\n", "access.yaml:2: is not valid YAML"),
    ],
)
def test_a_broken_document_is_told_with_its_line(checkout: Machine, file: str, text: str, told: str) -> None:
    (checkout.root / file).write_text(text)
    assert verb.check(checkout.context(), fast=True) == 1
    assert told in checkout.out.getvalue()


def test_a_compose_file_that_compose_refuses_is_a_problem_and_not_a_crash(checkout: Machine) -> None:
    checkout.executor.forget("config", "--format", "json")
    checkout.executor.answer("config", "--format", "json", code=15, stderr="yaml: line 3: mapping values")
    assert verb.check(checkout.context(), fast=False) == 1
    assert "docker-compose.yml: Compose refuses the deployment: yaml: line 3" in checkout.out.getvalue()
    assert checkout.executor.ran("build") == []


def test_dagster_yaml_is_checked_with_the_daemons_own_classes_and_mounts() -> None:
    mounts = [{"type": "bind", "source": "/srv/dagster.yaml", "target": "/opt/dagster/home/dagster.yaml"}]
    spec = {"image": "prod/daemon:local", "volumes": mounts, "environment": {"POSTGRES_USER": "dagster"}}
    args = definitions.instance_check(spec)
    assert args[-3:] == ["prod/daemon:local", "python", "-"]
    assert "/srv/dagster.yaml:/opt/dagster/home/dagster.yaml:ro" in args
    assert args[args.index("--network") + 1] == "none"


def test_definitions_are_loaded_with_the_files_that_their_location_mounts_and_without_its_data() -> None:
    mounts = [
        {"type": "bind", "source": "/srv/workspace.yaml", "target": "/opt/dagster/workspace.yaml"},
        {"type": "volume", "source": "lake-platform", "target": "/var/lib/lake/platform"},
    ]
    args = definitions.graph("platform", {"image": "prod/platform:local", "volumes": mounts})
    assert args[args.index("--volume") + 1] == "/srv/workspace.yaml:/opt/dagster/workspace.yaml:ro"
    assert args.count("--volume") == 1
