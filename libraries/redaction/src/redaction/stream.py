"""What a process prints, redacted on its way, however it is cut into pieces.

Text is held until its line ends. A line that does not end is passed on after a silence, up to its last complete word;
what was passed on stays known, so that the second half of a value is still recognised. Memory is bounded: of a line
without end, the last `CONTEXT` characters are kept.
"""

import codecs
import re
from collections.abc import Callable, Sequence

from redaction import patterns
from redaction.patterns import KEY, SECRET, Span

# More than any value that is recognised, but for a private key, which is followed line by line.
CONTEXT = 4096
LONGEST_LINE = 64 * 1024
# Of a key that never ends: enough for the longest in use.
KEY_LINES = 200
FAILED = b"[this part of the log could not be redacted and was dropped]\n"

_BLANK = re.compile(r"\s")
# Not passed on by a silence: the last word, and digits before it, which may be the first half of a number.
_HELD = re.compile(r"(?:[(+\d][\d ().\-/]{0,40})?\S*\Z")
_KEY_MATERIAL = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}")
_KEY_LINE = re.compile(r"\s*(?:[A-Za-z0-9+/]*={0,2}|=[A-Za-z0-9+/]{4}|(?:Version|Comment|Proc-Type|DEK-Info): .*)\s*")


class Redactor:
    """One stream's state. `feed` returns what may be passed on now, `silence` and `finish` what was held."""

    def __init__(self, extra: Callable[[str], Sequence[Span]] | None = None) -> None:
        self._extra = extra
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text = ""
        self._passed = 0
        self._dropping = False
        self._key_lines = 0

    @property
    def holds(self) -> bool:
        """Whether there is something that a silence might release."""
        return len(self._text) > self._passed

    def feed(self, data: bytes) -> bytes:
        """Take a piece of the stream; complete lines come back."""
        return self._guarded(lambda: self._feed(self._decoder.decode(data)))

    def silence(self) -> bytes:
        """Nothing came for a while: what is complete of the last line."""
        return self._guarded(self._words)

    def finish(self) -> bytes:
        """Nothing more comes: all that is held."""
        return self._guarded(
            lambda: self._feed(self._decoder.decode(b"", final=True)) + self._complete(len(self._text))
        )

    def _guarded(self, step: Callable[[], str]) -> bytes:
        """An error of ours lets nothing through, and does not end the stream."""
        try:
            return step().encode("utf-8", "surrogateescape")
        except Exception:
            self._text, self._passed = "", 0
            return FAILED

    def _feed(self, more: str) -> str:
        if self._dropping:
            blank = _BLANK.search(more)
            if blank is None:
                return ""
            more, self._dropping = more[blank.start() :], False
        at = max(more.rfind("\n"), more.rfind("\r")) + 1
        end = len(self._text) + at
        self._text += more
        passed = self._complete(end) if at else ""
        return passed + self._cut() if len(self._text) > LONGEST_LINE else passed

    def _complete(self, end: int) -> str:
        """All up to `end`, where a line ends."""
        text, start = self._text[:end], self._passed
        self._text, self._passed = self._text[end:], 0
        if self._key_lines:
            return self._of_key(text)
        places = patterns.spans(text, self._extra)
        if "-----BEGIN " in text and patterns.open_key(text):
            self._key_lines = KEY_LINES
            return _part(text, start, end, places) + "\n"
        return _part(text, start, end, places)

    def _of_key(self, text: str) -> str:
        """Lines of a private key go, up to its end; what another thread prints between them stays."""
        end = patterns.key_end(text)
        lines = text[:end].splitlines(keepends=True)
        self._key_lines = max(0, self._key_lines - len(lines)) if end is None else 0
        others = "".join(_KEY_MATERIAL.sub(KEY, line) for line in lines if not _KEY_LINE.fullmatch(line))
        if end is None:
            return patterns.redact(others, self._extra)
        rest = Redactor(self._extra)
        passed = rest._complete_text(text[end:].removeprefix("\n"))
        self._key_lines = rest._key_lines
        return patterns.redact(others[: others.rfind("-----END ")], self._extra) + passed

    def _complete_text(self, text: str) -> str:
        self._text = text
        return self._complete(len(text))

    def _words(self) -> str:
        tail = self._text[self._passed :][-CONTEXT:]
        held = _HELD.search(tail)
        length = len(held[0]) if held and any(c.isalnum() for c in held[0]) else 0
        return self._incomplete(len(self._text) - length)

    def _incomplete(self, end: int) -> str:
        """Up to `end`, within a line; what is found there and goes on behind `end` is held as a whole."""
        start = self._passed
        if self._key_lines or end <= start:
            return ""
        places = patterns.spans(self._text, self._extra)
        end = max(start, min((a for a, b, _ in places if a < end < b), default=end))
        self._passed = end
        return _part(self._text, start, end, places)

    def _cut(self) -> str:
        """A line that is too long: all but its end, which may be the beginning of something."""
        passed = self._incomplete(len(self._text) - CONTEXT)
        keep = len(self._text) - CONTEXT if self._key_lines else max(0, self._passed - CONTEXT)
        self._text, self._passed = self._text[keep:], max(0, self._passed - keep)
        if len(self._text) > LONGEST_LINE:
            # One value takes all of it: its label is said once, and the rest dropped until a blank.
            self._text, self._passed, self._dropping = "", 0, True
            return passed + SECRET
        return passed


def _part(text: str, start: int, end: int, places: Sequence[Span]) -> str:
    """`text[start:end]`, redacted."""
    inside = [(max(a, start) - start, min(b, end) - start, label) for a, b, label in places if b > start and a < end]
    return patterns.replaced(text[start:end], inside)
