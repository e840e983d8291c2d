"""A branch goes with all that is its own, however much there is, and with nothing of anybody else's."""

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from operations import gateway, locks
from operations.branches import commands, delete, record
from operations.branches.commands import held
from operations.errors import StackError
from operations.tests import branching
from operations.tests.branching import Interrupted, make, position, sql
from operations.tests.fakes import EXAMPLE, FakeExecutor, Machine, killed
from operations.verbs import down

HOME = ".deployments/branch-7"


class FakeGateway:
    def locations(self) -> list[gateway.Location]:
        return branching.LOADED


@pytest.fixture
def prod(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(gateway, "as_admin", lambda _: FakeGateway())
    return branching.prepared(machine)


def remove(machine: Machine, identifier: str = "7", origin: str = "prod") -> None:
    called_on = machine.context(origin)
    with held(called_on, identifier, "branch delete") as branch:
        delete.delete(called_on, branch)


def there(machine: Machine, executor: FakeExecutor) -> Machine:
    """What the engine has of a branch."""
    branching.answers(machine, executor)
    label = f"label={branching.PROJECT}=branch-7"
    executor.answer("volume", "ls", "--quiet", "--filter", label, stdout="branch-7_postgres\n")
    executor.answer("network", "ls", "--quiet", "--filter", label, stdout="branch-7_ingestion\n")
    images = "branch-7/webserver:local\nbranch-7/somebodys:own\n"
    executor.answer("{{.Repository}}:{{.Tag}}", "branch-7/*", stdout=images)
    return machine


@pytest.fixture
def branch(prod: Machine) -> Machine:
    make(prod)
    return there(prod, FakeExecutor())


def test_everything_of_the_branch_goes_and_the_registry_last(branch: Machine) -> None:
    remove(branch)
    calls = branch.executor.calls
    assert ["docker", "volume", "rm", "branch-7_postgres"] in calls
    assert ["docker", "network", "rm", "branch-7_ingestion"] in calls
    (forgotten,) = sql(branch, "DELETE FROM provisioning.lake_clones WHERE clone = 'branch-7'")
    assert forgotten == len(calls) - 1
    assert "prod-postgres" in calls[forgotten]
    assert position(branch, "volume", "rm") < forgotten
    assert not (branch.root / HOME).exists()
    assert "Nothing of branch-7 is left." in branch.out.getvalue()


def test_only_images_that_the_branch_made_are_removed(branch: Machine) -> None:
    branch.executor.answer("label=com.docker.compose.project=branch-7", "--format", stdout="")
    remove(branch)
    removed = {word for call in branch.executor.ran("image", "rm") for word in call[4:]}
    assert "branch-7/webserver:local" in removed
    assert not any(name.startswith("prod/") for name in removed)


def test_nothing_of_production_is_named_in_what_removes(branch: Machine) -> None:
    remove(branch)
    for call in branch.executor.calls:
        if {"rm", "down", "prune"} & set(call):
            assert not any("prod" in word for word in call), call


def test_production_keeps_its_files(branch: Machine) -> None:
    before = {path: path.read_text() for path in (branch.root / "secrets").iterdir()}
    remove(branch)
    assert {path: path.read_text() for path in (branch.root / "secrets").iterdir()} == before
    assert (branch.root / ".env").exists()


def test_what_is_gone_already_is_no_error_and_its_row_goes_too(prod: Machine) -> None:
    remove(prod)
    remove(prod)
    assert len(sql(prod, "DELETE FROM provisioning.lake_clones")) == 2
    assert not (prod.root / ".deployments").exists()


def test_a_record_that_was_cut_off_keeps_nothing_from_being_removed(branch: Machine) -> None:
    (branch.root / HOME / "branch.json").write_text('{"id": "7", "ori')
    remove(branch)
    assert not (branch.root / HOME).exists()
    assert sql(branch, "DELETE FROM provisioning.lake_clones")


def test_compose_files_that_are_gone_keep_nothing_from_being_removed(branch: Machine) -> None:
    (branch.root / HOME / "branch.yml").unlink()
    branch.executor.forget("branch-7", "config", "--format", "json")
    branch.executor.answer("branch-7", "config", "--format", "json", code=14, stderr="no such file")
    remove(branch)
    assert not (branch.root / HOME).exists()


def test_without_productions_database_the_rest_goes_and_the_record_stays(branch: Machine) -> None:
    branch.executor.forget("--filter", f"label={branching.PROJECT}=prod")
    with pytest.raises(StackError, match="but for its entry in the registry of clones"):
        remove(branch)
    about = record.read(branch.context("branch-7").deployment)
    assert about is not None
    assert about.state == record.DELETING
    branching.answers(branch, FakeExecutor())
    remove(branch)
    assert not (branch.root / HOME).exists()


def test_a_branch_whose_production_is_gone_can_be_removed(prod: Machine) -> None:
    home = prod.root / ".deployments/test-x"
    home.mkdir(parents=True)
    shutil.copy(prod.root / ".env", home / ".env")
    about = record.Record("7", "test-x", datetime.now(UTC).isoformat())
    record.write(prod.context("branch-7").deployment, about)
    shutil.rmtree(home)
    remove(prod)
    assert sql(prod, "DELETE") == []
    assert not (prod.root / HOME).exists()


def test_a_deployment_that_is_no_branch_is_left_alone(prod: Machine) -> None:
    (prod.root / HOME).mkdir(parents=True)
    (prod.root / HOME / ".env").write_text(EXAMPLE)
    with pytest.raises(StackError, match=r"was not made by \./stack branch"):
        remove(prod)
    assert (prod.root / HOME / ".env").exists()
    assert prod.executor.ran("rm") == []


@pytest.mark.parametrize("kill", [False, True], ids=["interrupt", "kill"])
def test_an_interrupt_at_each_call_is_mended_by_repeating(
    branch: Machine, tmp_path_factory: pytest.TempPathFactory, kill: bool
) -> None:
    remove(branch)
    calls = len(branch.executor.calls)
    assert calls > 5
    for at in range(calls):
        machine = branching.prepared(Machine(tmp_path_factory.mktemp("checkout")))
        make(machine)
        there(machine, Interrupted(at, kill=kill))
        if kill:
            assert killed(lambda machine=machine: remove(machine))  # type: ignore[misc]
        else:
            with pytest.raises(KeyboardInterrupt):
                remove(machine)
        assert (machine.root / HOME / "branch.json").exists()
        there(machine, FakeExecutor())
        remove(machine)
        assert not (machine.root / HOME).exists()
        assert sql(machine, "DELETE FROM provisioning.lake_clones")


def gatekeeper_waits_for() -> int:
    """The exit code on which a forge asks again."""
    text = (Path(__file__).resolve().parents[2] / "deploy/forge/gatekeeper").read_text()
    found = re.search(r"^BUSY, PATIENCE, PAUSE = (\d+),", text, re.MULTILINE)
    assert found
    return int(found[1])


def test_two_operators_at_one_branch_are_told_of_each_other_and_production_is_free(prod: Machine) -> None:
    with (
        held(prod.context(), "7", "branch create"),
        pytest.raises(StackError, match=r"`./stack branch create` \(7\) by .* is at work") as error,
        held(prod.context(), "7", "branch delete"),
    ):
        pass
    assert error.value.code == gatekeeper_waits_for()
    with (
        held(prod.context(), "7", "branch create"),
        held(prod.context(), "8", "branch create"),
        # What up and deploy hold.
        locks.hold(prod.context().deployment.state / "lock", "./stack up"),
    ):
        pass


def test_who_made_and_removed_it_is_in_productions_audit_log(prod: Machine) -> None:
    make(prod)
    remove(prod)
    lines = (prod.root / ".stack/prod/audit.jsonl").read_text().splitlines()
    assert ['"what": "./stack branch create", "about": "7"' in lines[0], '"what": "./stack branch delete"' in lines[1]]


def test_a_mistyped_name_is_refused_where_nobody_can_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(StackError, match="all that is in branch-7 goes") as error:
        commands.confirm("branch-7")
    assert error.value.do == "./stack branch delete 7 --yes"


def test_a_deployments_data_is_not_deleted_under_its_branches(prod: Machine) -> None:
    make(prod)
    with pytest.raises(StackError, match="branch-7 would lose the files") as error:
        down.down(prod.context(), delete_data=True)
    assert error.value.do == "./stack branch delete 7"
    with pytest.raises(StackError, match="branch-7 is a branch"):
        down.down(prod.context("branch-7"), delete_data=True)
    assert prod.executor.ran("down") == []
    down.down(prod.context("branch-7"), delete_data=False)
    down.down(prod.context(), delete_data=False)
    assert (prod.root / HOME / "branch.json").exists()
    remove(prod)
    down.down(prod.context(), delete_data=True)


def test_folders_that_only_look_like_branches_are_none(prod: Machine, tmp_path: Path) -> None:
    for name in ("branch-UPPER", "branch-", "other"):
        (prod.root / ".deployments" / name).mkdir(parents=True)
        (prod.root / ".deployments" / name / "branch.json").write_text("{}")
    assert list(record.every(prod.root)) == []
