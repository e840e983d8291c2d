"""What a way back of a location's tables takes with it, as its revisions read."""

from pathlib import Path

import pytest

from operations.releases.inside import ways_down

IMPORTS = "import sqlalchemy as sa\nfrom alembic import op\n\n"
UP = "def upgrade():\n    op.drop_table('not_of_the_way_down')\n\n"


@pytest.mark.parametrize(
    ("down", "told"),
    [
        ('op.drop_column("a", "b", schema="c")', ["op.drop_column('a', 'b', schema='c')"]),
        ('op.drop_table("airlines")', ["op.drop_table('airlines')"]),
        ('batch.drop_column("country")', ["batch.drop_column('country')"]),
        ('op.execute("DELETE  FROM airlines")', ["DELETE FROM airlines"]),
        ('op.execute(sa.text("alter table a drop column b"))', ["alter table a drop column b"]),
        ('op.get_bind().execute("TRUNCATE a")', ["TRUNCATE a"]),
        ("op.execute(statement)", ["SQL that is put together when it runs"]),
        ('op.execute(f"SELECT {x}")', ["SQL that is put together when it runs"]),
        ("_tidy()", ["op.drop_table('hidden')"]),
        ('op.execute("ALTER TABLE a DROP col")', ["ALTER TABLE a DROP col"]),
        ('op.execute("ALTER TABLE a ALTER b TYPE int")', ["ALTER TABLE a ALTER b TYPE int"]),
        ('op.execute("ALTER TABLE a ALTER b SET DATA TYPE int")', ["ALTER TABLE a ALTER b SET DATA TYPE int"]),
        ('op.execute("DO $$ BEGIN EXECUTE x; END $$")', ["DO $$ BEGIN EXECUTE x; END $$"]),
        ('op.execute("SELECT tidy()")', ["SELECT tidy()"]),
        ('op.execute("CREATE INDEX a ON b (c); CALL tidy()")', ["CREATE INDEX a ON b (c); CALL tidy()"]),
        ('op.execute("CREATE TABLE a AS SELECT tidy()")', ["CREATE TABLE a AS SELECT tidy()"]),
        ('op.execute("CREATE INDEX a ON b (tidy(c))")', ["CREATE INDEX a ON b (tidy(c))"]),
        ('op.execute(sqltext="TRUNCATE a")', ["SQL that is put together when it runs"]),
        ('op.get_bind().exec_driver_sql("DROP TABLE a")', ["DROP TABLE a"]),
        ('table.drop(op.get_bind())', ["table.drop(op.get_bind())"]),
        ('tidying.all_of_it()', ["tidying.all_of_it()"]),
        ('(lambda: tidying)().x()', ["(lambda: tidying)().x()", "(lambda: tidying)()"]),
        ('op.alter_column("a", "b", type_=sa.Integer())', ["op.alter_column('a', 'b', type_=sa.Integer())"]),
        ('op.alter_column("a", "b", **narrower)', ["op.alter_column('a', 'b', **narrower)"]),
        ('op.alter_column("a", "b", nullable=True)', []),
        ('op.alter_column("a", "b", new_column_name="c")', []),
        ('op.bulk_insert(table, [])', ["op.bulk_insert(table, [])"]),
        ('op.create_table("a", sa.Column("b", sa.Text()), sa.PrimaryKeyConstraint("b"), schema="c")', []),
        ('with op.batch_alter_table("a") as batch:\n        batch.add_column(sa.Column("b", sa.Text()))', []),
        ('sa.create_engine(url)', ["sa.create_engine(url)"]),
        ('drop = op.drop_table\n    drop("a")', ["drop('a')"]),
        ('op.drop_index("a")', []),
        ('op.execute("CREATE INDEX a ON b (c)")', []),
        ('op.add_column("a", x)', []),
    ],
)  # fmt: skip
def test_what_takes_rows_is_told(tmp_path: Path, down: str, told: list[str]) -> None:
    helper = "def _tidy():\n    op.drop_table('hidden')\n\n" if down == "_tidy()" else ""
    file = tmp_path / "revision.py"
    file.write_text(f"{IMPORTS}{UP}{helper}def downgrade():\n    {down}\n")
    assert list(ways_down.taken(file)) == told


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("from tidying import all_of_it as create_table\ndef downgrade():\n    create_table()\n", ["create_table()"]),
        ("from tidying import op\ndef downgrade():\n    op.add_column('a')\n", ["op.add_column('a')"]),
        ("from alembic import op\nop = tidying\ndef downgrade():\n    op.add_column('a')\n", ["op.add_column('a')"]),
        ("def upgrade():\n    op.drop_table('a')\ndef downgrade():\n    upgrade()\n", ["upgrade()"]),
        ("from tidying import downgrade\n", ["a way down from another module"]),
        ("downgrade = tidying.down\n", ["a way down from another module"]),
    ],
)
def test_names_are_what_the_module_makes_of_them(tmp_path: Path, module: str, told: list[str]) -> None:
    file = tmp_path / "revision.py"
    file.write_text(module)
    assert list(ways_down.taken(file)) == told
