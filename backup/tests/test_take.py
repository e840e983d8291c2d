"""What a backup takes of what is there."""

from pathlib import Path

from backup.catalogs import Lake
from backup.take import with_folders


def test_the_lake_of_a_location_that_has_left_does_not_fail_the_backup_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "ingestion").mkdir()
    here, gone = Lake("lake_ingestion", 3), Lake("lake_demo", 1, files={"/var/lib/lake/demo/raw/a.parquet": 7})
    assert with_folders([gone, here], tmp_path) == ([here], ["lake_demo"])


def test_a_lake_with_a_broken_catalog_is_still_asked_for_its_files(tmp_path: Path) -> None:
    (tmp_path / "ingestion").mkdir()
    broken = Lake("lake_ingestion", problem="no such table")
    assert with_folders([broken], tmp_path) == ([broken], [])
