"""SQL of reports: what it reads is known, and whatever does more than reading tables of lakes is refused."""

import duckdb
import pytest

from platform_kit import environment
from platform_kit.components.statements import StatementError, parse

HOSTILE = [
    # other statements
    "",
    "-- nothing",
    "SELECT 1; SELECT 2",
    "INSERT INTO reporting.reports.x VALUES (1)",
    "UPDATE ingestion.raw.flights SET carrier = 'x'",
    "DELETE FROM ingestion.raw.flights",
    "DROP TABLE ingestion.raw.flights",
    "CREATE TABLE x AS SELECT 1",
    "COPY (SELECT 1) TO '/var/lib/lake/reporting/x.csv'",
    "COPY ingestion.raw.flights FROM '/etc/passwd'",
    "EXPORT DATABASE '/tmp/x'",
    "IMPORT DATABASE '/tmp/x'",
    "ATTACH '/var/lib/lake/eta.ducklake' AS x",
    "DETACH ingestion",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "PRAGMA database_list",
    "CALL pragma_version()",
    "CHECKPOINT",
    "BEGIN TRANSACTION",
    "USE ingestion",
    "VACUUM",
    "CREATE SECRET s (TYPE s3)",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN ANALYZE SELECT 1",
    "WITH x AS (INSERT INTO eta.a.b VALUES (1) RETURNING *) FROM x",
    # files, by whatever name
    "FROM '/etc/passwd'",
    "FROM read_csv('/etc/passwd')",
    "FROM READ_CSV_AUTO('/etc/passwd')",
    "SELECT * FROM read_text('/run/secrets/database_password')",
    "SELECT read_text('/run/secrets/database_password')",
    "SELECT * FROM glob('/run/secrets/*')",
    "FROM read_parquet('/var/lib/lake/eta/**/*.parquet')",
    "FROM 's3://bucket/x.parquet'",
    'FROM "file.csv"',
    "SELECT (SELECT max(content) FROM read_text('/etc/passwd')) FROM ingestion.raw.flights",
    "SELECT * FROM ingestion.raw.flights WHERE carrier IN (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT * FROM ingestion.raw.flights ORDER BY (SELECT content FROM read_text('/etc/passwd'))",
    "WITH x AS (FROM read_csv('/etc/passwd')) FROM x",
    "SELECT * FROM ingestion.raw.flights, LATERAL (SELECT * FROM read_text(carrier))",
    # SQL in SQL
    "FROM query('DROP TABLE x')",
    "FROM query_table('/etc/passwd')",
    "SELECT * FROM json_execute_serialized_sql('{}')",
    # Its error quotes the first line of the file.
    "SELECT json_serialize_plan('SELECT nosuch FROM read_csv(''/run/secrets/database_password'')')",
    "SELECT json_serialize_sql('SELECT 1')",
    "SELECT json_deserialize_sql('{}')",
    "SELECT force_checkpoint('ingestion')",
    "SELECT * FROM postgres_query('catalog_eta', 'SELECT 1')",
    "SELECT * FROM ducklake_snapshots('ingestion')",
    # the machine, the session, the catalogs
    "FROM duckdb_secrets()",
    "FROM duckdb_settings()",
    "SELECT current_setting('temp_directory')",
    "SELECT getenv('POSTGRES_PASSWORD')",
    "SELECT nextval('s')",
    "SELECT write_log('x')",
    "FROM system.main.duckdb_databases",
    "FROM temp.main.x",
    "FROM memory.main.x",
    "FROM ingestion.information_schema.tables",
    "FROM ingestion.pg_catalog.pg_tables",
    "FROM __ducklake_metadata_ingestion.public.ducklake_data_file",
    "SHOW TABLES",
    "DESCRIBE ingestion.raw.flights",
    "SUMMARIZE ingestion.raw.flights",
    # names that are found elsewhere than they seem
    "FROM flights",
    "FROM raw.flights",
    "WITH a AS (FROM b), b AS (SELECT 1) FROM a",
    "SELECT * FROM (WITH frame AS (SELECT 1) FROM frame), frame",
    "SELECT ingestion.main.macro(1)",
    "FROM Ingestion.raw.flights",
    "FROM ingestion.raw.Flights",
    "FROM ingestion.raw./* */flights",
    "SELECT ingestion.raw.flights.carrier FROM ingestion.raw.flights",
    "SELECT raw.flights.carrier FROM ingestion.raw.flights",
    "SELECT $1",
    "SELECT ?",
    "SELECT 1 -- \0",
    "SELECT '\0'; DROP TABLE x",
]


@pytest.mark.parametrize("sql", HOSTILE)
def test_what_is_not_one_select_on_tables_of_lakes_is_refused(sql: str) -> None:
    with pytest.raises(StatementError) as refused:
        parse(sql)
    assert str(refused.value), "the message says what was found and what is expected"


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("SELECT 1 AS one", []),
        ("FROM ingestion.raw.flights", ["ingestion.raw.flights"]),
        ("SELECT 'é', f.x FROM ingestion.raw.flights f JOIN eta.a.b USING (x);", ["eta.a.b", "ingestion.raw.flights"]),
        ('FROM "ingestion" . "raw"."we ird"', ["ingestion.raw.we ird"]),
        ('FROM ingestion.raw."a.b"', ["ingestion.raw.a.b"]),
        ("WITH f AS (FROM ingestion.raw.flights), g AS (FROM f) FROM g", ["ingestion.raw.flights"]),
        ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) FROM r", []),
        ("WITH flights AS (FROM ingestion.raw.flights) FROM FLIGHTS", ["ingestion.raw.flights"]),
        ("SELECT * FROM (SELECT * FROM eta.a.b) WHERE x IN (SELECT y FROM eta.c.d)", ["eta.a.b", "eta.c.d"]),
        ("SELECT x FROM eta.a.b UNION ALL SELECT y FROM eta.c.d", ["eta.a.b", "eta.c.d"]),
        ("SELECT x FROM eta.a.b LIMIT (SELECT count(*) FROM eta.c.d)", ["eta.a.b", "eta.c.d"]),
        ("SELECT EXISTS (FROM eta.a.b)", ["eta.a.b"]),
        ("FROM (PIVOT eta.a.b ON c IN ('x') USING sum(d))", ["eta.a.b"]),
        ("FROM eta.a.b AT (VERSION => 3)", ["eta.a.b"]),
        ("SELECT * FROM eta.a.b, unnest([1, 2])", ["eta.a.b"]),
        ("SELECT list_transform([1], x -> x + 1) FROM sales.raw.orders", ["sales.raw.orders"]),
        ("SELECT 'FROM eta.a.b' AS text -- FROM eta.c.d\n", []),
    ],
)
def test_the_tables_that_it_reads_are_known(sql: str, tables: list[str]) -> None:
    assert [str(table) for table in parse(sql).tables] == tables


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        (
            "SELECT carrier, count(*) AS flights, f.origin FROM ingestion.raw.flights AS f",
            ("carrier", "flights", "origin"),
        ),
        ("SELECT x FROM eta.a.b UNION ALL SELECT y FROM eta.c.d", ("x",)),
        ("SELECT * FROM eta.a.b", None),
        ("SELECT count(*) FROM eta.a.b", None),
        ("SELECT x, b.* FROM eta.a.b", None),
    ],
)
def test_the_columns_that_it_gives_are_known_where_it_names_them(sql: str, columns: tuple[str, ...] | None) -> None:
    assert parse(sql).columns == columns


def test_a_developer_reads_the_tables_of_their_own() -> None:
    sql = (  # names in texts, comments and aliases are none of tables
        "WITH f AS (FROM ingestion.raw.flights) SELECT 'ingestion.raw.flights' AS é, * FROM f -- eta.a.b\n"
        'JOIN "eta"."model" . "we ""ird" AS raw USING (x)'
    )
    assert parse(sql).placed(environment.current()) == (
        'WITH f AS (FROM "ingestion"."ada_raw"."flights") SELECT \'ingestion.raw.flights\' AS é, * FROM f '
        '-- eta.a.b\nJOIN "eta"."ada_model"."we ""ird" AS raw USING (x)'
    )


def test_in_production_schemas_have_their_plain_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOYMENT", "prod")
    assert parse("FROM eta.a.b").placed(environment.current()) == 'FROM "eta"."a"."b"'


def test_an_error_in_the_sql_says_its_line() -> None:
    with pytest.raises(StatementError, match="line 3 of the SQL"):
        parse("SELECT 'é'\nFROM eta.a.b\nWHERE (")


def test_every_name_it_knows_is_one_that_duckdb_has() -> None:
    """Else a refusal, or a permission, would be for something that does not exist."""
    from platform_kit.components import statements

    known = {name for (name,) in duckdb.sql("SELECT DISTINCT function_name FROM duckdb_functions()").fetchall()}
    assert known >= statements._TABLE_FUNCTIONS
    with_effects = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE has_side_effects"
    harmless = {"random", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "error"}
    assert {name for (name,) in duckdb.sql(with_effects).fetchall()} - harmless <= statements._REFUSED_FUNCTIONS
