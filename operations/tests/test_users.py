import subprocess

import bcrypt
import pytest

from operations import docker, users
from operations.errors import StackError
from operations.tests.fakes import Machine
from operations.verbs import user as verb


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "ROUNDS", 4)


@pytest.fixture
def people(machine: Machine) -> Machine:
    machine.made_env()
    (machine.root / "secrets").mkdir()
    store = users.Users(machine.root / "secrets")
    store.write([users.new_user("admin", "correct horse", ["platform"])])
    return machine


def stored(machine: Machine) -> dict[str, users.User]:
    return users.Users(machine.root / "secrets").read()


def test_a_user_is_added_with_a_hash_and_groups(people: Machine) -> None:
    verb.add(people.context(), "ana@example.com", ["data-engineers", "everyone"], "battery staple", replace=False)
    user = stored(people)["ana@example.com"]
    assert user.groups == ("data-engineers", "everyone")
    assert bcrypt.checkpw(b"battery staple", user.password_hash.encode())
    assert "editor of ingestion" in people.out.getvalue()
    assert "battery staple" not in people.out.getvalue()


def test_without_a_password_one_is_made_and_shown_once(people: Machine) -> None:
    verb.add(people.context(), "ana", [], None, replace=False)
    (shown,) = [line for line in people.out.getvalue().splitlines() if "shown once" in line]
    assert bcrypt.checkpw(shown.split()[-1].encode(), stored(people)["ana"].password_hash.encode())


def test_files_keep_their_inode_since_the_gateway_has_them_mounted(people: Machine) -> None:
    files = [people.root / "secrets" / name for name in ("gateway_users", "gateway_groups")]
    before = [path.stat().st_ino for path in files]
    verb.add(people.context(), "ana", [], "battery staple", replace=False)
    verb.remove(people.context(), "ana")
    assert [path.stat().st_ino for path in files] == before
    assert "ana" not in "".join(path.read_text() for path in files)


def test_a_running_gateway_is_told_and_one_that_does_not_run_is_not(people: Machine) -> None:
    verb.add(people.context(), "ana", [], "battery staple", replace=False)
    assert people.executor.ran("exec") == []
    people.executor.answer("ps", "--quiet", "--status", "running", "gateway", stdout="0123\n")
    verb.remove(people.context(), "ana")
    assert people.executor.calls[-1] == docker.compose(people.context().deployment, *verb.RELOAD)


def test_a_gateway_that_does_not_take_the_change_is_an_error(people: Machine) -> None:
    people.executor.answer("ps", "--quiet", "--status", "running", "gateway", stdout="0123\n")
    people.executor.answer("exec", "-T", "gateway", code=1, stderr="adapting config: unexpected token")
    with pytest.raises(StackError, match="the change is written, but the gateway did not take it"):
        verb.add(people.context(), "ana", [], "battery staple", replace=False)


def test_an_existing_user_is_not_changed_by_accident(people: Machine) -> None:
    before = stored(people)
    with pytest.raises(StackError, match="there is a user 'admin' already"):
        verb.add(people.context(), "admin", [], "battery staple", replace=False)
    assert stored(people) == before


def test_a_new_password_of_admin_is_kept_where_stack_reads_it_and_groups_stay(people: Machine) -> None:
    verb.add(people.context(), "admin", [], None, replace=True)
    password = (people.root / "secrets/admin_password").read_text()
    assert bcrypt.checkpw(password.encode(), stored(people)["admin"].password_hash.encode())
    assert stored(people)["admin"].groups == ("platform",)
    assert password not in people.out.getvalue()


def test_the_last_admin_cannot_be_removed(people: Machine) -> None:
    verb.add(people.context(), "ana", ["data-engineers"], "battery staple", replace=False)
    with pytest.raises(StackError, match="admin would be the last admin to go"):
        verb.remove(people.context(), "admin")
    assert "admin" in stored(people)


def test_an_admin_may_go_when_another_stays(people: Machine) -> None:
    verb.add(people.context(), "ana", ["platform"], "battery staple", replace=False)
    verb.remove(people.context(), "admin")
    assert list(stored(people)) == ["ana"]


def test_the_last_admin_cannot_be_demoted(people: Machine) -> None:
    verb.add(people.context(), "ana", ["platform"], "battery staple", replace=False)
    verb.remove(people.context(), "admin")
    with pytest.raises(StackError, match="ana would be the last admin to go"):
        verb.add(people.context(), "ana", ["everyone"], "battery staple", replace=True)


def test_removing_somebody_who_is_not_there_names_who_is(people: Machine) -> None:
    with pytest.raises(StackError) as error:
        verb.remove(people.context(), "ana")
    assert error.value.expected == "one of admin"


@pytest.mark.parametrize(
    "name", ["", "Ana", "a b", "a,b", "a:b", 'a"b', "a\nb", "-a", ".a", "a" * 65, "{env.SECRET}", "../a", "ä"]
)
def test_names_that_could_mean_something_else_are_refused(people: Machine, name: str) -> None:
    before = stored(people)
    with pytest.raises(StackError, match="is no name for a user"):
        verb.add(people.context(), name, [], "battery staple", replace=False)
    with pytest.raises(StackError, match="is no name for a group"):
        verb.add(people.context(), "ana", [name], "battery staple", replace=False)
    assert stored(people) == before


@pytest.mark.parametrize("password", ["", "short", "é" * 37, "x" * 73, "line\nbreak", "null\0byte"])
def test_passwords_that_bcrypt_or_a_header_would_cut_are_refused(people: Machine, password: str) -> None:
    with pytest.raises(StackError, match="the password has"):
        verb.add(people.context(), "ana", [], password, replace=False)
    assert "ana" not in stored(people)


def test_the_longest_password_is_taken_whole() -> None:
    user = users.new_user("ana", "x" * 72, [])
    assert not bcrypt.checkpw(b"x" * 71, user.password_hash.encode())


def test_a_broken_line_is_named_with_its_number(people: Machine) -> None:
    (people.root / "secrets/gateway_users").write_text("admin $2b$04$x\nana\n")
    with pytest.raises(StackError, match=r"gateway_users:2: 'ana' is not a line of this file"):
        verb.show(people.context())


def test_the_list_shows_roles_as_access_yaml_gives_them(people: Machine) -> None:
    verb.add(people.context(), "guest", ["everyone"], "battery staple", replace=False)
    verb.add(people.context(), "nobody", [], "battery staple", replace=False)
    people.out.truncate(0)
    verb.show(people.context())
    rows = {line.split()[0]: line.split()[-1] for line in people.out.getvalue().splitlines() if line.strip("\0 ")}
    assert (rows["admin"], rows["guest"], rows["nobody"]) == ("admin", "viewer", "none")


def test_no_password_reaches_a_command_line(people: Machine) -> None:
    people.executor.answer("ps", "--quiet", "--status", "running", "gateway", stdout="0123\n")
    verb.add(people.context(), "ana", [], "battery staple", replace=False)
    assert "battery" not in subprocess.list2cmdline([word for call in people.executor.calls for word in call])
