"""Old gives way to new by renames, and an interrupt between any two of them loses nothing."""

from pathlib import Path
from typing import Any

import pytest
from backup.settings import Places

from backup import swapping


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Two lakes and a database with old data, and staged beside it new data."""
    made = Places(
        lakes=tmp_path / "lake", audit=tmp_path / "audit", postgres=tmp_path / "postgres", work=tmp_path / "work"
    )
    for folder in (made.lakes / "eta", made.lakes / "ingestion", made.audit):
        (folder / "raw").mkdir(parents=True)
        (folder / "raw" / "file").write_text("old")
        (folder / "only-old").write_text("old")
        (folder / swapping.STAGED / "raw").mkdir(parents=True)
        (folder / swapping.STAGED / "raw" / "file").write_text("new")
        (folder / swapping.STAGED / "only-new").write_text("new")
    for name, text in (("data", "old"), (swapping.DATA_STAGED, "new")):
        (made.postgres / name).mkdir(parents=True)
        (made.postgres / name / "PG_VERSION").write_text(text)
    return made


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


NEW = {"raw/file": "new", "only-new": "new"}
OLD = {"raw/file": "old", "only-old": "old"}


def is_swapped(places: Places) -> None:
    for folder in swapping.folders(places):
        swapping_free = {name: text for name, text in content(folder).items() if not name.startswith(".")}
        assert swapping_free == NEW
        assert content(folder / swapping.BEFORE) == OLD
    assert content(places.data) == {"PG_VERSION": "new"}
    assert content(places.postgres / swapping.DATA_BEFORE) == {"PG_VERSION": "old"}
    assert not (places.postgres / swapping.UNDER_WAY).exists()


def test_new_takes_the_place_of_old_and_old_is_kept_until_the_end(places: Places) -> None:
    ways_back = [
        places.postgres / name for name in ("data.before-upgrade.20261121", "data.upgraded", "upgrade-sockets")
    ]
    for left in ways_back:
        left.mkdir()
    (places.postgres / "upgrade-dump").touch()
    swapping.swap(places)
    is_swapped(places)
    # A later upgrade would go back to it, before what is restored here.
    assert not any(left.exists() for left in [*ways_back, places.postgres / "upgrade-dump"])
    swapping.finish(places)
    assert [path.name for path in sorted((places.lakes / "eta").iterdir())] == ["only-new", "raw"]
    assert [path.name for path in places.postgres.iterdir()] == ["data"]


def test_it_goes_on_after_an_interrupt_at_each_step(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls, allowed = Path.rename, 0, 0

    class StoppedError(Exception):
        pass

    def rename(self: Path, target: Any) -> Path:
        nonlocal calls
        calls += 1
        if calls == allowed + 1:
            raise StoppedError
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    ended = interrupts = 0
    # One rename more at each try: every step is the one that is interrupted once.
    while allowed < 40:
        calls, allowed = 0, allowed + 1
        try:
            swapping.swap(places)
            ended += 1
        except StoppedError:
            interrupts += 1
            assert (places.postgres / swapping.UNDER_WAY).exists()
        if ended:
            break
    assert ended == 1
    assert interrupts > 3
    is_swapped(places)


def test_twice_is_once(places: Places) -> None:
    swapping.swap(places)
    swapping.swap(places)
    is_swapped(places)


def test_staged_data_is_taken_away_and_nothing_else(places: Places) -> None:
    swapping.discard(places)
    assert content(places.lakes / "eta") == OLD
    assert content(places.postgres) == {"data/PG_VERSION": "old"}


def test_into_nothing(tmp_path: Path) -> None:
    made = Places(lakes=tmp_path / "lake", audit=tmp_path / "audit", postgres=tmp_path / "postgres")
    (made.lakes / "eta" / swapping.STAGED).mkdir(parents=True)
    (made.lakes / "eta" / swapping.STAGED / "file").write_text("new")
    (made.postgres / swapping.DATA_STAGED).mkdir(parents=True)
    assert swapping.occupied(made) == []
    swapping.swap(made)
    swapping.finish(made)
    assert content(made.lakes / "eta") == {"file": "new"}
    assert swapping.occupied(made) == ["postgres", "lake-eta"]


@pytest.mark.parametrize("name", [swapping.STAGED, swapping.MOVING, swapping.BEFORE])
def test_a_link_that_a_location_made_leads_into_no_other_volume(places: Places, tmp_path: Path, name: str) -> None:
    planted = places.lakes / "eta" / name
    if planted.exists():
        planted.rename(tmp_path / "aside")
    planted.symlink_to(places.postgres)
    (places.lakes / "eta" / "data").write_text("bait")
    swapping.swap(places)
    swapping.discard(places)
    assert (places.data / "PG_VERSION").read_text() == "new"
    assert not planted.is_symlink()
