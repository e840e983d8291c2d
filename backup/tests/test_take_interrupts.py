"""A backup that is interrupted or breaks off at any of its calls: no set, nothing lost, and it can be taken again."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from backup.catalogs import Lake
from backup.database_backup import Database
from backup.errors import BackupError
from backup.file_backup import Files
from backup.programs import Done
from backup.requests import Request
from backup.settings import Places, Settings

from backup import catalogs, history, sets, take

FILE = "/var/lib/lake/eta/model/a.parquet"


class Programs:
    """pgBackRest and restic, as far as what they keep is concerned; breaks off before or after one of their calls."""

    def __init__(self) -> None:
        self.copies: list[dict[str, Any]] = []
        self.snapshots: list[dict[str, Any]] = []
        self.texts: dict[str, str] = {}
        self.called, self.stop_at = 0, 0

    def __call__(self, args: Sequence[str], *, environment: Mapping[str, str] | None = None, stdin: str = "") -> Done:
        self._maybe_break()
        done = Done(0, self._answer(list(args), stdin), "")
        self._maybe_break()
        return done

    def _maybe_break(self) -> None:
        self.called += 1
        if self.called == self.stop_at:
            raise KeyboardInterrupt

    def _answer(self, args: list[str], stdin: str) -> str:
        if args[0] == "pgbackrest-repository":
            if args[1] == "backup":
                info = {"size": 10, "repository": {"delta": 1}}
                label = f"copy{len(self.copies)}"
                self.copies.append({"label": label, "type": "full", "timestamp": {"stop": 1795262410}, "info": info})
            if args[1] == "verify":
                return "status: ok"
            return json.dumps([{"repo": [{"status": {"code": 0}}], "backup": self.copies}]) if args[1] == "info" else ""
        if "snapshots" in args:
            return json.dumps(self.snapshots)
        if "backup" in args:
            tags = [args[number + 1] for number, word in enumerate(args) if word == "--tag"]
            made = {"id": f"snapshot{self.called}", "time": f"{self.called:06d}", "tags": tags}
            self.snapshots.append(made)
            self.texts[made["id"]] = stdin
            summary = {"snapshot_id": made["id"], "total_bytes_processed": 1, "data_added": 1}
            return json.dumps({"message_type": "summary", **summary})
        if "ls" in args:
            return json.dumps({"path": FILE, "size": 7, "type": "file"})
        if "dump" in args:
            return self.texts[args[args.index("dump") + 1]]
        if "forget" in args:
            self.snapshots = [one for one in self.snapshots if one["id"] not in args]
        return ""


class Session:
    """The database: which lakes are registered, so that their files stay."""

    def __init__(self) -> None:
        self.registered: set[str] = set()

    def ask(self, question: Any, values: Any = None) -> list[tuple[Any, ...]]:
        text = str(question)
        if "INSERT INTO provisioning.lake_clones" in text:
            self.registered.add(values[0])
        if "DELETE FROM provisioning.lake_clones" in text:
            self.registered.clear()
        if "datname LIKE" in text:
            return [("lake_eta",)]
        if "clock_timestamp" in text:
            return [(sets.parse_time("2026-11-21T12:00:00Z"),)]
        return [(1000,)] if "database_size" in text else []


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    places = Places(
        secrets=tmp_path / "secrets", repository=tmp_path, lakes=tmp_path / "lake", audit=tmp_path / "audit"
    )
    places.secrets.mkdir()
    (places.lakes / "eta").mkdir(parents=True)
    places.owner.write_text("me\n")
    places.record.write_text("{}")
    monkeypatch.setattr(catalogs, "read", lambda _: [Lake("lake_eta", 1, {"model.a": 3}, {FILE: 7})])
    monkeypatch.setattr(history, "read", lambda _: {"runs": 3})
    return Settings("prod", places=places)


def taken(here: Settings, programs: Programs, session: Session, name: str) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sets, "name_of", lambda _: name)
        one = take.Taking(here, Database(programs), Files(here, programs), lambda _: None)
        return one.take(session, Request(1, "full", verify=False))  # type: ignore[arg-type]


def listed(here: Settings, programs: Programs) -> list[str]:
    found = sets.read(programs.snapshots, [copy["label"] for copy in programs.copies])
    return [one.name for one in found]


def test_at_every_call(here: Settings) -> None:
    undisturbed = Programs()
    taken(here, undisturbed, Session(), "first")
    assert undisturbed.called > 20
    for step in range(1, undisturbed.called + 1):
        programs, session = Programs(), Session()
        taken(here, programs, session, "first")
        programs.called, programs.stop_at = 0, step
        try:
            taken(here, programs, session, "second")
        except KeyboardInterrupt:
            # Lakes may delete again, and what there was can be restored.
            assert session.registered == set(), step
        assert listed(here, programs)[0] == "first", step
        programs.stop_at = 0
        assert taken(here, programs, session, "third")["set"] == "third"
        assert [name for name in listed(here, programs) if name != "second"] == ["first", "third"], step
        # Nothing is left over of what was broken off.
        tags = [one["tags"] for one in programs.snapshots]
        assert len([each for each in tags if "owner" in each]) == 1, step
        assert len(tags) == 2 * len(listed(here, programs)) + 1, step


def test_a_bad_lake_makes_the_set_incomplete_for_itself(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, session = Programs(), Session()
    bad = Lake("lake_bad", 1, {"a.b": 1}, {"/var/lib/lake/bad/not-there.parquet": 1})
    slow = Lake("lake_slow", problem="it does not answer within 120 s")
    for name in ("bad", "slow"):
        (here.places.lakes / name).mkdir()
    good = Lake("lake_eta", 1, {"model.a": 3}, {FILE: 7})
    monkeypatch.setattr(catalogs, "read", lambda _: [bad, good, slow])
    with pytest.raises(BackupError, match="whole but for lake_bad, lake_slow") as caught:
        taken(here, programs, session, "first")
    assert "it does not answer within 120 s" in caught.value.found
    (one,) = sets.read(programs.snapshots, ["copy0"])
    assert one.incomplete == ("lake_bad", "lake_slow")
    told = json.loads(programs.texts[one.manifest])
    assert set(told["failed"]) == {"lake_bad", "lake_slow"}
    assert "what runs printed (compute logs)" in told["without"]
    assert sets.choose([one], None).base == one


def test_what_a_location_has_closed_is_its_own_loss(here: Settings) -> None:
    taking = take.Taking(here, Database(Programs()), Files(here, Programs()), lambda _: None)
    closed = taking._unreadable([f"{here.places.lakes}/eta/x"])
    assert list(closed) == ["lake_eta"]
    for path in (f"{here.places.audit}/log", "", str(here.places.lakes)):
        with pytest.raises(BackupError, match="could not be read"):
            taking._unreadable([path])
