"""The attack: a name, a value or a file that means more than it says, to a shell, to YAML, SQL, Compose, git, a path, a
terminal or a reader's eye. Each is refused with one clear error before anything changes, or is nothing but its text.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml
from provisioning import statements
from provisioning.plan import Role
from psycopg2.sql import SQL, Identifier

from access import AccessError, check_location_name, load_locations, loads
from operations import audit, calls, cli, environment_file, locks, preflight, report, users
from operations.backups import apart, asking, restoring, source, target
from operations.backups.source import Source
from operations.checking import topology
from operations.deployment import Deployment
from operations.errors import StackError
from operations.execute import Shell
from operations.gateway import Gateway
from operations.host import Host
from operations.library import release as library
from operations.locations.scaffold import Wish
from operations.locations.yaml_text import YamlText
from operations.migrations import local
from operations.reconcile import settings as reconcile_settings
from operations.reconcile.repository import Repository
from operations.releases import content, history, rollback, tree
from operations.releases.history import Release
from operations.tests.fakes import ACCESS, EXAMPLE, Machine
from operations.tests.valid_deployment import model, valid
from operations.verbs import audit as audit_verb
from operations.verbs import location
from platform_kit.migrations import scratch

ROOT = Path(__file__).resolve().parents[2]
LOCATIONS = ["ingestion", "analytics"]
# No name of anything may be one of these.
ATTACKS = {
    "shell substitution": "$(id)",
    "shell backticks": "`id`",
    "shell semicolon": "a;id",
    "shell pipe": "a|id",
    "shell and": "a&&id",
    "shell redirection": "a>/tmp/x",
    "shell wildcard": "*",
    "line break": "a\nid",
    "carriage return": "a\rid",
    "single quote": "a'b",
    "double quote": 'a"b',
    "blank inside": "a b",
    "yaml anchor": "&a",
    "yaml alias": "*a",
    "yaml object": "!!python/object/apply:os.system [id]",
    "yaml key": "a: b",
    "yaml flow map": "{a: b}",
    "yaml flow list": "[a]",
    "yaml comment": "# a",
    "yaml block": "a: |\n  b",
    "tabulator": "a\tb",
    "sql quote": "'; DROP ROLE dagster; --",
    "sql identifier": '"; DROP ROLE dagster; --',
    "sql backslash": "\\'; DROP ROLE dagster; --",
    "sql typographic quote": "’; DROP ROLE dagster; --",
    "sql dollar quote": "$mend$; DROP ROLE dagster; --",
    "compose variable": "${HOME}",
    "compose default": "${X:-y}",
    "compose bare variable": "$HOME",
    "compose dollars": "$$",
    "caddy block": "a { respond owned }",
    "caddy placeholder": "{$HOME}",
    "path upwards": "../../etc/passwd",
    "path absolute": "/etc/passwd",
    "path of a home": "~nobody-of-this-name/x",
    "path dot": ".",
    "path dots": "..",
    "option": "--project-name=x",
    "short option": "-f",
    "end of options": "--",
    "terminal clear": "\x1b[2J",
    "terminal title": "\x1b]0;x\x07",
    "terminal in one byte": "\x9b2J",
    "backspace": "a\x08b",
    "null": "a\0b",
    "byte order mark": "\ufeffsales",
    "homoglyph": "іngestion",
    "fullwidth": "ｓales",
    "right to left": "sales\u202e",
    "isolate": "\u2066sales",
    "zero width": "sa\u200bles",
    "unicode line": "a\u2028id",
    "surrogate": "a\udcff",
    "ten thousand": "x." * 5000,
    "empty": "",
    "blank": " ",
    "blank before": " sales",
    "blank behind": "sales ",
}
NAMED = pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())


def without(*names: str) -> pytest.MarkDecorator:
    """The attacks but for those that mean something harmless there."""
    assert set(names) <= set(ATTACKS)
    left = {name: attack for name, attack in ATTACKS.items() if name not in names}
    return pytest.mark.parametrize("attack", left.values(), ids=left.keys())


def told(machine: Machine, error: StackError) -> str:
    """An error as a person reads it: one, with what was found, what was expected and what to do, and it does nothing to
    the terminal."""
    machine.context().report.problem(error.found, error.expected, error.do)
    text = machine.err.getvalue()
    assert text.count("✗") == 1
    assert "expected: " in text
    assert "do: " in text
    assert len(text) < 2000
    assert not report.UNSEEN.search(text)
    return text


def refusal(action: Callable[[], object]) -> StackError | AccessError | None:
    """The error in which something ends; None where it does not."""
    try:
        action()
    except (StackError, AccessError) as error:
        return error
    return None


def snapshot(root: Path) -> dict[str, str]:
    """Every file of a checkout but for locks and trails."""
    files = (path for path in root.rglob("*") if path.is_file() and ".stack" not in path.parts)
    return {str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in files}


@pytest.fixture
def made(machine: Machine) -> Machine:
    """A checkout with settings, a user and a release."""
    machine.made_env()
    secrets = machine.root / "secrets"
    secrets.mkdir()
    users.Users(secrets).write([users.User("admin", "$2b$04$x", ("platform",))])
    tag = "20261101T120000Z-0a1b2c3d4e5f"
    done = Release("ingestion", tag, "i", "0" * 40, "c", "2026-11-01T12:00:00+00:00", "ann", history.DEPLOYED)
    history.record(machine.context().deployment, done)
    (machine.root / "secrets" / "backup_passphrase").write_text("x")
    return machine


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with one commit and itself as its remote."""
    root = tmp_path_factory.mktemp("repository")
    who = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    for args in (
        ("init", "--quiet", "--initial-branch=main"),
        (*who, "commit", "--quiet", "--allow-empty", "--message", "x"),
        ("remote", "add", "origin", str(root)),
    ):
        subprocess.run(["git", "-C", root, *args], check=True)
    return root


# --- Names, as functions take them -----------------------------------------------------------------------------------

Refuses = Callable[[Machine, str], object]
NAMES: dict[str, Refuses] = {
    "location new": lambda machine, name: location.new(machine.context(), Wish(name)),
    "location new --like": lambda machine, name: location.new(machine.context(), Wish("crm", name)),
    "location new --reads": lambda machine, name: location.new(machine.context(), Wish("crm", reads=(name,))),
    "location remove": lambda machine, name: location.remove(machine.context(), name, yes=True),
    "location image NAME": lambda machine, name: location.take(machine.context(), name, f"a/b@sha256:{'0' * 64}"),
    "deploy LOCATION": lambda machine, name: content.select({}, [name], LOCATIONS),
    "rollback --to": lambda machine, name: rollback.choose(machine.context(), "ingestion", name),
    "--deployment": lambda machine, name: Deployment(machine.root, name),
    "user add": lambda machine, name: users.check_name(name),
    "user add --group": lambda machine, name: users.new_user("ana", "correct horse", [name]),
    "library release --bump": lambda machine, name: library.chosen(library.Library(ROOT), None, name or "x"),
    "library release --version": lambda machine, name: library.chosen(library.Library(ROOT), name or "x", None),
    "audit --since": lambda machine, name: audit_verb.show(machine.context(), name, "", as_json=False),
}


@pytest.mark.parametrize("surface", NAMES)
@NAMED
def test_a_hostile_name_is_refused_with_one_error(
    made: Machine, surface: str, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bcrypt.hashpw", lambda password, salt: b"x")
    before = snapshot(made.root)
    with pytest.raises(StackError) as error:
        NAMES[surface](made, attack)
    told(made, error.value)
    assert snapshot(made.root) == before


RESERVED = [
    *("postgres", "migrate", "run_broker", "webserver", "daemon", "gateway", "edge", "default", "dagster"),
    *("dagster_owner", "public", "none", "template0", "pg_catalog", "main", "temp", "access", "polars", "duckdb"),
    *("class", "import", "platform", "json", "os", "sys", "types", "Sales", "1sales", "_sales", "sales-1", "s" * 32),
]


@pytest.mark.parametrize("name", RESERVED)
def test_a_location_takes_no_name_of_something_else(made: Machine, name: str) -> None:
    with pytest.raises(StackError) as error:
        location.new(made.context(), Wish(name))
    assert name in told(made, error.value)


def test_names_that_mean_what_they_say_are_taken(made: Machine) -> None:
    made.executor.answer("image", "inspect", stdout="sha256:0\n")
    tag = "20261101T120000Z-0a1b2c3d4e5f"
    assert check_location_name("sales") == "sales"
    assert Deployment(made.root, "staging").name == "staging"
    assert users.check_name("ana.b@example.com-1") == "ana.b@example.com-1"
    assert content.select({"ingestion": {}}, ["ingestion"], LOCATIONS) == ["ingestion"]
    assert rollback.choose(made.context(), "ingestion", tag).tag == tag
    assert library.chosen(library.Library(ROOT), "9.0.1", None) == "9.0.1"


# --- The command line, from the typed word to the exit code ----------------------------------------------------------

VERBS: dict[str, Callable[[str], list[str]]] = {
    "--deployment": lambda word: [f"--deployment={word}", "status"],
    "location new": lambda word: ["location", "new", "--", word],
    "location remove": lambda word: ["location", "remove", "--yes", "--", word],
    "branch create": lambda word: ["branch", "create", "--", word],
    "branch delete": lambda word: ["branch", "delete", "--yes", "--", word],
    "user add": lambda word: ["user", "add", "--", word],
    "user remove": lambda word: ["user", "remove", "--", word],
    "library release": lambda word: ["library", "release", f"--version={word}"],
    "audit": lambda word: ["audit", f"--since={word}"],
    "migration new": lambda word: ["migration", "new", "--", "ingestion", f'{word}"'],
}
TYPED = {
    name: ATTACKS[name]
    for name in (
        *("shell substitution", "shell semicolon", "line break", "yaml object", "sql quote", "compose variable"),
        *("path upwards", "option", "terminal clear", "terminal title", "right to left", "surrogate", "ten thousand"),
    )
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("attack", TYPED.values(), ids=TYPED.keys())
def test_a_hostile_word_on_the_command_line_ends_in_one_error(
    made: Machine, verb: str, attack: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calls, "ROOT", made.root)
    monkeypatch.setenv("PATH", str(made.root / "empty"))
    before = snapshot(made.root)
    assert cli.main(VERBS[verb](attack)) == 1
    said = capsys.readouterr()
    assert said.err.count("✗") == 1
    assert "expected: " in said.err
    assert "unexpected" not in said.err
    assert not report.UNSEEN.search(said.out + said.err)
    after = snapshot(made.root)
    after.pop("secrets/deployment_record", None)
    assert after == before


@pytest.mark.parametrize("verb", ["location remove", "user remove", "rollback"])
@pytest.mark.parametrize("option", ["--project-name=x", "-f", "--env-file=/etc/passwd"])
def test_an_option_in_the_place_of_a_name_is_no_option_of_another_program(
    made: Machine, verb: str, option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calls, "ROOT", made.root)
    assert cli.main([*verb.split(), option]) == 2
    assert "No such option" in capsys.readouterr().err


def test_a_password_is_stored_at_the_cost_that_caddy_spends_on_a_name_it_does_not_know() -> None:
    """Otherwise the time of a refusal would tell who exists."""
    assert users.new_user("ana", "correct horse", []).password_hash.startswith("$2b$14$")


# --- Commits, folders, moments, images -------------------------------------------------------------------------------


@NAMED
def test_a_hostile_commit_is_refused(machine: Machine, repository: Path, attack: str) -> None:
    with pytest.raises(StackError) as error:
        tree.resolve(Shell(repository), repository, attack)
    assert "has no commit" in told(machine, error.value)


def test_a_commit_is_found_by_its_name(repository: Path) -> None:
    assert tree.resolve(Shell(repository), repository, "main") == tree.resolve(Shell(repository), repository, None)


@without("null", "empty")  # .env may not have it; means the upstream of what is checked out
def test_a_hostile_branch_to_follow_is_refused(machine: Machine, repository: Path, attack: str) -> None:
    found = Repository(repository, Shell(repository))
    before = references(repository)
    with pytest.raises(StackError) as error:
        found.fetch(found.branch(attack))
    told(machine, error.value)
    assert references(repository) == before


def references(repository: Path) -> bytes:
    return subprocess.run(["git", "-C", repository, "show-ref"], capture_output=True, check=True).stdout


def test_a_branch_to_follow_is_fetched(repository: Path) -> None:
    found = Repository(repository, Shell(repository))
    assert found.fetch(found.branch("main")) == tree.resolve(Shell(repository), repository, "main")


@without("empty")  # means the deployment's own
def test_a_restore_from_a_hostile_place_is_refused(made: Machine, attack: str) -> None:
    with pytest.raises(StackError) as error:
        source.resolve(made.context().deployment, attack)
    told(made, error.value)


@without("empty")  # means the newest
def test_a_hostile_moment_of_a_restore_is_one_argument(
    made: Machine, attack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def alone(_: object, __: Path, *question: str, on_step: object) -> None:
        asked.extend(question)
        raise StackError("asked")

    monkeypatch.setattr(apart, "write", lambda *_: made.root / "restore.yml")
    monkeypatch.setattr(asking, "alone", alone)
    place = Source("prod", "prod_backups", made.root)
    with pytest.raises(StackError, match="asked"):
        restoring._plan(made.context(), place, restoring.Wish(at=attack))
    assert asked == ["plan", f"--at={attack}"]


@NAMED
def test_a_hostile_image_is_refused(made: Machine, attack: str) -> None:
    for reference in (attack, f"registry.example.com/{attack}", f"registry.example.com/sales:{attack}"):
        with pytest.raises(StackError):
            location.take(made.context(), "ingestion", reference)
        wish = Wish("crm", "image", reference)
        with pytest.raises(StackError):
            location.new(made.context(), wish)
    assert "crm" not in (made.root / "workspace.yaml").read_text()


def test_images_as_registries_have_them_are_taken() -> None:
    for reference in ("sales", "localhost:5000/a/b_c/d-e.f:1.0_x", f"ghcr.io/org/sales@sha256:{'0' * 64}"):
        location._require_reference(reference)


OWNERS = ["yes", "no", "on", "null", "1234", "0x10", "1e3", "2026-11-21", "0o7", "Y"]


@pytest.mark.parametrize("team", OWNERS)
def test_a_group_that_yaml_takes_for_something_else_is_refused_or_stays_a_name(team: str) -> None:
    edited = YamlText("access.yaml", ACCESS)
    edited.add(("people", "editor"), "sales", f"{{users: [], groups: [{team}]}}")
    error = refusal(lambda: loads(edited.text, [*LOCATIONS, "sales"]))
    if error:
        assert "expected a name" in str(error)
    else:
        assert loads(edited.text, [*LOCATIONS, "sales"]).people.editor["sales"].groups == [team]


@without("empty")
def test_a_hostile_owner_is_refused(made: Machine, attack: str) -> None:
    with pytest.raises(StackError) as error:
        location.new(made.context(), Wish("crm", owner=attack))
    assert "no name for a group" in told(made, error.value)


def test_a_longer_file_of_an_image_is_edited_to_the_letter() -> None:
    """`replace` is what `location image` does: whatever comes, it is that one text or nothing."""
    compose = "services:\n  crm:\n    image: a/crm:1\n    environment: {DAGSTER_CURRENT_IMAGE: 'a/crm:1'}\n"
    for attack in ATTACKS.values():
        for path in (("services", "crm", "image"), ("services", "crm", "environment", "DAGSTER_CURRENT_IMAGE")):
            edited = YamlText("docker-compose.yml", compose)
            try:
                edited.replace(path, attack)
            except StackError:
                assert edited.text == compose
            else:
                assert edited.get(*path) == attack
                assert edited.get("services").keys() == {"crm"}


@NAMED
def test_a_hostile_message_of_a_migration_is_refused_or_is_a_line_of_text(made: Machine, attack: str) -> None:
    asked: list[str] = []

    def told_(_: object, __: str, *arguments: str) -> dict[str, Any]:
        asked.extend(arguments)
        return {"file": None}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "_told", told_)
        try:
            local.new(made.context(), "ingestion", attack, empty=False)
        except StackError as error:
            told(made, error)
        else:
            assert asked == ["new", "--", attack]
            compiled = compile(f'"""{attack}"""\n', "revision.py", "exec")
            assert compiled.co_consts[0] == attack


# Not seen, and yet nothing but text to who reads a value; they are spelled out where they are shown.
UNSEEN_IN_VALUES = [ATTACKS[name] for name in ("byte order mark", "right to left", "isolate", "zero width")]

# --- .env ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def example(tmp_path: Path) -> Path:
    path = tmp_path / ".env.example"
    path.write_text(EXAMPLE)
    return path


@NAMED
def test_a_hostile_value_is_written_so_that_it_is_read_again_or_not_at_all(
    tmp_path: Path, example: Path, attack: str
) -> None:
    path = tmp_path / ".env"
    environment_file.create(path, example, {})
    before = environment_file.read(path, example)
    error = refusal(lambda: environment_file.set_value(path, "SITE_ADDRESS", attack))
    if error:
        assert "cannot be written" in str(error)
        attack = before["SITE_ADDRESS"]
    assert environment_file.read(path, example) == {**before, "SITE_ADDRESS": attack}
    assert len(path.read_text().split("\n")) == len(EXAMPLE.split("\n"))


@NAMED
def test_a_hostile_value_of_a_new_file_is_that_value_or_there_is_no_file(
    tmp_path: Path, example: Path, attack: str
) -> None:
    path = tmp_path / "new" / ".env"
    if refusal(lambda: environment_file.create(path, example, {"SITE_ADDRESS": attack, "NEW": attack})):
        assert not path.exists()
    else:
        found = environment_file.parse(path.read_text(), ".env")
        assert found["SITE_ADDRESS"].value == found["NEW"].value == attack


@NAMED
def test_a_hostile_value_in_the_file_is_refused_with_its_line_or_changes_no_other(
    tmp_path: Path, example: Path, attack: str
) -> None:
    path = tmp_path / ".env"
    text = f"GATEWAY_PORT=3000\nSITE_ADDRESS={attack}\nSECRETS_DIR=./secrets\n"
    path.write_text(text, encoding="utf-8", errors="surrogateescape", newline="")
    error = refusal(lambda: environment_file.read(path, example))
    if error:
        assert any(place in str(error) for place in (".env:2: ", ".env:3: ", "cannot be read"))
    else:
        found = environment_file.read(path, example)
        assert found == {"GATEWAY_PORT": "3000", "SITE_ADDRESS": attack.strip(), "SECRETS_DIR": "./secrets"}
        assert not report.UNSEEN.search(found["SITE_ADDRESS"]) or attack in UNSEEN_IN_VALUES


@NAMED
def test_a_hostile_key_is_refused_or_is_a_comment(tmp_path: Path, example: Path, attack: str) -> None:
    path = tmp_path / ".env"
    path.write_text(f"{attack}=x\n", encoding="utf-8", errors="surrogateescape", newline="")
    if attack.startswith("#"):
        assert environment_file.read(path, example) == {}
        return
    with pytest.raises(StackError):
        environment_file.read(path, example)


# What Docker Compose reads of a line V=…, found out by asking it.
COMPOSE_READS = {
    "variable": ("V=a$b", "a"),
    "variable with default": ("V=${W:-q}", "q"),
    "variable in double quotes": ('V="a$b"', "a"),
    "two dollars": ("V=a$$b", "a$b"),
    "dollar in single quotes": ("V='a$b'", "a$b"),
    "escape in double quotes": (r'V="a\nb"', "a\nb"),
    "escaped double quote": (r'V="a\"b"', 'a"b'),
    "escaped single quote": (r"V='a\'b'", "a'b"),
    "escape in single quotes": (r"V='a\nb'", r"a\nb"),
    "escape without quotes": (r"V=a\nb", r"a\nb"),
    "text behind the quote": ("V='a'b", "a"),
    "comment behind the quote": ("V='a' # c", "a"),
    "comment after a space": ("V=a #b", "a"),
    "comment after a tabulator": ("V=a\t#b", "a\t#b"),
    "comment after a fixed space": ("V=a\u00a0#b", "a\u00a0#b"),
    "comment for a value": ("V= #b", "#b"),
    "hash in a value": ("V=a#b", "a#b"),
    "line separator": ("V=a\u2028W=evil", "a\u2028W=evil"),
    "next line": ("V=a\x85W=evil", "a\x85W=evil"),
    "vertical tabulator": ("V=a\x0bW=evil", "a\x0bW=evil"),
    "form feed": ("V=a\x0cW=evil", "a\x0cW=evil"),
    "file separator": ("V=a\x1cW=evil", "a\x1cW=evil"),
    "carriage return": ("V=a\rW=evil", "a\rW=evil"),
    "carriage return at the end": ("V=x\r", "x"),
    "line break in quotes": ('V="a\nW=evil"', "a\nW=evil"),
    "colon": ("V: x", "x"),
    "byte order mark": ("\ufeffV=x", "x"),
    "quotes inside": ('V=x"y z"', 'x"y z"'),
    "shell": ("V=a`id`", "a`id`"),
}


@pytest.mark.parametrize(("line", "composes"), COMPOSE_READS.values(), ids=COMPOSE_READS.keys())
def test_what_is_checked_is_what_compose_puts_in_force(line: str, composes: str) -> None:
    error = refusal(lambda: environment_file.parse(f"{line}\n", ".env"))
    if error:
        assert str(error).startswith(".env:")
    else:
        found = environment_file.parse(f"{line}\n", ".env")
        assert {key: each.value for key, each in found.items()} == {"V": composes}


@pytest.mark.parametrize("port", ["3000;id", "²", "３０００", "0", "65536", "9" * 5000, "-1", " ", "3000\n", "$PORT"])
def test_a_hostile_port_is_refused(made: Machine, port: str) -> None:
    assert preflight.port(made.context(), {"GATEWAY_PORT": port}, []) is not None
    if port not in ("0", "65536"):
        with pytest.raises(StackError, match="GATEWAY_PORT is"):
            Gateway({"GATEWAY_PORT": port}, "admin", "x")


@pytest.mark.parametrize("address", ["a" * 10000, "a..b", "\u202e" * 70])
def test_a_hostile_address_to_listen_on_is_no_address(address: str) -> None:
    assert Host().port_problem(address, 3000) == f"{address} is no address"


@without("empty")  # means none
def test_settings_that_a_commit_brings_from_a_hostile_path_are_refused(tmp_path: Path, attack: str) -> None:
    with pytest.raises(StackError, match="the commit has no such file"):
        reconcile_settings._settings_text(tmp_path, attack)


def test_settings_that_a_commit_brings_by_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("TOKEN\n")
    commit = tmp_path / "commit"
    commit.mkdir()
    (commit / "own.env").write_text("A=1\n")
    (commit / "link.env").symlink_to("../secret")
    (commit / "near.env").symlink_to("own.env")
    assert reconcile_settings._settings_text(commit, "own.env") == "A=1\n"
    assert reconcile_settings._settings_text(commit, "near.env") == "A=1\n"
    with pytest.raises(StackError, match="the commit has no such file"):
        reconcile_settings._settings_text(commit, "link.env")


# --- The gateway's settings, on their way into Caddy's file ----------------------------------------------------------

GATEWAY_SETTINGS = ("SITE_ADDRESS", "ACME_EMAIL", "SIGN_ON_SERVICE", "SIGN_ON_URI", "SIGN_ON_USER_HEADER")
# What stays one word there.
ONE_WORD = re.compile(r"[A-Za-z0-9.:/_~%?=&@+-]+")


@pytest.mark.parametrize("setting", GATEWAY_SETTINGS)
@without("null", "empty")  # an environment has no null; without a value the default counts
def test_a_hostile_setting_of_the_gateway_is_refused_or_one_plain_word(setting: str, attack: str) -> None:
    script = f'. {ROOT}/gateway/bin/gateway-environment; printf "%s" "$GATEWAY_SITE"'
    # As in the container: bytes, no language.
    environment = {**os.environ, "LC_ALL": "C", setting: attack}
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, check=False)
    if done.returncode == 0:
        assert ONE_WORD.fullmatch(attack)
    else:
        assert done.stderr.decode(errors="replace").startswith(f"{setting} is '")
        assert done.stdout == b""


@pytest.mark.parametrize(
    ("setting", "value", "site"),
    [
        ("SITE_ADDRESS", "dagster.example.com", "https://dagster.example.com:3000"),
        ("ACME_EMAIL", "ops+tls@example.com", "http://:3000"),
        ("SIGN_ON_SERVICE", "authelia:9091", "http://:3000"),
        ("SIGN_ON_URI", "/api/authz/forward-auth?rd=1&x=2", "http://:3000"),
        ("SIGN_ON_USER_HEADER", "X-Auth-Request-User", "http://:3000"),
    ],
)
def test_settings_of_the_gateway_as_documented_are_taken(setting: str, value: str, site: str) -> None:
    script = f'. {ROOT}/gateway/bin/gateway-environment; printf "%s" "$GATEWAY_SITE"'
    done = subprocess.run(["sh", "-c", script], env={**os.environ, setting: value}, capture_output=True, check=True)
    assert done.stdout.decode() == site


# --- access.yaml and workspace.yaml ----------------------------------------------------------------------------------


def laughs(levels: int) -> str:
    """A billion of them, in a few lines."""
    lines = ["people: {}", "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    return "\n".join([*lines, *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels))]) + "\n"


DOCUMENTS = {
    "billion laughs": laughs(9),
    "an alias of itself": "people: &a {admin: *a}\n",
    "python object": "people: !!python/object/apply:os.system [id]\n",
    "python name": "people: !!python/name:os.system\n",
    "unknown tag": "people: !include /etc/passwd\n",
    "a key twice": "people: {}\npeople: {admin: {users: [eve]}}\n",
    "a role twice": "people:\n  admin: {users: [ann]}\n  admin: {users: [eve]}\n",
    "merge": "a: &a {admin: {users: [eve]}}\npeople:\n  <<: *a\n",
    "two documents": "people: {}\n---\npeople: {admin: {users: [eve]}}\n",
    "tabulator": "people:\n\tadmin: {}\n",
    "null character": "people: \0\n",
    "terminal escape": "people: {admin: {users: ['\x1b[2J']}}\n",
    "escaped terminal escape": 'people: {"\\e[2J": 1}\n',
    "ten thousand brackets": f"people: {'[' * 10000}\n",
    "a thousand levels": "people:\n" + "".join(f"{' ' * n}a:\n" for n in range(1, 1500)),
    "ten thousand digits": f"people: {{admin: {{users: [{'9' * 10000}]}}}}\n",
    "impossible date": "people: {admin: {users: [2026-99-99]}}\n",
    "half a number": "people: {admin: {users: [0x_]}}\n",
    "no number": 'people: {admin: {users: [!!int "x"]}}\n',
    "no truth": 'people: {admin: {users: [!!bool "x"]}}\n',
    "no moment": 'people: {admin: {users: [!!timestamp "x"]}}\n',
    "impossible date as a key": "2026-99-99: {}\npeople: {}\n",
    "key of another kind": "people: {1: {}}\n",
    "no key": "people: {~: {}}\n",
    "list as a key": "people: {[a]: b}\n",
    "surrogate": 'people: {admin: {users: ["\\ud800"]}}\n',
    "right to left": 'people: {admin: {users: ["nimda\\u202e"]}}\n',
    "comma in a group": "people: {admin: {groups: ['a,platform']}}\n",
    "line break in a user": 'people: {admin: {users: ["a\\nb"]}}\n',
    "long user": f"people: {{admin: {{users: [{'a' * 10000}]}}}}\n",
    "empty": "",
    "nothing but a comment": "# people: {}\n",
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_a_hostile_access_yaml_is_refused_at_once(text: str) -> None:
    with pytest.raises(AccessError) as error:
        loads(text, LOCATIONS)
    assert str(error.value).startswith("access.yaml")
    assert not report.UNSEEN.search(str(error.value))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_a_hostile_workspace_yaml_is_refused_at_once(tmp_path: Path, text: str) -> None:
    path = tmp_path / "workspace.yaml"
    path.write_text(text.replace("people", "load_from"), encoding="utf-8", newline="")
    with pytest.raises(AccessError, match=r"workspace\.yaml"):
        load_locations(path)


@pytest.mark.parametrize("quoted", [False, True], ids=["as it is", "quoted"])
@NAMED
def test_a_hostile_location_in_workspace_yaml_is_refused(tmp_path: Path, attack: str, quoted: bool) -> None:
    written = json.dumps(attack) if quoted else attack
    path = tmp_path / "workspace.yaml"
    server = f"{{host: {written}, port: 4000, location_name: {written}}}"
    path.write_text(f"load_from:\n  - grpc_server: {server}\n", "utf-8", "surrogateescape", "")
    if attack.strip() == "sales" and not quoted:
        # Blanks around a word are none of YAML's words.
        assert load_locations(path) == {"sales": "sales"}
        return
    with pytest.raises(AccessError, match=r"workspace\.yaml"):
        load_locations(path)


@NAMED
def test_a_hostile_user_in_access_yaml_is_refused_or_nobody_but_himself(attack: str) -> None:
    for written in (attack, json.dumps(attack)):
        try:
            access = loads(ACCESS.replace("[admin]", f"[{written}, ann]"), LOCATIONS)
        except AccessError:
            continue
        admins = access.people.admin.users
        assert admins[-1] == "ann"
        assert all(each.isprintable() and "," not in each for each in admins)
        assert not access.permissions("admin").is_admin
        assert not access.permissions("ingestion").is_admin
        assert access.permissions("eve").role == "none"
        assert access.machines["analytics"].reads == ["ingestion"]


@NAMED
@pytest.mark.parametrize("right", ["reads", "maintains", "personal"])
def test_a_hostile_lake_in_access_yaml_is_refused(attack: str, right: str) -> None:
    for written in (attack, json.dumps(attack)):
        text = ACCESS.replace("{reads: [ingestion]}", f"{{{right}: [{written}]}}")
        try:
            machine = loads(text, LOCATIONS).machines["analytics"]
        except AccessError:
            continue
        # A comment, or nothing, between the brackets.
        assert getattr(machine, right) == []


# --- Labels in docker-compose.yml ------------------------------------------------------------------------------------

LABELS = ("run.memory", "run.memory.max", "run.cpus", "run.cpus.max", "run.warm")


@pytest.mark.parametrize("label", LABELS)
@NAMED
def test_a_hostile_limit_of_runs_is_a_problem_of_the_check(tmp_path: Path, label: str, attack: str) -> None:
    config = valid()
    config["services"]["ingestion"]["labels"][label] = attack
    problems = [str(each) for each in topology._limits(model_of(tmp_path, config), "ingestion")]
    assert any(f"label {label} is " in each for each in problems)
    assert not any(report.UNSEEN.search(each) for each in problems)


SIZES = ["²g", "١g", "１g", "1e9g", "infg", "nang", "-1g", f"{'9' * 5000}g", "1gg", "0x1g", "1 g", ".g", "1..5g", "0g"]


@pytest.mark.parametrize("size", SIZES)
def test_a_number_that_only_python_reads_is_no_limit(size: str) -> None:
    assert topology.memory(size) is None
    assert topology.cpus(size.removesuffix("g")) is None


def test_limits_as_documented_are_read(tmp_path: Path) -> None:
    assert (topology.memory("1.5g"), topology.memory("512m")) == (1.5 * 1024**3, 512 * 1024**2)
    assert topology.cpus("0.5") == 0.5
    assert not list(topology._limits(model_of(tmp_path, valid()), "ingestion"))


def model_of(root: Path, config: dict[str, Any]) -> topology.Model:
    """A deployment whose file need not say what Compose resolved: it could not say all of it."""
    sound = model(root, valid())
    return topology.Model(root, config, sound.locations, sound.access, sound.places)


# --- SQL -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    """A connection to a real Postgres of the tests' own."""
    with scratch.database() as place:
        connection = psycopg2.connect(
            host=place.host, port=place.port, dbname=place.database, user=place.user, connect_timeout=10
        )
        connection.autocommit = True
        yield connection
        connection.close()


@without("null", "surrogate", "empty", "ten thousand")  # no text of Postgres, or no name
def test_a_role_of_a_hostile_name_would_be_that_role_and_nothing_else(server: Any, attack: str) -> None:
    with server.cursor() as cursor:
        before = roles(cursor)
        cursor.execute(statements.create_role(attack))
        cursor.execute(statements.alter_role(Role(attack, 7), attack, superuser=True)[0])
        assert roles(cursor) - before == {attack}
        cursor.execute(SQL("DROP ROLE {}").format(Identifier(attack)))
        assert roles(cursor) == before


def roles(cursor: Any) -> set[str]:
    cursor.execute("SELECT rolname FROM pg_roles")
    return {row[0] for row in cursor.fetchall()}


# --- What goes on to other programs ----------------------------------------------------------------------------------


def composed(value: Any) -> Any:
    """What Compose makes of a text in a file where two dollars are one; one alone would be a variable of its own."""
    if isinstance(value, dict):
        return {key: composed(each) for key, each in value.items()}
    if isinstance(value, list):
        return [composed(each) for each in value]
    if isinstance(value, str):
        assert "$" not in value.replace("$$", "")
        return value.replace("$$", "$")
    return value


@without("surrogate")
def test_a_hostile_repository_is_described_to_compose_as_it_is(attack: str) -> None:
    volumes = [{"type": "volume", "source": "backups", "target": apart.REPOSITORY}]
    config = {"services": {"backup": {"image": "x", "volumes": volumes}}, "secrets": {}, "volumes": {}}
    bucket = {"BACKUP_S3_ENDPOINT": "", "BACKUP_S3_BUCKET": attack, "BACKUP_S3_REGION": attack}
    found = Source(attack, f"/backups/{attack}", Path("/none"), bucket)
    described = composed(yaml.safe_load(json.dumps(apart.content(config, found))))["services"]["backup"]
    assert described["environment"]["BACKUP_NAME"] == attack
    assert described["environment"]["BACKUP_S3_BUCKET"] == attack
    assert described["volumes"][0]["source"] == f"/backups/{attack}"


@NAMED
def test_a_secret_of_a_hostile_name_in_a_backup_is_not_written(tmp_path: Path, attack: str) -> None:
    place = tmp_path / "deployment" / "secrets"
    assert target.write_secrets(place, {attack: "evil", "smtp_password": "mine"}, overwrite=True) == ["smtp_password"]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["smtp_password"]


# --- What people see -------------------------------------------------------------------------------------------------

SEEN = {name: ATTACKS[name] for name in ATTACKS if name.startswith("terminal ")} | {
    name: ATTACKS[name]
    for name in ("backspace", "carriage return", "right to left", "isolate", "zero width", "unicode line", "surrogate")
}


@pytest.mark.parametrize("attack", SEEN.values(), ids=SEEN.keys())
def test_what_a_build_or_a_name_prints_does_nothing_to_the_terminal(machine: Machine, attack: str) -> None:
    told_ = machine.context().report
    told_.verbose = True
    told_.say(attack)
    told_.warn(attack)
    told_.problem(attack, attack, attack)
    told_.log(attack)
    with told_.step(attack) as step:
        step.update(attack)
        step.done(attack)
    text = machine.out.getvalue() + machine.err.getvalue()
    assert text.count("\\u") >= 8
    assert not report.UNSEEN.search(text)


@pytest.mark.parametrize("attack", SEEN.values(), ids=SEEN.keys())
def test_who_did_what_is_written_as_one_line_and_shown_as_text(machine: Machine, attack: str) -> None:
    machine.made_env()
    deployment = machine.context().deployment
    with pytest.raises(StackError), locks.hold(deployment.state / "lock", f"./stack user add {attack}", attack):
        raise StackError("refused")
    (entry,) = audit.of_verbs(deployment.state / "audit.jsonl")
    assert (entry.what, entry.about) == (f"./stack user add {attack}", attack)
    audit_verb.show(machine.context(), "1d", "", as_json=False)
    audit_verb.show(machine.context(), "1d", "", as_json=True)
    text = machine.out.getvalue()
    assert text.count("./stack user add") == 2
    assert not report.UNSEEN.search(text)


def test_markup_in_a_name_is_text(machine: Machine) -> None:
    machine.context().report.say("[red]not an error[/red] [link=https://evil.example]x[/link]")
    assert machine.out.getvalue() == "[red]not an error[/red] [link=https://evil.example]x[/link]\n"
