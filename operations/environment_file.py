"""Reading, making and completing .env. Its schema is .env.example: the same keys, each with its comment."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from operations import whole_file
from operations.errors import StackError

KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


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
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
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
            lines[known[key].line - 1] = f"{key}={value}"
        else:
            lines.append(f"{key}={value}")
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
        blocks = ["\n".join([*setting.comment, f"{setting.key}={setting.value}"]) for setting in new]
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
        lines[present[key].line - 1] = f"{key}={value}"
    else:
        lines.append(f"{key}={value}")
    whole_file.replace(path, "\n".join(lines) + "\n", path.stat().st_mode & 0o777)


def _setting(line: str, number: int, comment: tuple[str, ...], file: str) -> Setting:
    key, equals, value = line.removeprefix("export ").partition("=")
    key = key.strip()
    if not equals:
        raise _error(file, number, f"{line!r} has no value; was the file cut off while it was written?", "KEY=value")
    if not KEY.fullmatch(key):
        raise _error(file, number, f"{key!r} is no name of a setting", "letters, digits and _")
    value = value.strip()
    if value[:1] in ("'", '"'):
        end = value.find(value[0], 1)
        if end < 0:
            raise _error(file, number, f"the quote that opens the value of {key} is not closed", "a closing quote")
        return Setting(key, value[1:end], number, comment)
    return Setting(key, re.split(r"(?:^|\s)#", value, maxsplit=1)[0].rstrip(), number, comment)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"{path} cannot be read: {error}", "a UTF-8 text file with settings") from error


def _error(file: str, line: int, found: str, expected: str) -> StackError:
    return StackError(f"{file}:{line}: {found}", expected, f"edit line {line} of {file}")
