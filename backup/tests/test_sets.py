"""Which set brings a moment back, and when there is none."""

from datetime import UTC, datetime, timedelta

import pytest
from backup.errors import BackupError
from backup.sets import Set

from backup import sets

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def one(hours: int, *incomplete: str) -> Set:
    point = NOON + timedelta(hours=hours)
    return Set(sets.name_of(point), "full", f"label{hours}", point, f"data{hours}", f"told{hours}", True, incomplete)


def snapshots(*made: Set) -> list[dict[str, object]]:
    both = [({"id": each.data, "tags": ["data"]}, {"id": each.manifest, "tags": each.tags()}) for each in made]
    return [snapshot for pair in both for snapshot in pair]


def test_a_set_reads_as_it_was_written() -> None:
    made = [one(0), one(1, "lake_eta", "lake_ingestion")]
    assert sets.read(snapshots(*made), ["label0", "label1"]) == made


def test_a_set_without_its_database_or_its_files_is_none() -> None:
    made = [one(0), one(1), one(2)]
    there = [snapshot for snapshot in snapshots(*made) if snapshot["id"] != "data1"]
    assert sets.read(there, ["label1", "label2"]) == [made[2]]


def test_what_was_not_finished_is_left_over() -> None:
    found = [*snapshots(one(0)), {"id": "half", "tags": ["data", "set=x"]}, {"id": "broken", "tags": ["manifest"]}]
    kept = sets.read(found, ["label0"])
    assert sets.left_over(found, kept) == ["half", "broken"]
    assert sets.left_over(found, kept, "half") == ["broken"]


def test_without_a_moment_it_is_the_newest_and_what_it_lacks_is_told() -> None:
    choice = sets.choose([one(0), one(1, "lake_eta")], None)
    assert (choice.base, choice.at, choice.moment) == (one(1, "lake_eta"), None, one(1).point)
    assert choice.as_dict()["incomplete"] == ["lake_eta"]


def test_a_location_whose_lake_is_never_whole_holds_no_other_up() -> None:
    made = [one(hours, "lake_eta") for hours in range(3)]
    assert sets.choose(made, None).base == made[2]
    between = sets.choose(made, NOON + timedelta(minutes=90))
    assert (between.base, between.later, between.incomplete) == (made[1], made[2], ["lake_eta"])


def test_between_two_it_is_the_earlier_with_the_files_of_the_later() -> None:
    at = NOON + timedelta(minutes=30)
    choice = sets.choose([one(0), one(1), one(2)], at)
    assert (choice.base, choice.later, choice.at) == (one(0), one(1), at)
    assert sets.pinned([one(0), one(1), one(2)], choice.base.name, at) == choice


def test_the_moment_of_a_set_needs_no_other() -> None:
    assert sets.choose([one(0), one(1)], NOON) == sets.Choice(one(0))


def test_after_the_newest_its_own_moment_is_chosen_and_said() -> None:
    choice = sets.choose([one(0), one(1)], NOON + timedelta(hours=5))
    assert (choice.base, choice.at) == (one(1), None)
    assert "2026-11-21 13:00:00 UTC" in choice.remark


def test_before_the_oldest_the_range_is_told() -> None:
    with pytest.raises(BackupError) as caught:
        sets.choose([one(0), one(1)], NOON - timedelta(seconds=1))
    assert caught.value.expected == "a moment from 2026-11-21 12:00:00 UTC to 2026-11-21 13:00:00 UTC"


def test_nothing_to_restore() -> None:
    with pytest.raises(BackupError, match="there is no backup"):
        sets.choose([], None)


@pytest.mark.parametrize("text", ["yesterday", "2026-11-21", "2026-11-21T12:00:00", "12:00Z", ""])
def test_a_time_without_a_zone_is_no_moment(text: str) -> None:
    with pytest.raises(BackupError, match="is no moment"):
        sets.parse_time(text)


@pytest.mark.parametrize("text", ["2026-11-21T12:00:00Z", "2026-11-21T14:00:00+02:00", "2026-11-21 12:00:00.000+00:00"])
def test_any_zone_will_do(text: str) -> None:
    assert sets.parse_time(text) == NOON


def test_a_set_that_went_meanwhile() -> None:
    with pytest.raises(BackupError, match="is gone"):
        sets.pinned([one(0)], "20200101T000000Z", None)
