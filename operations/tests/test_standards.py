import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from operations.checking import standards
from operations.checking.assets import Asset, Column, read

ROOT = Path(__file__).parents[2]
SOURCE = """\
import dagster as dg


@dg.asset
def flights():
    return {"flight_date": 1, "updatedAt": 2}
"""
FLIGHTS = Asset(
    location="ingestion",
    key=("ingestion", "raw", "flights"),
    group="flights",
    owners=("team:data-engineers",),
    kinds=("polars",),
    description="Every flight.",
    columns=(Column("flight_date", "DATE"), Column("updated_at", "TIMESTAMP WITH TIME ZONE")),
    file="code_locations/ingestion/src/flights.py",
    line=4,
)
MART = Asset(
    location="analytics",
    key=("analytics", "staging", "stg_flights"),
    deps=(FLIGHTS.key,),
    group="staging",
    owners=("team:analysts",),
    kinds=("dbt",),
    description="Flights.",
    columns=(Column("day", "DATE"),),
    lineage={"day": ((*FLIGHTS.key, "flight_date"),)},
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / (FLIGHTS.file or "")
    path.parent.mkdir(parents=True)
    path.write_text(SOURCE)
    (tmp_path / standards.FILE).write_text((ROOT / standards.FILE).read_text())
    return tmp_path


def told(root: Path, *assets: Asset) -> list[str]:
    return [str(problem) for problem in standards.check(root, assets)]


def test_what_keeps_to_the_standards_is_not_told(root: Path) -> None:
    assert told(root, FLIGHTS, MART) == []


WRONG: dict[str, tuple[Asset, str]] = {
    "another location's key": (
        replace(FLIGHTS, key=("analytics", "raw", "flights")),
        "code_locations/ingestion/src/flights.py:5: analytics/raw/flights: expected a key of the form ingestion/schema",
    ),
    "a key of two parts": (replace(FLIGHTS, key=("ingestion", "flights")), "expected a key of the form ingestion/"),
    "capitals in a key": (replace(FLIGHTS, key=("ingestion", "raw", "Flights")), "the name 'Flights' does not match"),
    "a staging table without its prefix": (
        replace(MART, key=("analytics", "staging", "flights")),
        "code_locations/analytics: analytics/staging/flights: tables of the schema staging begin with stg_ [prefixes]",
    ),
    "a prefix of another schema": (
        replace(MART, key=("analytics", "marts", "stg_flights")),
        "stg_ is for tables of the schema staging",
    ),
    "capitals in a column": (
        replace(FLIGHTS, columns=(Column("updatedAt", "TIMESTAMP"),)),
        "src/flights.py:6: ingestion/raw/flights: the column 'updatedAt' does not match",
    ),
    "another word for a moment": (
        replace(FLIGHTS, columns=(Column("last_modified", "TIMESTAMP"),)),
        "the column last_modified is to be called updated_at",
    ),
    "a moment that is a text": (
        replace(FLIGHTS, columns=(Column("created_at", "VARCHAR"),)),
        "the column created_at is a VARCHAR; expected a TIMESTAMP",
    ),
    "no team": (replace(FLIGHTS, owners=("ada@example.com",)), "has no owners: expected team:… among them [required]"),
    "the default group": (replace(FLIGHTS, group="default"), "has no group"),
    "no description": (replace(FLIGHTS, description=""), "has no description"),
    "no kinds": (replace(FLIGHTS, kinds=()), "has no kinds"),
    "lineage from nowhere": (
        replace(MART, lineage={"day": (("ingestion", "raw", "gone", "day"),)}),
        "day is said to come from ingestion/raw/gone, but no asset is called so [lineage]",
    ),
    "lineage from what it does not read": (
        replace(MART, deps=()),
        "day is said to come from ingestion/raw/flights, but it does not depend on it",
    ),
    "lineage from a column of another location that is gone": (
        replace(MART, lineage={"day": ((*FLIGHTS.key, "date"),)}),
        "day is said to come from ingestion/raw/flights.date, which has no such column",
    ),
    "lineage of no column": (
        replace(MART, lineage={"month": ((*FLIGHTS.key, "flight_date"),)}),
        "has lineage for month, which is no column of it",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_line_that_does_not_keep_to_them_is_told(root: Path, case: str) -> None:
    asset, expected = WRONG[case]
    others = [FLIGHTS] if asset.location == "analytics" else []
    assert [line for line in told(root, asset, *others) if expected in line]


def test_an_external_asset_is_named_by_its_owner(root: Path) -> None:
    source = replace(FLIGHTS, key=("Flight API", "Airlines"), external=True, columns=(Column("createdAt", "text"),))
    assert told(root, source) == []
    assert "has no owners" in told(root, replace(source, owners=()))[0]


def test_an_exception_with_its_reason_is_respected_for_its_rule_alone(root: Path) -> None:
    document = yaml.safe_load((root / standards.FILE).read_text())
    because = {"asset": "ingestion/raw/flights", "rule": "columns", "because": "The source calls it so."}
    (root / standards.FILE).write_text(yaml.dump({**document, "exceptions": [because]}))
    asset = replace(FLIGHTS, columns=(Column("createdAt", "text"),), kinds=())
    assert told(root, asset) == [
        "code_locations/ingestion/src/flights.py:5: ingestion/raw/flights: has no kinds: "
        "expected what it is made with, such as dbt, polars, python [required]"
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"exceptions": [{"asset": "a/b/c", "rule": "keys", "because": "old"}]}, "no asset is called a/b/c"),
        ({"exceptions": [{"asset": "a/b/c", "rule": "key", "because": "old"}]}, "'key' is no rule; legal: keys, "),
        ({"exceptions": [{"asset": "a/b/c", "rule": "keys", "because": " "}]}, "a/b/c says no reason"),
        ({"required": ["owner"]}, "required: 'owner' is nothing that an asset says; legal: owners, group"),
        ({"names": "["}, "unterminated character set"),
        ({"name": "x"}, "name: Extra inputs are not permitted; legal keys: names, "),
        ({"timestamps": ["created_at"]}, "timestamps: Input should be a valid dictionary"),
    ],
)
def test_standards_that_make_no_sense_are_told_with_the_key(
    root: Path, change: dict[str, object], expected: str
) -> None:
    document = yaml.safe_load((root / standards.FILE).read_text())
    (root / standards.FILE).write_text(yaml.dump({**document, **change}))
    (problem,) = told(root, FLIGHTS)
    assert problem.startswith(f"{standards.FILE}: ")
    assert expected in problem


def test_a_description_is_not_the_models_source() -> None:
    entry = {
        **{"key": ["a", "b", "c"], "deps": [], "external": False, "group": None, "owners": [], "kinds": []},
        **{"description": "\n\n#### Raw SQL:\n```sql\nselect 1\n```", "partitioned": False, "columns": []},
        **{"lineage": {}, "file": None, "line": None},
    }
    (asset,) = read("a", "code_locations/a", json.dumps({"assets": [entry], "checks": []}))
    assert asset.description == ""


def test_a_check_on_another_locations_asset_is_told_for_it_would_fail_the_others_backfills() -> None:
    printed = json.dumps({"assets": [], "checks": [["ingestion", "raw", "flights", "rows"]]})
    with pytest.raises(ValueError, match="checks on assets of other locations: ingestion/raw/flights/rows"):
        read("platform", "code_locations/platform", printed)
