"""Writing and trying migrations without Docker."""

import json
from pathlib import Path

import pytest

from operations.development import locations
from operations.errors import StackError
from operations.migrations import local
from operations.testing import environments
from operations.tests.fakes import Machine


@pytest.fixture
def checkout(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    folder = machine.root / "code_locations/ingestion"
    folder.mkdir(parents=True)
    (folder / "requirements.lock").write_text("alembic==1\n")
    (folder / "pyproject.toml").write_text('[tool.dg.project]\nroot_module = "the_package"\n')
    monkeypatch.setattr(environments, "provide", lambda context, lock: Path("/environments") / Path(lock).parent.name)
    return machine


def answer(machine: Machine, told: object, code: int = 0) -> None:
    machine.executor.answer("platform_kit.migrations", stdout=f"{json.dumps(told)}\n", code=code)


def test_a_revision_is_written_in_the_environment_of_the_location(checkout: Machine) -> None:
    path = checkout.root / "code_locations/ingestion/src/the_package/migrations/versions/x.py"
    answer(checkout, {"file": str(path)})
    assert local.new(checkout.context(), "ingestion", "--what changes", empty=True) == 0
    (call,) = checkout.executor.calls
    assert call[:3] == ["/environments/ingestion/bin/python", "-m", "platform_kit.migrations"]
    assert call[3:] == ["new", "--json", "--empty", "--", "--what changes"]
    assert "Wrote code_locations/ingestion/src/the_package/migrations/versions/x.py" in checkout.out.getvalue()


def test_no_server_of_the_deployment_is_used(checkout: Machine) -> None:
    (location,) = locations.discover(checkout.root, ["ingestion"])
    found = local.settings(location)
    assert (found["POSTGRES_HOST"], found["DEPLOYMENT"], found["CODE_LOCATION_PACKAGE"]) == ("", "", "the_package")


def test_nothing_new_is_told(checkout: Machine) -> None:
    answer(checkout, {"file": None})
    assert local.new(checkout.context(), "ingestion", "x", empty=False) == 0
    assert "nothing was written" in checkout.out.getvalue()


@pytest.mark.parametrize(
    ("told", "code", "printed"),
    [
        ({"head": "a", "problems": []}, 0, "ingestion: models and revisions agree."),
        ({"head": None}, 0, "ingestion: no migrations."),
        (
            {"head": "a", "problems": ["column x is missing"]},
            1,
            "  column x is missing\ningestion: models and revisions",
        ),
    ],
)
def test_a_trial_says_what_differs(checkout: Machine, told: object, code: int, printed: str) -> None:
    answer(checkout, told, code)
    assert local.try_out(checkout.context(), "ingestion") == code
    assert printed in checkout.out.getvalue()


@pytest.mark.parametrize(
    ("stdout", "stderr", "told"),
    [
        ('{"error": "2 revisions have no successor"}\n', "", "ingestion: 2 revisions have no successor"),
        ("", "No module named platform_kit.migrations\n", "cannot be asked: No module named platform_kit.migrations"),
    ],
)
def test_what_stands_in_the_way_is_told(checkout: Machine, stdout: str, stderr: str, told: str) -> None:
    checkout.executor.answer("platform_kit.migrations", stdout=stdout, stderr=stderr, code=1)
    with pytest.raises(StackError) as error:
        local.try_out(checkout.context(), "ingestion")
    assert told in error.value.found


def test_a_location_that_is_not_here_is_told(checkout: Machine) -> None:
    with pytest.raises(StackError, match="'sales' cannot run here"):
        local.try_out(checkout.context(), "sales")
