"""CODEOWNERS: each team owns its folder, the platform team the rest. Of several lines that match, the last holds."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from access import Access
from operations.checking.problems import Problem

# Where forges look for it.
FILES = (".github/CODEOWNERS", ".gitlab/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")
FOLDER = re.compile(r"/code_locations/([^/*]+)/")
ALL = "*"


@dataclass(frozen=True)
class Rule:
    """One line that says who owns what."""

    line: int
    pattern: str
    owners: tuple[str, ...]

    @property
    def location(self) -> str:
        """Whose folder it is about; nothing where it is about something else."""
        match = FOLDER.fullmatch(self.pattern)
        return match[1] if match else ""

    @property
    def teams(self) -> set[str]:
        """The owners without their organisation."""
        return {owner.rpartition("/")[2].removeprefix("@") for owner in self.owners}


def pattern(name: str) -> str:
    """What a location's line begins with."""
    return f"/code_locations/{name}/"


def rules(text: str) -> list[Rule]:
    """All lines that say something."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        # [Name] begins a section on GitLab.
        words = [] if line.startswith("[") else line.partition("#")[0].split()
        if words:
            found.append(Rule(number, words[0], tuple(words[1:])))
    return found


def added(text: str, name: str, team: str) -> str:
    """The text with a location's line: behind the other locations', and with the organisation that they name."""
    known = rules(text)
    if any(rule.location == name for rule in known):
        return text
    # Behind the line for everything at least, which would take the folder otherwise.
    behind = [rule for rule in known if rule.location] or [rule for rule in known if rule.pattern == ALL]
    named = (re.match(r"@(?:[^/\s]+/)+", owner) for rule in reversed(behind) for owner in rule.owners)
    organisation = next((match[0] for match in named if match), "@")
    lines = text.splitlines()
    lines.insert(behind[-1].line if behind else len(lines), f"{pattern(name)} {organisation}{team}")
    return "\n".join(lines) + "\n"


def without(text: str, name: str) -> str:
    """The text without a location's lines."""
    gone = {rule.line for rule in rules(text) if rule.location == name}
    lines = text.splitlines(keepends=True)
    return "".join(line for number, line in enumerate(lines, 1) if number not in gone)


def check(root: Path, locations: Iterable[str], access: Access) -> list[Problem]:
    """Where a file of owners and the locations, with the groups of access.yaml, are not in step."""
    here = [name for name in locations if (root / "code_locations" / name).is_dir()]
    return [
        Problem(file, line, message)
        for file in FILES
        if (root / file).is_file()
        for line, message in _of_file(rules((root / file).read_text(encoding="utf-8")), here, access)
    ]


def _of_file(found: list[Rule], here: list[str], access: Access) -> Iterator[tuple[int | None, str]]:
    if not found or found[0].pattern != ALL:
        yield found[0].line if found else None, f"its first line is to be `{ALL} OWNER`: who owns all that no team owns"
    for rule in found:
        if not rule.owners:
            yield rule.line, f"{rule.pattern} has no owner; expected a team of the forge, such as @organisation/team"
        if rule.pattern == ALL and rule is not found[0]:
            yield rule.line, f"`{ALL}` below other lines takes what they say back: the last that matches holds"
        if rule.location and rule.location not in here:
            yield rule.line, f"there is no location {rule.location}; take the line away"
    for name in here:
        own = [rule for rule in found if rule.location == name]
        if not own:
            yield None, f"{name} has no line; expected: {pattern(name)} @organisation/{_either(groups(access, name))}"
        for rule in own:
            wanted = groups(access, name)
            if rule.owners and wanted and not rule.teams & set(wanted):
                teams = _either(sorted(rule.teams))
                yield rule.line, f"{name} is owned by {teams}; its editors in access.yaml are {_either(wanted)}"


def groups(access: Access, name: str) -> list[str]:
    """The groups that edit a location: the admins' where nobody else does; none where single users do."""
    members = access.people.editor.get(name)
    if members and (members.groups or members.users):
        return list(members.groups)
    return list(access.people.admin.groups)


def _either(names: list[str]) -> str:
    return " or ".join(names) or "OWNER"
