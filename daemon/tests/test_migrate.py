"""The migration without a server: settings, secrets, passwords, and errors in one line."""

import base64
import hashlib
import hmac
import json
import socket
import subprocess
import sys
import threading

import pytest
import yaml
from migrate import __main__ as program
from migrate import settings
from migrate.errors import MigrationError
from migrate.schema import owner_storage
from migrate.scram import verifier
from migrate.server import check_version, connect_admin, only_one, wait_until_reachable

PASSWORD = "correct horse"


@pytest.fixture
def configured(tmp_path):
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name in ("dagster", "dagster_owner", "ingestion_database", "postgres"):
        (secrets / f"{name}_password").write_text(f"{name}-{PASSWORD}\n")
    (tmp_path / "workspace.yaml").write_text(
        "load_from:\n  - grpc_server: {host: ingestion, port: 4000, location_name: ingestion}\n"
    )
    (tmp_path / "access.yaml").write_text("people: {admin: {users: [admin]}}\n")
    return settings.Settings(
        host="127.0.0.1",
        port=unused_port(),
        admin="postgres",
        admin_password=PASSWORD,
        secrets=secrets,
        workspace=tmp_path / "workspace.yaml",
        access=tmp_path / "access.yaml",
        dagster_yaml=tmp_path / "dagster.yaml",
    )


def unused_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_the_verifier_is_the_one_that_postgres_makes():
    # RFC 7677's example, with the salt it names.
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    made = verifier("pencil", salt)
    assert made.startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
    stored, server = made.split("$")[2].split(":")
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    signature = hmac.new(base64.b64decode(server), message, hashlib.sha256).digest()
    assert base64.b64encode(signature) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    # The client's proof, un-masked, must hash to the stored key.
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    mask = hmac.new(base64.b64decode(stored), message, hashlib.sha256).digest()
    client = bytes(a ^ b for a, b in zip(proof, mask, strict=True))
    assert base64.b64encode(hashlib.sha256(client).digest()).decode() == stored


def test_no_password_and_no_two_equal_verifiers_go_to_the_server():
    assert PASSWORD not in verifier(PASSWORD)
    assert verifier(PASSWORD) != verifier(PASSWORD)


def test_a_password_is_read_without_its_line_break(configured):
    assert configured.password_of("ingestion") == f"ingestion_database-{PASSWORD}"
    assert configured.password_of("dagster_owner") == f"dagster_owner-{PASSWORD}"


def test_a_missing_secret_is_named_with_its_remedy(configured):
    with pytest.raises(MigrationError, match=r"secret analytics_database_password cannot be read .*\./stack up makes"):
        configured.password_of("analytics")


def test_an_empty_secret_is_no_password(configured):
    (configured.secrets / "dagster_password").write_text("\n")
    with pytest.raises(MigrationError, match="dagster_password is empty"):
        configured.password_of("dagster")


def test_settings_do_not_show_their_password():
    loaded = settings.load({"POSTGRES_ADMIN_PASSWORD": PASSWORD, "POSTGRES_HOST": "db.example"})
    assert PASSWORD not in repr(loaded)
    assert (loaded.host, loaded.port, loaded.admin, loaded.bundled) == ("db.example", 5432, "postgres", False)


@pytest.mark.parametrize("port", ["0", "65536", "five", "-1", "5432 "])
def test_a_port_that_is_none_is_an_error(port):
    with pytest.raises(MigrationError, match="POSTGRES_PORT"):
        settings.load({"POSTGRES_ADMIN_PASSWORD": PASSWORD, "POSTGRES_PORT": port})


def test_an_unreachable_server_is_waited_for_within_a_bound_and_named(configured):
    with pytest.raises(MigrationError, match=r"127\.0\.0\.1:\d+ did not answer within 0\.1 s .*POSTGRES_HOST"):
        wait_until_reachable(configured, lambda _: None, seconds=0.1)


def test_a_server_that_comes_up_meanwhile_is_reached(configured):
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", configured.port))
        threading.Timer(0.3, server.listen).start()
        wait_until_reachable(configured, lambda _: None, seconds=30)


def test_a_server_that_is_no_postgres_is_one_line(configured):
    with socket.socket() as server:
        server.bind(("127.0.0.1", configured.port))
        server.listen()

        def hang_up():
            connection, _ = server.accept()
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(MigrationError, match="did not let postgres into the database postgres") as caught:
            connect_admin(configured, seconds=0)
        thread.join()
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


class FakeConnection:
    """Answers pg_try_advisory_lock as told."""

    closed = 0

    def __init__(self, answers=(), version=170000):
        self.answers = list(answers)
        self.server_version = version
        self.asked = []

    def cursor(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def execute(self, question, values):
        self.asked.append(question)

    def fetchall(self):
        return [(self.answers.pop(0) if self.answers else True,)]


@pytest.mark.parametrize("version", [90624, 130022])
def test_a_server_that_is_too_old_is_named(version):
    with pytest.raises(MigrationError, match=f"PostgreSQL {version // 10000}; expected 14 or later"):
        check_version(FakeConnection(version=version))


def test_a_second_migration_waits_and_says_so(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    said = []
    connection = FakeConnection([False, False, True])
    with only_one(connection, said.append):
        pass
    assert said == ["another migration is at work; waiting for it to end"]
    assert "pg_advisory_unlock" in connection.asked[-1]


def test_a_lock_that_is_never_given_back_ends_in_an_error():
    with pytest.raises(MigrationError, match="has held the lock"), only_one(FakeConnection([False]), print, seconds=0):
        pass


def test_the_owner_opens_the_storage_of_dagster_yaml_and_may_make_tables(configured):
    document = yaml.safe_load((settings.Path(__file__).parents[2] / "dagster.yaml").read_text())
    storage = owner_storage(document, configured, PASSWORD)
    assert storage["postgres"]["should_autocreate_tables"] is True
    assert storage["postgres"]["postgres_db"] == {
        "username": "dagster_owner",
        "password": PASSWORD,
        "hostname": "127.0.0.1",
        "port": configured.port,
        "db_name": "dagster",
    }


@pytest.mark.parametrize(
    "document",
    [None, {}, {"storage": {"sqlite": {}}}, {"storage": {"custom": {"config": {"postgres_db": {"db_name": "other"}}}}}],
)
def test_a_dagster_yaml_that_keeps_its_history_elsewhere_is_an_error(configured, document):
    with pytest.raises(MigrationError, match=r"dagster\.yaml"):
        owner_storage(document, configured, PASSWORD)


def test_a_wrong_call_says_how(capsys):
    assert program.main(["chekc"]) == 2
    assert "usage: python -m migrate [check]" in capsys.readouterr().err


def test_errors_are_one_line_and_a_failure(configured, monkeypatch, capsys):
    monkeypatch.setattr(program.environment, "load", lambda: configured)
    configured.access.write_text("people: {admin: {usrs: []}}\n")
    assert program.main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("migrate: ")
    assert "usrs" in line


def test_check_names_the_roles_that_cannot_log_in_as_json(configured, monkeypatch, capsys):
    monkeypatch.setattr(program.environment, "load", lambda: configured)
    (configured.secrets / "dagster_password").unlink()
    assert program.main(["check"]) == 1
    failing = json.loads(capsys.readouterr().out)["failing"]
    assert set(failing) == {"dagster_owner", "dagster", "ingestion", "postgres"}
    assert "dagster_password cannot be read" in failing["dagster"]
    assert "Connection refused" in failing["ingestion"]


def test_the_plan_is_made_before_dagster_is_imported():
    # Its import takes three seconds; a wrong access.yaml is told at once.
    code = "import sys; sys.modules['dagster'] = None; import migrate.__main__"
    subprocess.run([sys.executable, "-c", code], check=True)
