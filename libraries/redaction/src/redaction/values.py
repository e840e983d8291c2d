"""Values that are to be hidden as they are: secrets of the container, contents of personal columns.

A text is searched by its words: a value is found where its first word is and the rest follows, so that fifty
thousand values cost no more than one.
"""

import contextlib
import os
import re
from collections.abc import Iterable

from redaction.patterns import PERSONAL, SECRET, Span

# Shorter ones, such as a middle initial, would take half of every log with them.
SHORTEST = 4
# A run reads a million customers: what no longer fits is left to the patterns. Some 30 MB at the most.
MOST_VALUES = 50_000
MOST_CHARACTERS = 4_000_000
LONGEST = 512
SHORTEST_SECRET = 6
# A file that is larger is no secret.
LARGEST_SECRET = 64 * 1024

_WORD = re.compile(r"\w+")
_DIGITS_OR_SIGNS = re.compile(r"[\d\W]{0,5}")


class Values:
    """A bounded set of texts, and where they are in another text."""

    def __init__(self) -> None:
        # Of each first word, where it is in values that have it, and how long these are.
        self._by_word: dict[str, set[tuple[int, int]]] = {}
        self._known: set[str] = set()
        self._secrets: list[str] = []
        self._size = 0
        self.full = False

    def add(self, values: Iterable[str]) -> list[str]:
        """Hide these from now on, but for what is too short, too long or too many; returns those that are new.

        `full` says that no more fit.
        """
        new = []
        for value in values:
            if self.full:
                break
            text = value.strip()
            if self._add(text):
                new.append(text)
                self._add(_escaped(text))
        return new

    def add_secret(self, content: str) -> None:
        """Hide a secret, wherever it is, each of its lines too."""
        for line in {content.strip(), *(part.strip() for part in content.splitlines())}:
            if len(line) >= SHORTEST_SECRET and line not in self._secrets:
                self._secrets.append(line)
        self._secrets.sort(key=len, reverse=True)

    def add_secrets_in(self, folder: str) -> None:
        """Hide the content of each file of a folder."""
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            with contextlib.suppress(OSError), open(os.path.join(folder, name), errors="surrogateescape") as file:
                self.add_secret(file.read(LARGEST_SECRET))

    def spans(self, text: str) -> list[Span]:
        """Where they are."""
        found = []
        for secret in self._secrets:
            at = text.find(secret)
            while at >= 0:
                found.append((at, at + len(secret), SECRET))
                at = text.find(secret, at + len(secret))
        if self._by_word:
            for match in _WORD.finditer(text):
                for offset, length in self._by_word.get(match[0], ()):
                    start = match.start() - offset
                    end = start + length
                    if start >= 0 and text[start:end] in self._known and not text[end : end + 1].isalnum():
                        found.append((start, end, PERSONAL))
        return found

    def _add(self, value: str) -> bool:
        if value in self._known:
            return False
        word = _WORD.search(value)
        # Five digits and less are any number; a date or a postal code with letters is told.
        if word is None or not SHORTEST <= len(value) <= LONGEST or _DIGITS_OR_SIGNS.fullmatch(value):
            return False
        if len(self._known) >= MOST_VALUES or self._size + len(value) > MOST_CHARACTERS:
            self.full = True
            return False
        self._known.add(value)
        self._size += len(value)
        self._by_word.setdefault(word[0], set()).add((word.start(), len(value)))
        return True


def _escaped(text: str) -> str:
    """The text as it is in JSON."""
    import json

    return json.dumps(text)[1:-1]
