"""Migrations of a location's tables, on a real Postgres server."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import psycopg2
import pytest

from platform_kit.database import DatabaseError
from platform_kit.environment import PostgresCatalog
from platform_kit.migrations import MigrationError, scratch
from platform_kit.migrations.__main__ import REFUSED, main
from platform_kit.postgres import PostgresResource

ORDERS = """
import sqlalchemy as sa

metadata = sa.MetaData(schema="sales")
sa.Table("orders", metadata, sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("note", sa.Text){more})
"""
COLUMNS = 'sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("note", sa.Text)'
MAKE = f'op.create_table("orders", {COLUMNS}, schema="sales")'
DROP = 'op.drop_table("orders", schema="sales")'
ADD = 'op.add_column("orders", sa.Column("amount", sa.Integer), schema="sales")'
REMOVE = 'op.drop_column("orders", "amount", schema="sales")'
AMOUNT = ', sa.Column("amount", sa.Integer)'
_packages = (f"shop_{number}" for number in itertools.count())


@dataclass
class Answer:
    """What the command answered."""

    code: int
    told: dict[str, Any]
    errors: str


@dataclass
class Shop:
    """A code location with tables, in a temporary folder, and its database."""

    source: Path
    package: str
    server: PostgresCatalog
    capture: pytest.CaptureFixture[str] = field(repr=False)

    @property
    def folder(self) -> Path:
        return self.source / self.package

    def models(self, more: str = "", text: str = ORDERS) -> None:
        """What the tables should be; each call is as a new process would see it."""
        for name in [name for name in sys.modules if name.startswith(self.package)]:
            del sys.modules[name]
        (self.folder / "models.py").write_text(text.replace("{more}", more))
        versions = self.folder / "migrations" / "versions"
        versions.mkdir(parents=True, exist_ok=True)
        (self.folder / "__init__.py").touch()
        (self.folder / "migrations" / "__init__.py").write_text(f"from {self.package}.models import metadata\n")

    def revision(self, name: str, after: str | None, up: str, down: str | None) -> Path:
        """Write a revision; `down` None: without a downgrade()."""
        path = self.folder / "migrations" / "versions" / f"{name}.py"
        lines = [
            *(f'"""Step {name}"""', "import sqlalchemy as sa", "from alembic import op"),
            *("from platform_kit.migrations import IrreversibleError", ""),
            *(f"revision = {name!r}", f"down_revision = {after!r}", "", "def upgrade():", f"    {up}"),
            *([] if down is None else ["", "def downgrade():", f"    {down}"]),
        ]
        path.write_text("\n".join(lines) + "\n")
        return path

    def command(self, *arguments: str) -> Answer:
        self.capture.readouterr()
        code = main([*arguments, "--json"])
        printed = self.capture.readouterr()
        return Answer(code, json.loads(printed.out.splitlines()[-1]), printed.err)

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        connection = self.session()
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()

    def process(self, *arguments: str) -> "subprocess.Popen[str]":
        """The command as a process of its own."""
        path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
        return subprocess.Popen(
            [sys.executable, "-m", "platform_kit.migrations", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def session(self, name: str = "a run") -> Any:
        connection = psycopg2.connect(host=self.server.host, user="scratch", dbname="lake_shop", application_name=name)
        connection.autocommit = True
        return connection

    def columns(self) -> list[str]:
        found = self.sql("SELECT column_name FROM information_schema.columns WHERE table_schema = 'sales' ORDER BY 1")
        return [name for (name,) in found]

    def version(self) -> list[str]:
        return [name for (name,) in self.sql("SELECT version_num FROM migrations.alembic_version")]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresCatalog]:
    with scratch.database() as catalog:
        yield catalog


@pytest.fixture
def shop(
    server: PostgresCatalog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Shop:
    own = Shop(tmp_path / "src", next(_packages), server, capsys)
    own.folder.mkdir(parents=True)
    (own.folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(own.source))
    settings = {
        **{"CODE_LOCATION": "shop", "CODE_LOCATION_PACKAGE": own.package, "DEPLOYMENT": "prod"},
        **{"POSTGRES_HOST": server.host, "POSTGRES_USER": "scratch", "POSTGRES_PASSWORD": "none"},
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    connection = psycopg2.connect(host=server.host, user="scratch", dbname="postgres")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS lake_shop WITH (FORCE)")
        cursor.execute("CREATE DATABASE lake_shop")
    connection.close()
    return own


@pytest.fixture
def two_steps(shop: Shop) -> Shop:
    shop.models(AMOUNT)
    shop.revision("first", None, MAKE, DROP)
    shop.revision("second", "first", ADD, REMOVE)
    return shop


@pytest.mark.parametrize("command", [["current"], ["heads"], ["upgrade"], ["downgrade", "--to", "base"], ["check"]])
def test_a_location_without_migrations_has_nothing_to_do(shop: Shop, command: list[str]) -> None:
    answer = shop.command(*command)
    assert (answer.code, answer.told) == (0, {"location": "shop", "head": None})
    assert shop.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'migrations'") == [(0,)]


def test_up_and_down_and_up_again(two_steps: Shop) -> None:
    answer = two_steps.command("upgrade")
    assert (answer.code, answer.told["from"], answer.told["to"]) == (0, None, "second")
    assert answer.told["steps"] == ["first Step first", "second Step second"]
    assert answer.told["differences"] == []
    assert (two_steps.columns(), two_steps.version()) == (["amount", "id", "note"], ["second"])
    assert two_steps.command("upgrade").told["steps"] == []
    assert two_steps.command("current").told == {
        **{"location": "shop", "head": "second", "database": "lake_shop", "current": "second"}
    }
    answer = two_steps.command("downgrade", "--to", "first")
    assert answer.told["steps"] == ["second Step second"]
    assert (two_steps.columns(), two_steps.version()) == (["id", "note"], ["first"])
    assert two_steps.command("downgrade", "--to", "base").code == 0
    assert (two_steps.columns(), two_steps.version()) == ([], [])
    assert two_steps.command("upgrade", "--to", "first").told["to"] == "first"


def test_a_step_that_fails_leaves_all_as_it_was(two_steps: Shop) -> None:
    two_steps.revision("third", "second", f'{ADD.replace("amount", "tax")}; op.execute("SELECT 1 / 0")', "pass")
    answer = two_steps.command("upgrade")
    assert answer.code == 1
    assert answer.told["error"] == "nothing was changed: third.py:10: DivisionByZero: division by zero"
    assert two_steps.columns() == []
    assert two_steps.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'migrations'") == [(0,)]


def test_a_mistake_in_a_step_is_told_with_its_line_and_without_a_traceback(two_steps: Shop) -> None:
    two_steps.revision("third", "second", "op.add_colum('x')", "pass")
    answer = two_steps.command("upgrade")
    assert "third.py:10: AttributeError:" in answer.told["error"]
    assert "Traceback" not in answer.errors


@pytest.mark.parametrize(
    ("down", "reason"),
    [
        ('raise IrreversibleError("the old names are gone")', "third (Step third): the old names are gone"),
        ("pass", "third (Step third): its downgrade() is empty"),
        (None, "third (Step third): it has no downgrade()"),
    ],
)
def test_a_way_back_that_does_not_exist_is_refused_before_anything_changes(
    two_steps: Shop, down: str | None, reason: str
) -> None:
    two_steps.revision("third", "second", 'op.execute("SELECT 1")', down)
    # Its neighbour would be undone first.
    two_steps.revision("fourth", "third", 'op.execute("SELECT 1")', 'op.execute("SELECT it_was_run")')
    two_steps.command("upgrade")
    answer = two_steps.command("downgrade", "--to", "first")
    assert answer.code == 1
    assert answer.told["error"] == f"cannot go back to first, nothing was changed: {reason}"
    assert two_steps.version() == ["fourth"]


def test_a_step_may_look_at_the_rows_before_it_says_that_there_is_no_way_back(two_steps: Shop) -> None:
    look = 'if op.get_bind().exec_driver_sql("SELECT count(*) FROM sales.orders").scalar():'
    two_steps.revision("third", "second", "pass", f'{look}\n        raise IrreversibleError("there are orders")')
    two_steps.command("upgrade")
    two_steps.sql("INSERT INTO sales.orders (id) VALUES (1)")
    answer = two_steps.command("downgrade", "--to", "base")
    assert answer.told["error"] == "cannot go back, nothing was changed: there are orders"
    assert two_steps.version() == ["third"]
    two_steps.sql("DELETE FROM sales.orders")
    assert two_steps.command("downgrade", "--to", "base").code == 0


def test_a_docstring_alone_leaves_things_as_they_are_on_purpose(two_steps: Shop) -> None:
    two_steps.revision("third", "second", ADD.replace("amount", "tax"), '"""An older release does not mind it."""')
    two_steps.command("upgrade")
    assert two_steps.command("downgrade", "--to", "second").code == 0
    assert (two_steps.version(), "tax" in two_steps.columns()) == (["second"], True)


def test_two_upgrades_at_once_are_one_after_the_other(two_steps: Shop) -> None:
    two_steps.revision("third", "second", 'op.execute("SELECT pg_sleep(1)")', 'op.execute("SELECT 1")')
    both = [two_steps.process("upgrade", "--json") for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(len(answer["steps"]) for answer in answers) == [0, 3]


def test_who_holds_the_lock_is_named(two_steps: Shop) -> None:
    holder = two_steps.session("migrations on elsewhere")
    with holder.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtextextended('migrations of shop', 0)), pg_backend_pid()")
        process = cursor.fetchone()[1]
    answer = two_steps.command("upgrade", "--wait", "1")
    holder.close()
    assert answer.code == 1
    assert (
        f"another migration of shop has been at work for 1 s: process {process} (migrations on elsewhere from"
        in (answer.told["error"])
    )


def test_a_table_in_use_is_waited_for_shortly_and_named(two_steps: Shop) -> None:
    two_steps.command("upgrade", "--to", "first")
    reader = two_steps.session()
    with reader.cursor() as cursor:
        cursor.execute("BEGIN; SELECT count(*) FROM sales.orders")
        answer = two_steps.command("upgrade", "--table-wait", "1")
        cursor.execute("ROLLBACK")
    reader.close()
    assert answer.code == 1
    assert "a table was locked for more than 1 s, nothing was changed: process" in answer.told["error"]
    assert "(a run from this machine, idle in transaction since" in answer.told["error"]
    assert "holds sales.orders" in answer.told["error"]
    assert two_steps.version() == ["first"]
    assert two_steps.command("upgrade").code == 0


def test_tables_of_a_newer_release_are_told_and_left_alone(two_steps: Shop) -> None:
    two_steps.command("upgrade")
    (two_steps.folder / "migrations/versions/second.py").unlink()
    for command in (["upgrade"], ["downgrade", "--to", "base"]):
        answer = two_steps.command(*command)
        assert answer.code == 1
        assert (
            "the tables of shop are at second, which is no revision of this image (its newest is first)"
            in (answer.told["error"])
        )
    assert two_steps.columns() == ["amount", "id", "note"]


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["downgrade", "--to", "second"], "the tables are at first, which is not after second"),
        (["upgrade", "--to", "nothing"], "'nothing' is no revision of shop; expected one of first, second, or base"),
        (["downgrade", "--to", ""], "'' is several revisions of shop"),
    ],
)
def test_a_revision_that_is_not_on_the_way_is_refused(two_steps: Shop, command: list[str], told: str) -> None:
    two_steps.command("upgrade", "--to", "first")
    answer = two_steps.command(*command)
    assert answer.code == 1
    assert told in answer.told["error"]


@pytest.mark.parametrize(
    ("name", "after", "told"),
    [
        ("other", "first", "2 revisions have no successor: other, second; expected one"),
        ("other", "missing", "Revision missing referenced from"),
    ],
)
def test_revisions_that_make_no_line_are_told(two_steps: Shop, name: str, after: str, told: str) -> None:
    two_steps.revision(name, after, "pass", "pass")
    for command in ("heads", "upgrade", "check"):
        answer = two_steps.command(command)
        assert answer.code == 1
        assert told in answer.told["error"]


def test_two_files_of_one_revision_are_told(two_steps: Shop) -> None:
    text = two_steps.revision("third", "second", "pass", "pass").read_text()
    (two_steps.folder / "migrations/versions/again.py").write_text(text)
    assert "Revision third is present more than once" in two_steps.command("heads").told["error"]


def test_a_revision_that_is_no_python_is_told_with_its_line(two_steps: Shop) -> None:
    (two_steps.folder / "migrations/versions/second.py").write_text("x = (\n")
    assert "second.py:1: SyntaxError" in two_steps.command("upgrade").told["error"]


def test_models_and_revisions_that_agree_pass_and_nothing_is_left(two_steps: Shop) -> None:
    assert two_steps.command("check").told["problems"] == []
    assert two_steps.columns() == []


CHANGES = {
    "a new model": (
        f'{AMOUNT})\nsa.Table("customers", metadata, sa.Column("id", sa.Integer, primary_key=True)',
        ["table sales.customers is in the models, not in the database"],
    ),
    "a new column": (
        f'{AMOUNT}, sa.Column("tax", sa.Integer)',
        ["sales.orders: column tax is in the models, not in the database"],
    ),
    "a column that went": ("", ["sales.orders: column amount is in the database, not in the models"]),
    "another type": (
        ', sa.Column("amount", sa.Numeric(10, 2))',
        ["sales.orders: column amount: type is INTEGER in the database, NUMERIC(10, 2) in the models"],
    ),
    "never empty": (
        ', sa.Column("amount", sa.Integer, nullable=False)',
        ["sales.orders: column amount: nullable is yes in the database, no in the models"],
    ),
    "a default": (
        ', sa.Column("amount", sa.Integer, server_default="0")',
        ["sales.orders: column amount: default is none in the database, 0 in the models"],
    ),
    "an index": (
        ', sa.Column("amount", sa.Integer, index=True)',
        ["sales.orders: index ix_sales_orders_amount(amount) is in the models, not in the database"],
    ),
    "a unique key": (
        f'{AMOUNT}, sa.UniqueConstraint("note", name="one_note")',
        ["sales.orders: constraint one_note(note) is in the models, not in the database"],
    ),
    "a foreign key": (
        f'{AMOUNT}, sa.ForeignKeyConstraint(["amount"], ["sales.orders.id"], name="parent")',
        ["sales.orders: foreign key parent(amount) is in the models, not in the database"],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_without_its_revision_is_found(two_steps: Shop, change: str) -> None:
    more, expected = CHANGES[change]
    two_steps.models(more)
    answer = two_steps.command("check")
    assert (answer.code, answer.told["problems"]) == (1, expected)


def test_a_table_without_a_model_is_found_where_revisions_alone_make_tables(two_steps: Shop) -> None:
    two_steps.revision("third", "second", 'op.execute("CREATE TABLE sales.forgotten (id int)")', "pass")
    assert two_steps.command("check").told["problems"] == [
        "table sales.forgotten is in the database, not in the models"
    ]


def test_a_way_down_that_does_not_lead_back_is_found(two_steps: Shop) -> None:
    two_steps.revision("second", "first", ADD, 'op.execute("SELECT 1")')
    answer = two_steps.command("check")
    assert answer.code == 1
    assert "undoing second and applying it again fails: second.py:10: DuplicateColumn" in answer.told["error"]


def test_what_a_running_location_stores_beside_its_models_is_no_difference(two_steps: Shop) -> None:
    two_steps.sql("CREATE TABLE public.ducklake_table (id int); CREATE SCHEMA sales; CREATE TABLE sales.mine (id int)")
    assert two_steps.command("check").told["problems"] == []
    assert two_steps.command("upgrade").told["differences"] == []


def test_a_table_changed_by_hand_is_told_after_an_upgrade(two_steps: Shop) -> None:
    two_steps.command("upgrade", "--to", "first")
    two_steps.sql("ALTER TABLE sales.orders DROP COLUMN note")
    answer = two_steps.command("upgrade")
    expected = "sales.orders: column note is in the models, not in the database"
    assert (answer.code, answer.told["differences"]) == (0, [expected])
    assert f"WARNING: {expected}" in answer.errors


@pytest.mark.parametrize("schema", ["None", "'public'", "'migrations'"])
def test_the_lakes_catalog_is_no_place_for_tables(shop: Shop, schema: str) -> None:
    shop.models(text=ORDERS.replace('"sales"', schema))
    shop.revision("first", None, "pass", "pass")
    answer = shop.command("upgrade")
    assert answer.code == 1
    assert "expected one of the location's own" in answer.told["error"]


def test_a_step_outside_of_the_transaction_is_refused(two_steps: Shop) -> None:
    two_steps.revision("third", "second", "op.get_context().autocommit_block()", "pass")
    assert "third.py uses autocommit_block: an upgrade is one transaction" in two_steps.command("upgrade").told["error"]


def test_a_new_revision_is_written_from_what_the_models_say(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTGRES_HOST")  # a laptop: an empty server is made for it
    monkeypatch.delenv("DEPLOYMENT")
    shop.models()
    first = Path(shop.command("new", "Orders").told["file"])
    assert first.parent == shop.folder / "migrations" / "versions"
    shop.models(AMOUNT)
    second = Path(shop.command("new", "Orders have an amount").told["file"])
    assert "op.add_column('orders', sa.Column('amount'" in second.read_text()
    assert "op.drop_column('orders', 'amount'" in second.read_text()
    assert shop.command("new", "Nothing").told["file"] is None
    assert shop.command("check").told["problems"] == []
    empty = Path(shop.command("new", "Rows", "--empty").told["file"])
    assert "def downgrade() -> None:\n    pass" in empty.read_text()
    assert shop.command("upgrade").code == 0
    assert shop.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'sales'") == [(0,)]


def test_a_new_revision_is_not_written_from_a_database_in_use(two_steps: Shop) -> None:
    two_steps.command("upgrade")
    assert "lake_shop has tables: expected an empty database" in two_steps.command("new", "x").told["error"]


def test_a_server_that_does_not_answer_is_named_without_the_password(
    two_steps: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTGRES_HOST", "127.0.0.1")
    monkeypatch.setenv("POSTGRES_PORT", "1")
    monkeypatch.setenv("POSTGRES_PASSWORD", "hunter2")
    answer = two_steps.command("upgrade")
    assert "cannot connect to lake_shop at 127.0.0.1:1 as scratch: " in answer.told["error"]
    assert "hunter2" not in answer.errors


# What a code server does before it serves.


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    from platform_kit.migrations import starting

    path = tmp_path / "refused.txt"
    monkeypatch.setattr(starting, "_REASON", path)
    return path


@pytest.mark.parametrize("image", ["prod/shop:local", "prod/shop:20261121T120301Z-0a1b2c3d4e5f", ""])
def test_a_first_start_brings_the_tables_to_the_newest_revision(
    two_steps: Shop, refusal: Path, monkeypatch: pytest.MonkeyPatch, image: str
) -> None:
    monkeypatch.setenv("DAGSTER_CURRENT_IMAGE", image)
    assert two_steps.command("start").code == 0
    assert two_steps.version() == ["second"]


def test_a_restart_between_the_two_halves_of_a_rollback_brings_nothing_back(
    two_steps: Shop, refusal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_steps.command("upgrade")
    two_steps.command("downgrade", "--to", "base")
    monkeypatch.setenv("DAGSTER_CURRENT_IMAGE", "prod/shop:20261121T120301Z-0a1b2c3d4e5f")
    assert two_steps.command("start").code == REFUSED
    assert (two_steps.version(), two_steps.columns()) == ([], [])


@pytest.mark.parametrize(
    ("deployment", "image", "code"),
    [
        ("prod", "prod/shop:local", 0),
        ("branch-7", "branch-7/shop:20261121T120301Z-0a1b2c3d4e5f", 0),
        ("prod", "prod/shop:20261121T120301Z-0a1b2c3d4e5f", REFUSED),
    ],
)
def test_a_later_start_leaves_a_released_image_to_deploy(
    two_steps: Shop, refusal: Path, monkeypatch: pytest.MonkeyPatch, deployment: str, image: str, code: int
) -> None:
    two_steps.command("upgrade", "--to", "first")
    monkeypatch.setenv("DEPLOYMENT", deployment)
    monkeypatch.setenv("DAGSTER_CURRENT_IMAGE", image)
    assert two_steps.command("start").code == code
    assert two_steps.version() == (["first"] if code else ["second"])
    if code:
        with pytest.raises(MigrationError, match=r"at first, this image needs second: expected \./stack deploy shop"):
            import platform_kit.migrations.refused  # noqa: F401


@pytest.mark.parametrize("tag", ["local", "20261121T120301Z-0a1b2c3d4e5f"])
def test_an_older_version_with_newer_tables_serves(
    two_steps: Shop, refusal: Path, monkeypatch: pytest.MonkeyPatch, tag: str
) -> None:
    two_steps.command("upgrade")
    (two_steps.folder / "migrations/versions/second.py").unlink()
    monkeypatch.setenv("DAGSTER_CURRENT_IMAGE", f"prod/shop:{tag}")
    assert two_steps.command("start").code == 0
    assert two_steps.version() == ["second"]


def test_a_start_waits_until_the_database_is_there(two_steps: Shop, refusal: Path) -> None:
    two_steps.sql("SELECT 1")
    admin = psycopg2.connect(host=two_steps.server.host, user="scratch", dbname="postgres")
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute("ALTER DATABASE lake_shop RENAME TO lake_not_yet")
        process = two_steps.process("start")
        assert process.stdout is not None
        assert "waiting: cannot connect to lake_shop at" in process.stdout.readline()
        cursor.execute("ALTER DATABASE lake_not_yet RENAME TO lake_shop")
    admin.close()
    assert process.communicate(timeout=60)[0].splitlines()[-1] == "migrations: shop: at second"
    assert two_steps.version() == ["second"]


def test_a_step_that_fails_at_the_start_is_why_the_location_does_not_load(
    two_steps: Shop, refusal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_CURRENT_IMAGE", "prod/shop:local")
    two_steps.revision("third", "second", 'op.execute("SELECT 1 / 0")', "pass")
    assert two_steps.command("start").code == REFUSED
    assert refusal.read_text().startswith("nothing was changed: third.py:10: DivisionByZero")


# What assets store there.


@pytest.fixture
def migrated(two_steps: Shop) -> PostgresResource:
    two_steps.command("upgrade")
    return PostgresResource(prefix="POSTGRES", database="lake_shop", makes_tables=False)


def test_rows_are_stored_in_a_table_that_revisions_made(two_steps: Shop, migrated: PostgresResource) -> None:
    rows = pl.DataFrame({"id": [1, 2], "amount": [10, 20]})
    assert [migrated.upsert("sales", "orders", rows, ["id"]) for _ in range(2)] == [2, 2]
    assert two_steps.sql("SELECT id, amount, note FROM sales.orders ORDER BY id") == [(1, 10, None), (2, 20, None)]


@pytest.mark.parametrize(
    ("table", "column", "told"),
    [
        ("missing", "amount", "table sales.missing is not there"),
        ("orders", "tax", "table sales.orders has no column tax"),
    ],
)
def test_a_run_never_migrates(two_steps: Shop, migrated: PostgresResource, table: str, column: str, told: str) -> None:
    with pytest.raises(DatabaseError, match=told):
        migrated.upsert("sales", table, pl.DataFrame({"id": [1], column: [2]}), ["id"])
    assert two_steps.columns() == ["amount", "id", "note"]


def test_tables_that_no_revision_makes_are_made_as_before(two_steps: Shop) -> None:
    own = PostgresResource(prefix="POSTGRES", database="lake_shop")
    assert own.upsert("notes", "mine", pl.DataFrame({"id": [1]}), ["id"]) == 1
    assert own.upsert("notes", "mine", pl.DataFrame({"id": [2], "text": ["x"]}), ["id"]) == 2
