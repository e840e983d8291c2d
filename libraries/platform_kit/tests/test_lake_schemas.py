"""How a table's columns may change: additions yes, silent changes of meaning no."""

import polars as pl
import pytest
from dagster import AssetKey

from platform_kit.lake import LakeError, LakeResource, schemas

KEY = AssetKey(["ingestion", "raw", "planes"])
TABLE = "ingestion.ada_raw.planes"
FIRST = pl.DataFrame({"tailnum": ["N1"], "seats": pl.Series([2], dtype=pl.Int32)})


@pytest.fixture(autouse=True)
def table(lake: LakeResource) -> None:
    lake.replace(KEY, FIRST)


def test_a_new_column_is_added_and_older_rows_have_nothing_there(lake: LakeResource) -> None:
    with lake.connect() as connection:
        connection.execute(f"INSERT INTO {TABLE} VALUES ('kept', 1)")
    wider = FIRST.with_columns(engine=pl.lit("jet"))
    lake.replace(KEY, wider)
    assert lake.query(f"FROM {TABLE}").rows() == [("N1", 2, "jet")]
    lake.replace(KEY, FIRST.with_columns(engine=pl.lit(None)))
    assert lake.query(f"FROM {TABLE}").rows() == [("N1", 2, None)]


def test_a_missing_column_is_refused_and_nothing_is_written(lake: LakeResource) -> None:
    with pytest.raises(LakeError, match=r"does not fit table .*: seats is missing\. Cast or add the columns"):
        lake.replace(KEY, FIRST.select("tailnum"))
    assert lake.query(f"FROM {TABLE}").rows() == [("N1", 2)]


@pytest.mark.parametrize("kind", [pl.String, pl.Int64, pl.Float64, pl.UInt32, pl.Boolean])
def test_a_column_of_another_type_is_refused(lake: LakeResource, kind: pl.DataType) -> None:
    with pytest.raises(LakeError, match=r"seats is \w+, the table has INTEGER"):
        lake.replace(KEY, FIRST.with_columns(pl.col("seats").cast(kind)))


@pytest.mark.parametrize("kind", [pl.Int8, pl.UInt8, pl.Int16, pl.UInt16, pl.Int32])
def test_a_narrower_type_fits_into_a_wider_one(lake: LakeResource, kind: pl.DataType) -> None:
    lake.replace(KEY, FIRST.with_columns(pl.col("seats").cast(kind)))
    assert lake.query(f"FROM {TABLE}").schema["seats"] == pl.Int32


def test_a_column_without_a_type_is_refused_in_a_new_table(lake: LakeResource) -> None:
    with pytest.raises(LakeError, match="have no type, because all their values are NULL: cast engine"):
        lake.replace(AssetKey(["ingestion", "raw", "new"]), pl.DataFrame({"engine": [None, None]}))


def test_categories_are_stored_as_text(lake: LakeResource) -> None:
    frame = pl.DataFrame({"kind": pl.Series(["jet", "prop"], dtype=pl.Enum(["jet", "prop"]))})
    lake.replace(AssetKey(["ingestion", "raw", "kinds"]), frame)
    assert lake.query("FROM ingestion.ada_raw.kinds").rows() == [("jet",), ("prop",)]


def test_names_that_are_words_of_sql_or_hold_quotes_are_columns_like_others(lake: LakeResource) -> None:
    frame = pl.DataFrame({"select": [1], 'a"b; DROP TABLE x': ["y"]})
    lake.replace(AssetKey(["ingestion", "raw", "order"]), frame)
    assert lake.query('FROM ingestion.ada_raw."order"').columns == frame.columns


def test_a_write_that_fails_after_the_delete_leaves_the_old_rows(
    lake: LakeResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without the check of the columns the INSERT itself fails, after the DELETE of the same transaction.
    monkeypatch.setattr(schemas, "refuse_misfits", lambda *arguments: None)
    with pytest.raises(Exception, match="Could not convert string 'many'"):
        lake.replace(KEY, pl.DataFrame({"tailnum": ["N2"], "seats": ["many"]}))
    assert lake.query(f"FROM {TABLE}").rows() == [("N1", 2)]
