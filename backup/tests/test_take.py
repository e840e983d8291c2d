"""What a backup takes of what is there."""

from pathlib import Path
from typing import Any, cast

from backup.catalogs import Lake
from backup.postgres import Session
from backup.take import in_buckets, with_folders

from backup import catalogs


def test_the_lake_of_a_location_that_has_left_does_not_fail_the_backup_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "ingestion").mkdir()
    here, gone = Lake("lake_ingestion", 3), Lake("lake_demo", 1, files={"/var/lib/lake/demo/raw/a.parquet": 7})
    assert with_folders([gone, here], tmp_path) == ([here], ["lake_demo"])


def test_a_lake_with_a_broken_catalog_is_still_asked_for_its_files(tmp_path: Path) -> None:
    (tmp_path / "ingestion").mkdir()
    broken = Lake("lake_ingestion", problem="no such table")
    assert with_folders([broken], tmp_path) == ([broken], [])


def test_the_files_of_a_lake_on_s3_are_not_looked_for_and_are_told() -> None:
    away, here = Lake("lake_ingestion", 3, bucket="s3://lakes/prod/ingestion/"), Lake("lake_eta", 1)
    told = in_buckets([away, here])
    assert told == ["the files of lake_ingestion in s3://lakes/prod/ingestion/ (versions in the bucket keep them)"]


class Catalog:
    """A lake's catalog with one file at each place."""

    def __init__(self, root: str, *files: str) -> None:
        self._answers = {
            catalogs._IS_EMPTY: [(False,)],
            catalogs._SNAPSHOT: [(3,)],
            catalogs._DATA_PATH: [(root,)],
            catalogs._FILES: [(file, 7) for file in files],
        }

    def ask(self, question: str, *_: Any) -> list[tuple[Any, ...]]:
        return self._answers.get(question, [])

    each = ask


def test_only_what_is_below_the_lakes_own_prefix_is_the_buckets_to_keep() -> None:
    inside, outside = "s3://lakes/prod/ingestion/raw/a.parquet", "/var/lib/lake/ingestion/raw/b.parquet"
    for root, bucket, files in (
        ("s3://lakes/prod/ingestion/", "s3://lakes/prod/ingestion/", {outside: 7}),
        ("/var/lib/lake/ingestion/", "", {inside: 7, outside: 7}),
    ):
        lake = Lake("lake_ingestion")
        catalogs._read(cast(Session, Catalog(root, inside, outside)), lake, None, catalogs._Size())
        assert (lake.bucket, lake.files) == (bucket, files)
