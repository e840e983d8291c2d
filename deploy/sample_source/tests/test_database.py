"""What the sample database is filled with, and that no password can say anything else to it."""

import csv
from datetime import date, timedelta
from pathlib import Path

import pytest
from sample_source import database, settings
from sample_source.tables import FLIGHTS, TABLES, WEATHER, extract, header, rows


def test_the_package_holds_the_rows_that_are_promised(data: Path) -> None:
    found = {}
    for name in TABLES:
        with (data / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            found[name] = sum(1 for _ in csv.reader(file)) - 1
    assert found == {"airlines": 16, "airports": 1_458, "planes": 3_322, "weather": 26_115, "flights": 336_776}


@pytest.mark.parametrize("name", TABLES)
def test_no_two_rows_have_the_same_key_and_no_key_is_missing(data: Path, name: str) -> None:
    table = TABLES[name]
    keys = [tuple(row[column] for column in table.primary_key) for row in rows(data, table)]
    assert len(set(keys)) == table.rows
    assert not any(None in key for key in keys)


def test_every_day_of_2013_has_flights(data: Path) -> None:
    days = {(row["year"], row["month"], row["day"]) for row in rows(data, FLIGHTS)}
    first = date(2013, 1, 1)
    every = [first + timedelta(days=number) for number in range(365)]
    assert days == {(day.year, day.month, day.day) for day in every}


def test_the_statements_name_columns_in_the_order_of_the_file(data: Path) -> None:
    create, copy = database.create_table(WEATHER, data)[1:3]
    order = [column.split()[0] for column in create.split("(", 1)[1].rstrip(")").split(", ")]
    assert order == header(data, WEATHER)
    assert str(data / "weather.csv") in copy


def test_a_file_with_another_column_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "weather.csv").write_text("origin,surprise\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="surprise"):
        header(tmp_path, WEATHER)


def test_data_that_is_too_short_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sample_source.tables._content", lambda _source, _name: b"header\nonly one row\n")
    with pytest.raises(SystemExit, match=r"airlines.csv has 1 rows, expected 16"):
        extract(tmp_path)


def test_the_reader_is_granted_select_and_nothing_that_writes(data: Path) -> None:
    grants = [statement for statement in database.fill(data) if statement.startswith("GRANT")]
    assert grants == [
        "GRANT CONNECT ON DATABASE flight_operations TO flight_reader",
        "GRANT USAGE ON SCHEMA public TO flight_reader",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO flight_reader",
    ]


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        ("plain", "'plain'"),
        ("it's", "'it''s'"),
        ("'; DROP TABLE flights; --", "'''; DROP TABLE flights; --'"),
        ("back\\slash", "'back\\slash'"),
    ],
)
def test_a_password_stays_inside_its_quotes(password: str, expected: str) -> None:
    assert database.literal(password) == expected


@pytest.mark.parametrize("password", ["two\n\nstatements", "nul\0byte"])
def test_a_password_that_could_end_the_statement_is_refused(password: str) -> None:
    with pytest.raises(SystemExit, match="one line"):
        database.literal(password)


def test_only_the_reader_may_connect_and_only_by_password() -> None:
    file = Path(database.__file__).parents[2] / "pg_hba.conf"
    lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert [(line[1], line[2], line[-1]) for line in lines] == [
        ("flight_operations", "flight_reader", "scram-sha-256")
    ] * 2


def test_a_missing_or_empty_secret_stops_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_SECRETS_DIRECTORY", str(tmp_path))
    with pytest.raises(SystemExit, match="No such file"):
        settings.secret("sample_source_api_token")
    (tmp_path / "sample_source_api_token").write_text("\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="is empty"):
        settings.secret("sample_source_api_token")
