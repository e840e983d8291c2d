"""YAML that remembers its lines, refuses duplicate keys, and fails in one kind of error whatever is written in it.

PyYAML silently lets the last of two equal keys win: of two `ingestion:` blocks one would grant nothing, unseen.
"""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml

from access.errors import AccessError


class Document:
    """A parsed YAML file: plain data, and the line of every part of it."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self._known: set[int] = set()
        self._root, self.data = self._parsed(text)
        if self.data is None:
            raise AccessError(file, None, "is empty; expected YAML with top-level keys")
        if not isinstance(self.data, dict):
            raise AccessError(file, 1, f"expected top-level keys, found {show(self.data)}")

    def _parsed(self, text: str) -> tuple[yaml.Node | None, Any]:
        loader = None
        try:
            loader = yaml.SafeLoader(text)
            root = loader.get_single_node()
            self._refuse_duplicates(root)
            return root, None if root is None else loader.construct_document(root)
        except AccessError:
            raise
        except yaml.MarkedYAMLError as error:
            line = None if error.problem_mark is None else error.problem_mark.line + 1
            raise AccessError(self.file, line, f"is not valid YAML: {error.problem or error.context}") from error
        except yaml.YAMLError as error:
            raise AccessError(self.file, None, f"is not valid YAML: {' '.join(str(error).split())}") from error
        except RecursionError as error:
            raise AccessError(self.file, None, "is nested too deep; expected a few levels") from error
        finally:
            if loader is not None:
                loader.dispose()

    def error(self, path: Sequence[Hashable], message: str) -> AccessError:
        """An error about the part of the file at this path."""
        where = ".".join(str(part) if str(part).isprintable() else repr(part) for part in path)
        return AccessError(self.file, self._line(path), f"{where}: {message}" if where else message)

    def _line(self, path: Sequence[Hashable]) -> int | None:
        node = self._root
        if node is None:
            return None
        line: int = node.start_mark.line
        for part in path:
            found = _child(node, part)
            if found is None:
                break
            key, node = found
            line = key.start_mark.line
        return line + 1

    def _refuse_duplicates(self, node: yaml.Node | None, parents: tuple[yaml.Node, ...] = ()) -> None:
        if node in parents:
            raise AccessError(
                self.file, parents[-1].start_mark.line + 1, "an alias refers to what it is itself part of"
            )
        if id(node) in self._known:
            # An alias: looked at where its anchor is. Followed each time, few lines would take hours.
            return
        parents = (*parents, node) if node is not None else ()
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                name = key.value if isinstance(key, yaml.ScalarNode) else None
                if name is None or key.tag == "tag:yaml.org,2002:merge":
                    raise AccessError(
                        self.file, line, "expected a plain key; a list, a map and << are not legal as keys"
                    )
                if name in seen:
                    raise AccessError(self.file, line, f"key {name!r} is given twice; first in line {seen[name]}")
                seen[name] = line
                self._refuse_unreadable(key)
                self._refuse_duplicates(value, parents)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                self._refuse_duplicates(value, parents)
        elif isinstance(node, yaml.ScalarNode):
            self._refuse_unreadable(node)
        self._known.add(id(node))

    def _refuse_unreadable(self, node: yaml.ScalarNode) -> None:
        """PyYAML takes 2026-99-99 for a date and 0x_ for a number, and fails in errors that are none of its own."""
        try:
            yaml.constructor.SafeConstructor().construct_object(node)
        except (ValueError, KeyError, AttributeError) as error:
            found = f"found {node.value[:80]!r}, which YAML takes for a {node.tag.rpartition(':')[2]} and cannot read"
            raise AccessError(self.file, node.start_mark.line + 1, f"{found}; expected quotes around a name") from error


def read_document(path: str | Path) -> Document:
    """Read and parse a file; every failure is an `AccessError` that names it."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise AccessError(str(path), None, f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise AccessError(str(path), None, f"is not UTF-8 text: {error.reason}") from error
    return Document(str(path), text)


def show(value: object) -> str:
    """How a found value is quoted in an error."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    return f"{value!r} ({type(value).__name__})" if not isinstance(value, str) else repr(value)


def _child(node: yaml.Node, part: Hashable) -> tuple[yaml.Node, yaml.Node] | None:
    """The node where an error about this part points, and the node to go on from."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None
