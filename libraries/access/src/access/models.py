"""The content of access.yaml, and what it grants to a person."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Role(StrEnum):
    """The highest role a person has."""

    NONE = "none"
    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"


@dataclass(frozen=True)
class Permissions:
    """What one person may do. `editable` names code locations; an editor views all others."""

    role: Role
    editable: frozenset[str] = frozenset()

    @property
    def may_view(self) -> bool:
        """Whether anything at all may be looked at."""
        return self.role is not Role.NONE

    @property
    def is_admin(self) -> bool:
        """Whether everything may be done, also what belongs to no location."""
        return self.role is Role.ADMIN

    def may_edit(self, location: str) -> bool:
        """Whether runs of this location may be launched, its schedules toggled and so on."""
        return self.is_admin or location in self.editable


def _person(name: str) -> str:
    # Names travel in HTTP headers, groups as a comma-separated list: a comma or a line break in one would be two.
    if not name or len(name) > 128 or name != name.strip() or not name.isprintable() or any(c in name for c in ',"'):
        raise ValueError("expected a name of 1 to 128 printable characters without comma, quote or outer blanks")
    return name


Name = Annotated[str, AfterValidator(_person)]


class _Part(BaseModel):
    # Strict: YAML reads an unquoted 1234 or yes as a number or a truth value, which would never equal a header.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Members(_Part):
    """Users and groups that share a role."""

    users: list[Name] = Field(default_factory=list)
    groups: list[Name] = Field(default_factory=list)

    def includes(self, user: str, groups: Iterable[str]) -> bool:
        """Whether this user is named here, or one of the groups."""
        return user in self.users or not set(self.groups).isdisjoint(groups)


class People(_Part):
    """Who has which role."""

    admin: Members = Field(default_factory=Members)
    editor: dict[str, Members] = Field(default_factory=dict)
    viewer: Members = Field(default_factory=Members)
    unknown_users: Literal["none", "viewer"] = "none"


class Machine(_Part):
    """What a code location may do beside its own lake: read others', see their personal columns in clear, or keep
    others' lakes and logs in order."""

    reads: list[str] = Field(default_factory=list)
    maintains: list[str] = Field(default_factory=list)
    personal: list[str] = Field(default_factory=list)


class Access(_Part):
    """All of access.yaml. `machines` has an entry for every code location, also those the file leaves out."""

    people: People
    machines: dict[str, Machine] = Field(default_factory=dict)

    def permissions(self, user: str, groups: Iterable[str] = ()) -> Permissions:
        """What this person may do; names are compared exactly, the highest role that applies counts."""
        groups = frozenset(groups)
        if not user:
            return Permissions(Role.NONE)
        if self.people.admin.includes(user, groups):
            return Permissions(Role.ADMIN, frozenset(self.machines))
        editable = frozenset(name for name, who in self.people.editor.items() if who.includes(user, groups))
        if editable:
            return Permissions(Role.EDITOR, editable)
        if self.people.viewer.includes(user, groups) or self.people.unknown_users == "viewer":
            return Permissions(Role.VIEWER)
        return Permissions(Role.NONE)
