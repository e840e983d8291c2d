"""Reading, making and completing .env. Its schema is .env.example: the same keys, each with its comment.

Compose reads the same file. What the two would read differently is refused: a setting that ./stack checks must be the
one that is in force.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from operations import whole_file
from operations.errors import StackError

KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# All that ends a line for Python and none for Compose is among them; a carriage return at a line's end is let through.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class Setting:
    """One line KEY=VALUE, with the comment lines above it."""

    key: str
    value: str
    line: int
    comment: tuple[str, ...] = ()


def parse(text: str, file: str) -> dict[str, Setting]:
    """All settings of a file; raises `StackError` with the line of the first that is not one."""
    settings: dict[str, Setting] = {}
    comment: list[str] = []
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if found := CONTROL.search(raw.removesuffix("\r")):
            raise _error(file, number, f"a control character, {found[0]!r}", "printable text")
        if not line:
            comment = []
        elif line.startswith("#"):
            comment.append(line)
        else:
            setting = _setting(line, number, tuple(comment), file)
            if setting.key in settings:
                first = settings[setting.key].line
                raise _error(file, number, f"{setting.key} is set twice, first in line {first}", "each setting once")
            settings[setting.key] = setting
            comment = []
    return settings


def read(path: Path, example: Path) -> dict[str, str]:
    """The values of .env, checked against the keys of .env.example."""
    known = parse(_text(example), example.name)
    settings = parse(_text(path), str(path))
    for setting in settings.values():
        # Compose reads a few variables itself (COMPOSE_PROFILES and so on), whatever the files say.
        if setting.key in known or setting.key.startswith("COMPOSE_"):
            continue
        near = difflib.get_close_matches(setting.key, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise _error(str(path), setting.line, f"unknown setting {setting.key}{hint}", "keys of .env.example")
    return {key: setting.value for key, setting in settings.items()}


def create(path: Path, example: Path, values: Mapping[str, str]) -> bool:
    """Make .env from .env.example with some values replaced; an existing file stays. True when it was made."""
    if path.exists():
        return False
    known = parse(_text(example), example.name)
    lines = _text(example).splitlines()
    for key, value in values.items():
        if key in known:
            lines[known[key].line - 1] = line_of(key, value)
        else:
            lines.append(line_of(key, value))
    path.parent.mkdir(parents=True, exist_ok=True)
    whole_file.replace(path, "\n".join(lines) + "\n", 0o600)
    return True


def missing(path: Path, example: Path) -> dict[str, Setting]:
    """Settings that a newer .env.example brings."""
    present = read(path, example)
    return {key: setting for key, setting in parse(_text(example), example.name).items() if key not in present}


def append_new(path: Path, example: Path) -> list[str]:
    """Append settings that a newer .env.example brings, with their comments; returns their keys."""
    new = missing(path, example).values()
    if new:
        blocks = ["\n".join([*setting.comment, line_of(setting.key, setting.value)]) for setting in new]
        text = _text(path)
        joined = "\n\n".join(blocks)
        whole_file.replace(
            path, f"{text}{'' if text.endswith(chr(10)) else chr(10)}\n{joined}\n", path.stat().st_mode & 0o777
        )
    return [setting.key for setting in new]


def set_value(path: Path, key: str, value: str) -> None:
    """Change one setting, or append it; everything else stays as it is. A reader sees the old file or the new one."""
    text = _text(path)
    present = parse(text, str(path))
    lines = text.splitlines()
    if key in present:
        if present[key].value == value:
            return
        lines[present[key].line - 1] = line_of(key, value)
    else:
        lines.append(line_of(key, value))
    whole_file.replace(path, "\n".join(lines) + "\n", path.stat().st_mode & 0o777)


def line_of(key: str, value: str) -> str:
    """A setting as it is written: what is read from it again is the value, here and by Compose."""
    for line in (f"{key}={value}", f"{key}='{value}'"):
        try:
            if {each.key: each.value for each in parse(line, ".env").values()} == {key: value}:
                return line
        except StackError:
            continue
    raise StackError(
        f"the value of {key} cannot be written to .env: {value[:80]!r}",
        "one line of printable text, without ' where it has to be in quotes",
        f"give {key} another value",
    )


def _setting(line: str, number: int, comment: tuple[str, ...], file: str) -> Setting:
    key, equals, value = line.removeprefix("export ").partition("=")
    key = key.strip()
    if not equals:
        raise _error(file, number, f"{line!r} has no value; was the file cut off while it was written?", "KEY=value")
    if not KEY.fullmatch(key):
        raise _error(file, number, f"{key!r} is no name of a setting", "letters, digits and _")
    try:
        return Setting(key, _value(key, value.strip()), number, comment)
    except ValueError as error:
        raise _error(file, number, str(error), f"{key}='value', with ' around it") from error


def _value(key: str, text: str) -> str:
    """What Compose reads too; raises `ValueError` for what it would read otherwise than it looks."""
    quote = text[:1]
    if quote not in ("'", '"'):
        # Compose knows no other comment behind a value than one after a space.
        value = text.partition(" #")[0].rstrip()
        if value.startswith("#"):
            raise ValueError(f"the value of {key} begins with #: a comment has a line of its own")
        if "$" in value:
            raise ValueError(f"the value of {key} has a $, which is a variable to Compose")
        return value
    end = text.find(quote, 1)
    if end < 0:
        raise ValueError(f"the quote that opens the value of {key} is not closed")
    value, rest = text[1:end], text[end + 1 :].strip()
    if rest and not rest.startswith("#"):
        raise ValueError(f"the value of {key} goes on behind its closing quote")
    if value.endswith("\\") or (quote == '"' and ("$" in value or "\\" in value)):
        raise ValueError(f"the value of {key} has a $ or a \\ that Compose would not take as it is")
    return value


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"{path} cannot be read: {error}", "a UTF-8 text file with settings") from error


def _error(file: str, line: int, found: str, expected: str) -> StackError:
    return StackError(f"{file}:{line}: {found}", expected, f"edit line {line} of {file}")
