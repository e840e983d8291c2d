"""Sets: a copy of the database and a snapshot of files that belong together; and which of them brings a moment back.

A set is told by the tags of the small snapshot with its manifest, which is written last: without it there is none.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from backup.errors import BackupError

MANIFEST = "manifest.json"
_FIELDS = ("set", "kind", "label", "point", "data", "verified", "incomplete")


@dataclass(frozen=True)
class Set:
    """One set. `point` is the moment it brings back, `label` the database's copy, `data` the files' snapshot."""

    name: str
    kind: str
    label: str
    point: datetime
    data: str
    manifest: str
    verified: bool
    incomplete: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every file that the catalogs name is in it."""
        return not self.incomplete

    def tags(self) -> list[str]:
        """For restic, which parts tags at commas."""
        values = {
            "set": self.name,
            "kind": self.kind,
            "label": self.label,
            "point": self.point.isoformat(),
            "data": self.data,
            "verified": "yes" if self.verified else "no",
            "incomplete": "+".join(self.incomplete),
        }
        return ["manifest", *(f"{key}={values[key]}" for key in _FIELDS)]

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "point": self.point.isoformat(), "incomplete": list(self.incomplete)}


def name_of(moment: datetime) -> str:
    """A set's name is when it was begun."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def read(snapshots: Iterable[dict[str, Any]], labels: Iterable[str]) -> list[Set]:
    """The sets whose copy of the database and whose files are still there, oldest first."""
    snapshots = list(snapshots)
    there, known = {snapshot["id"] for snapshot in snapshots}, set(labels)
    found = []
    for snapshot in snapshots:
        tags = snapshot.get("tags") or []
        if "manifest" not in tags:
            continue
        values = dict(tag.split("=", 1) for tag in tags if "=" in tag)
        if not set(_FIELDS) <= set(values):
            continue
        one = Set(
            name=values["set"],
            kind=values["kind"],
            label=values["label"],
            point=datetime.fromisoformat(values["point"]),
            data=values["data"],
            manifest=snapshot["id"],
            verified=values["verified"] == "yes",
            incomplete=tuple(filter(None, values["incomplete"].split("+"))),
        )
        if one.label in known and one.data in there:
            found.append(one)
    return sorted(found, key=lambda one: one.point)


def left_over(snapshots: Iterable[dict[str, Any]], sets: Iterable[Set], *others: str) -> list[str]:
    """Snapshots of no set, and none of the others: their copy of the database went, or they were never finished."""
    needed = {snapshot for one in sets for snapshot in (one.data, one.manifest)} | set(others)
    return [snapshot["id"] for snapshot in snapshots if snapshot["id"] not in needed]


@dataclass(frozen=True)
class Choice:
    """What a restore takes: the set it begins with, the moment it goes on to, and the later set with the files of the
    time between. Without a moment it is the set as it is."""

    base: Set
    at: datetime | None = None
    later: Set | None = None
    remark: str = ""

    @property
    def incomplete(self) -> list[str]:
        """The lakes that will lack files, as far as is known before."""
        return sorted({*self.base.incomplete, *(self.later.incomplete if self.later else ())})

    @property
    def moment(self) -> datetime:
        """What comes back is how things were then."""
        return self.at or self.base.point

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "base": self.base.as_dict(),
            "at": self.at.isoformat() if self.at else None,
            "later": self.later.as_dict() if self.later else None,
            "moment": self.moment.isoformat(),
            "incomplete": self.incomplete,
            "remark": self.remark,
        }


def parse_time(text: str) -> datetime:
    """A time with its zone, as in 2026-11-21T12:00:00Z. Without a zone nobody knows which moment is meant."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BackupError(
            f"{text!r} is no moment",
            "date, time and zone, such as 2026-11-21T12:00:00Z or 2026-11-21T14:00:00+02:00",
            "repeat with --at and one of these",
        )
    return moment.astimezone(UTC)


def choose(sets: Sequence[Set], at: datetime | None) -> Choice:
    """The newest state not later than a moment for which database and files are both there. A set that lacks files of
    one lake is whole for all others: nobody is to wait for a team whose catalog names what is not there."""
    if not sets:
        raise BackupError("there is no backup", "one at least", "take one: ./stack backup")
    newest, oldest = sets[-1], sets[0]
    if at is None:
        return Choice(newest)
    if at < oldest.point:
        raise BackupError(
            f"no backup reaches back to {shown(at)}",
            f"a moment from {shown(oldest.point)} to {shown(newest.point)}",
            "repeat with --at and such a moment",
        )
    if at >= newest.point:
        remark = f"the newest state for which all files are there is that of {shown(newest.point)}"
        return Choice(newest, remark=remark if at > newest.point else "")
    base = [one for one in sets if one.point <= at][-1]
    if base.point == at:
        return Choice(base)
    later = next(one for one in sets if one.point > at)
    return Choice(base, at, later)


def pinned(sets: Sequence[Set], name: str, at: datetime | None) -> Choice:
    """A choice that was made: sets that were added since do not change it."""
    for one in sets:
        if one.name == name:
            later = next((other for other in sets if at is not None and other.point > at), None)
            return Choice(one, at, later)
    raise BackupError(f"the backup {name} is gone", "the one that was chosen", "begin again: ./stack restore")


def shown(moment: datetime) -> str:
    """A moment for people."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
