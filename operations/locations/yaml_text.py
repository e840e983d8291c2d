"""YAML that people edit by hand, edited as text: comments and layout stay, and nothing but the intended entry changes.

After each edit the text is read again: it must mean what it meant before, but for that one entry. Where it does not (an
alias that others share, a style that is not foreseen here) nothing is changed, and the person is told what to do.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import yaml

from operations.errors import StackError

Path: TypeAlias = tuple[str | int, ...]
Match: TypeAlias = Callable[[Any], bool]
# What PyYAML ends in: its own errors, and those of numbers and dates that only look like one, such as 2026-99-99.
FAILURES = (yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Knows Compose's own tags (!override, !reset): what stands behind them is read, the tag is not of interest."""


def _tagged(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_Loader.add_multi_constructor("!", _tagged)


class YamlText:
    """A YAML file under edit."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.data = _load(text, file)

    def get(self, *path: str | int) -> Any:
        """The value at a path; None when there is none."""
        value = self.data
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def entries(self, *path: str | int) -> list[Any]:
        """The items of a list, or the keys of a map; nothing when it does not exist."""
        found = self.get(*path)
        return list(found) if isinstance(found, dict | list) else []

    def add(self, path: Path, entry: str, value: str = "{}", *, after: Iterable[str] = (), lines: str = "") -> None:
        """Add an item to a list, or an entry with this value to a map, unless it is there.

        It comes behind the last of `after` that is there, or at the end. `lines` are the entry as it is to be written,
        where that is more than one line.
        """
        present = self.entries(*path)
        if entry in map(str, present):
            return
        known = set(after)
        index = max((i for i, old in enumerate(present) if str(old) in known), default=len(present) - 1)
        node = self._node(path, entry)
        content = f"{entry}: {value}" if isinstance(node, yaml.MappingNode) else entry
        text = _inserted(self.text, node, index, content, lines)
        found, key = self._read(text, entry), entry if isinstance(node, yaml.MappingNode) else index + 1
        # Without the new entry it is what it was; and the new entry is what was meant.
        place = _at(found, path)
        added = place.pop(key) if key in (place if isinstance(place, dict) else range(len(place))) else None
        meant = added if lines else _load(value if isinstance(place, dict) else entry, self.file)
        self._accept(text, found == _apart(self.data) and added == meant, content)

    def remove(self, path: Path, matches: Match) -> None:
        """Take away the items of a list, or the entries of a map, that match; without any, nothing happens."""
        while True:
            present = self.entries(*path)
            index = next((i for i, old in enumerate(present) if matches(old)), None)
            if index is None:
                return
            expected = _apart(self.data)
            place = _at(expected, path)
            del place[present[index] if isinstance(place, dict) else index]
            what = f"remove {present[index]} from {'.'.join(map(str, path))}"
            text = _without(self.text, self._node(path, what), index)
            self._accept(text, self._read(text, what) == expected, what)

    def replace(self, path: Path, value: str) -> None:
        """Another text for a value that is a text."""
        what = f"{'.'.join(map(str, path))}: {value}"
        node = yaml.compose(self.text, Loader=_Loader)
        for part in path:
            node = _child(node, part)
        if not isinstance(node, yaml.ScalarNode):
            raise self._by_hand(what)
        quote = node.style if node.style in ("'", '"') else ""
        text = f"{self.text[: node.start_mark.index]}{quote}{value}{quote}{self.text[node.end_mark.index :]}"
        expected = _apart(self.data)
        _at(expected, path[:-1])[path[-1]] = value
        self._accept(text, self._read(text, what) == expected, what)

    def _read(self, text: str, what: str) -> Any:
        try:
            return _apart(yaml.load(text, Loader=_Loader))  # noqa: S506  a SafeLoader
        except FAILURES as error:
            raise self._by_hand(what) from error

    def _accept(self, text: str, as_meant: bool, what: str) -> None:
        if not as_meant:
            raise self._by_hand(what)
        self.text, self.data = text, _load(text, self.file)

    def _node(self, path: Path, what: str) -> yaml.CollectionNode:
        node = yaml.compose(self.text, Loader=_Loader)
        for part in path:
            node = _child(node, part)
        # What << brings has no place here, so entries could not be counted.
        if not isinstance(node, yaml.CollectionNode) or len(node.value) != len(self.entries(*path)):
            raise self._by_hand(f"{'.'.join(map(str, path))}: {what}")
        return node

    def _by_hand(self, what: str) -> StackError:
        return StackError(
            f"{self.file} cannot be edited here: {what}",
            "lists and maps written as in the shipped file",
            "write that place as the shipped file does and repeat, or do all of it by hand (docs/locations says which"
            " lines); nothing was changed",
        )


def _load(text: str, file: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader
    except FAILURES as error:
        raise StackError(
            f"{file} is no YAML: {error}", "a file that ./stack check accepts", f"correct {file}"
        ) from error


def _apart(value: Any) -> Any:
    """A copy in which an alias shares nothing with its anchor: a change at one place must not pass for one at both."""
    if isinstance(value, dict):
        return {key: _apart(entry) for key, entry in value.items()}
    return [_apart(entry) for entry in value] if isinstance(value, list) else value


def _at(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _child(node: yaml.Node | None, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        found: yaml.Node = node.value[part]
        return found
    return None


def _spans(node: yaml.CollectionNode) -> list[tuple[yaml.Node, yaml.Node]]:
    """First and last node of each entry."""
    return list(node.value) if isinstance(node, yaml.MappingNode) else [(item, item) for item in node.value]


def _inserted(text: str, node: yaml.CollectionNode, index: int, content: str, lines: str) -> str:
    spans = _spans(node)
    if node.flow_style:
        at = spans[index][1].end_mark.index if spans else node.start_mark.index + 1
        return text[:at] + (", " if spans else "") + content + text[at:]
    column = spans[0][0].start_mark.column
    dash = "" if isinstance(node, yaml.MappingNode) else "- "
    block = lines or " " * (column - len(dash)) + dash + content + "\n"
    rows = text.splitlines(keepends=True)
    at = _last_row(spans[index][1]) + 1
    return "".join([*rows[:at], block, *rows[at:]])


def _without(text: str, node: yaml.CollectionNode, index: int) -> str:
    spans = _spans(node)
    first, last = spans[index]
    if node.flow_style:
        start, end = first.start_mark.index, last.end_mark.index
        if index:
            start = spans[index - 1][1].end_mark.index
        elif len(spans) > 1:
            end = spans[1][0].start_mark.index
        return text[:start] + text[end:]
    rows = text.splitlines(keepends=True)
    start, end = first.start_mark.line, _last_row(last) + 1
    if len(spans) == 1:
        # An empty block would be nothing at all, where a list or a map is expected.
        empty = "{}" if isinstance(node, yaml.MappingNode) else "[]"
        head = start - 1
        while rows[head].lstrip().startswith("#"):
            head -= 1
        return "".join([*rows[:head], rows[head].rstrip("\n") + f" {empty}\n", *rows[end:]])
    # A comment right above belongs to the entry, and so does the empty line that sets it apart.
    while start and rows[start - 1].lstrip().startswith("#"):
        start -= 1
    if end < len(rows) and not rows[end].strip():
        if not rows[start - 1].strip():
            start -= 1
        elif index == 0:
            end += 1
    return "".join([*rows[:start], *rows[end:]])


def _last_row(node: yaml.Node) -> int:
    """The line on which a value ends; a block's own end mark is where the next thing begins."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        return _last_row(_spans(node)[-1][1])
    row: int = node.end_mark.line
    return row - 1 if node.end_mark.column == 0 and row > node.start_mark.line else row
